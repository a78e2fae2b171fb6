"""The benchmark of continuations, on a model that knows nothing yet."""

from __future__ import annotations

import numpy as np
import pytest
from continuation import KINDS, chosen, joined, measure, show

import unnoise
from unnoise.errors import UserError
from unnoise.runs.train import train
from unnoise_audio.data.notes import Notes
from unnoise_audio.sound import Sound

DATA = {"n": 40, "rate": 8000, "shortest": 0.3, "longest": 0.4, "highest": 60}


def test_joined(sine):
    first, second = sine(100.0, 0.2), sine(330.0, 0.1)
    cut, faded = joined(first, second, 0.05, 0), joined(first, second, 0.05, 0.01)
    expected = np.concatenate([first.samples[:, :400], second.samples[:, 400:800]], axis=1)
    assert np.array_equal(cut.samples, expected)
    outside = np.r_[0:321, 400:800]
    assert np.array_equal(faded.samples[:, outside], expected[:, outside])
    middle = (first.samples[:, 360] + second.samples[:, 360]) / 2
    np.testing.assert_allclose(faded.samples[:, 360], middle, atol=1e-6)


def test_short_recordings_are_no_trial():
    class Few(Notes):
        def __getitem__(self, index):
            sound = super().__getitem__(index)
            return Sound(sound.samples[:, :200], sound.rate) if index < 7 else sound

    test = Few("test", **DATA)
    with pytest.raises(UserError, match="fewer than two"):
        chosen(test, 4, 0.5, 0)
    assert len(chosen(Notes("test", **DATA), 3, 0.5, 0)) == 3


def test_an_untrained_model_keeps_what_it_must_and_is_heard_to_go_on(tmp_path, capsys):
    config = {
        "modality": "audio",
        "data": {"name": "notes", **DATA},
        "representation": {"name": "spectrum", "n_fft": 126, "hop": 32},
        "denoiser": {"name": "transformer", "width": 32, "depth": 1, "head_dim": 16, "patch": 1},
        "process": {"*": {"name": "gaussian", "schedule": {"name": "flow"}, "parametrization": {"name": "flow"}}},
        "conditions": {"use": ["instrument", "pitch"], "dim": 16},
        "train": {"batch": 8, "steps": 1, "threads": 1, "precision": "fp32"},
    }
    model = unnoise.load(train(config, tmp_path / "a").folder, device="cpu")
    trials = measure(model, Notes("test", **DATA), 6, steps=2, progress=False)
    assert len(trials) == 6 and all(trial.exact for trial in trials)
    median = {kind: np.median([trial.seams[kind] for trial in trials]) for kind in KINDS}
    assert median["uncut"] < 1.5 < median["another, cut"]
    assert median["uncut"] < median["continued"]
    again = measure(model, Notes("test", **DATA), 6, steps=2, progress=False)
    assert [trial.seams for trial in again] == [trial.seams for trial in trials]
    show(trials)
    printed = capsys.readouterr().out
    assert "kept to the sample: 6 of 6" in printed and "| uncut |" in printed
