"""Multi-head attention over sets and sequences, to itself or to a context."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.nn.adaln import make_norm


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


def head_count(channels: int, head_dim: int) -> int:
    """How many attention heads of at least ``head_dim`` channels divide ``channels``; 1 where they are fewer."""
    return next(n for n in range(max(channels // head_dim, 1), 0, -1) if channels % n == 0)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """``F.scaled_dot_product_attention`` of ``(B, heads, L, D)``, which on a CPU is computed in at least float32: its
    bfloat16 kernel there takes about ten times as long.
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    dtype = torch.promote_types(query.dtype, torch.float32)
    if mask is not None and mask.is_floating_point():
        mask = mask.to(dtype)
    with torch.autocast("cpu", enabled=False):
        attended = F.scaled_dot_product_attention(query.to(dtype), key.to(dtype), value.to(dtype), attn_mask=mask)
    return attended.to(query.dtype)


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
        self.query_norm = make_norm("rms", dim // heads) if qk_norm else nn.Identity()
        self.key_norm = make_norm("rms", dim // heads) if qk_norm else nn.Identity()

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
        attended = attend(query, key, value, mask)
        merged: Tensor = self.out(rearrange(attended, "b h l d -> b l (h d)"))
        return merged

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b l (h d) -> b h l d", h=self.heads)
