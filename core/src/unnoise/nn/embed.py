"""Numbers and positions as vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoids(x: Tensor, dim: int, low: float, high: float) -> Tensor:
    """``[cos(w x), sin(w x)]`` for ``dim / 2`` angular frequencies w in geometric progression from ``low`` to ``high``
    (Vaswani et al. 2017, section 3.5).

    Args:
        x: numbers, any shape.
        dim: size of the result's last axis, even.
        low, high: radians per unit of ``x``, positive.

    Returns:
        float32 ``(*x.shape, dim)``.

    Raises:
        ValueError: if ``dim`` is odd.
    """
    if dim % 2:
        raise ValueError(f"a sinusoidal embedding has an even size, not {dim}")
    frequencies = torch.logspace(math.log10(low), math.log10(high), dim // 2, device=x.device)
    angles = x.float()[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def grid_positions(shape: tuple[int, ...], device: torch.device | None = None) -> Tensor:
    """The coordinates of every cell of a grid, row-major: float32 ``(prod(shape), len(shape))``."""
    axes = torch.meshgrid(*(torch.arange(size, device=device) for size in shape), indexing="ij")
    return torch.stack([axis.flatten() for axis in axes], dim=-1).float()


def position_embedding(positions: Tensor, dim: int) -> Tensor:
    """Fixed embedding of positions ``(..., axes)`` -> ``(..., dim)``: every axis gets an equal share of sinusoids with
    wavelengths from 2 pi to 20,000 pi steps; what does not divide evenly stays 0.
    """
    axes = positions.shape[-1]
    share = dim // axes // 2 * 2
    embedded = torch.cat([sinusoids(positions[..., a], share, 1e-4, 1.0) for a in range(axes)], dim=-1)
    return nn.functional.pad(embedded, (0, dim - axes * share))


class ScalarEmbedding(nn.Module):
    """A number -> sinusoids -> two-layer MLP, for noise levels, sizes and scalar properties.

    Args:
        dim: size of the result.
        low, high: angular frequencies; choose ``1 / high`` near the smallest difference that matters and ``1 / low``
            near the range. The defaults suit numbers of the order of 1, such as a parametrization's ``c_noise``.
        sinusoidal: number of sinusoids, even.
    """

    def __init__(self, dim: int, low: float = 0.1, high: float = 100.0, sinusoidal: int = 128) -> None:
        super().__init__()
        self.low, self.high, self.sinusoidal = low, high, sinusoidal
        self.mlp = nn.Sequential(nn.Linear(sinusoidal, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """``(B,)`` or ``(B, n)`` -> ``(B, dim)`` or ``(B, n, dim)``."""
        embedded: Tensor = self.mlp(sinusoids(x, self.sinusoidal, self.low, self.high))
        return embedded


class LevelEmbedding(nn.Module):
    """The vector that tells a network of the noise level and of the condition: the sum of both embeddings.

    Args:
        dim: size of the vector.
        context_dim: size of the condition's vector; 0 for an unconditional network.
    """

    def __init__(self, dim: int, context_dim: int = 0) -> None:
        super().__init__()
        self.noise = ScalarEmbedding(dim)
        self.context = nn.Linear(context_dim, dim) if context_dim else None

    def forward(self, c_noise: Tensor, context: Tensor | None = None) -> Tensor:
        """``c_noise (B,)`` or ``(B, n)``, ``context (B, context_dim)`` -> ``(B, dim)`` or ``(B, n, dim)``."""
        embedded: Tensor = self.noise(c_noise)
        if self.context is None or context is None:
            return embedded
        told: Tensor = self.context(context)
        return embedded + (told if c_noise.dim() == 1 else told[:, None])
