"""Every experiment composes, and those of rendered solids train, one after the other, once their numbers are small."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from unnoise.cli.compose import compose
from unnoise.plugins import get_registry
from unnoise.runs import load
from unnoise.runs.config import check
from unnoise.runs.train import train

ROOT = Path(__file__).parents[2] / "configs"
NAMES = sorted(path.stem for path in (ROOT / "experiment" / "image").glob("*.yaml"))
DATA = {"large": ["data.root=pictures"]}
SMALL = [
    "data.n=16", "data.size=16", "conditions.dim=16", "train.steps=2", "train.log_every=2", "train.batch=2",
    "train.device=cpu", "sample.n=1", "sample.steps=2",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _configs(monkeypatch):
    monkeypatch.setenv("UNNOISE_CONFIGS", str(ROOT))


@pytest.mark.parametrize("name", NAMES)
def test_experiments_name_what_exists(name):
    if name.endswith("_edges"):
        pytest.importorskip("skimage")
    check(compose("train", [f"experiment=image/{name}", *DATA.get(name, [])]), get_registry())


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("rendered", ["denoiser.channels=[8,8,8]", "denoiser.head_dim=8"]),
        ("rendered_latents", ["denoiser.channels=[8,8]", "codec.channels=[8]", "codec.train.steps=1",
                              "codec.train.batch=2"]),
    ],
)  # fmt: skip
def test_a_control_of_depth_is_trained_and_judged(base, words, tmp_path):
    pytest.importorskip("trimesh")
    composed = asdict(compose("train", [f"experiment=image/{base}", *words, *SMALL]))
    folder = train(composed, tmp_path / "base").folder
    told = [f"control.base={folder}", "control.judge_every=2", "control.judged=2"]
    told.append("conditions.maps.depth={name: depth, judge_steps: 2}")
    control = asdict(compose("train", ["experiment=image/rendered_depth", *SMALL, *told]))
    run = train(control, tmp_path / "control")
    line = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert -1 <= line["agreement/depth"] <= 1
    assert run.manifest.config["denoiser"] == composed["denoiser"]
    load(folder, "cpu").sample(1, control={"run": run.folder, "map": [[0.0] * 16] * 16}, progress=False)
