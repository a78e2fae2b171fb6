"""Parametrizations: exact targets give exact data, published scalings, and unit variance where theory promises it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unnoise import schedules
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.parametrization import Parametrization
from unnoise.prediction import Prediction
from unnoise.schedules import Schedule
from unnoise.state import State

SCHEDULES = [schedules.cosine(), schedules.scaled_linear(), schedules.edm(), schedules.flow()]
NAMES = ["eps", "x0", "v", "flow", "edm"]
PAIRS = [(n, s) for n in NAMES for s in SCHEDULES if not (n == "eps" and s.zero_terminal_snr)]
each_pair = pytest.mark.parametrize("name, schedule", PAIRS, ids=lambda value: getattr(value, "name", value))
PART = Part("x", "gaussian", (7, 3))


def working_times(schedule: Schedule, count: int) -> np.ndarray:
    return np.linspace(schedule.t_min, schedule.t_max, count)


@each_pair
@pytest.mark.parametrize("data_std", [0.5, 1.0, 3.0])
def test_the_exact_raw_output_gives_clean_data(name: str, schedule: Schedule, data_std: float) -> None:
    parametrization = Parametrization(name, schedule, data_std)  # type: ignore[arg-type]
    noise = Noise.of(0, 11)
    x0, eps = noise.normal(PART, (7, 3), 0).double() * data_std, noise.normal(PART, (7, 3), 1).double()
    t = working_times(schedule, 11)
    alpha, sigma = (torch.from_numpy(f(t))[:, None, None] for f in (schedule.alpha, schedule.sigma))
    x_t = alpha * x0 + sigma * eps
    raw = parametrization.target(x0, eps, t)
    torch.testing.assert_close(parametrization.clean(raw, x_t, t), x0, rtol=0, atol=1e-9 * data_std)
    _, c_skip, c_out, c_noise = (torch.from_numpy(c)[:, None, None] for c in parametrization.scalings(t))
    torch.testing.assert_close(c_skip * x_t + c_out * raw, x0, rtol=0, atol=1e-9 * data_std)
    torch.testing.assert_close(c_noise, torch.log(sigma / alpha) / 4)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
def test_targets_are_the_views_of_a_prediction(schedule: Schedule) -> None:
    noise, t = Noise.of(1, 5), working_times(schedule, 7)[1:-1]
    x0, eps = noise.normal(PART, (7, 3), 0).double(), noise.normal(PART, (7, 3), 1).double()
    alpha, sigma = torch.from_numpy(schedule.alpha(t)), torch.from_numpy(schedule.sigma(t))
    x_t = State(Layout((PART,)), {"x": alpha[:, None, None] * x0 + sigma[:, None, None] * eps})
    prediction = Prediction({"x": x0}, x_t, {"x": alpha}, {"x": sigma})
    for name, view in (("v", prediction.v), ("flow", prediction.flow), ("x0", lambda part: prediction.x0[part])):
        target = Parametrization(name, schedule).target(x0, eps, t)  # type: ignore[arg-type]
        torch.testing.assert_close(view("x"), target, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(prediction.eps("x"), eps, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(prediction.score("x"), -eps / sigma[:, None, None], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("data_std", [0.5, 1.0])
def test_edm_on_its_own_schedule_is_table_1_of_the_paper(data_std: float) -> None:
    schedule = schedules.edm()
    t = working_times(schedule, 50)
    sigma = schedule.sigma(t)
    got = Parametrization("edm", schedule, data_std).scalings(t)
    np.testing.assert_allclose(got.c_skip, data_std**2 / (sigma**2 + data_std**2), rtol=1e-12)
    np.testing.assert_allclose(got.c_out, sigma * data_std / np.sqrt(data_std**2 + sigma**2), rtol=1e-12)
    np.testing.assert_allclose(got.c_in, 1 / np.sqrt(data_std**2 + sigma**2), rtol=1e-12)
    np.testing.assert_allclose(got.c_noise, np.log(sigma) / 4, rtol=1e-9, atol=1e-12)


def test_published_estimates_on_variance_preserving_schedules() -> None:
    # Ho et al. 2020, eq. 15; Salimans & Ho 2022, section 4; and x_0 = x_t - t u on the straight path.
    schedule = schedules.scaled_linear()
    t = working_times(schedule, 20)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    eps, v = (Parametrization(name, schedule).scalings(t) for name in ("eps", "v"))  # type: ignore[arg-type]
    np.testing.assert_allclose((eps.c_skip, eps.c_out), (1 / alpha, -sigma / alpha), rtol=1e-12)
    np.testing.assert_allclose((v.c_skip, v.c_out), (alpha, -sigma), rtol=1e-12)
    u = Parametrization("flow", schedules.flow()).scalings(t)
    np.testing.assert_allclose((u.c_skip, u.c_out), (np.ones_like(t), -t), rtol=1e-12)


@each_pair
def test_the_network_sees_unit_variance(name: str, schedule: Schedule) -> None:
    data_std, t = 2.5, working_times(schedule, 40)
    variance = schedule.alpha(t) ** 2 * data_std**2 + schedule.sigma(t) ** 2
    scaled = Parametrization(name, schedule, data_std).scalings(t)  # type: ignore[arg-type]
    np.testing.assert_allclose(scaled.c_in**2 * variance, 1, rtol=1e-12)
    plain = Parametrization(name, schedule, data_std, scale_input=False).scalings(t)  # type: ignore[arg-type]
    assert (plain.c_in == 1).all() and all((a == b).all() for a, b in zip(plain[1:], scaled[1:], strict=True))


@pytest.mark.parametrize(
    "name, schedule, data_std, variance",
    [
        *(("edm", schedule, data_std, 1.0) for schedule in SCHEDULES for data_std in (0.5, 3.0)),
        ("v", schedules.cosine(), 1.0, 1.0),
        ("eps", schedules.edm(), 0.5, 1.0),
        ("x0", schedules.flow(), 3.0, 9.0),
        ("flow", schedules.flow(), 0.5, 1.25),
    ],
)
def test_variance_of_the_raw_target(name: str, schedule: Schedule, data_std: float, variance: float) -> None:
    # Unit impulses in data and in noise read off the two weights; independent parts add their variances.
    t = working_times(schedule, 30)
    one, zero = torch.ones(30, dtype=torch.float64), torch.zeros(30, dtype=torch.float64)
    parametrization = Parametrization(name, schedule, data_std)  # type: ignore[arg-type]
    of_data, of_noise = parametrization.target(one * data_std, zero, t), parametrization.target(zero, one, t)
    np.testing.assert_allclose(of_data**2 + of_noise**2, variance, rtol=1e-12)


def test_edm_raw_target_is_uncorrelated_with_the_input() -> None:
    # Karras et al. 2022, appendix B.6: c_skip is chosen so that the network amplifies its errors least.
    for schedule in SCHEDULES:
        t, data_std = working_times(schedule, 30), 0.7
        one, zero = torch.ones(30, dtype=torch.float64), torch.zeros(30, dtype=torch.float64)
        parametrization = Parametrization("edm", schedule, data_std)
        on_x0, on_eps = parametrization.target(one, zero, t).numpy(), parametrization.target(zero, one, t).numpy()
        covariance = schedule.alpha(t) * data_std**2 * on_x0 + schedule.sigma(t) * on_eps
        np.testing.assert_allclose(covariance / schedule.sigma(1.0), 0, atol=1e-12)


@pytest.mark.parametrize("name", ["v", "edm", "eps"])
def test_a_schedule_can_be_exchanged_after_training(name: str) -> None:
    # The same noise-to-signal ratio looks the same to the network on any schedule; its "edm" output means the same too.
    old, new = schedules.scaled_linear(), schedules.edm()
    t_old = working_times(old, 9)
    t_new = new.t_of(old.log_snr(t_old))
    before, after = (Parametrization(name, s, 0.5) for s in (old, new))  # type: ignore[arg-type]
    a, b = before.scalings(t_old), after.scalings(t_new)
    np.testing.assert_allclose(a.c_in * old.alpha(t_old), b.c_in, rtol=1e-9)
    np.testing.assert_allclose(a.c_noise, b.c_noise, rtol=1e-9, atol=1e-12)
    if name == "edm":
        np.testing.assert_allclose((a.c_skip * old.alpha(t_old), a.c_out), (b.c_skip, b.c_out), rtol=1e-9)


def test_times_per_element() -> None:
    schedule = schedules.cosine()
    parametrization, noise = Parametrization("v", schedule), Noise.of(0, 2)
    part = Part("x", "gaussian", ("n", 3))
    x0, eps = noise.normal(part, (4, 3), 0), noise.normal(part, (4, 3), 1)
    t = np.linspace(0.1, 0.9, 8).reshape(2, 4)
    whole = parametrization.target(x0, eps, t)
    for b in range(2):
        for i in range(4):
            torch.testing.assert_close(whole[b, i], parametrization.target(x0, eps, float(t[b, i]))[b, i])


@pytest.mark.parametrize(
    "schedule", [schedules.cosine(), schedules.flow(), schedules.tabulated([0.1, 0.5, 1.0])], ids=lambda s: s.name
)
def test_eps_at_zero_snr_is_refused_and_the_others_are_finite_there(schedule: Schedule) -> None:
    with pytest.raises(UserError, match="SNR is zero") as error:
        Parametrization("eps", schedule)
    assert "'v'" in error.value.fix and "linear_beta" in error.value.fix
    for name in ("x0", "v", "flow", "edm"):
        scalings = Parametrization(name, schedule).scalings(1.0)  # type: ignore[arg-type]
        assert np.isfinite([scalings.c_in, scalings.c_skip, scalings.c_out]).all()


def test_bad_input_is_named() -> None:
    with pytest.raises(UserError, match=r"no parametrization 'esp'.*'eps'") as error:
        Parametrization("esp", schedules.edm())  # type: ignore[arg-type]
    assert "flow" in error.value.fix
    with pytest.raises(UserError, match="data_std must be positive"):
        Parametrization("v", schedules.edm(), data_std=0.0)
