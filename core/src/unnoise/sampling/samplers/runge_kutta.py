"""Samplers with two evaluations a step: Runge-Kutta methods and their stochastic forms.

In the schedule's own coordinates the probability-flow equation is ``dx = x0 dalpha + eps dsigma``. At alpha = 1 this is
EDM's form, on a flow the integral of its velocity; and no coefficient grows where alpha goes to zero, as they do in
``x / alpha``. In log-SNR it is ``x_s = (sigma_s / sigma_t) x_t + sigma_s int e^lam x0 dlam`` (Lu et al. 2022b, eq. 9).
The jump to data stays a first-order step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from unnoise.errors import UserError
from unnoise.sampling.rows import Array, Linear, Point, Table
from unnoise.sampling.samplers.declare import Rows, sampler
from unnoise.sampling.samplers.steps import churned, damped, eps, half_way, noised, split
from unnoise.schedules import Schedule


@sampler(order=2)
def heun(
    schedule: Schedule,
    grid: Array,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
) -> Rows:
    """Heun's method (Karras et al. 2022, algorithm 2; algorithm 1 without churn): an Euler step, which is a DDIM step,
    is corrected by the trapezoidal rule over both integrals. Categorical parts move in the first row of a step.

    Args:
        s_churn, s_tmin, s_tmax, s_noise: noise that each step adds first, as for :func:`euler`.
    """
    table = Table(schedule, grid)
    for point, there in table.steps():
        _heun_step(table, churned(table, point, s_churn, s_tmin, s_tmax, s_noise), there)
    return tuple(table.rows)


def _heun_step(table: Table, here: Point, there: Point) -> None:
    x, first = table.x, table.predict()
    slope = eps(x, first, here)
    trial = there.alpha * first + there.sigma * slope
    if np.all(there.sigma == 0):
        table.advance(there, order=1, x=trial)
        return
    table.advance(there, order=2, half=_moved(x, first, slope, here, there, 0.5), x=trial)
    end = table.predict()
    corrected = _moved(table.register("half"), end, eps(table.x, end, there), here, there, 0.5)
    table.advance(there, order=2, x=corrected)


def _moved(x: Linear, x0: Linear, slope: Linear, here: Point, there: Point, share: float = 1.0) -> Linear:
    return x + share * (there.alpha - here.alpha) * x0 + share * (there.sigma - here.sigma) * slope


@sampler(order=2, stochastic=True)
def restart(schedule: Schedule, grid: Array, begin: float = 0.5, end: float = 0.75, repeats: int = 1) -> Rows:
    """Restart (Xu et al. 2023, algorithm 1): :func:`heun`, but a stretch of the grid is walked again, from fresh noise
    added at its lower end, which forgets errors made above.

    Args:
        begin, end: the stretch, as shares of the grid's steps.
        repeats: how often it is walked again; 0 is heun.
    """
    steps = len(grid) - 1
    first, last = round(begin * steps), min(round(end * steps), steps - 1)
    if not (0 <= begin <= end <= 1 and repeats >= 0):
        raise UserError(
            f"restart: begin is {begin}, end {end}, repeats {repeats}",
            "begin and end are shares of the steps, 0 <= begin <= end <= 1; repeats is 0 or more",
        )
    table, stretch = Table(schedule, grid), range(first, last)
    at = table.points[0]
    for here, there in table.steps([*range(last), *(repeats * [*stretch]), *range(last, steps)]):
        if here is not at:
            noised(table, at, here)
        _heun_step(table, here, there)
        at = there
    return tuple(table.rows)


@sampler(order=2)
def midpoint(schedule: Schedule, grid: Array) -> Rows:
    """The midpoint rule over both integrals, with the estimates made half-way in the schedule's own time."""

    def middle(here: Point, there: Point, low: Point) -> Array:
        return 0.5 * (np.asarray(here.t) + there.t)

    return _midpoint(schedule, grid, 0.0, middle)


@sampler(order=2)
def dpm_2(schedule: Schedule, grid: Array) -> Rows:
    """The midpoint rule over both integrals, with the estimates made half-way in log-SNR (as DPM-Solver-2, Lu et al.
    2022a, algorithm 1, places its own; Karras et al. 2022, section 3, on such variants of Heun's method).
    """
    return dpm_2_ancestral(schedule, grid, eta=0.0)


