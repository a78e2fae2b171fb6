"""Transformer blocks that see a condition vector, a context and a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from unnoise.contracts import Place
from unnoise.errors import UserError
from unnoise.nn.adaln import AdaLN, Norm
from unnoise.nn.attention import Attention


class TransformerBlock(nn.Module):
    """Self-attention, attention to a context (if ``context_dim``) and an MLP, each behind adaLN-Zero (Peebles & Xie
    2023): the block is the identity before training.

    Args:
        dim: size of the last axis.
        heads: attention heads.
        cond_dim: size of the condition vector.
        context_dim: size of the context tokens; 0 for a block without cross-attention.
        mlp_ratio: width of the MLP over ``dim``.
        norm: "layer" or "rms".
    """

    def __init__(
        self, dim: int, heads: int, cond_dim: int, context_dim: int = 0, mlp_ratio: float = 4.0, norm: Norm = "layer"
    ) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.attention_norm = AdaLN(dim, cond_dim, norm)
        self.attention = Attention(dim, heads)
        self.cross_norm = AdaLN(dim, cond_dim, norm) if context_dim else None
        self.cross = Attention(dim, heads, context_dim) if context_dim else None
        self.mlp_norm = AdaLN(dim, cond_dim, norm)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dim))

    def forward(
        self,
        x: Tensor,
        cond: Tensor,
        mask: Tensor | None = None,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
        bias: Tensor | None = None,
        angles: Tensor | None = None,
    ) -> Tensor:
        """``x (B, L, dim)`` -> ``(B, L, dim)``.

        Args:
            x: the tokens.
            cond: ``(B, cond_dim)`` or ``(B, L, cond_dim)``.
            mask: bool ``(B, L)``, which tokens are real.
            context: ``(B, M, context_dim)``; without it the cross-attention is left out.
            context_mask: bool ``(B, M)``.
            bias: added to the logits of the self-attention, ``(B, heads, L, L)``.
            angles: rotary positions, see :func:`unnoise.nn.attention.rotary_angles`.
        """
        h, gate = self.attention_norm(x, cond)
        x = x + gate * self.attention(h, mask=mask, bias=bias, angles=angles)
        if self.cross is not None and self.cross_norm is not None and context is not None:
            h, gate = self.cross_norm(x, cond)
            x = x + gate * self.cross(h, context, mask=context_mask)
        h, gate = self.mlp_norm(x, cond)
        result: Tensor = x + gate * self.mlp(h)
        return result


class Transformer(nn.Module):
    """A stack of ``depth`` blocks over a masked set or sequence; other arguments as for :class:`TransformerBlock`."""

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        cond_dim: int,
        context_dim: int = 0,
        mlp_ratio: float = 4.0,
        norm: Norm = "layer",
    ) -> None:
        super().__init__()
        self.dim = dim
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, heads, cond_dim, context_dim, mlp_ratio, norm) for _ in range(depth)
        )

    def forward(
        self,
        x: Tensor,
        cond: Tensor,
        mask: Tensor | None = None,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
        bias: Tensor | None = None,
        angles: Tensor | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """As :meth:`TransformerBlock.forward`; ``residuals[i] (B, L, dim)`` is added after block i.

        Raises:
            ValueError: if there are more residuals than blocks.
        """
        for made in self.features(x, cond, mask, context, context_mask, bias, angles, residuals):
            x = made
        return x

    def features(
        self,
        x: Tensor,
        cond: Tensor,
        mask: Tensor | None = None,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
        bias: Tensor | None = None,
        angles: Tensor | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> Iterator[Tensor]:
        """What comes out of every block, one after the other; arguments as for :meth:`forward`."""
        residuals = residuals or ()
        if len(residuals) > len(self.blocks):
            raise ValueError(f"{len(residuals)} residuals for {len(self.blocks)} transformer blocks")
        for i, block in enumerate(self.blocks):
            x = block(x, cond, mask, context, context_mask, bias, angles)
            if i < len(residuals):
                x = x + residuals[i]
            yield x

    def cut(self, blocks: int | None = None) -> list[Place]:
        """Drop all but the first blocks (:func:`first_blocks`); returns the places after those that are left."""
        self.blocks = first_blocks(self.blocks, blocks)
        return [Place(self.dim, -1) for _ in self.blocks]


def first_blocks(blocks: nn.ModuleList, count: int | None = None) -> nn.ModuleList:
    """The first ``count`` blocks of a transformer; half of them, rounded up, if left out ("PixArt-delta", Chen et al.
    2024, section 3.2, copies about as many).

    Raises:
        UserError: if there are not so many.
    """
    count = -(-len(blocks) // 2) if count is None else count
    if not 1 <= count <= len(blocks):
        raise UserError(f"control.blocks={count}", f"the base has {len(blocks)} blocks; take from 1 to all of them")
    return blocks[:count]
