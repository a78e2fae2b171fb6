"""Multistep samplers: one evaluation a step, and polynomials through the estimates of earlier steps (Adams' methods).

They begin with lower orders, as far as the history goes. Two families: those that interpolate clean data and solve the
linear rest exactly in log-SNR, deterministic or stochastic, whose jump to data is of first order; and those that
interpolate the noise. Where data is a finite way off in the coordinate of these, their last step is like the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from unnoise.errors import UserError
from unnoise.sampling.rows import Array, Linear, Point, Table
from unnoise.sampling.samplers.declare import Rows, sampler
from unnoise.sampling.samplers.interpolation import (
    Estimates,
    Rule,
    correction,
    exact,
    middle,
    middle_flat,
    over_ratio,
)
from unnoise.sampling.samplers.steps import damped, eps, within
from unnoise.schedules import Schedule

Damping = Callable[[Point, Point], float | Array]


@sampler(order=2)
def dpmpp_2m(schedule: Schedule, grid: Array) -> Rows:
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2): :func:`dpmpp_2m_sde` without noise.

    The exact solution is ``x_s = (sigma_s / sigma_t) x_t + sigma_s int e^lam x0 dlam`` (eq. 9). Clean data is
    extrapolated to the step's middle from the last two estimates, ``D = x0 + (h / 2 h_prev) (x0 - x0_prev)``, and the
    integral of the exponential is exact: ``alpha_s (1 - e^-h) D``. The first step and the jump to data (h infinite) are
    of first order, which leaves the global order at 2.
    """
    return dpmpp_2m_sde(schedule, grid, eta=0.0)


@sampler(order=3)
def dpmpp_3m(schedule: Schedule, grid: Array) -> Rows:
    """The same with a parabola through the last three estimates: :func:`dpmpp_3m_sde` without noise.

    The third-order exponential Adams method. The code released with Lu et al. 2022b, and what follows it, gives the
    second divided difference the weight of a second derivative, half of what it needs, and so has order 2.
    """
    return dpmpp_3m_sde(schedule, grid, eta=0.0)


@sampler(order=1, stochastic=True)
def dpmpp_2m_sde(schedule: Schedule, grid: Array, eta: float = 1.0, path: bool = False) -> Rows:
    """SDE-DPM-Solver++(2M) (Lu et al. 2022b, section 5 and appendix B).

    The stochastic equations with the marginals of the probability flow (Song et al. 2021b; Xue et al. 2023, eq. 6)
    have, with eta constant, the solution ``x_s = (sigma_s / sigma_t) e^{-eta h} x_t + (1 + eta) alpha_s int e^{-(1 +
    eta) (lam_s - lam)} x0 dlam + sigma_s sqrt(1 - e^{-2 eta h}) z``. Clean data is extrapolated to the step's middle.

    Args:
        eta: 0 is deterministic, :func:`dpmpp_2m`; 1 has the noise of :func:`ddpm`.
        path: whether the noise is that of one Brownian path per seed, which finer grids follow too.
    """
    return _adams(schedule, grid, 2, 0, lambda here, there: _eta(eta), lambda knots: middle, eta if path else None)


@sampler(order=1, stochastic=True)
def dpmpp_3m_sde(schedule: Schedule, grid: Array, eta: float = 1.0, path: bool = False) -> Rows:
    """The same with a parabola through the last three estimates, integrated exactly.

    Args:
        eta: 0 is deterministic, :func:`dpmpp_3m`; 1 has the noise of :func:`ddpm`.
        path: whether the noise is that of one Brownian path per seed, which finer grids follow too.
    """
    return _adams(schedule, grid, 3, 0, lambda here, there: _eta(eta), lambda knots: exact, eta if path else None)


