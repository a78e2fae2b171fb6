"""Arithmetic of estimates: weighted mixtures, and inner products that leave padding out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from unnoise.layout import Layout
from unnoise.level import align


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
        mixed[part.name] = mix_part(part.kind, estimates)
    return mixed


def mix_part(kind: str, estimates: list[tuple[float, Tensor]]) -> Tensor:
    """As :func:`mix`, of one part."""
    return mix_log_probabilities(estimates) if kind == "categorical" else mix_means(estimates)


def mix_means(estimates: list[tuple[float, Tensor]]) -> Tensor:
    """The weighted sum, in at least float32."""
    weight, first = estimates[0]
    total = weight * first.to(torch.promote_types(first.dtype, torch.float32))
    for weight, estimate in estimates[1:]:
        total.add_(estimate, alpha=weight)
    return total


def mix_log_probabilities(estimates: list[tuple[float, Tensor]]) -> Tensor:
    """The normalised product of powers. A class that a branch of positive weight excludes stays excluded; one that only
    a branch of negative weight excludes is preferred as strongly as the smallest probability allows. Where that leaves
    no class, the branch of the largest weight decides.
    """
    floor = math.log(torch.finfo(torch.float32).tiny)
    total = torch.zeros_like(estimates[0][1], dtype=torch.promote_types(estimates[0][1].dtype, torch.float32))
    for weight, estimate in estimates:
        total = total + weight * (estimate if weight > 0 else estimate.clamp(min=floor))
    possible = (total > -math.inf).any(-1, keepdim=True)
    fallback = max(estimates, key=lambda pair: pair[0])[1].to(total)
    return torch.where(possible, total.log_softmax(-1), fallback)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """A part in at least float32, with padding at 0."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return x if mask is None else x.masked_fill(~mask, 0)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products ``(B,)`` of two tensors of :func:`masked`, item by item."""
    return (a * b).flatten(1).sum(1)


def over_items(values: Tensor, like: Tensor) -> Tensor:
    """Numbers ``(B,)`` that multiply a part."""
    return align(values, like)
