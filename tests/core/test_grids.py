import numpy as np
import pytest

from unnoise import schedules
from unnoise.errors import UserError
from unnoise.sampling import SPACINGS, grid

CURVES = [
    schedules.cosine(),
    schedules.scaled_linear(),
    schedules.edm(),
    schedules.flow(),
    schedules.shift(schedules.flow(), 3.0),
]


@pytest.mark.parametrize("schedule", CURVES, ids=lambda s: s.name)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 3, 9, 27, 50])
@pytest.mark.parametrize("start", [1.0, 0.6])
def test_a_grid_has_its_steps_and_exact_ends(schedule, spacing, steps, start):
    times = grid(schedule, steps, spacing, start)
    assert times.shape == (steps + 1,) and times.dtype == np.float64
    if spacing != "leading":  # which begins one stride below
        assert times[0] == min(start, schedule.t_max)
    assert times[0] <= min(start, schedule.t_max) and times[-1] == 0.0
    assert (np.diff(times) < 0).all()
    assert times[-2] >= schedule.t_min * (1 - 1e-9)


@pytest.mark.parametrize("schedule", CURVES, ids=lambda s: s.name)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_stop_above_zero_is_reached_without_a_jump(schedule, spacing):
    times = grid(schedule, 8, spacing, start=0.9, stop=0.3)
    assert times[0] == 0.9 or (spacing == "leading" and 0.8 < times[0] < 0.9)
    assert times[-1] == pytest.approx(0.3, abs=1e-3) and len(times) == 9


def test_spacings_are_uniform_in_their_own_coordinate():
    schedule = schedules.cosine()
    inner = grid(schedule, 12, "log_snr")[:-1]
    np.testing.assert_allclose(np.diff(schedule.log_snr(inner), 2), 0, atol=1e-9)
    inner = grid(schedule, 12, "karras")[:-1]
    ratio = schedule.sigma(inner) / schedule.alpha(inner)
    np.testing.assert_allclose(np.diff(ratio ** (1 / 7), 2), 0, atol=1e-9)
    np.testing.assert_allclose(np.diff(grid(schedule, 12, "linear"), 2), 0, atol=1e-12)


@pytest.mark.parametrize("steps", [2, 5, 20])
def test_quadratic_is_a_square_of_flow_time_whatever_the_schedule(steps):
    """From the first level down in equal steps of the root, the last two of which are the jump."""
    flow = schedules.flow()
    root = np.sqrt(flow.t_max) * np.arange(steps + 1, 1, -1) / (steps + 1)
    np.testing.assert_allclose(grid(flow, steps, "quadratic")[:-1], root**2, rtol=1e-9)
    for schedule in (schedules.cosine(), schedules.shift(flow, 3.0)):
        same = schedule.log_snr(grid(schedule, steps, "quadratic")[:-1])
        np.testing.assert_allclose(same, flow.log_snr(root**2), atol=1e-8)


def test_bounded_is_karras_below_its_knee_and_begins_its_jump_where_quadratic_does():
    """Uniform in the tenth root of ``u / (8 s + u)``, ``u = sigma / alpha``, for data of standard deviation s."""
    schedule, steps = schedules.cosine(), 9
    for scale in (1.0, 3.0):
        ratio, square = (
            np.exp(-0.5 * schedule.log_snr(grid(schedule, steps, {"name": name, "scale": scale})[:-1]))
            for name in ("bounded", "quadratic")
        )
        np.testing.assert_allclose(np.diff((ratio / (8 * scale + ratio)) ** 0.1, 2), 0, atol=1e-9)
        assert ratio[-1] == pytest.approx(square[-1], rel=1e-9)
    far = {"name": "bounded", "knee": 1e9, "rho": 7.0}
    times, low = grid(schedule, steps, far, start=0.9), grid(schedule, steps, "quadratic", start=0.9)[-2]
    karras = SPACINGS["karras"](schedule, 0.9, low, steps)
    np.testing.assert_allclose(times[:-1], karras, rtol=1e-6)


def test_karras_is_the_published_grid():
    """Karras et al. 2022, table 1: sigma_max 80, sigma_min 0.002, rho 7."""
    i = np.arange(18)
    sigma = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    schedule = schedules.edm()
    for spacing in ("karras", "linear"):  # time of edm() is the coordinate of that grid
        np.testing.assert_allclose(schedule.sigma(grid(schedule, 18, spacing)[:-1]), sigma, rtol=1e-9)


@pytest.mark.parametrize("steps", [7, 10, 20, 25, 50, 999, 1000])
def test_trailing_keeps_to_integer_steps(steps):
    """Lin et al. 2024, section 3.3: round(T - i T / n) - 1."""
    schedule = schedules.scaled_linear()
    expected = np.rint(1000 - np.arange(steps) * (1000 / steps)).astype(int) - 1
    times = grid(schedule, steps, "trailing")[:-1]
    np.testing.assert_array_equal(schedule.step_of(times), expected)
    np.testing.assert_allclose(schedule.t_of_step(expected), times, atol=1e-15)


