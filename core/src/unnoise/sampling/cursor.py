"""Where a sampling run stands, and the one step that moves it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unnoise.layout import Part
from unnoise.level import align, on_device
from unnoise.noise import Noise
from unnoise.prediction import Prediction
from unnoise.sampling.descents import Move
from unnoise.sampling.infill import Known
from unnoise.sampling.plan import Plan
from unnoise.sampling.rows import Coefficient, Op, Row
from unnoise.state import State, part_mask, project

Registers = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Cursor:
    """A sampling run between two rows; a plain value that can be kept, saved and resumed.

    Args:
        row: index of the next row.
        x: the state; gaussian parts in at least float32.
        registers: further registers, name -> gaussian part -> tensor.
        predictions: row -> its prediction, while later rows use it.
        previous: the latest prediction, for self-conditioning.
        dtypes: gaussian part -> the dtype the caller uses, in which the denoiser sees it and the sample is returned.
        plain: whether the caller uses a bare tensor.
        nfe: evaluations of the denoiser so far, every guidance branch counted.
    """

    row: int
    x: State
    registers: Registers = field(default_factory=dict)
    predictions: Mapping[int, Prediction] = field(default_factory=dict)
    previous: Prediction | None = None
    dtypes: Mapping[str, torch.dtype] = field(default_factory=dict)
    plain: bool = False
    nfe: int = 0

    @classmethod
    def start(cls, x_T: Tensor | State, plan: Plan, noise: Noise, known: Known | None = None) -> Cursor:
        """The cursor before a plan's first row.

        Raises:
            UserError: if the plan has no process for a part.
            ValueError: if a part of the state is not among the plan's, or a tensor is not of a floating type.
        """
        x = x_T if isinstance(x_T, State) else State.of(x_T)
        dtypes = {}
        for part in x.layout:
            plan.process(part)
            if part.kind == "gaussian":
                dtypes[part.name] = dtype = x.parts[part.name].dtype
                if not dtype.is_floating_point:
                    raise ValueError(f"part {part.name!r} is sampled in a floating-point type, not {dtype}")
        wide = {name: torch.promote_types(dtype, torch.float32) for name, dtype in dtypes.items()}
        x = x.map(lambda part, value: value.to(wide.get(part.name)))
        if known is not None:
            x = known.noised_into(x, plan, noise)
        return cls(0, x, dtypes=dtypes, plain=isinstance(x_T, Tensor))

    def state(self, register: str = "x") -> State:
        """A register as a state, in the caller's dtypes; parts that it does not hold are those of ``x``."""
        parts = {**self.x.parts, **self.registers[register]} if register != "x" else self.x.parts
        if all(parts[name].dtype == dtype for name, dtype in self.dtypes.items()):
            return self.x if register == "x" else self.x.replace(parts)
        return self.x.replace({name: value.to(self.dtypes.get(name)) for name, value in parts.items()})

    def result(self) -> Tensor | State:
        """What the run has arrived at, in the caller's terms: a tensor or a state."""
        state = self.state()
        return next(iter(state.parts.values())) if self.plain else state


def step(plan: Plan, cursor: Cursor, prediction: Prediction | None, noise: Noise) -> Cursor:
    """Execute one row.

    Pure: the result depends on the arguments alone, and they are not changed.

    Args:
        prediction: of the register that the row evaluates; None if it evaluates nothing.
        noise: of the run; every draw has its address, so it has no state either.

    Raises:
        IndexError: if the plan has no rows left.
        ValueError: if a row's prediction is missing.
    """
    k, x = cursor.row, cursor.x
    predictions = dict(cursor.predictions)
    if prediction is not None:
        predictions[k] = prediction
    elif plan.rows[k].eval is not None:
        raise ValueError(f"row {k} evaluates {plan.rows[k].eval!r} and needs its prediction")
    values = {"x": dict(x.parts)} | {name: dict(parts) for name, parts in cursor.registers.items()}
    for part in x.layout:
        row, mask = plan.table(part.name)[k], part_mask(part, x.masks)
        if part.kind == "categorical":
            moved = _move(plan, part, row, k, x, prediction, noise, mask)
            values["x"][part.name] = project(part, moved, mask)
            continue
        for op in row.ops:
            value = _combine(op, part, x.parts[part.name], values, predictions, noise)
            values.setdefault(op.into, {})[part.name] = project(part, value, mask)
    kept = {made: p for made, p in predictions.items() if plan.last_use.get(made, -1) > k}
    parts = values.pop("x")
    nfe = cursor.nfe + (0 if prediction is None else len(prediction.branches) or 1)
    last = prediction or cursor.previous
    return Cursor(k + 1, x.replace(parts), values, kept, last, cursor.dtypes, cursor.plain, nfe)


def _move(
    plan: Plan,
    part: Part,
    row: Row,
    k: int,
    x: State,
    prediction: Prediction | None,
    noise: Noise,
    mask: Tensor | None,
) -> Tensor:
    """A categorical part at the end of the row: down in the plan's way, or up by its process."""
    value = x.parts[part.name]
    if row.cat == "hold":
        return value
    process = plan.process(part)
    if row.cat == "forward":
        return process.renoise(part, value, row.t, row.s, noise, draw=k)
    if prediction is None:
        raise ValueError(f"row {k} lowers the level of {part.name!r} without an estimate of clean data")
    return plan.categorical(Move(part, process, value, prediction.x0[part.name], row.t, row.s, mask, noise, k))


def _combine(
    op: Op,
    part: Part,
    like: Tensor,
    registers: Registers,
    predictions: Mapping[int, Prediction],
    noise: Noise,
) -> Tensor:
    """The linear combination of one op, in the dtype and on the device of ``like``."""
    name = part.name
    terms: list[tuple[Tensor, Coefficient]] = [(registers[register][name], c) for register, c in op.registers]
    for row, branch, c in op.predictions:
        made = predictions[row]
        terms.append(((made.x0 if branch is None else made.branches[branch])[name], c))
    for draw, c in op.draws:
        terms.append((noise.normal(part, like.shape[1:], draw), c))
    if not terms:
        return torch.zeros_like(like)
    (value, c), *rest = terms
    if rest and isinstance(c, float) and c == 1.0 and isinstance(rest[0][1], float):  # one pass in place of two
        total = torch.add(value.to(like), rest[0][0].to(like), alpha=rest[0][1])
        rest = rest[1:]
    else:
        total = value.to(like) * _weight(c, like)
    for value, c in rest:
        if isinstance(c, float):
            total.add_(value, alpha=c)
        else:
            total += value.to(like) * _weight(c, like)
    return total


def _weight(c: Coefficient, like: Tensor) -> Tensor | float:
    """A coefficient as something that multiplies a part: a number, or a tensor aligned with its leading axes."""
    return c if isinstance(c, float) else align(on_device(c, like.device, like.dtype), like)
