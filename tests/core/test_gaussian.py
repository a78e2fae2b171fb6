"""The gaussian process against Bayes' rule, the published update rules and its own marginals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unnoise import schedules
from unnoise.layout import Part
from unnoise.noise import Noise
from unnoise.processes import Gaussian
from unnoise.schedules import Schedule

SCHEDULES = [
    schedules.cosine(),
    schedules.flow(),
    schedules.edm(),
    schedules.scaled_linear(),
    schedules.tabulated([*np.linspace(1e-4, 0.02, 99), 1.0]),
]
each = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
PART = Part("x", "gaussian", (5,))
S, T = (grid.ravel() for grid in np.meshgrid(np.linspace(0, 1, 21), np.linspace(0, 1, 21)))
S, T = S[S <= T], T[S <= T]


@each
def test_corrupting_then_renoising_is_corrupting(schedule: Schedule) -> None:
    keep, spread = Gaussian(schedule).renoise_coefficients(S, T)
    np.testing.assert_allclose(keep * schedule.alpha(S), schedule.alpha(T), rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(keep**2 * schedule.sigma(S) ** 2 + spread**2, schedule.sigma(T) ** 2, rtol=1e-9)


@each
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_bridge_keeps_the_marginals(schedule: Schedule, eta: float) -> None:
    on_x_t, on_x0, on_noise = Gaussian(schedule).bridge_coefficients(T, S, eta)
    scale = schedule.sigma(1.0)
    np.testing.assert_allclose(on_x_t * schedule.alpha(T) + on_x0, schedule.alpha(S), atol=1e-12)
    variance = on_x_t**2 * schedule.sigma(T) ** 2 + on_noise**2
    np.testing.assert_allclose(variance, schedule.sigma(S) ** 2, rtol=1e-9, atol=1e-14 * scale)


@each
def test_ancestral_bridge_is_bayes_rule(schedule: Schedule) -> None:
    # x_s and x_t given x_0 are jointly normal with covariance keep sigma_s^2: condition one on the other.
    s, t = S[(S < T)], T[(S < T)]
    keep = schedule.alpha(t) / schedule.alpha(s)
    gain = keep * schedule.sigma(s) ** 2 / schedule.sigma(t) ** 2
    variance = schedule.sigma(s) ** 2 - gain * keep * schedule.sigma(s) ** 2
    on_x_t, on_x0, on_noise = Gaussian(schedule).bridge_coefficients(t, s, eta=1.0)
    np.testing.assert_allclose(on_x_t, gain, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(on_x0, schedule.alpha(s) - gain * schedule.alpha(t), atol=1e-12)
    np.testing.assert_allclose(on_noise**2, variance, rtol=1e-7, atol=1e-12 * schedule.sigma(1.0) ** 2)


def test_bridge_between_steps_is_the_published_one() -> None:
    # Ho et al. 2020, eqs. 6 and 7, for eta = 1; Song et al. 2021, eq. 12, for eta = 0.
    schedule = schedules.linear_beta(50, 1e-3, 0.3)
    betas = np.linspace(1e-3, 0.3, 50)
    bar = np.cumprod(1 - betas)
    now, before = np.arange(1, 50), np.arange(49)
    t, s = schedule.t_of_step(now), schedule.t_of_step(before)
    on_x_t, on_x0, on_noise = Gaussian(schedule).bridge_coefficients(t, s)
    np.testing.assert_allclose(on_x0, np.sqrt(bar[before]) * betas[now] / (1 - bar[now]), rtol=1e-9)
    np.testing.assert_allclose(on_x_t, np.sqrt(1 - betas[now]) * (1 - bar[before]) / (1 - bar[now]), rtol=1e-9)
    np.testing.assert_allclose(on_noise**2, betas[now] * (1 - bar[before]) / (1 - bar[now]), rtol=1e-9)
    on_x_t, on_x0, on_noise = Gaussian(schedule).bridge_coefficients(t, s, eta=0.0)
    x_t, x0 = 0.7, -0.3
    eps = (x_t - np.sqrt(bar[now]) * x0) / np.sqrt(1 - bar[now])
    expected = np.sqrt(bar[before]) * x0 + np.sqrt(1 - bar[before]) * eps
    np.testing.assert_allclose(on_x_t * x_t + on_x0 * x0, expected, rtol=1e-9)
    assert (on_noise == 0).all()


@each
def test_ends_are_exact(schedule: Schedule) -> None:
    process, noise = Gaussian(schedule), Noise.of(3, 4)
    x0, x_t = noise.normal(PART, (5,), 1), noise.normal(PART, (5,), 2)
    for eta in (0.0, 1.0):
        assert torch.equal(process.bridge(PART, x_t, x0, 0.8, 0.0, noise, eta=eta), x0)
        assert torch.equal(process.bridge(PART, x_t, x0, 0.8, 0.8, noise, eta=eta), x_t)
        assert torch.equal(process.bridge(PART, x_t, x0, 0.0, 0.0, noise, eta=eta), x_t)
    assert torch.equal(process.corrupt(PART, x0, 0.0, noise), x0)
    for t in (0.0, 0.5, 1.0):
        assert torch.equal(process.renoise(PART, x0, t, t, noise), x0)


@each
def test_draws_have_the_moments_promised(schedule: Schedule) -> None:
    process, count = Gaussian(schedule), 40_000
    part = Part("x", "gaussian", (count,))
    noise = Noise.of(0, 1)
    x0 = torch.full((1, count), 1.5)
    x_s = process.corrupt(part, x0, 0.3, noise)
    x_t = process.renoise(part, x_s, 0.3, 0.6, noise)
    back = process.bridge(part, x_t, x0, 0.6, 0.45, noise, eta=0.7)
    for x, t in ((x_s, 0.3), (x_t, 0.6), (back, 0.45)):
        sigma = float(schedule.sigma(t))
        assert float(x.mean()) == pytest.approx(1.5 * float(schedule.alpha(t)), abs=5 * sigma / count**0.5)
        assert float(x.std()) == pytest.approx(sigma, rel=5 / (2 * count) ** 0.5)
    prior = process.prior(part, (count,), noise)
    assert float(prior.std()) == pytest.approx(float(schedule.sigma(schedule.t_max)), rel=5 / (2 * count) ** 0.5)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=6, max_size=6), st.sampled_from(SCHEDULES))
def test_times_per_sample_and_per_element(values: list[float], schedule: Schedule) -> None:
    part, process, noise = Part("x", "gaussian", ("n", 2)), Gaussian(schedule), Noise.of(7, 2)
    t = np.array(values).reshape(2, 3)
    s = t / 2
    x, x0 = noise.normal(part, (3, 2), 1).double(), noise.normal(part, (3, 2), 2).double()

    def drawn(low: float | np.ndarray, high: float | np.ndarray) -> list[torch.Tensor]:
        return [
            process.corrupt(part, x0, high, noise),
            process.renoise(part, x, low, high, noise),
            process.bridge(part, x, x0, high, low, noise),
        ]

    pairs = zip(s.flat, t.flat, strict=True)
    for whole, *single in zip(drawn(s, t), *(drawn(float(a), float(b)) for a, b in pairs), strict=True):
        expected = torch.stack([single[3 * b + i][b, i] for b in range(2) for i in range(3)]).reshape(2, 3, 2)
        torch.testing.assert_close(whole, expected, rtol=1e-12, atol=1e-12)
    pairs = zip(s[:, 0], t[:, 0], strict=True)
    for whole, *single in zip(drawn(s[:, 0], t[:, 0]), *(drawn(float(a), float(b)) for a, b in pairs), strict=True):
        torch.testing.assert_close(whole, torch.stack([single[b][b] for b in range(2)]), rtol=1e-12, atol=1e-12)


def test_low_precision_states_are_computed_in_float32() -> None:
    process, noise = Gaussian(schedules.cosine()), Noise.of(0, 2)
    x0 = noise.normal(PART, (5,), 1).bfloat16()
    out = process.corrupt(PART, x0, 0.4, noise)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, process.corrupt(PART, x0.float(), 0.4, noise).bfloat16())


def test_bad_input_is_named() -> None:
    process = Gaussian(schedules.flow())
    with pytest.raises(ValueError, match="s must not be above t"):
        process.renoise_coefficients(0.5, 0.4)
    with pytest.raises(ValueError, match="s must not be above t"):
        process.bridge_coefficients(0.4, np.array([0.1, 0.5]))
    with pytest.raises(ValueError, match="eta"):
        process.bridge_coefficients(0.4, 0.1, eta=1.5)
    with pytest.raises(ValueError, match="categorical"):
        process.check(Part("a", "categorical", (2,), classes=3))
