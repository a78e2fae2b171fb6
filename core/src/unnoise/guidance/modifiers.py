"""Modifiers: guidances that hold another one and change when, or how, it acts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from unnoise.errors import UserError
from unnoise.guidance.base import Condition, Estimates, Guidance, Moment
from unnoise.guidance.methods import CFG
from unnoise.guidance.mixing import dot, masked, over_items
from unnoise.layout import Kind, Layout, Part
from unnoise.level import align
from unnoise.state import State

OFF = CFG(1.0)
"""The condition alone."""


@dataclass(frozen=True)
class Modifier(Guidance):
    """A guidance around another. Where that evaluates a single branch, the modifier does nothing.

    Args:
        inner: what it changes.
    """

    inner: Guidance

    def branches(self, condition: Condition) -> dict[str, Condition]:
        return self.inner.branches(condition)

    def combine(self, branches: Estimates, moment: Moment) -> dict[str, Tensor]:
        return self.inner.combine(branches, moment)

    def at(self, lowest: float, highest: float) -> Guidance:
        return replace(self, inner=self.inner.at(lowest, highest))

    def remaining(self, memory: Mapping[str, Tensor]) -> Guidance:
        return replace(self, inner=self.inner.remaining(memory)) if self.inner.adaptive else self

    def check(self, layout: Layout) -> None:
        super().check(layout)
        self.inner.check(layout)

    @property
    def adaptive(self) -> bool:  # type: ignore[override]
        return self.inner.adaptive

    @property
    def noise_branch(self) -> str | None:  # type: ignore[override]
        return self.inner.noise_branch

    @property
    def networks(self) -> Mapping[str, Any]:  # type: ignore[override]
        return self.inner.networks

    @property
    def needs_condition(self) -> bool:  # type: ignore[override]
        return self.inner.needs_condition


@dataclass(frozen=True)
class Interval(Modifier):
    """Guidance within an interval of noise only (Kynkäänniemi et al. 2024); elsewhere the condition alone, which costs
    one evaluation a row.

    Args:
        inner: what acts within.
        low, high: log-SNR, ``log(alpha^2 / sigma^2)``; both ends count as within. None is open. A row whose elements
            have levels of their own is guided if one of them lies within.

    Raises:
        UserError: if low is above high.
    """

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if not self._low <= self._high:
            fix = "two log-SNRs, the lower (noisier) one first; null is open"
            raise UserError(f"guidance.interval=[{self.low}, {self.high}] holds no level", fix)

    @property
    def _low(self) -> float:
        return -math.inf if self.low is None else self.low

    @property
    def _high(self) -> float:
        return math.inf if self.high is None else self.high

    def at(self, lowest: float, highest: float) -> Guidance:
        return self.inner.at(lowest, highest) if highest >= self._low and lowest <= self._high else OFF


@dataclass(frozen=True)
class Rescale(Modifier):
    """Guided estimates brought back towards the spread of the condition's own (Lin et al. 2024, section 3.4):
    multiplied by ``share std(cond) / std(guided) + 1 - share``, item by item, over its real elements. The paper does so
    to the network's output; here it is the estimate of clean data, as everywhere. Categorical parts stay as they are.

    Args:
        inner: what guides.
        share: 0 changes nothing, 1 gives the guided estimate the standard deviation of the condition's.

    Raises:
        UserError: if the share is not in [0, 1].
    """

    share: float = 0.7
    kinds: ClassVar[frozenset[Kind]] = frozenset({"gaussian"})

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise UserError(f"guidance.rescale is {self.share}", "it is a share, from 0 to 1")

    def combine(self, branches: Estimates, moment: Moment) -> dict[str, Tensor]:
        guided, state = self.inner.combine(branches, moment), moment.x_t
        for part in state.layout:
            if part.kind == "gaussian":
                mask, count = state.mask(part.name), state.counts(part.name)
                own, made = (_std(masked(x[part.name], mask), count) for x in (branches["cond"], guided))
                factor = self.share * own / made.clamp(min=torch.finfo(torch.float32).tiny) + (1 - self.share)
                guided[part.name] = over_items(factor, guided[part.name]) * guided[part.name]
        return guided


@dataclass(frozen=True)
class Threshold(Modifier):
    """Dynamic thresholding (Saharia et al. 2022, section 2.3): where a quantile of the guided estimate's magnitudes
    exceeds a limit, values are clipped to that quantile and the item is scaled down to the limit. Categorical parts
    stay as they are.

    Args:
        inner: what guides.
        quantile: of the magnitudes of an item's real elements, in (0, 1].
        limit: largest magnitude of clean data, in the state's own (standardised) units; None takes the same quantile of
            the condition's own estimate.

    Raises:
        UserError: if a number is out of range.
    """

    quantile: float = 0.995
    limit: float | None = None
    kinds: ClassVar[frozenset[Kind]] = frozenset({"gaussian"})

    def __post_init__(self) -> None:
        if not 0 < self.quantile <= 1 or (self.limit is not None and not self.limit > 0):
            raise UserError(
                f"guidance.threshold: quantile={self.quantile}, limit={self.limit}",
                "a quantile above 0 and at most 1; a limit above 0, or null for that of the condition's estimate",
            )

    def combine(self, branches: Estimates, moment: Moment) -> dict[str, Tensor]:
        guided, state = self.inner.combine(branches, moment), moment.x_t
        for part in state.layout:
            if part.kind == "gaussian":
                mask, x = state.mask(part.name), guided[part.name]
                found = _quantile(x, mask, self.quantile)
                own = None if self.limit is not None else _quantile(branches["cond"][part.name], mask, self.quantile)
                limit = torch.full_like(found, self.limit or 0.0) if own is None else own
                over = over_items(torch.maximum(found, limit), x)
                guided[part.name] = x.clamp(-over, over) * (over_items(limit, x) / over.clamp(min=1e-30)).clamp(max=1)
        return guided


@dataclass(frozen=True)
class AdaptiveStop(Modifier):
    """Guidance until the branches agree (the idea of Castillo et al. 2023, section 4): an item is no longer guided
    once, in every part, each branch is as close to the condition's as ``tolerance``. They are compared as estimates of
    clean data, where the paper takes the cosine of their noise, which is near 1 whatever they say at high noise.

    What a sample becomes depends on itself alone. When all of a batch have stopped, only the condition is evaluated;
    the number of evaluations is what was spent, and at most that of the inner guidance.

    Args:
        inner: what guides until then.
        tolerance: root mean square difference of gaussian parts, in the state's own (standardised) units; mean total
            variation of categorical ones. 0 or more; 0 stops where the branches are equal.

    Raises:
        UserError: if the tolerance is out of range.
    """

    tolerance: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < math.inf:
            raise UserError(f"guidance.stop is {self.tolerance}", "a distance of estimates, 0 or more, such as 0.02")

    @property
    def adaptive(self) -> bool:  # type: ignore[override]
        return True

    def combine(self, branches: Estimates, moment: Moment) -> dict[str, Tensor]:
        inner = moment.scoped("guided/")
        guided, state = self.inner.combine(branches, inner), moment.x_t
        agreed = self._agreed(branches, moment)
        if "stopped" in moment.memory:
            stopped = moment.memory["stopped"]
            for name, value in guided.items():
                guided[name] = torch.where(align(stopped, value), branches["cond"][name].to(value), value)
            agreed = agreed | stopped
        moment.kept["stopped"] = agreed
        moment.kept.update({f"guided/{key}": value for key, value in inner.kept.items()})
        return {part.name: guided[part.name] for part in state.layout}

    def check(self, layout: Layout) -> None:
        super().check(layout)
        if self.inner.noise_branch is not None:
            message = "guidance.stop ends the null branch, whose noise cfg_pp needs to the end"
            raise UserError(message, "leave guidance.stop out, or take guidance.name=cfg")

    def remaining(self, memory: Mapping[str, Tensor]) -> Guidance:
        stopped = memory.get("stopped")
        return OFF if stopped is not None and bool(stopped.all()) else self

    def _agreed(self, branches: Estimates, moment: Moment) -> Tensor:
        state = moment.x_t
        found = torch.ones(state.batch, dtype=torch.bool, device=state.device)
        for part in state.layout:
            for name in branches:
                if name != "cond":
                    pair = branches["cond"][part.name], branches[name][part.name]
                    found &= _distance(part, *pair, moment.x_t) <= self.tolerance
        return found


def _std(x: Tensor, count: Tensor) -> Tensor:
    """Standard deviations ``(B,)`` over an item's real elements; ``x`` is 0 on padding."""
    mean = x.flatten(1).sum(1) / count
    return (dot(x, x) / count - mean.square()).clamp(min=0).sqrt()


def _quantile(x: Tensor, mask: Tensor | None, share: float) -> Tensor:
    """Quantiles ``(B,)`` of the magnitudes of an item's real elements, interpolated."""
    size = x.abs().float()
    if mask is not None:
        size = size.masked_fill(~mask, -1)
    ordered = size.flatten(1).sort(1).values
    count = (ordered >= 0).sum(1).clamp(min=1)
    place = ordered.shape[1] - count + share * (count - 1)
    low = place.floor().long()
    ends = ordered.gather(1, torch.stack([low, (low + 1).clamp(max=ordered.shape[1] - 1)], 1)).clamp(min=0)
    return torch.lerp(ends[:, 0], ends[:, 1], (place - low).to(ends))


def _distance(part: Part, cond: Tensor, other: Tensor, state: State) -> Tensor:
    """Of two estimates, ``(B,)``: root mean square, or mean total variation, over an item's real elements."""
    mask, count = state.mask(part.name), state.counts(part.name)
    if part.kind == "gaussian":
        difference = masked(cond - other, mask)
        return (dot(difference, difference) / count).sqrt()
    return masked(0.5 * (cond.exp() - other.exp()).abs().sum(-1), mask).flatten(1).sum(1) / count
