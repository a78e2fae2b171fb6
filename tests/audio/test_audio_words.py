"""Words for notes: the column of sentences, and the judge of sounds and sentences."""

from __future__ import annotations

import numpy as np

from unnoise.contracts import Evidence
from unnoise_audio.data.notes import Notes
from unnoise_audio.metrics.retrieval import CaptionMetric


def test_notes_have_sentences_and_their_judge_hears_what_they_say():
    options = {"lowest": 60, "highest": 61, "rate": 8000, "shortest": 0.2, "longest": 0.3}
    train, test = Notes("train", n=160, **options), Notes("test", n=160, **options)
    texts = test.columns()["text"].values
    assert texts.tolist() == test.captions() and " plucked C4, 0." in texts[0]
    metric, items = CaptionMetric(among=4, max_steps=80), [test[i] for i in range(len(test))]
    (right,) = metric(Evidence(items, {"text": texts}, train, test))
    assert right.value == right.floor > 0.5
    (wrong,) = metric(Evidence(items, {"text": np.roll(texts, 1)}, train, test))
    assert wrong.value < right.value - 0.2
