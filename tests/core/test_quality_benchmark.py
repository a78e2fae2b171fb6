"""The measurement of trained models against steps (tests/benchmarks/quality.py), on the fixture plugin."""

import json
import sys
from pathlib import Path

import pytest
import torch
from quality import main, parse

from unnoise.plugins import registry
from unnoise.runs import evaluate, load, train

TOY = Path(__file__).parents[1] / "third_party" / "toy"
CONFIG = {
    "modality": "toy",
    "data": {"name": "ring", "n": 100},
    "representation": {"name": "plane"},
    "denoiser": {"name": "mlp", "width": 8},
    "process": {"*": {"name": "gaussian", "schedule": {"name": "cosine"}, "parametrization": {"name": "v"}}},
    "conditions": {"use": ["class"], "dim": 8},
    "train": {"steps": 5, "batch": 16, "lr": 5e-3, "warmup": 1, "log_every": 5, "device": "cpu"},
    "sample": {"steps": 2, "n": 2},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    sys.path.insert(0, str(TOY))
    registry._registry.cache_clear()
    yield train(CONFIG, tmp_path_factory.mktemp("runs") / "a").folder
    sys.path.remove(str(TOY))
    registry._registry.cache_clear()


def test_a_way_to_sample_in_words():
    assert parse("ddpm/linear,categorical=tau_leap,eta=0.5") == {
        "sampler": "ddpm", "spacing": "linear", "sampler_options": {"eta": 0.5}, "categorical": "tau_leap",
    }  # fmt: skip
    assert parse("adams") == {"sampler": "adams", "spacing": None, "sampler_options": {}, "categorical": None}


def test_every_way_is_judged_at_every_number_of_steps(run, tmp_path, capsys):
    """Lines, table and file have what judging the same samples by themselves gives."""
    out, ways = tmp_path / "numbers.json", {"adams": {"sampler": "adams"}, "ddim/karras": {"sampler": "ddim"}}
    ways["ddim/karras"]["spacing"] = "karras"
    main([str(run), *ways, "--score", "radius", "--steps", "2", "5", "-n", "20", "--out", str(out)])
    found, printed = json.loads(out.read_text())["values"], capsys.readouterr().out
    model = load(run, "cpu")
    for way, options in ways.items():
        for steps in (2, 5):
            _, (score,) = evaluate(model, n=20, steps=steps, **options)
            assert found[way][str(steps)] == {"radius": pytest.approx(score.value, rel=1e-6)}
            assert f"{way}, {steps} steps, {steps} evaluations: radius {score.value:.4g}" in printed
    values = [f"{found['ddim/karras'][steps]['radius']:.3g}" for steps in ("2", "5")]
    assert f"| `ddim/karras` | {' | '.join(values)} |" in printed
