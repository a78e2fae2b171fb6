"""Curves over a variable axis, joined to a network's features there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def resample(curve: Tensor, mask: Tensor, step: int = 1) -> Tensor:
    """A curve at the elements of a padded axis, by linear interpolation.

    The first point lies at an item's first element, the last at its last real one. Padding gets 0.

    Args:
        curve: ``(B, K, d)``, K at least 2.
        mask: bool ``(B, n)``, True where an element is real; real elements come first.
        step: elements that the network takes together. A block of them lies at its middle, or at the last real element
            if that comes before.

    Returns:
        ``(B, ceil(n / step), d)``.
    """
    points, last = curve.shape[1], mask.sum(1, keepdim=True) - 1
    blocks = mask[:, ::step]
    middle = torch.arange(blocks.shape[1], device=mask.device) * step + (step - 1) / 2
    place = torch.minimum(middle, last) * (points - 1) / last.clamp(min=1)
    # Each point's share at each place is a triangle around the point; a product, unlike a gather, repeats to the bit.
    shares = (1 - (place[..., None] - torch.arange(points, device=mask.device)).abs()).clamp(min=0)
    return (shares.to(curve.dtype) @ curve).masked_fill(~blocks[..., None], 0)


class JoinCurves(nn.Module):
    """Embedded curves as channels to be added to, or put beside, a network's features over a variable axis.

    Args:
        curve_dim: size of the embedded points.
        channels: of the result.
    """

    def __init__(self, curve_dim: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(curve_dim, channels)

    def forward(self, curves: Sequence[Tensor], mask: Tensor, step: int = 1) -> Tensor:
        """At least one curve ``(B, K, curve_dim)``; mask ``(B, n)`` and step as for :func:`resample` -> ``(B, ceil(n /
        step), channels)``. What padding gets means nothing.
        """
        joined: Tensor = self.project(torch.stack([resample(curve, mask, step) for curve in curves]).sum(0))
        return joined
