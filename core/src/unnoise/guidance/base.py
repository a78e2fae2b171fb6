"""What every guidance is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from torch import Tensor

from unnoise.errors import UserError
from unnoise.layout import Kind, Layout
from unnoise.state import State

Condition = Mapping[str, Any]
"""Condition name -> raw values; one that is absent is the null."""
Estimates = Mapping[str, Mapping[str, Tensor]]
"""Branch -> part -> mean, or log-probabilities ``(..., K)``."""
NOTHING: Condition = {}
"""The condition that says nothing."""


@dataclass(frozen=True)
class Moment:
    """Where in a sampling run branches are combined.

    Args:
        x_t: the noised state all branches were evaluated at.
        alpha, sigma: gaussian part -> its level, over leading axes.
        step: index of the grid's step.
        memory: what the guidance put into ``kept`` at the evaluation before; empty at the first.
        kept: what it wants to be told at the next evaluation. It travels with the cursor, so that a run can be taken
            up anywhere.
    """

    x_t: State
    alpha: Mapping[str, Tensor] = field(default_factory=dict)
    sigma: Mapping[str, Tensor] = field(default_factory=dict)
    step: int = 0
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    kept: dict[str, Tensor] = field(default_factory=dict)

    def scoped(self, prefix: str) -> Moment:
        """The same moment, with the memory of one of several guidances."""
        own = {key.removeprefix(prefix): value for key, value in self.memory.items() if key.startswith(prefix)}
        return replace(self, memory=own, kept={})


class Guidance(ABC):
    """Declares branches and combines them; a value without state."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"gaussian", "categorical"})
    """Kinds of part that it acts on in its own way; of others it takes what it acts upon."""
    needs_condition: ClassVar[bool] = True
    """Whether it has nothing to guide by where no condition is given."""
    adaptive: bool = False
    """Whether :meth:`remaining` may save evaluations; looking costs a wait for the device at every row."""
    noise_branch: str | None = None
    """The branch whose noise the sampler keeps in place of the combined one (:class:`CFGPlusPlus`)."""
    networks: Mapping[str, Any] = NOTHING
    """Branch -> the denoiser that is asked, where it is not the run's own."""

    @abstractmethod
    def branches(self, condition: Condition) -> dict[str, Condition]:
        """Branch name -> the condition it is evaluated with. ``"cond"`` is the given one. A single branch is used as it
        is; :meth:`combine` is then not called.
        """

    @abstractmethod
    def combine(self, branches: Estimates, moment: Moment) -> dict[str, Tensor]:
        """The combined estimate, part -> mean or log-probabilities."""

    def at(self, lowest: float, highest: float) -> Guidance:
        """What holds in a row whose elements have log-SNRs from ``lowest`` to ``highest`` (mostly one and the same)."""
        return self

    def remaining(self, memory: Mapping[str, Tensor]) -> Guidance:
        """What is left of an ``adaptive`` guidance, given the memory of the evaluation before."""
        return self

    def check(self, layout: Layout) -> None:
        """Raise :class:`UserError` if there is nothing that it could act on."""
        if not any(part.kind in self.kinds for part in layout):
            parts = ", ".join(f"{part.name} is {part.kind}" for part in layout)
            raise UserError(
                f"{type(self).__name__} acts on {' and '.join(sorted(self.kinds))} parts alone; {parts}",
                "leave it out, or take guidance.name=cfg, which acts on all",
            )
