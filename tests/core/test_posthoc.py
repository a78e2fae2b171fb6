"""Power-function averages and mixtures of their snapshots, against averages written out and tracked directly."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unnoise.errors import UserError
from unnoise.plugins import registry
from unnoise.runs import load, train
from unnoise.training.posthoc import LONGEST, PowerAverages, Profile, gamma_of, length_of, mixture, overlap

TOY = Path(__file__).parents[1] / "third_party" / "toy"
CONFIG = {
    "modality": "toy",
    "data": {"name": "ring", "n": 200},
    "representation": {"name": "plane"},
    "denoiser": {"name": "mlp", "width": 16},
    "process": {"*": {"name": "gaussian", "schedule": {"name": "cosine"}, "parametrization": {"name": "v"}}},
    "train": {
        "steps": 240, "batch": 32, "lr": 5e-3, "warmup": 20, "device": "cpu", "checkpoint_every": 100,
        "ema": {"lengths": [0.05, 0.1], "snapshot_every": 10},
    },
    "sample": {"steps": 3, "n": 2},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def toy():
    torch.set_num_threads(1)
    sys.path.insert(0, str(TOY))
    registry._registry.cache_clear()
    yield
    sys.path.remove(str(TOY))
    registry._registry.cache_clear()


@pytest.mark.parametrize("gamma", [0.0, 1.0, 6.94, 16.97, 200.0])
def test_lengths_and_exponents(gamma):
    """The length is the deviation of the density ``u^gamma``; 0.10 and 0.05 are the paper's 6.94 and 16.97."""
    u = (np.arange(200_000) + 0.5) / 200_000
    density = u**gamma / (u**gamma).sum()
    deviation = math.sqrt((density * u**2).sum() - (density * u).sum() ** 2)
    assert length_of(gamma) == pytest.approx(deviation, rel=1e-4)
    assert gamma_of(length_of(gamma)) == pytest.approx(gamma, abs=1e-6)
    assert gamma_of(0.1) == pytest.approx(6.94, abs=0.01) and gamma_of(0.05) == pytest.approx(16.97, abs=0.01)
    for length in (0.0, -1.0, 1.01 * LONGEST):
        with pytest.raises(UserError, match="above 0"):
            gamma_of(length)


def walk(lengths, steps=600, every=20):
    """A parameter that wanders; snapshots of its averages, and all it has been."""
    torch.manual_seed(0)
    module = nn.Linear(8, 4)
    averages, snapshots, path = PowerAverages(module, lengths), [], []
    for step in range(1, steps + 1):
        with torch.no_grad():
            module.weight.mul_(0.99).add_(0.1 * torch.randn(4, 8))
        averages.update(step)
        path.append(module.weight.detach().double().clone())
        if step % every == 0:
            snapshots.append((step, [average["weight"].clone() for average in averages.averages]))
    return torch.stack(path), snapshots, averages


def direct(path, length):
    """The average written out: every step by its share."""
    gamma, steps = gamma_of(length), len(path)
    edges = (torch.arange(steps + 1, dtype=torch.float64) / steps) ** (gamma + 1)
    return torch.einsum("t,tij->ij", edges.diff(), path)


