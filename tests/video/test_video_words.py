"""Words for clips: the archive's column, and the judge of clips and captions."""

from __future__ import annotations

import json

import numpy as np

from unnoise.contracts import Evidence
from unnoise_video.data.archive import Archive
from unnoise_video.metrics.retrieval import CaptionMetric

COLOURS = {"red": (255, 0, 0), "green": (0, 160, 0), "blue": (0, 0, 255), "black": (0, 0, 0)}


def archive(folder):
    """Plain clips of four colours, bright or dark, four frames of 8x8."""
    rng, clips, known = np.random.default_rng(0), [], []
    for i in range(48):
        name = list(COLOURS)[i % 4]
        clip = np.full((4, 8, 8, 3), 255, np.uint8)
        clip[:, 2:6, 2:6] = np.array(COLOURS[name]) * rng.uniform(0.85, 1)
        clips.append(clip)
        known.append({"label": f"{name} square", "tags": ["square", "shape", name], "loop_ms": 500})
    np.savez(folder / "clips.npz", clips=np.stack(clips), split=np.where(np.arange(48) % 6 == 5, "test", "train"))
    (folder / "clips.json").write_text(json.dumps(known))
    return str(folder / "clips.npz")


def test_an_archive_has_words_and_its_judge_knows_them(tmp_path):
    path = archive(tmp_path)
    train, test = Archive("train", path=path, tags=2), Archive("test", path=path, tags=2)
    texts = test.columns()["text"].values
    assert (
        texts[0] == "green square, shape" and Archive("test", path=path).columns()["text"].values[0] == "green square"
    )
    metric, items = CaptionMetric(among=4, max_steps=60), [test[i] for i in range(len(test))]
    (right,) = metric(Evidence(items, {"text": texts}, train, test))
    assert right.value == right.floor > 0.8
    (wrong,) = metric(Evidence(items, {"text": np.roll(texts, 1)}, train, test))
    assert wrong.value < 0.3
