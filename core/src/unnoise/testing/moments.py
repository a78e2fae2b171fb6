"""The law of what a table makes of gaussian data, without sampling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from unnoise.sampling.rows import Array, Row
from unnoise.testing.exact import GaussianDenoiser


def law_of(
    rows: Sequence[Row], denoiser: GaussianDenoiser, mean: float = 0.0, variance: float | None = None
) -> tuple[float, float]:
    """Mean and variance of a table's samples on one-dimensional gaussian data.

    The exact denoiser is affine there, and so is every row: each register stays an affine function of the initial state
    and of the draws, whose coefficients are followed. As tables act on all elements alike, this is also the law along
    each principal axis of gaussian data of any dimension.

    Args:
        rows: of a plan, with numbers for coefficients.
        denoiser: of one element.
        mean, variance: of the initial state; None is that of the schedule's noise at the first row's level.
    """
    schedule, size = denoiser.schedule, 2 + sum(len(op.draws) for row in rows for op in row.ops)
    unit = np.eye(size)  # constant, initial state, draws in the order in which they are first used
    used: dict[int, int] = {}
    spread = float(schedule.sigma(rows[0].t)) ** 2 if variance is None else variance
    registers: dict[str, Array] = {"x": mean * unit[0] + np.sqrt(spread) * unit[1]}
    estimates: dict[int, Array] = {}
    for k, row in enumerate(rows):
        if row.eval is not None:
            at_0, at_1 = denoiser(torch.tensor([[0.0], [1.0]], dtype=torch.float64), float(row.t)).flatten().tolist()
            estimates[k] = at_0 * unit[0] + (at_1 - at_0) * registers[row.eval]
        for op in row.ops:
            value: Array = np.zeros(size)
            for name, c in op.registers:
                value = value + float(c) * registers[name]
            for made, _, c in op.predictions:
                value = value + float(c) * estimates[made]
            for draw, c in op.draws:
                value = value + float(c) * unit[2 + used.setdefault(draw, len(used))]
            registers[op.into] = value
    result = registers["x"]
    return float(result[0]), float(np.square(result[1:]).sum())
