"""A control of notes that follows the curve of loudness."""

import json

import pytest
import torch

from unnoise.contracts import MapShape
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.runs import evaluate, load, train
from unnoise.runs.controls import load_control
from unnoise_audio.networks import FrameTransformer

QUICK = {"steps": 2, "batch": 4, "log_every": 2, "warmup": 0, "device": "cpu"}


def config(**changes):
    data = {"name": "notes", "n": 24, "rate": 8000, "shortest": 0.2, "longest": 0.3}
    made = {
        "modality": "audio",
        "data": data,
        "representation": {"name": "spectrum"},
        "denoiser": {"name": "transformer", "width": 16, "depth": 3, "head_dim": 8},
        "conditions": {"use": ["instrument"], "dim": 8},
        "train": QUICK,
        "sample": {"steps": 2, "n": 2},
    }
    return {**made, **changes}


def test_a_control_follows_a_curve_and_needs_no_map_on_a_grid(tmp_path):
    base = train(config(), tmp_path / "base").folder
    control = {"base": str(base), "map": "loudness_curve", "blocks": 1}
    folder = train(config(stage="control", control=control), tmp_path / "control").folder
    model = load(base, "cpu")
    loaded = load_control(folder, model)
    assert len(loaded.control.places) == 1 and loaded.control.condition.map_shape == MapShape((64,), 8)
    torch.nn.init.normal_(loaded.control.outs[0].weight, std=0.5)

    def made(**asked):
        return model.sample(2, control={"run": loaded, **asked}, progress=False).state.parts["spectrum"]

    plain = model.sample(2, progress=False).state.parts["spectrum"]
    assert torch.equal(made(map=[-40, -10], strength=0), plain)
    assert not torch.equal(made(map=[-40, -10]), plain)
    assert not torch.equal(made(map=[-40, -10]), made(map=[-10, -40]))
    samples, scores = evaluate(model, 4, metrics=["curves"], control={"run": loaded}, progress=False)
    assert json.dumps(samples.record["control"]) and any("loudness" in score.name for score in scores)


def test_a_network_of_frames_takes_curves_alone():
    layout = Layout((Part("spectrum", "gaussian", ("frames", 4, 2)),))
    with pytest.raises(UserError, match="takes curves, no other maps"):
        FrameTransformer(layout, 8, maps=[MapShape((4, 4), 2)])