@sampler(order=1, stochastic=True)
def dpm_2_ancestral(schedule: Schedule, grid: Array, eta: float = 1.0, path: bool = False) -> Rows:
    """:func:`dpm_2` to a lower level than the next, and fresh noise up to that, as in :func:`ddim`.

    Args:
        eta: 0 is dpm_2; at 1 the level half-way down is the next level itself.
        path: whether the noise is that of one Brownian path per seed, which finer grids follow too.
    """

    def middle(here: Point, there: Point, low: Point) -> Array:
        return half_way(schedule, here, there, low).t  # type: ignore[return-value]

    return _midpoint(schedule, grid, eta, middle, path)


def _midpoint(
    schedule: Schedule, grid: Array, eta: float, middle: Callable[[Point, Point, Point], Array], path: bool = False
) -> Rows:
    table = Table(schedule, grid, path)
    for here, there in table.steps():
        low, fresh = _lower(here, there, eta)
        x, x0 = table.x, table.predict()
        if np.all(there.sigma == 0):
            table.advance(there, order=1, x=there.alpha * x0)
            continue
        mid = Point.at(schedule, middle(here, there, low))
        table.advance(mid, order=2, base=x, x=mid.alpha * x0 + mid.sigma * eps(x, x0, here))
        x, x0 = table.x, table.predict()
        value = _moved(table.register("base"), x0, eps(x, x0, mid), here, low)
        table.advance(there, order=2, x=value + fresh * table.noise(here, there) if eta else value)
    return tuple(table.rows)


@sampler(order=1, stochastic=True)
def dpmpp_2s_ancestral(schedule: Schedule, grid: Array, eta: float = 1.0, path: bool = False) -> Rows:
    """DPM-Solver++(2S) (Lu et al. 2022b, algorithm 1, r = 1/2) to a lower level than the next, and fresh noise up to
    that, as in :func:`ddim`: the exponential is integrated exactly, with the estimate made half-way in log-SNR.

    Args:
        eta: 0 is deterministic and of order 2; at 1 the level half-way down is the next level itself.
        path: whether the noise is that of one Brownian path per seed, which finer grids follow too.
    """
    table = Table(schedule, grid, path)
    for here, there in table.steps():
        low, fresh = _lower(here, there, eta)
        x, x0 = table.x, table.predict()
        if np.all(there.sigma == 0):
            table.advance(there, order=1, x=there.alpha * x0)
            continue
        mid = half_way(schedule, here, there, low)
        table.advance(mid, order=2, base=x, x=mid.alpha * x0 + mid.sigma * eps(x, x0, here))
        decay = (low.sigma / here.sigma) * table.register("base")
        value = decay - low.alpha * np.expm1(here.lam - low.lam) * table.predict()
        table.advance(there, order=2, x=value + fresh * table.noise(here, there) if eta else value)
    return tuple(table.rows)


@sampler(order=1, stochastic=True)
def dpmpp_sde(schedule: Schedule, grid: Array, eta: float = 1.0, path: bool = False) -> Rows:
    """The stochastic counterpart of DPM-Solver++(2S) (Lu et al. 2022b, section 5 and appendix B; r = 1/2).

    For the stochastic equation of :func:`dpmpp_2m_sde` with the estimate made half-way in log-SNR. The noise of the
    whole step is that of its first half, decayed, and fresh noise for the second: one Brownian path.

    Args:
        eta: 0 is deterministic and of order 2.
        path: whether the noise is that of one Brownian path per seed, which finer grids follow too.
    """
    if not eta >= 0:
        raise UserError(f"dpmpp_sde: eta is {eta}", "eta is 0 (deterministic) or more; 1 is usual")
    table = Table(schedule, grid, path)
    for here, there in table.steps():
        x, x0 = table.x, table.predict()
        if np.all(there.sigma == 0):
            table.advance(there, order=1, x=there.alpha * x0)
            continue
        mid = half_way(schedule, here, there, there)
        kept, gain, spread = damped(here, mid, eta)
        first = spread * table.noise(here, mid, eta)
        table.advance(mid, order=2, base=x, x=kept * x + gain * x0 + first)
        kept, gain, _ = damped(here, there, eta)
        decay, _, spread = damped(mid, there, eta)
        noise = decay * first + spread * table.noise(mid, there, eta)
        table.advance(there, order=2, x=kept * table.register("base") + gain * table.predict() + noise)
    return tuple(table.rows)


def _lower(here: Point, there: Point, eta: float) -> tuple[Point, Array]:
    """What an ancestral step goes to without noise, in the scale of ``there``, and the noise it then adds."""
    kept, fresh = split(here, there, eta)
    with np.errstate(divide="ignore"):
        return Point(there.t, there.alpha, kept, np.log(there.alpha) - np.log(kept)), fresh