@sampler(order=3)
def unipc(schedule: Schedule, grid: Array, order: int = 2, variant: Literal["bh1", "bh2"] = "bh2") -> Rows:
    """UniPC (Zhao et al. 2023, algorithms 1 and 2), in data prediction.

    A predictor through ``order`` estimates; the estimate made where it arrives then also serves to take the same step
    again with one estimate more, before the next one: one order more, without evaluation. Where the paper's weights
    solve a full system they are those of the interpolating polynomial, whatever its B(h); with two estimates it puts a
    half in their place, which is the midpoint rule, and B(h) tells how the exponential is taken.

    Args:
        order: of the predictor, 1 to 3; the method's is one more.
        variant: ``"bh2"`` takes the exponential exactly, ``"bh1"`` at the step's end.
    """
    within("order", order, 1, 3)
    half = {"bh1": middle_flat, "bh2": middle}[variant]
    return _adams(
        schedule, grid, order, order + 1, lambda here, there: 0.0, lambda knots: half if knots == 2 else exact
    )


@sampler(order=1, stochastic=True)
def sa(
    schedule: Schedule,
    grid: Array,
    tau: float = 1.0,
    tau_low: float = 0.05,
    tau_high: float = 1.0,
    predictor: int = 3,
    corrector: int = 4,
    path: bool = False,
) -> Rows:
    """SA-Solver (Xue et al. 2023, algorithm 1): stochastic Adams, predictor and corrector with the same noise.

    The equation of :func:`dpmpp_2m_sde` with ``eta = tau^2`` in a band of noise levels and 0 elsewhere (section 6).
    With tau = 0 it is :func:`unipc` with the polynomial's own weights throughout.

    Args:
        tau: strength of the noise; 0 is deterministic, and of order 4.
        tau_low, tau_high: the band of noise-to-signal ratios in which steps begin that draw noise.
        predictor: number of estimates that the predictor uses, 1 to 4.
        corrector: number that the corrector uses, the new one among them: 2 to 5, or 0 for none.
        path: whether the noise is that of one Brownian path per seed, which finer grids follow too.
    """
    within("predictor", predictor, 1, 4)
    if corrector:
        within("corrector", corrector, 2, 5)

    def eta(here: Point, there: Point) -> Array:
        ratio = np.exp(-np.asarray(here.lam))
        return np.where((tau_low <= ratio) & (ratio <= tau_high), tau**2, 0.0)

    return _adams(schedule, grid, predictor, corrector, eta, lambda knots: exact, tau**2 if path else None)


def _adams(
    schedule: Schedule,
    grid: Array,
    predictor: int,
    corrector: int,
    eta: Damping,
    rule: Callable[[int], Rule],
    path: float | None = None,
) -> Rows:
    """Exponential Adams methods on clean data, for the equation of :func:`dpmpp_2m_sde`.

    Args:
        predictor, corrector: number of estimates each uses; a corrector of 0 is left out.
        eta: strength of the noise, step by step.
        rule: how an interpolation of so many estimates is integrated.
        path: strength of the noise whose Brownian path is followed; None draws afresh.
    """
    table = Table(schedule, grid, path is not None)
    history: list[tuple[Point, Linear]] = []

    def step(x: Linear, here: Point, there: Point, estimates: Estimates, z: Linear) -> Linear:
        strength = eta(here, there)
        kept, gain, fresh = damped(here, there, strength)
        extra = correction(estimates, rule(len(estimates))(here, there, strength))
        return kept * x + gain * estimates[0][1] + extra + fresh * z

    begun: tuple[Linear, Point, Linear] | None = None
    for here, there in table.steps():
        x, x0 = table.x, table.predict()
        if corrector and begun is not None:
            base, before, z = begun
            x = step(base, before, here, [history[0], (here, x0), *history[1:]][:corrector], z)
        history = [(here, x0), *history][: max(predictor, corrector)]
        if corrector and not table.last:
            x = table.keep("base", x)
        begun = (x, here, table.noise(here, there, path or 0.0))
        order = 1 if np.all(there.sigma == 0) else len(history[:predictor])
        table.advance(there, order, x=step(x, here, there, history[:predictor], begun[2]))
    return tuple(table.rows)


