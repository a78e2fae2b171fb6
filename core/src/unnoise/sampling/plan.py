"""Plans: an immutable, printable table of everything a sampling run will do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from unnoise.errors import UserError
from unnoise.layout import Part
from unnoise.plugins.signature import check_options
from unnoise.processes import Gaussian, Process, Product
from unnoise.sampling.descents import Bridge, Descent, check_parts, descent
from unnoise.sampling.grids import DEFAULT, Array, Spacing, grid
from unnoise.sampling.rows import Coefficient, Op, Row
from unnoise.sampling.samplers import SamplerInfo, find
from unnoise.schedules import Schedule, Times


@dataclass(frozen=True, eq=False)
class Plan:
    """What a sampler does at which level.

    Args:
        sampler: the method.
        schedule: of the data; for a product, of its reference part (see :func:`plan`).
        t: the grid, float64 ``(steps + 1, ...)``; of a product, in the time all parts share.
        alpha, sigma: scale of the data and standard deviation of the noise at every time of the grid.
        rows: the table; of a product, that of the reference part.
        product: the processes of a layout's parts, or None where one schedule serves every (gaussian) part.
        tables: part of a product -> its own table. All tables have the same rows, at levels of their own.
        categorical: how categorical parts come down a row.
    """

    sampler: SamplerInfo
    schedule: Schedule
    t: Array
    alpha: Array
    sigma: Array
    rows: tuple[Row, ...]
    product: Product | None = None
    tables: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    categorical: Descent = field(default_factory=Bridge)

    @property
    def steps(self) -> int:
        """Number of steps of the grid."""
        return len(self.t) - 1

    @property
    def nfe(self) -> int:
        """Number of evaluations of the denoiser; all branches of a guided one count as one."""
        return sum(row.eval is not None for row in self.rows)

    @cached_property
    def branches(self) -> frozenset[str]:
        """The guidance branches that the table names, beside the combined estimate."""
        return frozenset(b for row in self.rows for op in row.ops for _, b, _ in op.predictions if b is not None)

    @cached_property
    def last_use(self) -> Mapping[int, int]:
        """Row of an evaluation -> the last row that uses its prediction."""
        tables = self.tables.values() if self.tables else [self.rows]
        used: dict[int, int] = {}
        for rows in tables:
            for k, row in enumerate(rows):
                for made in (made for op in row.ops for made, _, _ in op.predictions):
                    used[made] = max(k, used.get(made, k))
        return used

    def table(self, part: str) -> tuple[Row, ...]:
        """The rows of one part."""
        return self.tables.get(part, self.rows)

    def process(self, part: Part) -> Process:
        """The process of one part.

        Raises:
            UserError: if the plan was made from a schedule alone and the part is categorical.
        """
        if self.product is not None:
            return self.product.processes[part.name]
        if part.kind == "categorical":
            raise UserError(
                f"part {part.name!r} is categorical, and this plan was made from a schedule alone",
                "make the plan from the product process of the layout: unnoise.plan(sampler, product, steps)",
            )
        return Gaussian(self.schedule)

    def __str__(self) -> str:
        head = f"{self.sampler.name}: {self.steps} steps, {self.nfe} evaluations, order {self.sampler.order}"
        titles = ("row", "step", "order", "evaluate", "t", "log-SNR", "to t", "cat", "update")
        lines = [titles] + [(str(k), *self._cells(row)) for k, row in enumerate(self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        return "\n".join([head, *table])

    def _cells(self, row: Row) -> tuple[str, ...]:
        level = _number(self.schedule.log_snr(row.t))
        update = "; ".join(map(_formula, row.ops))
        where = (_number(row.t), level, _number(row.s))
        cat = self.categorical.name if row.cat == "bridge" else row.cat
        return (str(row.step), str(row.order), row.eval or "-", *where, cat, update)


def plan(
    sampler: str | SamplerInfo,
    schedule: Schedule | Product,
    steps: int,
    spacing: Spacing | None = None,
    start: float = 1.0,
    stop: float = 0.0,
    categorical: str | Mapping[str, Any] | None = None,
    **options: Any,
) -> Plan:
    """Plan a sampling run.

    Args:
        sampler: a name (see :func:`unnoise.samplers`).
        schedule: the schedule; or a product of processes, whose parts then move in lockstep. Its grid lies in the time
            u that all parts share, spaced by the schedule of its reference part: the first gaussian part that has no
            warp, else the first part without one, else the first.
        steps: steps to execute, also where ``start`` is below 1.
        spacing: see :func:`unnoise.sampling.grids.grid`; None means ``"quadratic"``.
        start, stop: times between which to sample; 1 is noise, 0 data.
        categorical: how categorical parts come down: "bridge" (None), "tau_leap" or "confidence", or ``{"name": ...,
            **options}``; see :mod:`unnoise.sampling.descents`.
        options: of the sampler, e.g. ``eta`` of ddim.

    Raises:
        UserError: for an unknown name or option, a number out of range, or a part of a kind that the sampler does not
            move.
    """
    info = find(sampler) if isinstance(sampler, str) else sampler
    check_options(f"sampler {info.name!r}", info.function, options, given=("schedule", "grid"))
    if isinstance(steps, int) and steps < info.min_steps:
        raise UserError(f"steps is {steps}", f"{info.name} takes {info.min_steps} steps or more")
    spacing = DEFAULT if spacing is None else spacing
    way = descent(categorical)
    check_parts(way, None if isinstance(schedule, Schedule) else schedule)
    if isinstance(schedule, Schedule):
        times = grid(schedule, steps, spacing, start, stop)
        rows = info.function(schedule, times, **options)
        return Plan(info, schedule, times, schedule.alpha(times), schedule.sigma(times), rows)
    product, shared = schedule, SharedTime(schedule)
    for part in product.layout:
        if part.kind not in info.kinds:
            raise UserError(f"{info.name} does not move {part.kind} parts, as {part.name!r} is", "take another sampler")
    times = grid(shared.exact or shared, steps, spacing, start, stop)
    own = product.times(times)
    tables = {name: info.function(product.processes[name].schedule, own[name], **options) for name in own}
    rows = tables[shared.reference]
    return Plan(info, shared.own, times, shared.alpha(times), shared.sigma(times), rows, product, tables, way)


@dataclass(frozen=True)
class SharedTime(Schedule):
    """The schedule of a product's reference part, as a function of the time that all parts share."""

    product: Product
    name: ClassVar[str] = "shared_time"

    @property
    def reference(self) -> str:
        """The first gaussian part that has no warp, else the first part without one, else the first."""
        warps = self.product.warps
        return min(self.product.layout, key=lambda part: (part.name in warps, part.kind != "gaussian")).name

    @property
    def own(self) -> Schedule:
        """The reference part's schedule, in its own time."""
        return self.product.processes[self.reference].schedule

    @property
    def exact(self) -> Schedule | None:
        """The same where shared time is the reference's own: spacings may then use its integer steps."""
        same = self.reference not in self.product.warps and (self.t_min, self.t_max) == (self.own.t_min, self.own.t_max)
        return self.own if same else None

    def alpha(self, t: Times) -> Array:
        return self.own.alpha(self._own(t))

    def sigma(self, t: Times) -> Array:
        return self.own.sigma(self._own(t))

    def log_snr(self, t: Times) -> Array:
        return self.own.log_snr(self._own(t))

    def t_of(self, log_snr: Times) -> Array:
        return self.product.master(self.reference, log_snr)

    @property
    def t_min(self) -> float:
        return self.product.u_min

    @property
    def t_max(self) -> float:
        return self.product.u_max

    def _own(self, t: Times) -> Array:
        return self.product.times(t)[self.reference]


def _formula(op: Op) -> str:
    """An op as text: ``x = 0.93 x + 0.12 x0[3] + 0.1 z[3]``."""
    terms = [(name, c) for name, c in op.registers]
    terms += [(f"x0[{row}]" if branch is None else f"x0[{row}, {branch}]", c) for row, branch, c in op.predictions]
    terms += [(f"z[{draw}]", c) for draw, c in op.draws]
    text = " + ".join(f"{_number(c)} {name}" for name, c in terms) or "0"
    return f"{op.into} = {text}".replace("+ -", "- ")


def _number(value: Coefficient) -> str:
    array = np.asarray(value)
    return f"{array:.4g}" if array.ndim == 0 else f"[{array.min():.3g}..{array.max():.3g}]"
