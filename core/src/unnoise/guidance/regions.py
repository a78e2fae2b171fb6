"""Several conditions in several regions of one item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unnoise.errors import UserError
from unnoise.guidance.base import Condition, Estimates, Guidance, Moment
from unnoise.guidance.mixing import mix_log_probabilities
from unnoise.layout import Layout


@dataclass(frozen=True, eq=False)
class Region:
    """Where in an item a condition holds.

    Args:
        condition: what holds there, in place of the condition of the call.
        weight: part -> weight of every element, float, 0 or more, broadcasting against the part; a part that is left
            out follows the first region.
    """

    condition: Condition
    weight: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Regions(Guidance):
    """Each region's guided estimate where it holds (Bar-Tal et al. 2023, eq. 5): means are averaged with the regions'
    weights, probabilities multiplied. A branch that regions share, such as the null, is evaluated once.

    Args:
        inner: guides each region towards its condition.
        regions: at least one; of every element the weights are not all 0.

    Raises:
        UserError: if there is no region.
    """

    inner: Guidance
    regions: tuple[Region, ...]

    def __post_init__(self) -> None:
        if not self.regions:
            raise UserError("there is no region", "give one at least")

    def branches(self, condition: Condition) -> dict[str, Condition]:
        return {name: asked for _, own in self._owned() for name, asked in own.values()}

    def combine(self, branches: Estimates, moment: Moment) -> dict[str, Tensor]:
        made = []
        for index, own in self._owned():
            estimates = {inner: branches[name] for inner, (name, _) in own.items()}
            if len(estimates) == 1:
                made.append(dict(next(iter(estimates.values()))))
                continue
            scoped = moment.scoped(f"{index}/")
            made.append(self.inner.combine(estimates, scoped))
            moment.kept.update({f"{index}/{key}": value for key, value in scoped.kept.items()})
        return {part.name: self._joined(part.name, part.kind, made) for part in moment.x_t.layout}

    def at(self, lowest: float, highest: float) -> Guidance:
        return replace(self, inner=self.inner.at(lowest, highest))

    def check(self, layout: Layout) -> None:
        if self.inner.adaptive or self.inner.noise_branch is not None:
            raise UserError(
                "regions cannot be guided by an adaptive stop or by cfg_pp: the regions share one state, and these "
                "decide for all of it",
                "take guidance.name=cfg, without guidance.stop",
            )
        self.inner.check(layout)

    @property
    def networks(self) -> Mapping[str, Any]:  # type: ignore[override]
        inner = self.inner.networks
        return {name: inner[key] for _, own in self._owned() for key, (name, _) in own.items() if key in inner}

    def _owned(self) -> list[tuple[int, dict[str, tuple[str, Condition]]]]:
        """Region -> the inner guidance's branch -> its name among all, and its condition."""
        shared: dict[tuple[str, int], str] = {}
        owned = []
        for index, region in enumerate(self.regions):
            own = {}
            for inner, asked in self.inner.branches(region.condition).items():
                name = shared.setdefault((inner, id(asked)), f"{index}/{inner}")
                own[inner] = (name, asked)
            owned.append((index, own))
        return owned

    def _joined(self, name: str, kind: str, made: list[dict[str, Tensor]]) -> Tensor:
        if name not in self.regions[0].weight:
            return made[0][name]
        weights = [region.weight[name].to(made[0][name]) for region in self.regions]
        if kind == "categorical":
            weights = [weight[..., None] for weight in weights]
        total = sum(weights[1:], start=weights[0])
        shares = [weight / total for weight in weights]
        if kind == "categorical":
            powers = [_powered(x[name], share) for x, share in zip(made, shares, strict=True)]
            return mix_log_probabilities([(1.0, power) for power in powers])
        return torch.stack([share * x[name] for x, share in zip(made, shares, strict=True)]).sum(0)


def _powered(log_p: Tensor, share: Tensor) -> Tensor:
    """A share of log-probabilities; none of what is excluded where the share is 0."""
    return torch.where(share > 0, share * log_p, 0.0)