def test_the_running_average_is_the_one_written_out():
    path, _, averages = walk([0.05, 0.2, LONGEST])
    for length, average in zip(averages.lengths, averages.averages, strict=True):
        torch.testing.assert_close(average["weight"].double(), direct(path, length), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(averages.averages[-1]["weight"].double(), path.mean(0), rtol=1e-4, atol=1e-5)


def test_overlaps_of_profiles():
    u = (np.arange(400_000) + 0.5) / 400_000 * 100
    for a, b in ((Profile(3.0, 100), Profile(7.5, 40)), (Profile(0.0, 60), Profile(17.0, 100))):
        values = [np.where(u <= p.step, (p.gamma + 1) * u**p.gamma / p.step ** (p.gamma + 1), 0) for p in (a, b)]
        assert overlap(a, b) == pytest.approx(float((values[0] * values[1]).sum() * 100 / len(u)), rel=1e-3)


@pytest.mark.parametrize(("length", "worst"), [(0.05, 1e-6), (0.07, 5e-3), (0.1, 1e-6), (0.15, 2e-2)])
def test_a_rebuilt_average_is_the_one_tracked(length, worst):
    path, snapshots, _ = walk([0.05, 0.1])
    entries = [(Profile(gamma_of(0.05 * (k + 1)), step), x) for step, pair in snapshots for k, x in enumerate(pair)]
    weights, missed = mixture([profile for profile, _ in entries], Profile(gamma_of(length), len(path)))
    made = sum(w * x.double() for w, (_, x) in zip(weights, entries, strict=True))
    wanted = direct(path, length)
    assert float((made - wanted).norm() / wanted.norm()) < worst and missed < worst
    assert weights.sum() == pytest.approx(1, abs=worst)


def test_a_run_can_be_sampled_at_any_length(tmp_path):
    """Against an average that another run of the same seed has tracked; and resuming changes none of it."""
    run = train(CONFIG, tmp_path / "a")
    tracked = {**CONFIG, "train": {**CONFIG["train"], "ema": {"lengths": [0.05, 0.1, 0.07], "snapshot_every": 120}}}
    other = train(tracked, tmp_path / "b")
    made = load(run.folder, "cpu", ema=0.07)
    exact = load(other.folder, "cpu", ema=0.07)
    for name, value in made.denoiser.state_dict().items():
        wanted = exact.denoiser.state_dict()[name]
        if wanted.numel() > 1 and wanted.is_floating_point():
            assert float((value - wanted).norm() / wanted.norm().clamp(min=1e-6)) < 2e-3, name
    assert made.sample(2, progress=False).record["checkpoint"]["ema"] == 0.07
    half = train({**CONFIG, "train": {**CONFIG["train"], "steps": 100, "decay": 0.0}}, tmp_path / "c")
    whole = train({**CONFIG, "train": {**CONFIG["train"], "decay": 0.0}}, tmp_path / "d")
    again = {**CONFIG, "resume": True, "train": {**CONFIG["train"], "decay": 0.0}}
    train(again, half.folder)
    a, b = (load(r.folder, "cpu", ema=0.12).denoiser.state_dict() for r in (half, whole))
    assert all(torch.equal(a[name], b[name]) for name in a)
    weak = {"name": "auto", "scale": 2.0, "weak": {"ema": 0.2}}
    guided = made.sample(2, guidance=weak, progress=False)
    assert guided.record["weak"]["ema"] == 0.2 and guided.record["nfe"] == 6


def test_what_cannot_be_rebuilt_is_refused(tmp_path):
    plain = train({**CONFIG, "train": {**CONFIG["train"], "steps": 30, "ema": {}}}, tmp_path / "a")
    with pytest.raises(UserError, match="kept no snapshots"):
        load(plain.folder, "cpu", ema=0.1)
    few = {"lengths": [0.05], "snapshot_every": 30}
    run = train({**CONFIG, "train": {**CONFIG["train"], "steps": 30, "ema": few}}, tmp_path / "b")
    with pytest.raises(UserError, match=r"miss .* of an average of length 0\.2"):
        load(run.folder, "cpu", ema=0.2)
    with pytest.raises(UserError, match=r"an average of length 0\.9"):
        load(run.folder, "cpu", ema=0.9)
    with pytest.raises(UserError, match="an average of length 2"):
        train({**CONFIG, "train": {**CONFIG["train"], "ema": {"lengths": [2.0]}}}, tmp_path / "c")
    again = {**CONFIG, "resume": True, "train": {**CONFIG["train"], "ema": {"lengths": [0.1]}}}
    with pytest.raises(UserError, match="keeps its lengths"):
        train(again, run.folder)
