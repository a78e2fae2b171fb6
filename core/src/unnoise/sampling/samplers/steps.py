"""Formulas that several samplers share."""

from __future__ import annotations

import math

import numpy as np

from unnoise.errors import UserError
from unnoise.sampling.rows import Array, Linear, Point, Table
from unnoise.schedules import Schedule


def eps(x: Linear, x0: Linear, here: Point) -> Linear:
    """The noise in ``x``, as seen from the estimate ``x0``."""
    return (x - here.alpha * x0) / here.sigma


def within(name: str, value: int, low: int, high: int) -> None:
    """Refuse an option out of range."""
    if not low <= value <= high:
        raise UserError(f"{name} is {value}", f"{name} lies between {low} and {high}")


def split(here: Point, there: Point, eta: float) -> tuple[Array, Array]:
    """The noise of the next level as what is kept and what is drawn anew, in standard deviations (see :func:`ddim`)."""
    if not 0 <= eta <= 1:
        raise UserError(f"eta is {eta}", "eta lies between 0 (deterministic) and 1 (ancestral, as DDPM)")
    new = -np.expm1(2 * (np.asarray(here.lam) - there.lam))  # 1 - SNR_t / SNR_s
    return there.sigma * np.sqrt((1 - eta**2) * new + (1 - new)), eta * there.sigma * np.sqrt(new)


def damped(here: Point, there: Point, eta: float | Array) -> tuple[Array, Array, Array]:
    """One step of the stochastic equation of :func:`dpmpp_2m_sde` with a constant estimate: the coefficients of ``x``,
    of the estimate and of fresh noise.
    """
    h = np.asarray(there.lam) - here.lam
    finite = np.where(np.isfinite(h), h, 0.0)  # where h is infinite, sigma is 0
    kept = there.sigma / here.sigma * np.exp(-eta * finite)
    return kept, -there.alpha * np.expm1(-(1 + eta) * h), there.sigma * np.sqrt(-np.expm1(-2 * eta * finite))


def half_way(schedule: Schedule, here: Point, there: Point, low: Point) -> Point:
    """The level half-way in log-SNR down to ``low``, as a point of the schedule no lower than ``there``."""
    t = schedule.t_of(np.asarray(here.lam) + low.lam)
    return Point.at(schedule, np.clip(t, there.t, here.t))


def churned(table: Table, here: Point, s_churn: float, s_tmin: float, s_tmax: float, s_noise: float) -> Point:
    """EDM's churn (Karras et al. 2022, algorithm 2, lines 4-6): raise the noise-to-signal ratio by
    ``1 + min(s_churn / steps, sqrt(2) - 1)`` where it lies between s_tmin and s_tmax, in a row without evaluation.

    The level stays within the schedule's range, which the paper's first step leaves.

    Returns:
        The point reached: ``here`` if s_churn is 0.
    """
    if not (s_churn >= 0 and s_noise >= 0 and s_tmin <= s_tmax):
        raise UserError(
            f"s_churn is {s_churn}, s_tmin {s_tmin}, s_tmax {s_tmax}, s_noise {s_noise}",
            "s_churn and s_noise are 0 or more, and s_tmin is not above s_tmax",
        )
    if s_churn == 0:
        return here
    factor = 1 + min(s_churn / (len(table.points) - 1), math.sqrt(2) - 1)
    ratio = np.exp(-np.asarray(here.lam))
    t = table.schedule.t_of(2 * np.asarray(here.lam) - 2 * math.log(factor))
    inside = (s_tmin <= ratio) & (ratio <= s_tmax)
    raised = np.where(inside, np.clip(t, here.t, table.schedule.t_max), here.t)
    return noised(table, here, Point.at(table.schedule, raised), s_noise)


def noised(table: Table, low: Point, high: Point, s_noise: float = 1.0) -> Point:
    """Add fresh noise, up to ``high``, in a row without evaluation: ``q(x_high | x_low)``."""
    kept = np.asarray(high.alpha) / low.alpha
    added = np.sqrt(np.maximum(high.sigma**2 - (kept * low.sigma) ** 2, 0.0))
    table.advance(high, order=1, x=kept * table.x + s_noise * added * table.draw())
    return high
