"""Samplers: pure functions ``(schedule, grid, **options) -> rows``.

Throughout, ``x_t = alpha x0 + sigma eps``, ``x0`` is the denoiser's estimate of clean data and
``eps = (x_t - alpha x0) / sigma``; the present point of the grid is ``here``, the next one ``there``. At the last
point, t = 0, alpha is 1 and sigma 0, so that every formula becomes ``x <- x0`` exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from unnoise.errors import UserError
from unnoise.layout import Kind
from unnoise.plugins import get_registry
from unnoise.sampling.rows import Array, Linear, Point, Row, Table
from unnoise.schedules import Schedule

Rows = tuple[Row, ...]


@dataclass(frozen=True)
class SamplerInfo:
    """A sampler and what it promises.

    Args:
        name: how plans and configs call it.
        function: ``(schedule, grid, **options) -> rows``.
        order: global order of accuracy on the probability-flow equation (of a stochastic one: of its law); 0 where
            more steps do not lead to the data's law.
        stochastic: whether it draws noise with its default options.
        kinds: kinds of part it moves forward.
        min_steps: fewest steps it can take.
    """

    name: str
    function: Callable[..., Rows]
    order: int = 1
    stochastic: bool = False
    kinds: frozenset[Kind] = field(default_factory=lambda: frozenset({"gaussian", "categorical"}))
    min_steps: int = 1


SAMPLERS: dict[str, SamplerInfo] = {}


def sampler(order: int, stochastic: bool = False, min_steps: int = 1) -> Callable[..., Callable[..., Rows]]:
    """Declare what a sampler function promises; it is found under its own name."""

    def declare(function: Callable[..., Rows]) -> Callable[..., Rows]:
        SAMPLERS[function.__name__] = SamplerInfo(function.__name__, function, order, stochastic, min_steps=min_steps)
        return function

    return declare


def find(name: str) -> SamplerInfo:
    """The sampler of that name, core's or a plugin's.

    Raises:
        UserError: if there is none.
    """
    if name not in SAMPLERS:
        function = get_registry().load("sampler", name)
        return SAMPLERS.get(name) or SamplerInfo(name, function)
    return SAMPLERS[name]


def samplers() -> list[str]:
    """The names of all samplers, core's and those of plugins."""
    return sorted({*SAMPLERS, *get_registry().names("sampler")})


def eps(x: Linear, x0: Linear, here: Point) -> Linear:
    """The noise in ``x``, as seen from the estimate ``x0``."""
    return (x - here.alpha * x0) / here.sigma


@sampler(order=1)
def ddim(schedule: Schedule, grid: Array, eta: float = 0.0) -> Rows:
    """DDIM (Song et al. 2021a, eq. 12): keep the estimated noise, or replace a part of it by fresh noise.

    ``x_s = alpha_s x0 + sqrt(sigma_s^2 - c^2) eps + c z`` with ``c = eta sigma_s sqrt(1 - SNR_t / SNR_s)`` (eq. 16). It
    is Euler's method, with eta = 0, for each usual form of the probability-flow equation: for ``x / alpha`` over
    ``sigma / alpha`` (Song et al. 2021a, eq. 14), so for EDM's sigma, and, as ``x_s - x_t = (alpha_s - alpha_t) x0 +
    (sigma_s - sigma_t) eps``, for the velocity of a flow.

    Args:
        eta: 0 is deterministic, 1 is DDPM.
    """
    if not 0 <= eta <= 1:
        raise UserError(f"ddim: eta is {eta}", "eta lies between 0 (deterministic) and 1 (DDPM)")
    table = Table(schedule, grid)
    for here, there in table.steps():
        x, x0 = table.x, table.predict()
        fresh = eta * there.sigma * np.sqrt(-np.expm1(2 * (here.lam - there.lam)))
        kept = np.sqrt(there.sigma**2 - fresh**2)
        value = there.alpha * x0 + kept * eps(x, x0, here)
        table.advance(there, order=1, x=value + fresh * table.draw() if eta else value)
    return tuple(table.rows)


