"""The categorical process against enumeration of every (x_0, x_s, x_t) with explicit transition matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unnoise import schedules
from unnoise.errors import UserError
from unnoise.layout import Part
from unnoise.noise import Noise
from unnoise.processes import Categorical
from unnoise.processes.categorical import draw_classes
from unnoise.schedules import Schedule

SCHEDULES = [schedules.cosine(), schedules.linear_survival(), schedules.flow(), schedules.edm()]
KERNELS = ["marginal", "uniform", "absorbing"]


class EvenNoise(Noise):
    """Uniform numbers at the midpoints of N equal cells: frequencies are probabilities, up to 1 / N a class."""

    def uniform(self, part: Part, shape: Sequence[int], draw: int = 0, purpose: str = "sample") -> Tensor:
        count = math.prod(shape)
        return ((torch.arange(count, dtype=torch.float64) + 0.5) / count).expand(len(self), -1).reshape(-1, *shape)


def resting(kernel: str, marginal: np.ndarray) -> np.ndarray:
    if kernel == "absorbing":
        return np.eye(len(marginal) + 1)[-1]
    return marginal if kernel == "marginal" else np.full(len(marginal), 1 / len(marginal))


def transition(schedule: Schedule, m: np.ndarray, s: float, t: float) -> np.ndarray:
    """Q(t | s), rows from, columns to, of survivals 1 / (1 + sigma^2 / alpha^2)."""

    def survival(time: float) -> float:
        alpha2, sigma2 = float(schedule.alpha(time)) ** 2, float(schedule.sigma(time)) ** 2
        return alpha2 / (alpha2 + sigma2)

    ratio = survival(t) / survival(s)
    return ratio * np.eye(len(m)) + (1 - ratio) * np.outer(np.ones(len(m)), m)


def enumerate_bridge(schedule: Schedule, m: np.ndarray, p: np.ndarray, s: float, t: float) -> np.ndarray:
    """q(x_s | x_t) for every x_t (rows), by summing over all x_0 of estimate p (K,); x_0 that cannot lead to x_t, and
    x_t that no x_0 leads to, have no say."""
    to_s, up, to_t = transition(schedule, m, 0, s), transition(schedule, m, s, t), transition(schedule, m, 0, t)
    out = np.zeros((len(m), len(m)))
    for i in range(len(m)):
        for j in range(len(p)):
            if to_t[j, i] > 0:
                for k in range(len(m)):
                    out[i, k] += p[j] * to_s[j, k] * up[k, i] / to_t[j, i]
    total = out.sum(1, keepdims=True)
    return np.divide(out, total, out=np.zeros_like(out), where=total > 0)


def process_of(kernel: str, schedule: Schedule, marginal: np.ndarray) -> Categorical:
    return Categorical(schedule, kernel, tuple(marginal) if kernel == "marginal" else None)  # type: ignore[arg-type]


distribution = st.integers(2, 6).flatmap(
    lambda k: st.tuples(*(st.lists(st.floats(0.01, 1), min_size=k, max_size=k) for _ in range(2)))
)
times = st.tuples(st.floats(0, 1), st.floats(0, 1))


def working_times(schedule: Schedule, pair: tuple[float, float]) -> tuple[float, float]:
    """A time t in the working range, where the matrices are exact enough to compare with, and any s <= t."""
    t = schedule.t_min + pair[1] * (schedule.t_max - schedule.t_min)
    return pair[0] * t, t


def normalised(values: list[float]) -> np.ndarray:
    return np.array(values) / sum(values)


@settings(max_examples=150, deadline=None)
@given(distribution, times, st.sampled_from(SCHEDULES), st.sampled_from(KERNELS), st.booleans())
def test_bridge_is_enumeration(
    values: tuple[list[float], list[float]], pair: tuple[float, float], schedule: Schedule, kernel: str, zero: bool
) -> None:
    s, t = working_times(schedule, pair)
    marginal, p = normalised(values[0]), normalised(values[1])
    if zero:  # a class that no training item has
        marginal = normalised([0.0, *marginal[1:]])
    m = resting(kernel, marginal)
    part = Part("a", "categorical", (len(m),), classes=len(p), absorbing=kernel == "absorbing")
    x_t = torch.arange(len(m))[None]
    x0 = torch.from_numpy(np.log(p)).expand(1, len(m), -1)
    got = process_of(kernel, schedule, marginal).bridge_probabilities(part, x_t, x0, t, s)[0]
    np.testing.assert_allclose(got.numpy(), enumerate_bridge(schedule, m, p, s, t), atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(distribution, times, st.sampled_from(SCHEDULES), st.sampled_from(KERNELS))
def test_bridge_with_the_exact_posterior_gives_the_marginal_at_s(
    values: tuple[list[float], list[float]], pair: tuple[float, float], schedule: Schedule, kernel: str
) -> None:
    s, t = working_times(schedule, pair)
    marginal, data = normalised(values[0]), normalised(values[1])
    m = resting(kernel, marginal)
    part = Part("a", "categorical", (len(m),), classes=len(data), absorbing=kernel == "absorbing")
    joint = data[:, None] * transition(schedule, m, 0, t)[: len(data)]  # (x_0, x_t)
    posterior = (joint / joint.sum(0)).T
    with np.errstate(divide="ignore"):
        x0 = torch.from_numpy(np.log(posterior))[None]
    bridge = process_of(kernel, schedule, marginal).bridge_probabilities(part, torch.arange(len(m))[None], x0, t, s)[0]
    at_s = (data[:, None] * transition(schedule, m, 0, s)[: len(data)]).sum(0)
    np.testing.assert_allclose(joint.sum(0) @ bridge.numpy(), at_s, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(distribution, times, st.sampled_from(SCHEDULES), st.sampled_from(KERNELS))
def test_draws_follow_the_matrices(
    values: tuple[list[float], list[float]], pair: tuple[float, float], schedule: Schedule, kernel: str
) -> None:
    s, t = working_times(schedule, pair)
    count = 2_000
    marginal, p = normalised(values[0]), normalised(values[1])
    m = resting(kernel, marginal)
    process, noise = process_of(kernel, schedule, marginal), EvenNoise(torch.zeros(len(m)))
    part = Part("a", "categorical", (count,), classes=len(p), absorbing=kernel == "absorbing")
    start = torch.arange(len(m))[:, None].expand(-1, count)
    x0 = torch.from_numpy(np.log(p)).expand(len(m), count, -1)

    def frequencies(x: Tensor) -> np.ndarray:
        return torch.nn.functional.one_hot(x, len(m)).double().mean(1).numpy()

    close = {"atol": 3 / count}
    np.testing.assert_allclose(frequencies(process.prior(part, (count,), noise)), np.tile(m, (len(m), 1)), **close)
    np.testing.assert_allclose(
        frequencies(process.corrupt(part, start, t, noise)), transition(schedule, m, 0, t), **close
    )
    np.testing.assert_allclose(
        frequencies(process.renoise(part, start, s, t, noise)), transition(schedule, m, s, t), **close
    )
    np.testing.assert_allclose(
        frequencies(process.bridge(part, start, x0, t, s, noise)), enumerate_bridge(schedule, m, p, s, t), **close
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_ends(kernel: str) -> None:
    marginal, schedule = np.array([0.5, 0.5, 0.0]), schedules.cosine()  # zero SNR at t = 1, exactly
    process, noise = process_of(kernel, schedule, marginal), Noise.of(0, 2)
    part = Part("a", "categorical", (40,), classes=3, absorbing=kernel == "absorbing")
    x0 = noise.uniform(part, (40,)).mul(3).long()
    certain = torch.log(torch.nn.functional.one_hot(x0, 3).float())
    assert torch.equal(process.corrupt(part, x0, 0.0, noise), x0)
    x_t = process.prior(part, (40,), noise)
    for t in (0.3, 1.0):
        seen = process.corrupt(part, x0, t, noise)
        assert torch.equal(process.bridge(part, seen, certain, t, 0.0, noise), x0), "s = 0 is the estimate"
    for t in (0.0, 0.4, 1.0):
        assert torch.equal(process.renoise(part, x_t, t, t, noise), x_t)
        hold = process.bridge_probabilities(part, x_t, certain, t, t)
        assert torch.equal(hold.argmax(-1), x_t) and float(hold.amax(-1).min()) == pytest.approx(1)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
def test_single_precision_stays_normalised_at_every_time(kernel: str, schedule: Schedule) -> None:
    marginal = np.array([0.0, 1e-7, 1 - 1e-7])
    process = process_of(kernel, schedule, marginal)
    m = resting(kernel, marginal)
    part = Part("a", "categorical", (len(m),), classes=3, absorbing=kernel == "absorbing")
    x_t = torch.arange(len(m))[None]
    grid = [0.0, 1e-8, schedule.t_min, 0.3, schedule.t_max, 1.0]
    for estimate in ([1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.2, 0.3, 0.5]):
        x0 = torch.tensor(estimate).log().expand(1, len(m), 3)
        for t in grid:
            for s in (s for s in grid if s <= t):
                got = process.bridge_probabilities(part, x_t, x0, t, s)
                assert got.dtype == torch.float32
                torch.testing.assert_close(got.sum(-1), torch.ones(1, len(m)), rtol=0, atol=2e-6)
                assert bool((got >= 0).all())


def test_absorbing_unmasks_once_and_at_the_stated_rate() -> None:
    schedule = schedules.linear_survival()
    process, count = Categorical(schedule, "absorbing"), 10_000
    part = Part("a", "categorical", (count,), classes=4, absorbing=True)
    noise = EvenNoise(torch.zeros(2))
    x_t = torch.stack([torch.full((count,), 4), torch.full((count,), 1)])  # masked; and already unmasked
    x0 = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log().expand(2, count, 4)
    x_s = process.bridge(part, x_t, x0, 0.8, 0.5, noise)
    unmask = (0.5 - 0.2) / (1 - 0.2)  # (a_s - a_t) / (1 - a_t)
    frequencies = torch.bincount(x_s[0], minlength=5).double() / count
    np.testing.assert_allclose(frequencies, [*(unmask * x0[0, 0].exp()), 1 - unmask], atol=2 / count)
    assert bool((x_s[1] == 1).all())


def test_times_per_sample_and_per_element() -> None:
    process = Categorical(schedules.cosine(), "marginal", (0.2, 0.3, 0.5))
    part, noise = Part("a", "categorical", ("n", 2), classes=3), Noise.of(5, 2)
    x = noise.uniform(part, (3, 2), 1).mul(3).long()
    x0 = torch.log_softmax(noise.uniform(part, (3, 2), 2)[..., None] * torch.arange(3), -1)
    t = np.array([[0.0, 0.3, 0.5], [0.9, 1.0, 0.2]])
    s = t * 0.6
    whole = process.bridge_probabilities(part, x, x0, t, s)
    up, down = process.renoise(part, x, s, t, noise), process.bridge(part, x, x0, t[:, 1], s[:, 1], noise)
    for b in range(2):
        one = process.bridge(part, x, x0, float(t[b, 1]), float(s[b, 1]), noise)
        assert torch.equal(down[b], one[b])
        for i in range(3):
            low, high = float(s[b, i]), float(t[b, i])
            torch.testing.assert_close(whole[b, i], process.bridge_probabilities(part, x, x0, high, low)[b, i])
            assert torch.equal(up[b, i], process.renoise(part, x, low, high, noise)[b, i])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1e-30, 1e-9, 0.3, 1.0]), min_size=1, max_size=8), st.floats(2**-33, 1 - 2**-33))
def test_impossible_classes_are_never_drawn(weights: list[float], u: float) -> None:
    probabilities = torch.tensor(weights)
    if probabilities.sum() == 0:
        return
    assert probabilities[draw_classes(probabilities, torch.tensor(u, dtype=torch.float64))] > 0


def test_a_number_on_the_edge_of_keeping_draws_a_possible_class() -> None:
    class Fixed(Noise):
        def uniform(self, part: Part, shape: Sequence[int], draw: int = 0, purpose: str = "sample") -> Tensor:
            return torch.full((len(self), *shape), 0.5, dtype=torch.float64)

    process = Categorical(schedules.linear_survival(), "marginal", (0.0, 0.0, 1.0, 0.0))
    part = Part("a", "categorical", (3,), classes=4)
    assert float(process.survival(0.5)) == 0.5
    out = process.corrupt(part, torch.zeros(1, 3, dtype=torch.int64), 0.5, Fixed(torch.zeros(1)))
    assert out.tolist() == [[2, 2, 2]]


def test_symmetric_parts_get_symmetric_draws() -> None:
    part, noise = Part("e", "categorical", ("n", "n"), classes=4, symmetric=True), Noise.of(2, 3)
    process = Categorical(schedules.cosine(), "uniform")
    x = process.prior(part, (6, 6), noise)
    assert torch.equal(x, x.transpose(1, 2))
    x0 = torch.zeros(3, 6, 6, 4).log_softmax(-1)
    for y in (process.renoise(part, x, 0.2, 0.7, noise), process.bridge(part, x, x0, 0.7, 0.2, noise)):
        assert torch.equal(y, y.transpose(1, 2)) and not torch.equal(y, x)


def test_bad_input_is_named() -> None:
    schedule = schedules.cosine()
    with pytest.raises(UserError, match="no kernel 'masked'"):
        Categorical(schedule, "masked")  # type: ignore[arg-type]
    for kernel, marginal in (("marginal", None), ("uniform", (0.5, 0.5))):
        with pytest.raises(UserError, match="frequencies"):
            Categorical(schedule, kernel, marginal)  # type: ignore[arg-type]
    for bad in ((0.5, -0.1), (0.0, 0.0), (float("nan"), 1.0)):
        with pytest.raises(UserError, match="no distribution"):
            Categorical(schedule, "marginal", bad)
    with pytest.raises(ValueError, match="3 classes, its marginal 2"):
        Categorical(schedule, "marginal", (0.5, 0.5)).check(Part("a", "categorical", (2,), classes=3))
    part = Part("a", "categorical", (2,), classes=3)
    with pytest.raises(ValueError, match="s must not be above t"):
        Categorical(schedule, "uniform").renoise(part, torch.zeros(1, 2, dtype=torch.int64), 0.5, 0.4, Noise.of(0, 1))


@pytest.mark.parametrize("symmetric", [False, True])
def test_masked_elements_are_revealed_as_evenly_as_can_be(symmetric: bool) -> None:
    """Each with its own chance, and so many at a time as the chances add up to, rounded."""
    process, n, items = Categorical(schedules.linear_survival(), "absorbing"), 7, 4000
    axes = ("nodes", "nodes") if symmetric else ("nodes",)
    part = Part("a", "categorical", axes, classes=2, absorbing=True, symmetric=symmetric)
    shape = (n,) * len(axes)
    x_t = torch.full((items, *shape), 2)
    x_t[:, 1] = 0  # seen already
    x0 = torch.zeros(items, *shape, 2).log_softmax(-1)
    s, t = 0.6, 0.75
    x_s = process.bridge(part, x_t, x0, t, s, Noise.of(0, items))
    chosen = (x_s != x_t).triu() if symmetric else x_s != x_t
    masked = (x_t == 2).triu() if symmetric else x_t == 2
    chance = (t - s) / t
    expected = chance * masked[0].sum()
    counts = chosen.flatten(1).sum(1)
    assert bool(((counts - expected).abs() < 1).all()), "floor or ceiling of the expected number"
    assert not bool((chosen & ~masked).any())
    rates = chosen.double().mean(0)[masked[0]]
    deviation = (chance * (1 - chance) / items) ** 0.5
    assert float((rates - chance).abs().max()) < 4 * deviation


def test_padding_does_not_change_what_is_revealed() -> None:
    process = Categorical(schedules.linear_survival(), "absorbing")
    part = Part("a", "categorical", ("nodes", "nodes"), classes=3, absorbing=True, symmetric=True)
    noise = Noise.of(5, 50)

    def revealed(size: int) -> Tensor:
        x_t = torch.zeros(50, size, size, dtype=torch.int64)  # padding holds class 0
        x_t[:, :6, :6] = 3
        return process.bridge(part, x_t, torch.zeros(50, size, size, 3).log_softmax(-1), 0.9, 0.5, noise)[:, :6, :6]

    assert torch.equal(revealed(6), revealed(9))
