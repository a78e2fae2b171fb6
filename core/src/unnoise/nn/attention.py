"""Multi-head attention over sets and sequences, to itself or to a context."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def rotary_angles(positions: Tensor, head_dim: int, base: float = 10_000.0) -> Tensor:
    """Angles for rotary positions (Su et al. 2021, equation 15), the axes sharing the head's pairs equally.

    Args:
        positions: ``(..., L, axes)``; need not be integers.
        head_dim: size of one head, at least ``2 * axes``; pairs that do not divide evenly are not rotated.
        base: the longest wavelength is about ``2 pi base`` steps.

    Returns:
        ``(..., L, head_dim / 2)`` for :func:`rotate`.
    """
    axes, pairs = positions.shape[-1], head_dim // 2
    share = pairs // axes
    frequencies = base ** -(torch.arange(share, device=positions.device) / share)
    angles = (positions.float()[..., None] * frequencies).flatten(-2)
    return F.pad(angles, (0, pairs - axes * share))


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn the pairs ``(x[i], x[i + D/2])`` of ``x (B, heads, L, D)`` by ``angles (L, D/2)`` or ``(B, L, D/2)``."""
    if angles.dim() == 3:
        angles = angles[:, None]
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class Attention(nn.Module):
    """Scaled dot-product attention (Vaswani et al. 2017) with RMS-normalised queries and keys (Henry et al. 2020),
    which keeps the logits bounded in low precision.

    Args:
        dim: size of the queries' and the result's last axis.
        heads: must divide ``dim``.
        context_dim: size of the context's last axis; None for self-attention.
        qk_norm: normalise queries and keys per head.

    Raises:
        ValueError: if ``heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, heads: int, context_dim: int | None = None, qk_norm: bool = True) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} attention heads do not divide a width of {dim}")
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim if context_dim is None else context_dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.query_norm = nn.RMSNorm(dim // heads, eps=1e-6) if qk_norm else nn.Identity()
        self.key_norm = nn.RMSNorm(dim // heads, eps=1e-6) if qk_norm else nn.Identity()

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        angles: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            x: queries ``(B, L, dim)``.
            context: what is attended to, ``(B, M, context_dim)``; None for ``x`` itself.
            mask: bool, which keys count: ``(B, M)``, or ``(B, L, M)`` for a choice per query. A query that may look at
                nothing gets the output's bias.
            bias: added to the logits, ``(B, heads, L, M)`` or broadcastable to it.
            angles: of :func:`rotary_angles`, for self-attention.

        Returns:
            ``(B, L, dim)``.
        """
        query = self.query_norm(self._split(self.query(x)))
        key, value = self.key_value(x if context is None else context).chunk(2, dim=-1)
        key, value = self.key_norm(self._split(key)), self._split(value)
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        if mask is not None:
            mask = mask[:, None, None, :] if mask.dim() == 2 else mask[:, None]
        if bias is not None:
            bias = bias.to(query.dtype)
            mask = bias if mask is None else torch.where(mask, bias, -torch.inf)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        merged: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return merged

    def _split(self, x: Tensor) -> Tensor:
        """``(B, L, dim)`` -> ``(B, heads, L, dim / heads)``."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)
