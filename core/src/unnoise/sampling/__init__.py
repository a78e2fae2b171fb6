"""Sampling: grids, samplers as tables, plans, and the loop that executes them."""

from unnoise.sampling.cursor import Cursor, step
from unnoise.sampling.grids import SPACINGS, grid
from unnoise.sampling.infill import Known
from unnoise.sampling.loop import prior, sample, trajectory
from unnoise.sampling.plan import Plan, plan
from unnoise.sampling.rows import Linear, Op, Row, Table
from unnoise.sampling.samplers import SAMPLERS, SamplerInfo, sampler, samplers

__all__ = [
    "SAMPLERS",
    "SPACINGS",
    "Cursor",
    "Known",
    "Linear",
    "Op",
    "Plan",
    "Row",
    "SamplerInfo",
    "Table",
    "grid",
    "plan",
    "prior",
    "sample",
    "sampler",
    "samplers",
    "step",
    "trajectory",
]
