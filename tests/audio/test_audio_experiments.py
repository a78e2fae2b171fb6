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
from unnoise_audio.sound import Sound
from unnoise_audio.wav import write_wav

ROOT = Path(__file__).parents[2] / "configs"
NAMES = sorted(path.stem for path in (ROOT / "experiment" / "audio").glob("*.yaml"))
DATA = {"large": ["data.root=sounds"]}


@pytest.fixture(autouse=True)
def _configs(monkeypatch):
    monkeypatch.setenv("UNNOISE_CONFIGS", str(ROOT))


@pytest.mark.parametrize("name", NAMES)
def test_experiments_name_what_exists(name):
    check(compose("train", [f"experiment=audio/{name}", *DATA.get(name, [])]), get_registry())


def test_the_large_one_trains_a_step_on_little_data(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(6):
            wave = 0.1 * rng.standard_normal((2, 4410)).astype(np.float32)
            write_wav(Sound(wave, 44100), tmp_path / "data" / name / f"{i}.wav", {})
    small = [
        f"data.root={tmp_path / 'data'}", "data.test_fraction=0.3", "codec.channels=[16,16]", "codec.blocks=1",
        "codec.vocoder.width=16", "codec.vocoder.depth=1",
        "codec.latent_channels=4", "codec.train.steps=1", "codec.train.batch=2",
        "denoiser.width=72", "denoiser.depth=1",
        "conditions.dim=16", "train.steps=1", "train.batch=2", "sample.n=1", "sample.steps=2", "train.device=cpu",
    ]  # fmt: skip
    run = train(asdict(compose("train", ["experiment=audio/large", *small])), tmp_path / "run")
    assert run.checkpoints()[-1].step == 1
