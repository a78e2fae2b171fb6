"""First-order samplers, and those that go up again with fresh noise."""

from __future__ import annotations

import math

import numpy as np

from unnoise.errors import UserError
from unnoise.sampling.rows import Array, Point, Table
from unnoise.sampling.samplers.declare import Rows, sampler
from unnoise.sampling.samplers.steps import churned, eps, noised, split
from unnoise.schedules import Schedule


@sampler(order=1)
def ddim(schedule: Schedule, grid: Array, eta: float = 0.0, path: bool = False) -> Rows:
    """DDIM (Song et al. 2021a, eq. 12): keep the estimated noise, or replace a part of it by fresh noise.

    ``x_s = alpha_s x0 + sqrt(sigma_s^2 - c^2) eps + c z`` with ``c = eta sigma_s sqrt(1 - SNR_t / SNR_s)`` (eq. 16). It
    is Euler's method, with eta = 0, for each usual form of the probability-flow equation: for ``x / alpha`` over
    ``sigma / alpha`` (Song et al. 2021a, eq. 14), so for EDM's sigma, and, as ``x_s - x_t = (alpha_s - alpha_t) x0 +
    (sigma_s - sigma_t) eps``, for the velocity of a flow.

    Args:
        eta: 0 is deterministic, 1 is DDPM.
        path: whether the noise is that of one Brownian path per seed, which finer grids follow too.
    """
    table = Table(schedule, grid, path)
    for here, there in table.steps():
        x, x0 = table.x, table.predict()
        kept, fresh = split(here, there, eta)
        value = there.alpha * x0 + kept * eps(x, x0, here)
        table.advance(there, order=1, x=value + fresh * table.noise(here, there) if eta else value)
    return tuple(table.rows)


@sampler(order=1, stochastic=True)
def ddpm(schedule: Schedule, grid: Array, path: bool = False) -> Rows:
    """Ancestral sampling (Ho et al. 2020, algorithm 2), for any pair of times: x_s is drawn from ``q(x_s | x_t, x0)``
    (eq. 6-7) with the estimate in place of x0. It is :func:`ddim` with eta = 1.
    """
    return ddim(schedule, grid, 1.0, path)


@sampler(order=1, stochastic=True)
def euler_ancestral(schedule: Schedule, grid: Array, eta: float = 1.0, path: bool = False) -> Rows:
    """Euler's method to a lower level than the next, and fresh noise up to that. As a straight line in ``x / alpha``
    it is :func:`ddim` with the same eta, so :func:`ddpm` with 1.
    """
    return ddim(schedule, grid, eta, path)


@sampler(order=1)
def euler(
    schedule: Schedule,
    grid: Array,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
) -> Rows:
    """Euler's method for the probability-flow equation (Karras et al. 2022, algorithm 2 without its correction; Liu et
    al. 2023): without churn the same table as :func:`ddim`, which says why.

    Args:
        s_churn, s_tmin, s_tmax, s_noise: noise that each step adds first, see :func:`churned`; s_tmin and s_tmax are
            noise-to-signal ratios.
    """
    table = Table(schedule, grid)
    for point, there in table.steps():
        here = churned(table, point, s_churn, s_tmin, s_tmax, s_noise)
        x, x0 = table.x, table.predict()
        table.advance(there, order=1, x=there.alpha * x0 + there.sigma * eps(x, x0, here))
    return tuple(table.rows)


@sampler(order=0, stochastic=True)
def renoise(schedule: Schedule, grid: Array, depth: float = 1.0) -> Rows:
    """Go further down than the next point, by :func:`ddim`, and come back up to it with fresh noise.

    Each step goes to ``(1 - depth) t_next`` and noises up to ``t_next`` in a row without evaluation, so that what a
    step got wrong can be corrected by later ones; for categorical parts, which an estimate per element draws too
    independently, that is worth more than shorter steps. Depth 1 goes all the way to data, as consistency models do
    (Song et al. 2023, algorithm 1); depth 0 is ddim. It has no order of accuracy: the law of gaussian parts is the
    data's only if such a long step is exact, which it is for a consistency model and not for a posterior mean.

    Args:
        depth: how far below the next point, in [0, 1].
    """
    if not 0 <= depth <= 1:
        raise UserError(f"renoise: depth is {depth}", "depth lies between 0 (ddim) and 1 (down to data each step)")
    table = Table(schedule, grid)
    for here, there in table.steps():
        low = Point.at(schedule, np.asarray(there.t) * (1 - depth))
        x, x0 = table.x, table.predict()
        table.advance(low, order=1, x=low.alpha * x0 + low.sigma * eps(x, x0, here))
        if np.any(np.asarray(there.t) > low.t):
            noised(table, low, there)
    return tuple(table.rows)


@sampler(order=0, stochastic=True)
def lcm(schedule: Schedule, grid: Array) -> Rows:
    """Multistep consistency sampling (Song et al. 2023, algorithm 1; Luo et al. 2023, algorithm 3), for models whose
    estimate is where the probability-flow equation ends: :func:`renoise` with depth 1.
    """
    return renoise(schedule, grid)


@sampler(order=1, stochastic=True)
def repaint(schedule: Schedule, grid: Array, length: int = 4, repeats: int = 2, eta: float = 0.0) -> Rows:
    """RePaint's walk to and fro (Lugmayr et al. 2022, algorithm 1): :func:`ddim`, but each stretch of steps is walked
    several times, from fresh noise added at its lower end. What is known of an infill is only seen step by step; walked
    again, the rest has time to fit it.

    Args:
        length: steps of a stretch; the last one may be shorter.
        repeats: how often each is walked; 1 is ddim. There are ``repeats steps`` evaluations.
        eta: 1 draws each step's noise anew, as the paper does; 0 is deterministic between the jumps up, and leaves half
            the error of the variance on gaussian data.
    """
    if length < 1 or repeats < 1:
        raise UserError(f"repaint: length is {length} and repeats {repeats}", "both are 1 or more")
    table, steps = Table(schedule, grid), len(grid) - 1
    for first in range(0, steps, length):
        stretch = range(first, min(first + length, steps))
        for walk in range(repeats):
            if walk:
                noised(table, table.points[stretch.stop], table.points[first])
            for here, there in table.steps(stretch):
                x, x0 = table.x, table.predict()
                kept, fresh = split(here, there, eta)
                value = there.alpha * x0 + kept * eps(x, x0, here)
                table.advance(there, order=1, x=value + fresh * table.draw() if eta else value)
    return tuple(table.rows)
