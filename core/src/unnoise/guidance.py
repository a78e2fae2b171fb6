"""Guidance: which branches to evaluate, and how to combine their estimates of clean data."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unnoise.errors import UserError
from unnoise.layout import Layout
from unnoise.state import State

Condition = Mapping[str, Any]
"""Condition name -> raw values; one that is absent is the null."""


class Guidance(ABC):
    """Declares branches and combines them; a value without state."""

    @abstractmethod
    def branches(self, condition: Condition) -> dict[str, Condition]:
        """Branch name -> the condition it is evaluated with. ``"cond"`` is the given one, ``"null"`` its opposite. A
        single branch is used as it is; :meth:`combine` is then not called.
        """

    @abstractmethod
    def combine(self, branches: Mapping[str, Mapping[str, Tensor]], x_t: State) -> dict[str, Tensor]:
        """The combined estimate.

        Args:
            branches: branch -> part -> mean, or log-probabilities ``(..., K)``.
            x_t: the noised state all branches were evaluated at.
        """


@dataclass(frozen=True)
class CFG(Guidance):
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6): ``null + scale (cond - null)``.

    Of gaussian parts it combines means; as eps, v and score are linear in the mean, that is the usual formula in each
    of them. Of categorical parts it combines log-probabilities and normalises: ``p_cond^scale p_null^(1 - scale)``
    (Nisonoff et al. 2025; Schiff et al. 2025).

    Args:
        scale: 1 is off: it evaluates the condition alone. 0 evaluates the null branch alone.
        negative: the condition of the null branch; None means no condition at all.

    Raises:
        UserError: if the scale is not finite.
    """

    scale: float = 1.0
    negative: Condition | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise UserError(f"the guidance scale is {self.scale}", "give a finite number; 1 is off")

    def branches(self, condition: Condition) -> dict[str, Condition]:
        both = {"cond": condition, "null": self.negative or {}}
        return {name: both[name] for name, weight in self._weights.items() if weight != 0}

    def combine(self, branches: Mapping[str, Mapping[str, Tensor]], x_t: State) -> dict[str, Tensor]:
        return mix({name: self._weights[name] for name in branches}, branches, x_t.layout)

    @property
    def _weights(self) -> dict[str, float]:
        return {"cond": self.scale, "null": 1 - self.scale}


def mix(
    weights: Mapping[str, float], branches: Mapping[str, Mapping[str, Tensor]], layout: Layout
) -> dict[str, Tensor]:
    """Estimates of several branches, weighted: means, or log-probabilities and normalised.

    Args:
        weights: branch -> its weight; they sum to 1.
        branches: branch -> part -> estimate.
        layout: says which parts are categorical.
    """
    mixed = {}
    for part in layout:
        estimates = [(weight, branches[name][part.name]) for name, weight in weights.items()]
        combined = _mix_log_probabilities if part.kind == "categorical" else _mix_means
        mixed[part.name] = combined(estimates)
    return mixed


def _mix_means(estimates: list[tuple[float, Tensor]]) -> Tensor:
    weight, first = estimates[0]
    total = weight * first.to(torch.promote_types(first.dtype, torch.float32))
    for weight, estimate in estimates[1:]:
        total.add_(estimate, alpha=weight)
    return total


def _mix_log_probabilities(estimates: list[tuple[float, Tensor]]) -> Tensor:
    """A class that a branch of positive weight excludes stays excluded; one that only a branch of negative weight
    excludes is preferred as strongly as the smallest probability allows. Where that leaves no class, the branch of the
    largest weight decides.
    """
    floor = math.log(torch.finfo(torch.float32).tiny)
    total = torch.zeros_like(estimates[0][1], dtype=torch.promote_types(estimates[0][1].dtype, torch.float32))
    for weight, estimate in estimates:
        total = total + weight * (estimate if weight > 0 else estimate.clamp(min=floor))
    possible = (total > -math.inf).any(-1, keepdim=True)
    fallback = max(estimates, key=lambda pair: pair[0])[1].to(total)
    return torch.where(possible, total.log_softmax(-1), fallback)
