"""The one sampling loop: it executes any table, on tensors and on states of several parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from unnoise.guidance import Condition, Guidance
from unnoise.layout import Layout
from unnoise.noise import Noise
from unnoise.processes import Gaussian
from unnoise.sampling.cursor import Cursor, step
from unnoise.sampling.evaluate import BranchDenoiser, Denoise, Evaluator
from unnoise.sampling.infill import Known
from unnoise.sampling.plan import Plan
from unnoise.sampling.renoised import noise_from
from unnoise.schedules import Schedule
from unnoise.state import State

Seed = int | Sequence[int] | Tensor
Sampled = TypeVar("Sampled", Tensor, State)


def prior(
    shape: Sequence[int],
    schedule: Schedule,
    seed: Seed = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Noise at the schedule's start, in its own scaling (standard deviation ``sigma(t_max)``).

    Args:
        shape: ``(B, *event shape)``.
        seed: of the samples, one each; an integer s means s, s + 1, ...
    """
    (part,) = Layout.tensor(*shape[1:])
    return Gaussian(schedule).prior(part, tuple(shape[1:]), Noise.of(seed, shape[0], device)).to(dtype)


def trajectory(
    denoise: Denoise | BranchDenoiser,
    x_T: Tensor | State | Cursor,
    plan: Plan,
    seed: Seed = 0,
    condition: Condition | None = None,
    guidance: Guidance | None = None,
    known: Known | None = None,
) -> Iterator[Cursor]:
    """The cursors of a sampling run: the one before the first row, then one after every row.

    Arguments as for :func:`sample`. A cursor as ``x_T`` takes the run up from there; what it yields is then bit-equal
    to what the uninterrupted run yields, given the same other arguments.
    """
    state = x_T.x if isinstance(x_T, Cursor) else x_T
    batch = state.batch if isinstance(state, State) else state.shape[0]
    noise = Noise.of(seed, batch, state.device)
    if guidance is not None and guidance.noise_branch is not None:
        plan = noise_from(plan, guidance.noise_branch)
    cursor = x_T if isinstance(x_T, Cursor) else Cursor.start(x_T, plan, noise, known)
    evaluate = Evaluator(denoise, plan, cursor, condition, guidance, known, noise)
    yield cursor
    while cursor.row < len(plan.rows):
        cursor = step(plan, cursor, evaluate(cursor), noise)
        if known is not None and cursor.row == len(plan.rows) and not np.any(plan.t[-1]):
            cursor = replace(cursor, x=known.put_into(cursor.x))
        yield cursor


@torch.no_grad()
def sample(
    denoise: Denoise | BranchDenoiser,
    x_T: Sampled,
    plan: Plan,
    seed: Seed = 0,
    condition: Condition | None = None,
    guidance: Guidance | None = None,
    known: Known | None = None,
    callback: Callable[[Cursor], None] | None = None,
) -> Sampled:
    """Sample, executing a plan from noise to data, without gradients (:func:`trajectory` has them).

    Args:
        denoise: ``denoise(x_t, t, **condition)`` -> estimate of clean data (see
            :data:`unnoise.sampling.evaluate.Denoise`), or a :class:`unnoise.denoiser.Denoiser`.
        x_T: the state at the plan's first level: a tensor ``(B, ...)`` or a State.
        plan: from :func:`unnoise.plan`.
        seed: of the samples, one each; an integer s means s, s + 1, ... A sample depends on its own seed and its own
            row of ``x_T``, not on the batch around it.
        condition: keyword arguments of ``denoise``, or raw conditions of a Denoiser.
        guidance: e.g. :class:`unnoise.CFG`.
        known: values that the sample shall have (infill).
        callback: called with the cursor before the first row and after every row.

    Returns:
        The same kind as ``x_T``, its dtype and its device. Sums are computed in at least float32.

    Raises:
        UserError: if the plan does not fit the state or the guidance.
        ValueError: if the seeds are not one per sample.
    """
    for cursor in trajectory(denoise, x_T, plan, seed, condition, guidance, known):
        if callback is not None:
            callback(cursor)
    return cursor.result()  # type: ignore[return-value]  # the kind of x_T, which the cursor remembers
