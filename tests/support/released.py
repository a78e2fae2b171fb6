"""Methods as peers have them where ours differ on purpose."""

import itertools
import math

from unnoise.sampling import Table


def dpmpp_3m_released(schedule, grid):
    """DPM-Solver++(3M) as in the code released with Lu et al. 2022b: its weight of the second divided difference is
    half of what :func:`unnoise.sampling.samplers.dpmpp_3m` has, as if that were a second derivative.
    """
    table, past = Table(schedule, grid), []
    for here, there in table.steps():
        x, past = table.x, [(table.predict(), here.lam), *past][:3]
        h = there.lam - here.lam
        value = there.sigma / here.sigma * x - there.alpha * math.expm1(-h) * past[0][0]
        if there.sigma > 0 and len(past) > 1:
            phi_2 = math.expm1(-h) / h + 1
            slopes = [(f - g) * (h / (p - q)) for (f, p), (g, q) in itertools.pairwise(past)]
            value = value + there.alpha * phi_2 * slopes[0]
            if len(slopes) == 2:
                r0, r1 = ((p - q) / h for (_, p), (_, q) in itertools.pairwise(past))
                bend = (slopes[0] - slopes[1]) / (r0 + r1)
                value = value + there.alpha * (phi_2 * r0 - (phi_2 / h - 0.5)) * bend
        table.advance(there, 2, x=value)
    return tuple(table.rows)
