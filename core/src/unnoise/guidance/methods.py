"""Methods: what is made of the branches' estimates."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from unnoise.errors import UserError, did_you_mean
from unnoise.guidance.base import NOTHING, Condition, Estimates, Guidance, Moment
from unnoise.guidance.mixing import dot, masked, mix, mix_part, over_items
from unnoise.layout import Kind, Layout, Part
from unnoise.level import align


def _finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise UserError(f"the guidance {name} is {value}", "give a finite number; 1 is off")


@dataclass(frozen=True)
class CFG(Guidance):
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6): ``null + scale (cond - null)``.

    Of gaussian parts it combines means; as eps, v and score are linear in the mean, that is the usual formula in each
    of them. Of categorical parts it combines log-probabilities and normalises: ``p_cond^scale p_null^(1 - scale)``
    (Nisonoff et al. 2025; Schiff et al. 2025).

    With ``scales``, conditions are added one after the other, each with its own scale (Brooks et al. 2023, eq. 3, for
    two): ``null + sum_i w_i (D(c_1 .. c_i) - D(c_1 .. c_(i-1)))``, in the order of ``scales``, and those that it does
    not name last, together, with ``scale``. Equal scales are one scale; a branch whose weight is 0 is not evaluated.

    Args:
        scale: 1 is off: it evaluates the condition alone. 0 evaluates the null branch alone.
        negative: the condition of the null branch; None means no condition at all.
        scales: condition name -> a scale of its own.

    Raises:
        UserError: if a scale is not finite.
    """

    scale: float = 1.0
    negative: Condition | None = None
    scales: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _finite("scale", self.scale)
        for name, scale in self.scales.items():
            _finite(f"scale of {name}", scale)

    def branches(self, condition: Condition) -> dict[str, Condition]:
        chain: dict[str, Condition] = {"null": NOTHING if self.negative is None else self.negative}
        for name in self.scales:
            if name not in condition:
                raise UserError(
                    f"guidance.scales.{name} is given, but no condition {name!r}.{did_you_mean(name, condition)}",
                    f"the conditions are: {', '.join(condition) or 'none'}",
                )
        for count in range(1, len(self.scales) + 1):
            names = [*self.scales][:count]
            chain["+".join(names)] = {name: condition[name] for name in names}
        if self.scales and len(self.scales) == len(condition):
            chain.popitem()
        chain["cond"] = condition
        weights = self._weights(chain)
        return {name: chain[name] for name in sorted(chain, key=lambda name: name != "cond") if weights[name] != 0}

    def combine(self, branches: Estimates, moment: Moment) -> dict[str, Tensor]:
        weights = self._weights(branches)
        return mix({name: weights[name] for name in branches}, branches, moment.x_t.layout)

    def _weights(self, names: Mapping[str, Any]) -> dict[str, float]:
        """Branch -> its weight, by the telescoping sum above."""
        links = ["+".join([*self.scales][:count]) for count in range(1, len(self.scales) + 1)]
        scales = list(self.scales.values())
        if not links or links[-1] in names:  # further conditions follow those that are named
            links, scales = [*links, "cond"], [*scales, self.scale]
        links[-1] = "cond"
        return {
            name: scale - following
            for name, scale, following in zip(["null", *links], [1.0, *scales], [*scales, 0.0], strict=True)
        }


class Contrast(Guidance):
    """What moves the condition's estimate away from that of the null branch, part by part."""

    scale: float
    negative: Condition | None

    def branches(self, condition: Condition) -> dict[str, Condition]:
        null = {"null": NOTHING if self.negative is None else self.negative}
        return {"cond": condition} if self.scale == 1 else {"cond": condition, **null}

    def combine(self, branches: Estimates, moment: Moment) -> dict[str, Tensor]:
        combined = {}
        for part in moment.x_t.layout:
            cond, null = branches["cond"][part.name], branches["null"][part.name]
            if part.kind in self.kinds:
                mask = moment.x_t.mask(part.name)
                combined[part.name] = self.contrast(part, masked(cond, mask), masked(null, mask), moment)
            else:
                combined[part.name] = mix_part(part.kind, [(self.scale, cond), (1 - self.scale, null)])
        return combined

    @abstractmethod
    def contrast(self, part: Part, cond: Tensor, null: Tensor, moment: Moment) -> Tensor:
        """The combined estimate of a part that this method acts on."""