@pytest.mark.parametrize("steps", [2, 7, 20, 50, 1000])
def test_spacings_of_integer_steps_are_the_published_ones(steps):
    schedule = schedules.scaled_linear()
    every = np.rint(np.linspace(999, 0, steps)).astype(int)  # Nichol & Dhariwal 2021, section 4
    np.testing.assert_array_equal(schedule.step_of(grid(schedule, steps, "ddpm")[:-1]), every)
    strided = np.arange(steps)[::-1] * (1000 // steps)  # Song et al. 2021a: range(0, T, T // n)
    np.testing.assert_array_equal(schedule.step_of(grid(schedule, steps, "leading")[:-1]), strided)


def test_beta_spacing_has_the_quantiles_of_its_distribution():
    stats = pytest.importorskip("scipy.stats")
    schedule = schedules.flow()
    for a, b in ((0.6, 0.6), (0.5, 1.0), (2.0, 3.0)):
        share = (grid(schedule, 12, {"name": "beta", "a": a, "b": b})[:-1] - schedule.t_min) / (
            schedule.t_max - schedule.t_min
        )
        np.testing.assert_allclose(share, stats.beta.ppf(np.linspace(1, 0, 12), a, b), atol=1e-5)


def test_spacings_take_options():
    schedule = schedules.cosine()
    ratio = np.exp(-0.5 * schedule.log_snr(grid(schedule, 12, {"name": "karras", "rho": 3.0})[:-1]))
    np.testing.assert_allclose(np.diff(ratio ** (1 / 3), 2), 0, atol=1e-9)
    np.testing.assert_array_equal(grid(schedule, 9, {"name": "log_snr"}), grid(schedule, 9, "exponential"))
    with pytest.raises(UserError, match="no option 'rhoo'"):
        grid(schedule, 9, {"name": "karras", "rhoo": 3.0})


@pytest.mark.parametrize("spacing", SPACINGS)
def test_zero_terminal_snr_begins_at_a_finite_level(spacing):
    schedule = schedules.tabulated([*np.linspace(0.01, 0.2, 29), 1.0])
    times = grid(schedule, 10, spacing)
    assert schedule.zero_terminal_snr and times[0] <= schedule.t_max < 1
    assert np.isfinite(schedule.log_snr(times[:-1])).all()


def test_explicit_times():
    schedule = schedules.cosine()
    np.testing.assert_array_equal(grid(schedule, 3, [0.9, 0.5, 0.2, 0.0]), [0.9, 0.5, 0.2, 0.0])
    assert grid(schedule, 1, np.array([1.0, 0.0]))[0] == schedule.t_max
    per_sample = np.array([[0.9, 0.8], [0.4, 0.3], [0.0, 0.0]])
    np.testing.assert_array_equal(grid(schedule, 2, per_sample), per_sample)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"steps": True}, "steps is True"),
        ({"spacing": "karas"}, "Did you mean 'karras'"),
        ({"spacing": {"rho": 7.0}}, "no spacing None"),
        ({"spacing": {"name": "karras", "rho": -1.0}}, "rho is -1"),
        ({"spacing": {"name": "beta", "a": 0.1}}, "a is 0.1"),
        ({"spacing": {"name": "quadratic", "scale": 0.0}}, "scale is 0"),
        ({"spacing": {"name": "bounded", "knee": -1.0}}, "knee is -1"),
        ({"spacing": {"name": "bounded", "rho": float("inf")}}, "rho is inf"),
        ({"start": 0.0}, "start is 0.0"),
        ({"start": 1.2}, "start is 1.2"),
        ({"start": 0.5, "stop": 0.5}, "stop is 0.5"),
        ({"start": 1e-9, "steps": 1}, "start is 1e-09, below the schedule's lowest level"),
        ({"start": float("nan")}, "start is nan"),
        ({"stop": -0.1}, "stop is -0.1"),
        ({"spacing": [0.9, 0.5, 0.0]}, "has 5 times"),
        ({"spacing": [0.9, 0.5, 0.6, 0.2, 0.0]}, "fall strictly"),
        ({"spacing": [0.9, 0.5, np.nan, 0.2, 0.0]}, "fall strictly"),
        ({"spacing": [0.9, 0.5, 0.3, 1e-9, 0.0]}, "working range"),
        ({"spacing": [1.0, 0.9999, 0.3, 0.2, 0.0]}, "working range"),
    ],
)
def test_malformed_grids_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        grid(**{"schedule": schedules.cosine(), "steps": 4} | arguments)


def test_more_steps_than_a_table_has():
    with pytest.raises(UserError, match="do not fit"):
        grid(schedules.linear_beta(steps=10), 11, "trailing")
