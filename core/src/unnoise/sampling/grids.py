"""Time grids: at which levels a sampler stops, by name or as an explicit array."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unnoise.errors import UserError, did_you_mean
from unnoise.plugins.signature import check_options
from unnoise.schedules import Schedule, Table, sigmoid

Array = NDArray[np.float64]
Spacing = str | Mapping[str, Any] | Sequence[float] | Array
"""A name, a name with options (``{"name": "karras", "rho": 5}``), or the times themselves."""


def linear(schedule: Schedule, high: float, low: float, points: int) -> Array:
    """Uniform in t."""
    return np.linspace(high, low, points)


def log_snr(schedule: Schedule, high: float, low: float, points: int) -> Array:
    """Uniform in log-SNR (Lu et al. 2022a, section 3.3): falling exponentially in ``sigma / alpha``."""
    return schedule.t_of(np.linspace(schedule.log_snr(high), schedule.log_snr(low), points))


def karras(schedule: Schedule, high: float, low: float, points: int, rho: float = 7.0) -> Array:
    """Uniform in ``(sigma / alpha)^(1 / rho)`` (Karras et al. 2022, eq. 5)."""
    if not 0 < rho < math.inf:
        raise UserError(f"karras: rho is {rho}", "rho is above 0; 7 is usual")
    ends = np.exp(-0.5 * schedule.log_snr(np.array([high, low]))) ** (1 / rho)
    return schedule.t_of(-2 * rho * np.log(np.linspace(ends[0], ends[1], points)))


def quadratic(schedule: Schedule, high: float, low: float, points: int, scale: float = 1.0) -> Array:
    """Uniform in ``sqrt(sigma / (scale alpha + sigma))``, with data of standard deviation ``scale``: on a flow in the
    square root of time, as the steps of Song et al. 2021a, appendix D.2, on every schedule the same levels.

    Near data a method of order p best takes steps as dense as ``sigma^(1 / (p + 1))`` over log-SNR (their errors add up
    to ``sum sigma h^(p + 1)``), far above the data's own scale ever sparser ones, for the estimate hardly changes
    there. This is such a density, with the square root between what the first steps, of low order, and the later ones
    ask for. The jump to data begins where a step would be longer than one in ``log(sigma / alpha)``.
    """
    return bounded(schedule, high, low, points, scale, rho=2.0, knee=1.0)


def bounded(
    schedule: Schedule,
    high: float,
    low: float,
    points: int,
    scale: float = 1.0,
    rho: float = 10.0,
    knee: float = 8.0,
) -> Array:
    """Uniform in ``(sigma / (knee scale alpha + sigma))^(1 / rho)``, with data of standard deviation ``scale``.

    Almost :func:`karras` below the knee, ever sparser steps above it. In many dimensions samples lie far apart, so that
    the noise at which it is decided between them is large against each element: there the steps of :func:`quadratic`
    are too long. The jump to data begins where that of :func:`quadratic` does.
    """
    for name, value, meaning in (
        ("scale", scale, "the standard deviation of the data"),
        ("rho", rho, "the root that is uniform"),
        ("knee", knee, "the level, over the data's, above which steps become sparse"),
    ):
        if not 0 < value < math.inf:
            raise UserError(f"{name} is {value}", f"{name} is {meaning}, above 0")
    ends = sigmoid(-0.5 * schedule.log_snr(np.array([high, low])) - math.log(knee * scale)) ** (1 / rho)
    share = np.linspace(ends[0], ends[1], points) ** rho
    with np.errstate(divide="ignore"):
        return schedule.t_of(-2 * (np.log(knee * scale * share) - np.log1p(-share)))


def trailing(schedule: Schedule, high: float, low: float, points: int) -> Array:
    """Uniform in t, on the integer steps of a tabulated schedule (Lin et al. 2024, section 3.3); elsewhere the same
    as :func:`linear`.
    """
    times = linear(schedule, high, low, points)
    return np.rint(times * len(schedule)) / len(schedule) if isinstance(schedule, Table) else times


def ddpm(schedule: Schedule, high: float, low: float, points: int) -> Array:
    """Uniform in t from the first level to the last, both evaluated, on the integer steps of a tabulated schedule (Ho
    et al. 2020; Nichol & Dhariwal 2021, section 4): with as many steps as the table has, all of them.
    """
    if not isinstance(schedule, Table):
        return linear(schedule, high, low, points)
    first, last = np.rint(high * len(schedule)) - 1, np.rint(low * len(schedule)) - 1
    steps: Array = np.rint(np.linspace(first, last, points)) + 1
    return steps / len(schedule)


def leading(schedule: Schedule, high: float, low: float, points: int) -> Array:
    """Multiples of a stride from the last level upwards (Song et al. 2021a, released code): it begins one stride below
    ``high``. So it does not begin at pure noise, which Lin et al. 2024, section 3.3, advise against: for models and
    results that were made with it.
    """
    if not isinstance(schedule, Table):
        return np.linspace(high, low, points + 1)[1:]
    first, size = np.rint(low * len(schedule)), len(schedule)
    stride = (np.rint(high * size) - first + 1) // points
    times: Array = (first + stride * np.arange(points - 1, -1, -1)) / size
    return times


def beta(schedule: Schedule, high: float, low: float, points: int, a: float = 0.6, b: float = 0.6) -> Array:
    """Quantiles of a beta distribution over t, denser towards both ends (Lee et al. 2024, "Beta sampling is all you
    need", section 3).
    """
    if not (0.5 <= a < math.inf and 0.5 <= b < math.inf):
        raise UserError(f"beta: a is {a} and b is {b}", "both are 0.5 or more; below 1 the ends are denser")
    # With t = sin^2 the density is bounded at both ends.
    angle = np.linspace(0, 0.5 * np.pi, 20_001)
    density = np.sin(angle) ** (2 * a - 1) * np.cos(angle) ** (2 * b - 1)
    share = np.append(0.0, np.cumsum(density[1:] + density[:-1]))
    quantiles: Array = np.sin(np.interp(np.linspace(share[-1], 0, points), share, angle)) ** 2
    return low + (high - low) * quantiles


SPACINGS: dict[str, Callable[..., Array]] = {
    "quadratic": quadratic,
    "bounded": bounded,
    "linear": linear,
    "log_snr": log_snr,
    "exponential": log_snr,
    "karras": karras,
    "trailing": trailing,
    "leading": leading,
    "ddpm": ddpm,
    "beta": beta,
}
DEFAULT = "quadratic"
_TO_DATA: dict[str, tuple[Callable[..., Array], int]] = {
    "linear": (linear, 1),
    "trailing": (linear, 1),
    "quadratic": (quadratic, 2),
    "bounded": (lambda schedule, high, low, points, scale=1.0, **_: quadratic(schedule, high, low, points, scale), 2),
}
"""Spacings that are finite at t = 0: a way of being uniform down to there, and how many of its steps the jump to data
takes at once. The others go to t_min before the jump."""


def grid(schedule: Schedule, steps: int, spacing: Spacing = DEFAULT, start: float = 1.0, stop: float = 0.0) -> Array:
    """The times of a plan: float64 ``(steps + 1,)``, strictly falling.

    Args:
        schedule: gives the coordinate of the spacing, and the working range ``[t_min, t_max]``.
        steps: how many steps are executed, also where ``start`` is below 1.
        spacing: a name of ``SPACINGS``; a mapping of a name and options, ``{"name": "karras", "rho": 5}``; or the times
            themselves, ``(steps + 1,)``, further axes of which give times of their own to samples and elements.
        start: the first time, in (0, 1]; where it is above t_max, t_max is used.
        stop: the last time. 0 is data: the last step is then an exact jump from a level no lower than t_min.

    Raises:
        UserError: if an argument is out of range, or the spacing is not known.
    """
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
        raise UserError(f"steps is {steps!r}", "steps is a whole number, 1 or more")
    if not isinstance(spacing, (str, Mapping)):
        return _explicit(schedule, int(steps), np.asarray(spacing, dtype=np.float64))
    named = {"name": spacing} if isinstance(spacing, str) else dict(spacing)
    name = named.pop("name", None)
    if name not in SPACINGS:
        hint = did_you_mean(str(name), SPACINGS)
        raise UserError(f"there is no spacing {name!r}.{hint}", f"spacings: {', '.join(SPACINGS)}; or give times")
    place = SPACINGS[name]
    check_options(f"spacing {name!r}", place, named, given=("schedule", "high", "low", "points"))
    if not (0 <= stop < start <= 1):
        raise UserError(f"start is {start} and stop is {stop}", "times lie in 0 <= stop < start <= 1; 0 is data")
    if start < schedule.t_min * (1 - 1e-9):
        raise UserError(
            f"start is {start}, below the schedule's lowest level {schedule.t_min:.4g}",
            "sampling starts within the schedule's working range",
        )
    high = min(start, schedule.t_max)
    if stop > 0:
        return _checked(place(schedule, high, max(stop, schedule.t_min), steps + 1, **named), high, name)
    low = schedule.t_min
    if name in _TO_DATA:
        uniform, jump = _TO_DATA[name]
        low = max(low, float(uniform(schedule, high, 0.0, steps + jump, **named)[-1 - jump]))
    times = place(schedule, high, low, steps, **named) if steps > 1 else np.array([high])
    return np.append(_checked(times, high, name), 0.0)


def _checked(times: Array, high: float, spacing: str) -> Array:
    times = np.array(times, dtype=np.float64)
    if spacing != "leading":
        times[0] = high  # exactly, where the spacing's coordinate and back has rounded it
    if not (np.diff(times) < 0).all():
        raise UserError(
            f"{len(times)} levels do not fit between times {high:.4g} and {times[-1]:.4g} ({spacing})",
            "take fewer steps, another spacing, or a start further from stop",
        )
    return times


def _explicit(schedule: Schedule, steps: int, times: Array) -> Array:
    if times.ndim == 0 or times.shape[0] != steps + 1:
        raise UserError(f"a grid of {steps} steps has {steps + 1} times, not {times.shape}", "give steps + 1 times")
    if not ((np.diff(times, axis=0) < 0).all() and (times[0] <= 1).all() and (times[-1] >= 0).all()):
        raise UserError("the times of a grid must fall strictly, from at most 1 to at least 0", f"given: {times}")
    times = np.minimum(times, schedule.t_max)
    inner = times[times > 0]
    if not (np.diff(times, axis=0) < 0).all() or (inner < schedule.t_min * (1 - 1e-9)).any():
        raise UserError(
            f"the times of this grid leave the schedule's working range [{schedule.t_min:.4g}, {schedule.t_max:.4g}]",
            "keep all but the last within it; the last may be 0",
        )
    return times
