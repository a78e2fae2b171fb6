"""Convolutional blocks for sequences, pictures and volumes: ``dims`` is the number of spatial axes, 1, 2 or 3."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.level import align
from unnoise.nn.adaln import zero_

ConvLayer = nn.Conv1d | nn.Conv2d | nn.Conv3d


def conv_nd(dims: int, inputs: int, outputs: int, kernel: int, **options: Any) -> ConvLayer:
    """A convolution over ``dims`` axes that keeps their sizes at stride 1 (odd ``kernel``).

    Raises:
        ValueError: if ``dims`` is not 1, 2 or 3.
    """
    layers: dict[int, type[ConvLayer]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    if dims not in layers:
        raise ValueError(f"convolutions have 1, 2 or 3 axes, not {dims}")
    return layers[dims](inputs, outputs, kernel, padding=kernel // 2, **options)


def keep(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x (B, C, *space)`` with 0 where ``mask`` is False; ``x`` itself without a mask.

    A mask is bool ``(B, *space)`` with an axis of size 1 where it does not vary, and real elements come first. A
    network that keeps to it after every layer computes the same whatever the padding.
    """
    return x if mask is None else x.masked_fill(~mask[:, None], 0)


def coarser(mask: Tensor | None, step: int = 2) -> Tensor | None:
    """The mask of a grid whose cells are blocks of ``step`` along every axis: real where any element is."""
    return None if mask is None else mask[(slice(None), *(slice(None, None, step) for _ in mask.shape[1:]))]


class GroupNorm(nn.GroupNorm):
    """As torch's, over real elements only where there is a mask."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``x (B, C, *space)``; ``mask`` as in :func:`keep`."""
        if mask is None:
            return super().forward(x)
        groups = x.float().reshape(len(x), self.num_groups, -1, *x.shape[2:])
        real = mask[:, None, None].float()
        axes = tuple(range(2, groups.dim()))
        repeats = math.prod(groups.shape[2:]) / math.prod(real.shape[2:])
        count = real.sum(axes, keepdim=True).clamp(min=1) * repeats
        centred = groups - (groups * real).sum(axes, keepdim=True) / count
        variance = (centred.square() * real).sum(axes, keepdim=True) / count
        normed = (centred * (variance + self.eps).rsqrt()).flatten(1, 2)
        scaled: Tensor = normed * align(self.weight[None], normed) + align(self.bias[None], normed)
        return scaled.to(x.dtype)


def group_norm(channels: int, groups: int = 32) -> GroupNorm:
    """Group normalisation (Wu & He 2018) with at most ``groups`` groups of at least 4 channels where possible."""
    return GroupNorm(math.gcd(channels, min(groups, max(channels // 4, 1))), channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """norm, SiLU, convolution, adaptive norm, SiLU, convolution, plus the input (Dhariwal & Nichol 2021, section 3).

    The second convolution starts at zero, so that the block starts as its skip: the identity where ``inputs ==
    outputs``, else a 1-convolution.

    Args:
        dims: number of spatial axes.
        inputs, outputs: channels.
        cond_dim: size of the condition vector, which scales and shifts the second norm; 0 for none.
        dropout: probability, before the second convolution.
    """

    def __init__(self, dims: int, inputs: int, outputs: int, cond_dim: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm_in = group_norm(inputs)
        self.conv_in = conv_nd(dims, inputs, outputs, 3)
        self.norm_out = group_norm(outputs)
        self.project = nn.Linear(cond_dim, 2 * outputs) if cond_dim else None
        self.dropout = nn.Dropout(dropout)
        self.conv_out = conv_nd(dims, outputs, outputs, 3)
        self.skip = nn.Identity() if inputs == outputs else conv_nd(dims, inputs, outputs, 1)
        zero_(self.conv_out)

    def forward(self, x: Tensor, cond: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """``x (B, inputs, *space)``, ``cond (B, cond_dim)`` -> ``(B, outputs, *space)``. Mask: :func:`keep`."""
        h = self.norm_out(self.conv_in(keep(F.silu(self.norm_in(x, mask)), mask)), mask)
        if self.project is not None and cond is not None:
            scale, shift = self.project(F.silu(cond)).chunk(2, dim=1)
            h = h * (1 + align(scale, h)) + align(shift, h)
        return keep(self.skip(x) + self.conv_out(keep(self.dropout(F.silu(h)), mask)), mask)


class Downsample(nn.Module):
    """Half the size of every axis, rounded up, by a strided convolution."""

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv_nd(dims, inputs, outputs, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(x)
        return result


class Upsample(nn.Module):
    """To a given size by the nearest neighbour, then a convolution (no checkerboard; Odena et al. 2016)."""

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv_nd(dims, inputs, outputs, 3)

    def forward(self, x: Tensor, size: tuple[int, ...], mask: Tensor | None = None) -> Tensor:
        """``x (B, inputs, *space)`` -> ``(B, outputs, *size)``; ``mask (B, *size)``, that of the result."""
        # A block of two at the border may be half real: the other half shall not reach the convolution.
        return keep(self.conv(keep(F.interpolate(x, size=size, mode="nearest"), mask)), mask)
