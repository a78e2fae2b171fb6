"""The blocks of the space-time transformer, and its head."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise import nn as blocks


def across_frames(
    attention: blocks.Attention, h: Tensor, mask: Tensor, angles: Tensor, span: int, shift: int = 0
) -> Tensor:
    """Attention that lets frames see each other.

    Args:
        attention: what is used.
        h: ``(B, F, S, dim)``, S places of F frames.
        mask: bool ``(B, F)``, which frames are real.
        angles: rotary positions: of F frames without a span, else of ``span * S`` places.
        span: 0 for every place to itself in all frames; else all places of groups of so many frames that follow each
            other, where a group of one needs no mask: it is real or it is not.
        shift: by how many frames the borders between groups are moved, below ``span``.

    Returns:
        The shape of ``h``.
    """
    batch, count, places = h.shape[:3]
    if not span:
        real = mask.repeat_interleave(places, 0)
        mixed = attention(rearrange(h, "b f s d -> (b s) f d"), mask=real, angles=angles)
        return rearrange(mixed, "(b s) f d -> b f s d", b=batch)
    ends = (shift, -(count + shift) % span)
    groups = rearrange(F.pad(h, (0, 0, 0, 0, *ends)), "b (g f) s d -> (b g) (f s) d", f=span)
    real = rearrange(F.pad(mask, ends), "b (g f) -> (b g) f", f=span).repeat_interleave(places, 1)
    mixed = attention(groups, mask=real if span > 1 else None, angles=angles)
    mixed = rearrange(mixed, "(b g) (f s) d -> b (g f) s d", b=batch, f=span)
    return mixed[:, shift : shift + count]


class FactorBlock(nn.Module):
    """A transformer block whose attention is along space, within groups of ``span`` frames that follow each other, or
    (0) along time at one place: behind adaLN-Zero (Peebles & Xie 2023), with attention to a context and an MLP as in
    :class:`unnoise.nn.TransformerBlock`. Cost grows linearly with frames in the first case, and with places in the
    second.

    Args:
        dim: size of the last axis.
        heads: attention heads.
        cond_dim: size of the vector of every frame.
        context_dim: size of the context tokens; 0 for a block without cross-attention.
        mlp_ratio: width of the MLP over ``dim``.
        span, shift: see :func:`across_frames`; blocks with different shifts see across each other's borders ("Swin",
            Liu et al. 2021).
    """

    def __init__(
        self, dim: int, heads: int, cond_dim: int, context_dim: int, mlp_ratio: float, span: int, shift: int = 0
    ) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.span, self.shift = span, shift
        self.attention_norm = blocks.AdaLN(dim, cond_dim)
        self.attention = blocks.Attention(dim, heads)
        self.cross_norm = blocks.AdaLN(dim, cond_dim) if context_dim else None
        self.cross = blocks.Attention(dim, heads, context_dim) if context_dim else None
        self.mlp_norm = blocks.AdaLN(dim, cond_dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dim))

    def forward(
        self,
        x: Tensor,
        cond: Tensor,
        mask: Tensor,
        angles: Tensor,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> Tensor:
        """``x (B, F, S, dim)`` -> the same shape.

        Args:
            x: S tokens of F frames.
            cond: ``(B, F, cond_dim)`` or ``(B, 1, cond_dim)``.
            mask: bool ``(B, F)``, which frames are real.
            angles: rotary positions, of frames if this block is along time, else of the places of a group.
            context: ``(B, M, context_dim)``; its mask bool ``(B, M)``.
        """
        h, gate = self.attention_norm(x, cond)
        x = x + gate * across_frames(self.attention, h, mask, angles, self.span, self.shift)
        if self.cross is not None and self.cross_norm is not None and context is not None:
            h, gate = self.cross_norm(x, cond)
            seen = self.cross(h.flatten(1, 2), context, mask=context_mask)
            x = x + gate * seen.reshape(x.shape)
        h, gate = self.mlp_norm(x, cond)
        result: Tensor = x + gate * self.mlp(h)
        return result


class Head(nn.Module):
    """From tokens to frames by convolutions at a finer grid, which see the noised frames too: what the tokens tell
    need not hold the noise, and squares join without a seam (after "U-ViT", Bao et al. 2023, section 3.1).

    Args:
        channels: of the frames.
        width: of a token.
        inner: channels of the finer grid.
        patch: side of a token's square.
        fold: side of the squares that make up one of its places; divides ``patch``.
        cond_dim: size of the vector of every frame.
    """

    def __init__(self, channels: int, width: int, inner: int, patch: int, fold: int, cond_dim: int) -> None:
        super().__init__()
        self.square, self.fold = (patch // fold, patch // fold), fold
        self.spread = nn.Linear(width, inner * (patch // fold) ** 2)
        self.block = blocks.ResidualBlock(2, inner + channels * fold**2, inner, cond_dim)
        self.out = blocks.conv_nd(2, inner, channels * fold**2, 3)
        blocks.zero_(self.out)

    def forward(self, tokens: Tensor, frames: Tensor, cond: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens ``(N, S, width)``, frames ``(N, channels, height, width)``, cond ``(N, cond_dim)`` -> the shape of
        the frames.
        """
        told = blocks.unpatchify(self.spread(tokens), self.square, grid)
        seen = F.pixel_unshuffle(frames, self.fold)
        made = self.out(F.silu(self.block(torch.cat([told, seen], 1), cond)))
        return F.pixel_shuffle(made, self.fold)