@sampler(order=4)
def lms(schedule: Schedule, grid: Array, order: int = 4) -> Rows:
    """Linear multistep: Adams-Bashforth for ``d(x / alpha) = eps d(sigma / alpha)``, with a polynomial in ``sigma /
    alpha`` through the last estimates of the noise (Zhang & Chen 2023, rho-AB-DEIS).

    Args:
        order: number of estimates, 1 to 4; 1 is :func:`ddim`.
    """
    within("order", order, 1, 4)
    return _noise_adams(
        schedule,
        grid,
        order,
        lambda past, there: correction(past, over_ratio(past[0][0], there), lambda lam: np.exp(-lam)),
    )


@sampler(order=3)
def deis(schedule: Schedule, grid: Array, order: int = 3, over: Literal["log_snr", "time"] = "log_snr") -> Rows:
    """DEIS (Zhang & Chen 2023, tAB-DEIS, eq. 15): as :func:`lms`, but the noise is a polynomial in another coordinate.

    Args:
        order: number of estimates, 1 to 4; 1 is :func:`ddim`.
        over: ``"time"``, the schedule's own, as in the paper; or ``"log_snr"``, the same for every schedule, in which
            data is infinitely far off: the last step is then a jump.
    """
    within("order", order, 1, 4)
    coordinate = {"log_snr": lambda lam: lam, "time": lambda lam: schedule.t_of(2 * lam)}[over]
    to_data = over == "time"

    def extra(past: Estimates, there: Point) -> Linear:
        return correction(past, over_ratio(past[0][0], there, to_data), coordinate)

    return _noise_adams(schedule, grid, order, extra, to_data)


_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


@sampler(order=2)
def ipndm(schedule: Schedule, grid: Array, order: int = 4) -> Rows:
    """Improved PNDM (Liu et al. 2022, eq. 10 and 12; Zhang & Chen 2023, appendix H.2): the noise of the last estimates
    is combined by Adams-Bashforth coefficients for equal steps, whatever the steps are, and put into a DDIM step.

    So it has order 2 on smooth grids, and its own only where ``sigma / alpha`` falls in equal steps; there it is
    :func:`lms`.

    Args:
        order: number of estimates, 1 to 4; 1 is :func:`ddim`.
    """
    within("order", order, 1, 4)

    def extra(past: Estimates, there: Point) -> Linear:
        _, mass = over_ratio(past[0][0], there)
        total = Linear({})
        for c, (_, noise) in zip(_BASHFORTH[len(past) - 1][1:], past[1:], strict=True):
            total = total + c * mass.sum(axis=0) * (noise - past[0][1])
        return total

    return _noise_adams(schedule, grid, order, extra)


def _noise_adams(
    schedule: Schedule,
    grid: Array,
    order: int,
    extra: Callable[[Estimates, Point], Linear],
    to_data: bool = True,
) -> Rows:
    """A DDIM step and ``extra(past, there)``, which is something down to data too, or not; past estimates of the noise
    are registers, which take turns.
    """
    table = Table(schedule, grid)
    past: list[tuple[Point, Linear]] = []
    slot = 0
    for here, there in table.steps():
        x, x0 = table.x, table.predict()
        noise = eps(x, x0, here)
        if past and np.all(past[0][0].lam == here.lam):  # of a part that waits, the latest estimate alone counts
            del past[0]
        else:
            slot += 1
        if order > 1 and not table.last:
            noise = table.keep(f"eps{slot % order}", noise)
        past = [(here, noise), *past][:order]
        value = there.alpha * x0 + there.sigma * noise + extra(past, there)
        table.advance(there, len(past) if to_data or np.any(there.sigma) else 1, x=value)
    return tuple(table.rows)


def _eta(eta: float) -> float:
    if not eta >= 0:
        raise UserError(f"eta is {eta}", "eta is 0 (deterministic) or more; 1 is usual")
    return eta
