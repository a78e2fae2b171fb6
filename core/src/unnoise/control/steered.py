"""A denoiser with controls, for the samples of one batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unnoise.conditions import Raw
from unnoise.contracts import Context
from unnoise.control.branch import Control, added
from unnoise.denoiser import Denoiser
from unnoise.errors import UserError
from unnoise.level import Level
from unnoise.prediction import Prediction
from unnoise.schedules import Times
from unnoise.state import State


@dataclass(frozen=True)
class Acting:
    """A control at work.

    Args:
        control: the branch.
        raw: the map of each sample, ``(B, ...)``.
        strength: factor on what it adds; 0 is off, and costs nothing.
        low, high: log-SNRs between which it acts, both included, as those of a guidance's interval; infinite is open. A
            row whose elements have levels of their own is controlled if one of them lies within.

    Raises:
        UserError: if the strength is not finite, or low is above high.
    """

    control: Control
    raw: Tensor
    strength: float = 1.0
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not math.isfinite(self.strength):
            raise UserError(f"control.strength={self.strength}", "a finite number: 1 as trained, 0 is off")
        if not self.low <= self.high:
            fix = "two log-SNRs, the lower (noisier) one first; null is open"
            raise UserError(f"control.interval=[{self.low}, {self.high}] holds no level", fix)

    def __getitem__(self, rows: slice) -> Acting:
        """The same control of some of the samples."""
        return replace(self, raw=self.raw[rows])

    def to(self, device: torch.device) -> Acting:
        """The same with its maps on a device."""
        return replace(self, raw=self.raw.to(device))

    def acts(self, lowest: float, highest: float) -> bool:
        """Whether it does anything where elements have log-SNRs from ``lowest`` to ``highest``."""
        return self.strength != 0 and highest >= self.low and lowest <= self.high


class Controlled:
    """A denoiser with controls: a :class:`unnoise.sampling.evaluate.BranchDenoiser` for one batch of samples.

    All branches of a guidance are controlled alike, so that guidance is about conditions alone. Where no control acts,
    it is the denoiser itself, bit for bit.

    Args:
        denoiser: the base.
        controls: of the batch's samples.
    """

    def __init__(self, denoiser: Denoiser, controls: Sequence[Acting]) -> None:
        self.denoiser, self.controls = denoiser, tuple(controls)
        self.product, self.self_conditioning = denoiser.product, denoiser.self_conditioning

    def predict(
        self,
        x_t: State,
        times: Mapping[str, Times],
        conditions: Sequence[Raw | None] = (None,),
        previous: Sequence[Prediction] | None = None,
    ) -> list[Prediction]:
        """As :meth:`unnoise.denoiser.Denoiser.predict`."""
        levels = [np.asarray(level) for level in self.product.log_snr(times).values()]
        lowest, highest = min(float(v.min()) for v in levels), max(float(v.max()) for v in levels)
        acting = [control for control in self.controls if control.acts(lowest, highest)]
        if not acting:
            return self.denoiser.predict(x_t, times, conditions, previous)

        def residuals(
            x: State, level: Level, context: Context | None, shown: Mapping[str, Tensor] | None
        ) -> list[Tensor]:
            made = []
            for one in acting:
                raw = one.raw.repeat(len(conditions), *(1 for _ in one.raw.shape[1:]))
                parts = one.control(x, level, context, shown, raw)
                made.append([one.strength * part for part in parts])
            return added(made)

        return self.denoiser.predict(x_t, times, conditions, previous, residuals)
