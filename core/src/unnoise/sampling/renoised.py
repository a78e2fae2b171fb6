"""Plans whose noise is that of one guidance branch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unnoise.errors import UserError
from unnoise.sampling.plan import Plan
from unnoise.sampling.rows import Op, Row
from unnoise.schedules import Schedule


def noise_from(plan: Plan, branch: str) -> Plan:
    """The plan in which the estimate is the combined one, and the noise in ``x`` is what a single branch finds there
    (Chung et al. 2024, algorithm 2).

    A step of first order is ``x_s = alpha_s x0 + a (x_t - alpha_t x0) + c z``, whatever its ``a`` and ``c``: only the
    x0 behind the noise, ``x_t - alpha_t x0``, becomes the branch's. A method that also uses other rows' estimates, or
    other registers, mixes noise of several rows in a way that does not say which of it is to be whose.

    Raises:
        UserError: for a plan with other steps, or one that moves categorical parts, which have no such noise.
    """
    if plan.product is not None and any(part.kind == "categorical" for part in plan.product.layout):
        raise UserError("cfg_pp moves no categorical parts: their noise is no branch's", "take guidance.name=cfg")
    tables = {
        part: _rewritten(rows, branch, plan.process(plan.product.layout[part]).schedule, plan)
        for part, rows in plan.tables.items()
        if plan.product is not None
    }
    rows = _rewritten(plan.rows, branch, plan.schedule, plan)
    return replace(plan, rows=rows, tables=tables)


def _rewritten(rows: tuple[Row, ...], branch: str, schedule: Schedule, plan: Plan) -> tuple[Row, ...]:
    return tuple(row if row.eval is None else _of_branch(k, row, branch, schedule, plan) for k, row in enumerate(rows))


def _of_branch(k: int, row: Row, branch: str, schedule: Schedule, plan: Plan) -> Row:
    first_order = (
        row.eval == "x"
        and len(row.ops) == 1
        and row.ops[0].into == "x"
        and {name for name, _ in row.ops[0].registers} <= {"x"}
        and [(made, b) for made, b, _ in row.ops[0].predictions] == [(k, None)]
    )
    if not first_order:
        raise UserError(
            f"cfg_pp is defined for steps of first order; {plan.sampler.name} also uses other estimates than the one "
            "at its row, and which branch the noise in them is from is not defined",
            "take sampler=ddim, or guidance.name=cfg",
        )
    (op,) = row.ops
    on_data = np.asarray(schedule.alpha(row.s))
    ((_, _, weight),) = op.predictions
    rest = np.asarray(weight) - on_data
    shares = [(None, on_data), (branch, rest)]
    predictions = tuple((k, b, float(c) if c.ndim == 0 else c) for b, c in shares if np.any(c != 0))
    return replace(row, ops=(Op(op.into, op.registers, predictions, op.draws),))