@sampler(order=1, stochastic=True)
def ddpm(schedule: Schedule, grid: Array) -> Rows:
    """Ancestral sampling (Ho et al. 2020, algorithm 2), for any pair of times: x_s is drawn from ``q(x_s | x_t, x0)``
    (eq. 6-7) with the estimate in place of x0. It is :func:`ddim` with eta = 1.
    """
    return ddim(schedule, grid, eta=1.0)


@sampler(order=1)
def euler(schedule: Schedule, grid: Array) -> Rows:
    """Euler's method for the probability-flow equation (Karras et al. 2022, algorithm 1 without its correction; Liu et
    al. 2023): the same table as :func:`ddim`, which says why.
    """
    return ddim(schedule, grid)


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
            kept = np.asarray(there.alpha) / low.alpha
            added = np.sqrt(np.maximum(there.sigma**2 - (kept * low.sigma) ** 2, 0.0))
            table.advance(there, order=1, x=kept * table.x + added * table.draw())
    return tuple(table.rows)


@sampler(order=2)
def heun(schedule: Schedule, grid: Array) -> Rows:
    """Heun's method (Karras et al. 2022, algorithm 1, deterministic), two evaluations a step.

    The probability-flow equation in the schedule's own coordinates is ``dx = x0 dalpha + eps dsigma``. An Euler step is
    then a DDIM step, and the trapezoidal rule over both integrals corrects it with the estimates made at its end. At
    alpha = 1 this is EDM's form, on a flow the usual Heun over its velocity; and no coefficient grows where alpha goes
    to zero, as they do in ``x / alpha``. The jump to data stays an Euler step. Categorical parts move in the first row.
    """
    table = Table(schedule, grid)
    for here, there in table.steps():
        base, first = table.x, table.predict()
        slope = eps(base, first, here)
        trial = there.alpha * first + there.sigma * slope
        if np.all(there.sigma == 0):
            table.advance(there, order=1, x=trial)
            continue
        table.advance(there, order=2, half=_half_step(base, first, slope, here, there), x=trial)
        end = table.predict()
        corrected = _half_step(table.register("half"), end, eps(table.x, end, there), here, there)
        table.advance(there, order=2, x=corrected)
    return tuple(table.rows)


def _half_step(x: Linear, x0: Linear, slope: Linear, here: Point, there: Point) -> Linear:
    return x + 0.5 * (there.alpha - here.alpha) * x0 + 0.5 * (there.sigma - here.sigma) * slope


@sampler(order=2)
def dpmpp_2m(schedule: Schedule, grid: Array) -> Rows:
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2), one evaluation a step.

    With lam = log(alpha / sigma) and ``h = lam_s - lam_t`` the exact solution is ``x_s = (sigma_s / sigma_t) x_t +
    sigma_s int e^lam x0 dlam`` (eq. 9). Clean data is extrapolated to the step's middle from the last two estimates,
    ``D = x0 + (h / 2 h_prev) (x0 - x0_prev)``, and the integral of the exponential is exact: ``alpha_s (1 - e^-h) D``.
    The first step and the jump to data (h infinite) are of first order, which leaves the global order at 2.
    """
    table = Table(schedule, grid)
    previous: tuple[Linear, Array] | None = None
    for here, there in table.steps():
        x, x0 = table.x, table.predict()
        h = np.asarray(there.lam) - here.lam
        estimate, order = x0, 1
        if previous is not None:
            known, h_known = previous
            # A step of no length (a part that waits while others move) carries no slope.
            usable = np.isfinite(h) & (h_known > 0)
            weight = np.where(usable, h, 0.0) / np.where(usable, 2 * h_known, 1.0)
            estimate, order = x0 + weight * (x0 - known), 2 if usable.any() else 1
        value = (there.sigma / here.sigma) * x - there.alpha * np.expm1(-h) * estimate
        table.advance(there, order, x=value)
        previous = (x0, h)
    return tuple(table.rows)
