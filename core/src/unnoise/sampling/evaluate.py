"""Asking the denoiser: all guidance branches of a row, as one estimate of clean data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from unnoise.errors import UserError
from unnoise.guidance import Condition, Guidance, Moment
from unnoise.level import on_device
from unnoise.noise import Noise
from unnoise.prediction import Prediction
from unnoise.processes import Product
from unnoise.sampling.cursor import Cursor
from unnoise.sampling.infill import Known
from unnoise.sampling.plan import Plan
from unnoise.sampling.rows import Array, Coefficient, Row
from unnoise.state import State

Estimate = Mapping[str, Tensor]
Denoise = Callable[..., Any]
"""``denoise(x_t, t, **condition)`` -> the estimate of clean data. ``t`` is a float64 tensor, a scalar or over leading
axes. For a tensor ``x_t`` the estimate is a tensor of its shape; for a State it is a mapping part -> mean or
log-probabilities, or a Prediction. For a State and a plan of a product ``t`` is a mapping, part -> its time."""


@runtime_checkable
class BranchDenoiser(Protocol):
    """A denoiser that evaluates all branches of a guide in one batch (:class:`unnoise.denoiser.Denoiser`)."""

    product: Product
    self_conditioning: bool

    def predict(
        self,
        x_t: State,
        times: Mapping[str, Coefficient],
        conditions: Sequence[Condition],
        previous: Sequence[Prediction] | None = None,
    ) -> Sequence[Prediction]:
        """One prediction per condition.

        Args:
            x_t: the noised state.
            times: part -> its time, float64.
            conditions: raw conditions, one mapping per branch; an absent one means its null.
            previous: the branches' predictions of the row before, for self-conditioning.
        """
        ...


class Evaluator:
    """Turns a cursor into the prediction of its row; it keeps the levels of all rows on the device.

    Args:
        denoise: a callable (see :data:`Denoise`) or a :class:`BranchDenoiser`.
        plan: the table.
        cursor: where the run begins; gives dtypes, device and layout.
        condition: raw conditions.
        guidance: declares branches and combines their estimates; None evaluates the condition alone.
        known: replaces the estimate on known elements.
        noise: of the run; a ``known`` with a level needs it.

    Raises:
        UserError: if the guidance has nothing to act on, or the plan names a branch that it does not have there.
    """

    def __init__(
        self,
        denoise: Denoise | BranchDenoiser,
        plan: Plan,
        cursor: Cursor,
        condition: Condition | None = None,
        guidance: Guidance | None = None,
        known: Known | None = None,
        noise: Noise | None = None,
    ) -> None:
        self.plan, self.guidance, self.known, self.noise = plan, guidance, known, noise
        self._denoise = denoise
        asked = [denoise, *(() if guidance is None else guidance.networks.values())]
        # Asked once: it compares signatures.
        self._fused = {id(network): network for network in asked if isinstance(network, BranchDenoiser)}
        self._given = dict(condition or {})
        self._networks: Mapping[str, Any] = {} if guidance is None else guidance.networks
        if guidance is not None:
            guidance.check(cursor.x.layout)
        self._asked = [self._branches(None if guidance is None else self._guide(row)) for row in plan.rows]
        if plan.branches:
            self._check_branches()
        device = cursor.x.device
        self._t = self._arguments(cursor)
        self._levels: dict[str, tuple[Sequence[Tensor], Sequence[Tensor]]] = {}
        for part in cursor.x.layout:
            if part.kind == "gaussian":
                schedule, times = plan.process(part).schedule, _times(plan, part.name)
                dtype = cursor.x.parts[part.name].dtype
                alpha, sigma = (_over_rows(curve(times), dtype, device) for curve in (schedule.alpha, schedule.sigma))
                self._levels[part.name] = alpha, sigma

    def __call__(self, cursor: Cursor) -> Prediction | None:
        """The prediction of the cursor's row; None if the row evaluates nothing."""
        k, register = cursor.row, self.plan.rows[cursor.row].eval
        if register is None:
            return None
        x_t = cursor.state(register)
        memory = {} if cursor.previous is None else cursor.previous.memory
        guide, branches = self._asked[k]
        if guide is not None and guide.adaptive:
            guide, branches = self._branches(guide.remaining(memory))
        estimates = self._estimates(x_t, cursor, branches)
        alpha = {name: rows[k] for name, (rows, _) in self._levels.items()}
        sigma = {name: rows[k] for name, (_, rows) in self._levels.items()}
        if len(estimates) == 1 or guide is None:
            x0 = next(iter(estimates.values()))
        else:
            moment = Moment(x_t, alpha, sigma, self.plan.rows[k].step, memory)
            x0, memory = guide.combine(estimates, moment), moment.kept
        if self.known is not None:
            x0 = self.known.pin(x0)
            estimates = {name: self.known.pin(estimate) for name, estimate in estimates.items()}
        return Prediction(x0, x_t, alpha, sigma, estimates, memory)

    def _guide(self, row: Row) -> Guidance | None:
        """The guidance that holds in a row."""
        if self.guidance is None or row.eval is None:
            return None
        levels = np.asarray(self.plan.schedule.log_snr(row.t))
        return self.guidance.at(float(levels.min()), float(levels.max()))

    def _branches(self, guide: Guidance | None) -> tuple[Guidance | None, dict[str, Condition]]:
        return guide, {"cond": self._given} if guide is None else guide.branches(self._given)

    def _check_branches(self) -> None:
        """Refuse a table that uses a branch which is not evaluated in the row that it is taken from."""
        for row, branch in {(row, b) for r in self.plan.rows for op in r.ops for row, b, _ in op.predictions}:
            have = self._asked[row][1]
            if branch is not None and branch not in have:
                raise UserError(
                    f"{self.plan.sampler.name} uses the guidance branch {branch!r}, which is not evaluated",
                    f"give a guidance that has it at every level; the branches are {', '.join(have)}",
                )

    def _arguments(self, cursor: Cursor) -> Sequence[Any]:
        """What a callable is given as the time of every row."""
        device, names = cursor.x.device, cursor.x.layout.names
        own = [_over_rows(_times(self.plan, name), torch.float64, device) for name in names]
        if cursor.plain or self.plan.product is None:
            return own[0]
        return [dict(zip(names, times, strict=True)) for times in zip(*own, strict=True)]

    def _estimates(self, x_t: State, cursor: Cursor, branches: Mapping[str, Condition]) -> dict[str, Estimate]:
        """Branch -> its estimate."""
        times = {part.name: self.plan.table(part.name)[cursor.row].t for part in x_t.layout}
        revealed = self.known is not None and self.known.level is not None and self.noise is not None
        if self.known is not None and self.noise is not None:
            x_t, times = self.known.shown(x_t, times, self.plan, self.noise)
        t = self._t[cursor.row]
        if revealed:
            own = {name: on_device(time, x_t.device, torch.float64) for name, time in times.items()}
            t = own if isinstance(t, Mapping) else next(iter(own.values()))
        if not self._networks:
            return self._of(self._denoise, x_t, times, t, cursor, branches)
        estimates: dict[str, Estimate] = {}
        for network in {id(n): n for n in (self._networks.get(name, self._denoise) for name in branches)}.values():
            own_branches = {k: c for k, c in branches.items() if self._networks.get(k, self._denoise) is network}
            estimates |= self._of(network, x_t, times, t, cursor, own_branches)
        return {name: estimates[name] for name in branches}

    def _of(
        self,
        denoise: Denoise | BranchDenoiser,
        x_t: State,
        times: Mapping[str, Coefficient],
        t: Any,
        cursor: Cursor,
        branches: Mapping[str, Condition],
    ) -> dict[str, Estimate]:
        """Branch -> its estimate, of one denoiser; of a :class:`BranchDenoiser` in one call."""
        if id(denoise) in self._fused:
            fused = self._fused[id(denoise)]
            previous = None
            if fused.self_conditioning and (last := cursor.previous) is not None:
                # What was not evaluated then, as guidance was off, is shown what was.
                previous = [replace(last, x0=last.branches.get(name, last.x0)) for name in branches]
            made = fused.predict(x_t, times, list(branches.values()), previous)
            return {name: prediction.x0 for name, prediction in zip(branches, made, strict=True)}
        assert callable(denoise)
        if cursor.plain:
            ((part, x),) = x_t.parts.items()
            return {name: {part: denoise(x, t, **condition)} for name, condition in branches.items()}
        answers = {name: denoise(x_t, t, **condition) for name, condition in branches.items()}
        return {name: made.x0 if isinstance(made, Prediction) else made for name, made in answers.items()}


def _times(plan: Plan, part: str) -> Array:
    """The times a part is evaluated at, ``(rows, ...)``."""
    return np.array([row.t for row in plan.table(part)])


def _over_rows(values: Array, dtype: torch.dtype, device: torch.device) -> Sequence[Tensor]:
    """One tensor per row, moved to the device at once."""
    return torch.as_tensor(values, dtype=dtype, device=device).unbind(0)