@dataclass(frozen=True)
class APG(Contrast):
    """Adaptive projected guidance (Sadat et al. 2024, section 4): of the difference of the two estimates, the part
    along the condition's estimate, which saturates, counts less; it is bounded, and remembers earlier differences.

    ``d = cond - null + momentum d_before``, ``d <- d min(1, norm / rms(d))``, and then ``cond + (scale - 1) (d_across +
    eta d_along)``. With ``eta=1`` and neither bound nor momentum it is :class:`CFG`. Categorical parts have no length
    to project on: they take :class:`CFG`.

    Args:
        scale: 1 is off.
        negative: the condition of the null branch; None means no condition at all.
        eta: share of the part along the condition's estimate that is kept.
        norm: largest root mean square of the difference over an item's elements, where the paper bounds the norm; None
            bounds nothing.
        momentum: weight of the difference before; below 0 it damps.

    Raises:
        UserError: if a number is out of range.
    """

    scale: float = 1.0
    negative: Condition | None = None
    eta: float = 0.0
    norm: float | None = None
    momentum: float = -0.5
    kinds: ClassVar[frozenset[Kind]] = frozenset({"gaussian"})

    def __post_init__(self) -> None:
        _finite("scale", self.scale)
        if not (abs(self.momentum) < 1 and math.isfinite(self.eta) and (self.norm is None or self.norm > 0)):
            raise UserError(
                f"apg: eta={self.eta}, norm={self.norm}, momentum={self.momentum}",
                "eta is finite, norm above 0 or null, momentum between -1 and 1",
            )

    def contrast(self, part: Part, cond: Tensor, null: Tensor, moment: Moment) -> Tensor:
        difference, key = cond - null, f"difference/{part.name}"
        if self.momentum:
            if key in moment.memory:
                difference = difference + self.momentum * moment.memory[key]
            moment.kept[key] = difference
        if self.norm is not None:
            rms = (dot(difference, difference) / moment.x_t.counts(part.name)).sqrt()
            difference = difference * over_items((self.norm / rms).clamp(max=1), difference)
        share = dot(difference, cond) / dot(cond, cond).clamp(min=torch.finfo(torch.float32).tiny)
        along = over_items(share, cond) * cond
        return cond + (self.scale - 1) * (difference + (self.eta - 1) * along)


@dataclass(frozen=True)
class CFGZero(Contrast):
    """CFG-Zero* (Fan et al. 2025, section 4): the null branch's velocity is first scaled to fit the condition's as well
    as it can, ``s = <v_cond, v_null> / <v_null, v_null>``, and then ``s v_null + scale (v_cond - s v_null)``; the first
    steps may stand still.

    The velocity is that of a flow, ``v = eps - x0``, whatever the schedule. Categorical parts take :class:`CFG`.

    Args:
        scale: 1 is off.
        negative: the condition of the null branch; None means no condition at all.
        zero_steps: so many first steps have velocity 0.

    Raises:
        UserError: if a number is out of range.
    """

    scale: float = 1.0
    negative: Condition | None = None
    zero_steps: int = 0
    kinds: ClassVar[frozenset[Kind]] = frozenset({"gaussian"})

    def __post_init__(self) -> None:
        _finite("scale", self.scale)
        if self.zero_steps < 0:
            raise UserError(f"cfg_zero: zero_steps is {self.zero_steps}", "it is 0 or more")

    def contrast(self, part: Part, cond: Tensor, null: Tensor, moment: Moment) -> Tensor:
        mask, x = moment.x_t.mask(part.name), moment.x_t.parts[part.name]
        alpha, sigma = (align(level[part.name], x) for level in (moment.alpha, moment.sigma))
        x = masked(x, mask)
        if moment.step < self.zero_steps:
            return x / (alpha + sigma)
        # v = (x - (alpha + sigma) x0) / sigma; the factor 1 / sigma is common to all.
        v_cond, v_null = (x - (alpha + sigma) * x0 for x0 in (cond, null))
        fit = dot(v_cond, v_null) / dot(v_null, v_null).clamp(min=torch.finfo(torch.float32).tiny)
        fitted = over_items(fit, v_null) * v_null
        velocity = fitted + self.scale * (v_cond - fitted)
        return (x - velocity) / (alpha + sigma)


