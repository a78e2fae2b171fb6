"""The scripts that print tables, on models that know nothing yet."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import point_completion
import point_pairing
import pytest

import unnoise
from unnoise.runs.train import train
from unnoise_points.cloud import Cloud
from unnoise_points.data.families import Families

NETWORK = {"name": "latent", "width": 32, "latents": 4, "latent_width": 32, "depth": 1, "layers": 1}
TIMES = {"name": "uniform", "known": 0.5}
TRAIN = {"steps": 2, "batch": 4, "precision": "fp32", "device": "cpu", "time_sampling": TIMES}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    config = {
        "modality": "points", "data": {"name": "families", "n": 40, "pool": 120}, "denoiser": NETWORK, "train": TRAIN,
        "representation": {"name": "set", "points": 40}, "conditions": {"use": ["class"], "dim": 8},
        "sample": {"n": 1, "steps": 2},
    }  # fmt: skip
    return unnoise.load(train(config, tmp_path_factory.mktemp("runs") / "a").folder, device="cpu")


def test_baselines_and_floor_are_in_order(model, capsys):
    parts = [Families(split, n=40, pool=120) for split in ("train", "test")]
    for side in (True, False):
        trials = point_completion.measure(model, *parts, 5, 0.5, side, ["class"], steps=2, progress=False)
        found = {kind: np.mean([trial.distances[kind] for trial in trials]) for kind in point_completion.KINDS}
        assert found["the surface itself"] < found["nearest training shape"] and all(trial.exact for trial in trials)
        point_completion.show(trials)
        assert "given points exact: 5 of 5" in capsys.readouterr().out


def test_the_nearest_training_shape_is_judged_one_way(clouds):
    one, other = clouds(2, 60)
    given = one.take(slice(0, 5))
    assert point_completion.nearest(given, [other, one]) is one
    rest = point_completion.rest_of(other.points, given, 20, np.random.default_rng(0))
    assert len(rest) == 25 and np.array_equal(rest[:5], given.points)
    assert isinstance(one, Cloud) and point_completion.distance(rest, rest) < 1e-6


def test_the_table_of_pairings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNNOISE_CONFIGS", str(Path(__file__).parents[2] / "configs"))
    words = [
        "data.n=40", "data.pool=24", "representation.points=16", "denoiser.width=32", "denoiser.latents=4",
        "train.steps=2", "denoiser.latent_width=32", "denoiser.depth=1", "train.device=cpu", "sample.n=1",
        "conditions.dim=8",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["point_pairing.py", "--seeds", "0", "--evaluations", "2", "-n", "4", *words])
    point_pairing.main()
    table = capsys.readouterr().out
    assert "| independent | 2 |" in table and "| transport | 2 |" in table and "| floor |" in table
