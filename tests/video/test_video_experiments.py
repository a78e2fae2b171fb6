"""Every experiment composes, and the one at scale is a model that trains a step once its numbers are small."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from unnoise.cli.compose import compose
from unnoise.plugins import get_registry
from unnoise.runs.config import check
from unnoise.runs.train import train
from unnoise_video.writing import write_clip

ROOT = Path(__file__).parents[2] / "configs"
NAMES = sorted(path.stem for path in (ROOT / "experiment" / "video").glob("*.yaml"))
DATA = {"large": ["data.root=clips"], "loops": ["data.path=clips.npz"], "loops_text": ["data.path=clips.npz"]}


@pytest.fixture(autouse=True)
def _configs(monkeypatch):
    monkeypatch.setenv("UNNOISE_CONFIGS", str(ROOT))


@pytest.mark.parametrize("name", NAMES)
def test_experiments_name_what_exists(name):
    check(compose("train", [f"experiment=video/{name}", *DATA.get(name, [])]), get_registry())


def test_the_large_one_trains_a_step_on_little_data(clips, tmp_path):
    for k, name in enumerate(("a", "b")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i, clip in enumerate(clips(6, frames=4, side=32, channels=3, seed=k)):
            write_clip(clip, tmp_path / "data" / name / f"{i}.webp", {}, "webp")
    small = [
        f"data.root={tmp_path / 'data'}", "data.test_fraction=0.3", "data.size=32", "data.frames=4",
        "codec.channels=[8,8,8]", "codec.blocks=1", "codec.latent_channels=4", "codec.frames=2", "codec.train.steps=1",
        "codec.train.batch=2", "denoiser.width=72", "denoiser.depth=2", "conditions.dim=16", "train.steps=1",
        "train.batch=2", "sample.n=1", "sample.steps=2", "train.device=cpu",
    ]  # fmt: skip
    run = train(asdict(compose("train", ["experiment=video/large", *small])), tmp_path / "run")
    assert run.checkpoints()[-1].step == 1