@dataclass(frozen=True)
class CFGPlusPlus(Guidance):
    """CFG++ (Chung et al. 2024, algorithm 2): the estimate of clean data is guided, the noise that goes with it is that
    of the null branch, so that the path stays where the model has seen noise.

    It needs a sampler that takes each step from the estimate and the noise in it: ``ddim``, ``ddpm``, ``euler``,
    ``euler_ancestral``, ``renoise``, ``lcm`` (:func:`unnoise.sampling.renoised.noise_from` says why others do not).

    Args:
        scale: from 0 (the null branch) to 1 (the condition's estimate with the null branch's noise). None of them is
            off: leave the guidance out for that.
        negative: the condition of the null branch; None means no condition at all.

    Raises:
        UserError: if the scale is not in [0, 1].
    """

    scale: float = 0.6
    negative: Condition | None = None
    kinds: ClassVar[frozenset[Kind]] = frozenset({"gaussian"})
    noise_branch: ClassVar[str] = "null"  # type: ignore[misc]

    def __post_init__(self) -> None:
        if not 0 <= self.scale <= 1:
            raise UserError(f"cfg_pp: the scale is {self.scale}", "it lies from 0 to 1: an interpolation")

    def branches(self, condition: Condition) -> dict[str, Condition]:
        return {"cond": condition, "null": NOTHING if self.negative is None else self.negative}

    def combine(self, branches: Estimates, moment: Moment) -> dict[str, Tensor]:
        weights = {"cond": self.scale, "null": 1 - self.scale}
        return mix({name: weights[name] for name in branches}, branches, moment.x_t.layout)

    def check(self, layout: Layout) -> None:
        for part in layout:
            if part.kind == "categorical":
                raise UserError(
                    f"cfg_pp takes the noise from one branch and the estimate from two; part {part.name!r} is "
                    "categorical, and its noise is no branch's",
                    "take guidance.name=cfg",
                )


@dataclass(frozen=True)
class Auto(Guidance):
    """Autoguidance (Karras et al. 2024b, eq. 2): away from what a weaker model says under the same condition,
    ``weak + scale (own - weak)``. It needs no null, nor any condition.

    Args:
        weak: the weaker denoiser: anything that :func:`unnoise.sample` takes.
        scale: 1 is off: the own model alone.

    Raises:
        UserError: if the scale is not finite.
    """

    weak: Any
    scale: float = 1.0
    needs_condition: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _finite("scale", self.scale)

    @property
    def networks(self) -> Mapping[str, Any]:  # type: ignore[override]
        return {"weak": self.weak}

    def branches(self, condition: Condition) -> dict[str, Condition]:
        return {name: condition for name, weight in self._weights.items() if weight != 0}

    def combine(self, branches: Estimates, moment: Moment) -> dict[str, Tensor]:
        return mix({name: self._weights[name] for name in branches}, branches, moment.x_t.layout)

    @property
    def _weights(self) -> dict[str, float]:
        return {"cond": self.scale, "weak": 1 - self.scale}
