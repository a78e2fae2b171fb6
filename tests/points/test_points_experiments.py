"""Every experiment composes, and the one at scale is a model that trains a step once its numbers are small."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from unnoise.cli.compose import compose
from unnoise.plugins import get_registry
from unnoise.runs.config import check
from unnoise.runs.train import train
from unnoise_points.families import FAMILIES

ROOT = Path(__file__).parents[2] / "configs"
NAMES = sorted(path.stem for path in (ROOT / "experiment" / "points").glob("*.yaml"))
DATA = {"large": ["data.root=meshes"], "furniture": ["data.path=f.npz"], "solids": ["data.path=s.npz"]}


@pytest.fixture(autouse=True)
def _configs(monkeypatch):
    monkeypatch.setenv("UNNOISE_CONFIGS", str(ROOT))


@pytest.mark.parametrize("name", NAMES)
def test_experiments_name_what_exists(name):
    check(compose("train", [f"experiment=points/{name}", *DATA.get(name, [])]), get_registry())


def test_the_large_one_trains_a_step_on_little_data(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("table", "lamp"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(5):
            mesh = FAMILIES[name].mesh(FAMILIES[name].draw(rng, test=False))
            mesh.export(tmp_path / "data" / name / f"{i}.stl")
    small = [
        f"data.root={tmp_path / 'data'}", "data.test_fraction=0.3", "data.pool=40", "representation.points=16",
        "representation.fewest=8", "denoiser.width=32", "denoiser.head_dim=16", "denoiser.depth=2", "conditions.dim=16",
        "train.steps=1", "train.batch=2", "sample.n=1", "sample.steps=2", "train.device=cpu",
    ]  # fmt: skip
    run = train(asdict(compose("train", ["experiment=points/large", *small])), tmp_path / "run")
    assert run.checkpoints()[-1].step == 1 and run.manifest.layout[0]["shape"] == ["points", 6]
