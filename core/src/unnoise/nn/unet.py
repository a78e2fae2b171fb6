"""A U-Net for sequences, pictures and volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.contracts import Place
from unnoise.errors import UserError
from unnoise.nn.adaln import zero_
from unnoise.nn.attention import head_count
from unnoise.nn.conv import Downsample, ResidualBlock, Upsample, coarser, conv_nd, group_norm, keep
from unnoise.nn.transformer import TransformerBlock


class SpatialTransformer(nn.Module):
    """A transformer block over all positions of a grid; the identity before training.

    Args:
        channels: channels of the grid.
        head_dim: least channels per attention head; there are as many heads as this allows and divide ``channels``.
        cond_dim, context_dim, mlp_ratio: see :class:`unnoise.nn.transformer.TransformerBlock`.
    """

    def __init__(self, channels: int, head_dim: int, cond_dim: int, context_dim: int, mlp_ratio: float = 2.0) -> None:
        super().__init__()
        heads = head_count(channels, head_dim)
        self.block = TransformerBlock(channels, heads, cond_dim, context_dim, mlp_ratio)

    def forward(
        self, x: Tensor, cond: Tensor, context: Tensor | None, context_mask: Tensor | None, mask: Tensor | None = None
    ) -> Tensor:
        """``x (B, channels, *space)`` -> the same shape."""
        tokens = rearrange(x, "b c ... -> b (...) c")
        real = None if mask is None else mask.expand(len(x), *x.shape[2:]).flatten(1)
        mixed: Tensor = self.block(tokens, cond, real, context, context_mask)
        return keep(mixed.transpose(1, 2).reshape(x.shape), mask)


class UNetStage(nn.Module):
    """A residual block and, where asked for, a spatial transformer, then a module that mixes items of the batch."""

    def __init__(
        self, block: ResidualBlock, attention: SpatialTransformer | None, mixer: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.block = block
        self.attention = attention
        self.mixer = mixer

    def forward(
        self,
        x: Tensor,
        cond: Tensor,
        context: Tensor | None,
        context_mask: Tensor | None,
        mask: Tensor | None = None,
        together: Tensor | None = None,
    ) -> Tensor:
        x = self.block(x, cond, mask)
        if self.attention is not None:
            x = self.attention(x, cond, context, context_mask, mask)
        return x if self.mixer is None else self.mixer(x, cond, together)


class UNet(nn.Module):
    """Down a ladder of resolutions and up again, with skip connections (Ronneberger et al. 2015; Ho et al. 2020).

    Spatial sizes need not be powers of two: a step down rounds up, a step up returns to the size of its skip.

    Args:
        dims: number of spatial axes, 1 to 3.
        inputs, outputs: channels. The output starts at zero.
        channels: width of every level, finest first.
        blocks: residual blocks per level on the way down; one more on the way up.
        attention: for every level, whether its blocks are followed by a spatial transformer. The middle always has one
            if any level has.
        cond_dim: size of the condition vector.
        context_dim: size of the context tokens; 0 for none.
        head_dim: channels per attention head.
        dropout: probability.
        mixer: makes, for a stage's width and whether it attends over space, a module that follows it, or none; it is
            called with the grid, ``cond`` and ``together``, and may let items of the batch see each other (the frames
            of a clip).

    Raises:
        UserError: if ``attention`` and ``channels`` differ in length, or there is a context that no level attends to.
    """

    def __init__(
        self,
        dims: int,
        inputs: int,
        outputs: int,
        channels: Sequence[int],
        blocks: int,
        attention: Sequence[bool],
        cond_dim: int,
        context_dim: int = 0,
        head_dim: int = 64,
        dropout: float = 0.0,
        mixer: Callable[[int, bool], nn.Module | None] | None = None,
    ) -> None:
        super().__init__()
        if len(attention) != len(channels):
            raise UserError(
                f"denoiser.attention has {len(attention)} entries for {len(channels)} levels",
                "give one true or false per entry of denoiser.channels",
            )
        if context_dim and not any(attention):
            raise UserError("denoiser.cross_attention=true, but no level attends", "set an entry of denoiser.attention")

        def stage(width_in: int, width: int, attend: bool) -> UNetStage:
            block = ResidualBlock(dims, width_in, width, cond_dim, dropout)
            spatial = SpatialTransformer(width, head_dim, cond_dim, context_dim) if attend else None
            return UNetStage(block, spatial, mixer(width, attend) if mixer else None)

        self.conv_in = conv_nd(dims, inputs, channels[0], 3)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        widths = [channels[0]]
        for level, width in enumerate(channels):
            if level:
                self.down.append(Downsample(dims, widths[-1], width))
                widths.append(width)
            for _ in range(blocks):
                self.down.append(stage(widths[-1], width, attention[level]))
                widths.append(width)
        current = widths[-1]
        self.middle = nn.ModuleList([stage(current, current, any(attention)), stage(current, current, False)])
        self.skips, self.widths = len(widths), [*widths, current]
        for level, width in reversed(list(enumerate(channels))):
            for _ in range(blocks + 1):
                self.up.append(stage(current + widths.pop(), width, attention[level]))
                current = width
            if level:
                self.up.append(Upsample(dims, width, width))
        self.norm_out = group_norm(current)
        self.conv_out = conv_nd(dims, current, outputs, 3)
        zero_(self.conv_out)

    def forward(
        self,
        x: Tensor,
        cond: Tensor,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
        residuals: Sequence[Tensor] | None = None,
        mask: Tensor | None = None,
        together: Tensor | None = None,
        hint: Tensor | None = None,
    ) -> Tensor:
        """``x (B, inputs, *space)`` -> ``(B, outputs, *space)``.

        Args:
            x: the input.
            cond: ``(B, cond_dim)``.
            context: ``(B, M, context_dim)``.
            context_mask: bool ``(B, M)``.
            residuals: one tensor per skip connection, finest first, then one for the middle: ``self.skips + 1``
                of them, each added there (the places of Zhang et al. 2023, figure 3).
            mask: bool ``(B, *space)``, which elements are real (:func:`unnoise.nn.conv.keep`). Where there is one,
                padding changes nothing.
            together: what the mixers are told.
            hint: ``(B, channels[0], *space)``, added behind the first convolution.

        Raises:
            ValueError: if the number of residuals is another.
        """
        if residuals is not None and len(residuals) != self.skips + 1:
            raise ValueError(f"this U-Net takes {self.skips + 1} residuals, not {len(residuals)}")
        *skips, x = self.features(x, cond, context, context_mask, mask, together, hint)
        masks = [mask]
        for module in self.down:
            if isinstance(module, Downsample):
                masks.append(coarser(masks[-1]))
        if residuals is not None:
            skips = [skip + residual for skip, residual in zip(skips, residuals, strict=False)]
            x = x + residuals[-1]
        for module in self.up:
            if isinstance(module, Upsample):
                masks.pop()
                x = module(x, tuple(skips[-1].shape[2:]), masks[-1])
            else:
                x = module(torch.cat([x, skips.pop()], dim=1), cond, context, context_mask, masks[-1], together)
        return keep(self.conv_out(keep(F.silu(self.norm_out(x, mask)), mask)), mask)

    def features(
        self,
        x: Tensor,
        cond: Tensor,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
        mask: Tensor | None = None,
        together: Tensor | None = None,
        hint: Tensor | None = None,
    ) -> list[Tensor]:
        """What every skip connection carries, finest first, then what the middle gives; arguments as for
        :meth:`forward`.
        """
        x = self.conv_in(keep(x, mask))
        x = keep(x if hint is None else x + hint, mask)
        made = [x]
        for module in self.down:
            if isinstance(module, Downsample):
                mask = coarser(mask)
                x = keep(module(x), mask)
            else:
                x = module(x, cond, context, context_mask, mask, together)
            made.append(x)
        for module in self.middle:
            x = module(x, cond, context, context_mask, mask, together)
        return [*made, x]

    def cut(self, blocks: int | None = None) -> list[Place]:
        """Drop the way up; returns the places of what is left.

        Raises:
            UserError: for a number of blocks, as the way down is one piece.
        """
        if blocks is not None:
            raise UserError(f"control.blocks={blocks}, but a U-Net's way down is one piece", "leave control.blocks out")
        del self.up, self.norm_out, self.conv_out
        return [Place(width, 1) for width in self.widths]
