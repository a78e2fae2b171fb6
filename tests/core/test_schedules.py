"""Schedules against closed forms, cumulative products, published numbers and numerical integration."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unnoise import schedules
from unnoise.errors import UserError
from unnoise.schedules import Schedule

ZERO_TERMINAL = schedules.tabulated([*np.linspace(1e-4, 0.02, 99), 1.0])
ALL = [
    schedules.cosine(),
    schedules.flow(),
    schedules.linear_survival(),
    schedules.edm(),
    schedules.linear_beta(),
    schedules.scaled_linear(),
    ZERO_TERMINAL,
    schedules.shift(schedules.flow(), 3.0),
    schedules.shift(schedules.cosine(), 0.3),
    schedules.shift(schedules.scaled_linear(), 2.0),
]
each = pytest.mark.parametrize("schedule", ALL, ids=lambda s: s.name)


@each
def test_ends_are_exact(schedule: Schedule) -> None:
    assert schedule.alpha(0.0) == 1 and schedule.sigma(0.0) == 0 and schedule.log_snr(0.0) == np.inf
    assert schedule.t_of(np.inf) == 0
    assert schedule.zero_terminal_snr == (schedule.alpha(1.0) == 0) == (schedule.log_snr(1.0) == -np.inf)
    if schedule.zero_terminal_snr:
        assert schedule.sigma(1.0) == 1 and schedule.t_of(-np.inf) == 1


def test_which_schedules_leave_nothing_of_the_data() -> None:
    ends = {schedule.name for schedule in ALL[:7] if schedule.alpha(1.0) == 0}
    assert ends == {"cosine", "flow", "linear_survival", "tabulated"}


@each
def test_log_snr_agrees_with_alpha_and_sigma_falls_and_inverts(schedule: Schedule) -> None:
    t = np.linspace(0, 1, 5001)[1:-1]
    log_snr = schedule.log_snr(t)
    np.testing.assert_allclose(log_snr, np.log(schedule.alpha(t) ** 2 / schedule.sigma(t) ** 2), rtol=1e-9, atol=1e-9)
    assert (np.diff(log_snr) < 0).all()
    np.testing.assert_allclose(schedule.t_of(log_snr), t, rtol=1e-12)


@each
def test_working_range_is_finite_and_inside(schedule: Schedule) -> None:
    assert 0 < schedule.t_min < schedule.t_max <= 1
    assert np.isfinite(schedule.log_snr(np.array([schedule.t_min, schedule.t_max]))).all()


@each
def test_numbers_and_arrays_agree(schedule: Schedule) -> None:
    t = np.array([[0.0, 0.2], [0.7, 1.0]])
    for f in (schedule.alpha, schedule.sigma, schedule.log_snr):
        out = f(t)
        assert out.dtype == np.float64 and out.shape == t.shape
        assert [float(f(float(x))) for x in t.flat] == list(out.flat)


@each
def test_config_survives_json(schedule: Schedule) -> None:
    assert schedules.from_config(json.loads(json.dumps(schedule.config()))) == schedule


@pytest.mark.parametrize("schedule", [schedules.cosine(), schedules.linear_survival(), schedules.scaled_linear()])
def test_variance_preserving(schedule: Schedule) -> None:
    t = np.linspace(0, 1, 101)
    np.testing.assert_allclose(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, 1, rtol=1e-14)


def test_cosine_is_a_rotation_of_constant_speed() -> None:
    t = np.linspace(0, 1, 2001)
    schedule = schedules.cosine()
    angle = np.arctan2(schedule.sigma(t), schedule.alpha(t))
    np.testing.assert_allclose(np.gradient(angle, t), np.pi / 2, rtol=1e-9)


@pytest.mark.parametrize("schedule", [schedules.cosine(), schedules.flow()])
def test_default_range_is_a_thousandfold(schedule: Schedule) -> None:
    ratio = schedule.sigma(np.array([schedule.t_min, schedule.t_max])) / schedule.alpha(
        np.array([schedule.t_min, schedule.t_max])
    )
    np.testing.assert_allclose(ratio, [1e-3, 1e3], rtol=1e-9)


def test_linear_survival_solves_its_rate_equation() -> None:
    # Survival under the hazard 1 / (1 - t), integrated numerically, is alpha^2.
    t = np.linspace(0, 0.9, 20001)
    hazard = 1 / (1 - t)
    integral = np.concatenate([[0.0], np.cumsum((hazard[1:] + hazard[:-1]) / 2 * np.diff(t))])
    np.testing.assert_allclose(schedules.linear_survival().alpha(t) ** 2, np.exp(-integral), rtol=1e-7)


@pytest.mark.parametrize(
    "schedule, betas",
    [
        (schedules.linear_beta(), np.linspace(1e-4, 0.02, 1000)),
        (schedules.scaled_linear(), np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2),
        (schedules.linear_beta(10, 0.1, 0.5), np.linspace(0.1, 0.5, 10)),
        (ZERO_TERMINAL, np.array(ZERO_TERMINAL.betas)),
    ],
)
def test_tables_hold_the_cumulative_product_at_their_steps(schedule: schedules.Table, betas: np.ndarray) -> None:
    steps = np.arange(len(betas))
    alpha_bar = np.cumprod(1 - betas)
    t = schedule.t_of_step(steps)
    np.testing.assert_allclose(schedule.alpha(t) ** 2, alpha_bar, rtol=1e-11)
    np.testing.assert_allclose(schedule.sigma(t) ** 2, 1 - alpha_bar, rtol=1e-11)
    assert (schedule.step_of(t) == steps).all() and len(schedule) == len(betas)
    assert schedule.step_of(0.0) == 0 and schedule.step_of(1.0) == len(betas) - 1


def test_tables_are_linear_in_log_snr_between_steps() -> None:
    schedule = schedules.scaled_linear()
    low, middle, high = schedule.log_snr(np.array([501, 501.5, 502]) / 1000)
    assert middle == pytest.approx((low + high) / 2, rel=1e-13)


def test_published_numbers() -> None:
    # The released Stable Diffusion 1 tables: first and last alpha-bar, and k-diffusion's sigma range for them.
    stable_diffusion = schedules.scaled_linear()
    ends = np.array([stable_diffusion.t_min, stable_diffusion.t_max])
    np.testing.assert_allclose(stable_diffusion.alpha(ends) ** 2, [0.99915, 0.00466], atol=5e-6)
    np.testing.assert_allclose(np.exp(-0.5 * stable_diffusion.log_snr(ends)), [0.02917, 14.6146], rtol=2e-4)
    assert float(schedules.linear_beta().alpha(1.0) ** 2) == pytest.approx(4.0358e-5, rel=1e-4)


def test_edm_time_is_the_coordinate_of_the_karras_grid() -> None:
    low, high, rho, n = 0.002, 80.0, 7.0, 18
    schedule = schedules.edm(low, high, rho)
    i = np.arange(n)
    karras = (high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    np.testing.assert_allclose(schedule.sigma(np.linspace(schedule.t_max, schedule.t_min, n)), karras, rtol=1e-12)
    assert (schedule.alpha(np.linspace(0, 1, 5)) == 1).all() and not schedule.zero_terminal_snr


@given(st.floats(0.05, 20), st.floats(0.001, 0.999))
def test_shift_of_flow_lowers_log_snr_evenly(factor: float, t: float) -> None:
    shifted = schedules.shift(schedules.flow(), factor)
    assert float(shifted.log_snr(t)) == pytest.approx(float(schedules.flow().log_snr(t)) - 2 * np.log(factor), abs=1e-9)
    assert float(shifted.sigma(t)) == pytest.approx(factor * t / (1 + (factor - 1) * t), rel=1e-12)


def test_shift_keeps_the_levels_of_the_working_range() -> None:
    inner = schedules.cosine()
    shifted = schedules.shift(inner, 4.0)
    assert float(shifted.log_snr(shifted.t_min)) == pytest.approx(float(inner.log_snr(inner.t_min)), rel=1e-9)
    assert float(shifted.log_snr(shifted.t_max)) == pytest.approx(float(inner.log_snr(inner.t_max)), rel=1e-9)


def test_levels_beyond_the_last_give_the_end() -> None:
    for schedule in (schedules.edm(), schedules.scaled_linear()):
        assert schedule.t_of(-50.0) == 1


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"times lie in \[0, 1\]"):
        schedules.flow().alpha(np.array([0.5, 1.1]))
    with pytest.raises(ValueError, match="times lie"):
        schedules.cosine().log_snr(float("nan"))
    with pytest.raises(ValueError, match="only the last may be 1"):
        schedules.tabulated([0.1, 1.0, 0.1])
    with pytest.raises(ValueError, match="sigma_min"):
        schedules.edm(sigma_min=-1.0)
    with pytest.raises(ValueError, match="above 0"):
        schedules.shift(schedules.flow(), 0.0)
    with pytest.raises(UserError) as unknown:
        schedules.from_config({"name": "cosin"})
    assert "cosine" in str(unknown.value) and "linear_survival" in unknown.value.fix
    with pytest.raises(UserError) as argument:
        schedules.from_config({"name": "edm", "sigma": 3})
    assert "sigma_min" in argument.value.fix
