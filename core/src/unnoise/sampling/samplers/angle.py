"""Adams' method over the angle between noise and data: the default sampler."""

from __future__ import annotations

import math

import numpy as np

from unnoise.errors import UserError
from unnoise.sampling.rows import Array, Linear, Point, Table
from unnoise.sampling.samplers.declare import Rows, sampler
from unnoise.sampling.samplers.interpolation import Estimates, angle, correction, over_angle
from unnoise.sampling.samplers.steps import within
from unnoise.schedules import Schedule


@sampler(order=4)
def adams(schedule: Schedule, grid: Array, order: int = 3, scale: float = 1.0) -> Rows:
    """Adams-Bashforth-Moulton (Hairer, Norsett & Wanner 1993, III.5) for the velocity over the angle.

    With ``tan(theta) = sigma / (scale alpha)`` the state ``z = x / hypot(scale alpha, sigma)``, which is ``cos(theta)
    x0 / scale + sin(theta) eps``, keeps its variance. The probability-flow equation of every schedule is then
    ``dz / dtheta = v`` with ``v = cos(theta) eps - sin(theta) x0 / scale`` (Salimans & Ho 2022, appendix D; Lu & Song
    2025, TrigFlow). Noise (pi / 2) and data (0) are a finite way apart, and v is smooth at both ends, where log-SNR is
    infinite: the first step may be long, and the jump to data has the order of all others. On gaussian data of variance
    ``scale^2`` v is zero, and two steps or more are exact.

    A predictor integrates the polynomial in theta through the last ``order`` velocities. The estimate made where it
    arrives is one more, with which the step is taken again before the next: a corrector, without evaluation, as in
    :func:`unipc`. The next velocity is that of the corrected state. Before the jump there is no correction: near data
    the estimate follows the state, and one that was made elsewhere would be left behind. One step from noise to data
    gives the estimate itself, the mean of the data: a tangent there is worth nothing.

    Args:
        order: number of velocities, 1 to 4; the method's order is one more.
        scale: standard deviation of the data.
    """
    within("order", order, 1, 4)
    if not 0 < scale < math.inf:
        raise UserError(f"scale is {scale}", "scale is the standard deviation of the data, above 0")
    table, past = Table(schedule, grid), list[tuple[Point, Linear]]()

    def turn(here: Point, there: Point, estimates: Estimates) -> Linear:
        nodes = over_angle(here, there, scale)
        z = nodes[1].sum(axis=0) * estimates[0][1] + correction(estimates, nodes, lambda lam: angle(lam, scale))
        return _length(there, scale) * z  # type: ignore[no-any-return]

    for n, (here, there) in enumerate(table.steps()):
        x, x0 = table.x, table.predict()
        if not past and np.all(there.sigma == 0):
            table.advance(there, 1, x=x0)
            break
        if past and not np.all(there.sigma == 0):
            before, new = past[0][0], (here, _velocity(x, x0, here, scale))
            x = x + turn(before, here, [past[0], new, *past[1:]]) - turn(before, here, past)
        v = _velocity(x, x0, here, scale)
        past = [(here, v if table.last else table.keep(f"v{n % (order + 1)}", v)), *past][:order]
        longer = _length(there, scale) / _length(here, scale)
        table.advance(there, len(past) + (not table.last), x=longer * x + turn(here, there, past))
    return tuple(table.rows)


def _length(point: Point, scale: float) -> Array:
    return np.hypot(scale * np.asarray(point.alpha), point.sigma)


def _velocity(x: Linear, x0: Linear, point: Point, scale: float) -> Linear:
    """``cos(theta) eps - sin(theta) x0 / scale``, where ``eps = (x - alpha x0) / sigma``."""
    length = _length(point, scale)
    return (scale * point.alpha / length * x - length / scale * x0) / point.sigma
