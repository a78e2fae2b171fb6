"""The order of accuracy a sampler really has, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from unnoise.sampling import SamplerInfo, plan, sample
from unnoise.sampling.grids import Array, Spacing
from unnoise.schedules import Schedule, cosine
from unnoise.testing.exact import GaussianDenoiser, MixtureDenoiser

Problem = Literal["gaussian", "mixture"]


@dataclass(frozen=True)
class Order:
    """A measured order.

    Args:
        value: the slope of log error over log of the longest step in log-SNR, from the last two numbers of steps.
        steps: numbers of steps, rising.
        errors: root-mean-square end-point error for each.
    """

    value: float
    steps: tuple[int, ...]
    errors: tuple[float, ...]


def order_of(
    sampler: str | SamplerInfo,
    schedule: Schedule | None = None,
    problem: Problem = "mixture",
    steps: Sequence[int] = (32, 64, 128),
    log_snr: tuple[float, float] = (-4.0, 4.0),
    spacing: Spacing = "log_snr",
    start_up: Literal["own", "graded"] = "own",
    **options: Any,
) -> Order:
    """Measure the order of a deterministic sampler on the probability-flow equation, with an exact denoiser in float64.

    It runs between two finite levels, so that the jump to data has no part in it.

    Args:
        sampler: a name, or a sampler.
        schedule: the path between data and noise; the cosine schedule if None.
        problem: "gaussian" has a closed-form solution; "mixture" is not linear, and is compared with a fine
            Runge-Kutta integration.
        steps: numbers of steps, rising; the last two decide.
        log_snr: the levels at which the run starts and ends.
        spacing: the grid's.
        start_up: "own" begins with a step as long as the others. "graded" puts :func:`graded` steps in front, equal in
            log-SNR as all then are, so that a multistep method has an accurate history before it takes long steps, and
            shows the order that it has then.
        options: of the sampler.

    Raises:
        ValueError: if the sampler draws noise.
    """
    curve = schedule or cosine()
    start, stop = (float(curve.t_of(level)) for level in log_snr)
    if start_up == "own":
        plans = [plan(sampler, curve, n, spacing, start=start, stop=stop, **options) for n in steps]
    else:
        grids = [curve.t_of(graded(*log_snr, n)) for n in steps]
        plans = [plan(sampler, curve, len(times) - 1, times, **options) for times in grids]
    if any(op.draws for row in plans[0].rows for op in row.ops):
        raise ValueError(f"{plans[0].sampler.name} draws noise: it has no order on a deterministic equation")
    x = torch.linspace(-1.5, 1.5, 24, dtype=torch.float64).reshape(-1, 2)
    x = x * float(np.hypot(curve.alpha(start), curve.sigma(start)))
    denoiser: GaussianDenoiser | MixtureDenoiser
    if problem == "gaussian":
        denoiser = GaussianDenoiser([0.3, -0.7], [0.5, 1.7], curve)
        truth = denoiser.solution(x, start, stop)
    else:
        denoiser = MixtureDenoiser([0.6, 0.4], [[-0.8, 0.5], [0.9, -0.2]], [0.3, 0.5], curve)
        truth = probability_flow(denoiser, x, start, stop)
    errors = [float((sample(denoiser, x, p) - truth).square().mean().sqrt()) for p in plans]
    lengths = [np.diff(curve.log_snr(p.t)).max() for p in plans]
    value = np.log(errors[-2] / errors[-1]) / np.log(lengths[-2] / lengths[-1])
    return Order(float(value), tuple(steps), tuple(errors))


def graded(high: float, low: float, steps: int, shortest: float = 1e-4, growth: float = 1.4) -> Array:
    """Levels from high to low noise, log-SNR rising, whose first steps grow by a factor up to the length of all others.

    Args:
        high, low: first and last log-SNR.
        steps: steps of full length.
        shortest: length of the first, in lengths of the full ones.
        growth: from one step to the next, until they are full.
    """
    ramp = shortest * growth ** np.arange(np.ceil(-np.log(shortest) / np.log(growth)))
    reached = np.cumsum([0.0, *ramp, *np.ones(steps)])
    levels: Array = high + (low - high) * reached / reached[-1]
    return levels


def probability_flow(
    denoiser: GaussianDenoiser | MixtureDenoiser, x_t: Tensor, t: float, s: float, steps: int = 200
) -> Tensor:
    """Integrate the probability-flow equation from t to s > 0 by the classical Runge-Kutta method.

    With ``y = x / alpha`` and ``lam = log(alpha / sigma)`` it reads ``dy / dlam = E[x0 | x] - y`` (from Lu et al.
    2022b, eq. 8), which shares no coefficient with any sampler.
    """
    schedule = denoiser.schedule

    def slope(y: Tensor, lam: float) -> Tensor:
        time = float(schedule.t_of(2 * lam))
        return denoiser(float(schedule.alpha(time)) * y, time) - y

    first, last = 0.5 * float(schedule.log_snr(t)), 0.5 * float(schedule.log_snr(s))
    h, y = (last - first) / steps, x_t.double() / float(schedule.alpha(t))
    for k in range(steps):
        lam = first + k * h
        k1 = slope(y, lam)
        k2 = slope(y + 0.5 * h * k1, lam + 0.5 * h)
        k3 = slope(y + 0.5 * h * k2, lam + 0.5 * h)
        k4 = slope(y + h * k3, lam + h)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y * float(schedule.alpha(s))
