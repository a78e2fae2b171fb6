"""Denoiser networks for frames of bands: spectra, mel bands or latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise import nn as blocks
from unnoise.contracts import Context, MapShape, Network, Place
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.level import Level
from unnoise.state import State


class FrameNetwork(Network):
    """What both networks share: the one part they denoise, the vector that tells them of level, condition and length,
    the condition's tokens and its curves.

    Args:
        layout: one gaussian part ``(frames, bands, channels)`` over a variable axis.
        context_dim: size of the embedded condition; 0 for none.
        maps: shapes of the curves that are joined to the input.
        width: channels that curves are given.
        cond_dim: size of the vector.
        cross_attention: whether the condition's tokens are attended to.

    Raises:
        UserError: if the layout is another, there is nothing to attend to, or a map is no curve.
    """

    def __init__(
        self,
        layout: Layout,
        context_dim: int,
        maps: Sequence[MapShape],
        width: int,
        cond_dim: int,
        cross_attention: bool,
    ) -> None:
        super().__init__()
        self.part = frame_part(layout)
        (self.axis,) = self.part.variable_axes
        self.bands, self.channels = self.part.fixed_shape
        self.level = blocks.Conditioning(cond_dim, context_dim, cross_attention, item="sound")
        self.length = blocks.ScalarEmbedding(cond_dim, low=1e-3, high=1.0, sinusoidal=32)
        if any(len(shape.points) != 1 for shape in maps):
            raise UserError("this denoiser takes curves, no other maps", "leave the map out of conditions.use")
        self.curves = blocks.JoinCurves(maps[0].channels, width) if maps else None

    def conditioning(self, level: Level, context: Context | None, mask: Tensor) -> blocks.Told:
        """The vector ``(B, cond_dim)``, and the tokens to attend to with their mask.

        Raises:
            UserError: if the noise level varies within a sound, or there are tokens and nothing attends to them.
        """
        vector, tokens, token_mask = self.level.told(level.c_noise[self.part.name], context)
        return vector + self.length(mask.sum(1)), tokens, token_mask

    def joined(self, context: Context | None, mask: Tensor, step: int) -> Tensor | None:
        """The curves at every ``step`` frames, ``(B, frames / step, width)``; None for a model that is told none."""
        if self.curves is None or context is None:
            return None
        joined: Tensor = self.curves(context.maps, mask, step)
        return joined


class FrameTransformer(FrameNetwork):
    """A transformer over frames with adaLN-Zero (Peebles & Xie 2023). It knows distances in time by rotary positions
    (Su et al. 2021), and where a sound begins by a fixed embedding of each token's place (Vaswani et al. 2017): out of
    noise alone, nothing else would tell it. Curves are added to the tokens.

    Args:
        layout, context_dim, cross_attention, maps: see :class:`FrameNetwork`.
        width: channels of every token.
        depth: number of blocks.
        head_dim: channels per attention head; divides ``width``.
        patch: frames that make up a token.
        mlp_ratio: width of a block's MLP over ``width``.
        cond_dim: size of the vector that tells of level, condition and length; ``width`` if left out.
    """

    def __init__(
        self,
        layout: Layout,
        context_dim: int,
        width: int = 256,
        depth: int = 6,
        head_dim: int = 32,
        patch: int = 2,
        mlp_ratio: float = 3.0,
        cond_dim: int | None = None,
        cross_attention: bool = False,
        maps: Sequence[MapShape] = (),
    ) -> None:
        cond_dim = cond_dim or width
        super().__init__(layout, context_dim, maps, width, cond_dim, cross_attention)
        if head_dim < 1 or width % head_dim or patch < 1:
            fix = "head_dim divides width; patch is at least 1"
            raise UserError(f"denoiser.width={width}, head_dim={head_dim}, patch={patch}", fix)
        self.patch, self.head_dim = patch, head_dim
        values = self.bands * self.channels * patch
        self.embed = nn.Linear(values, width)
        self.transformer = blocks.Transformer(
            width, depth, width // head_dim, cond_dim, self.level.token_dim, mlp_ratio
        )
        self.norm_out = blocks.AdaLN(width, cond_dim)
        self.out = nn.Linear(width, values)
        blocks.zero_(self.out)

    def forward(
        self,
        x: State,
        level: Level,
        context: Context | None,
        previous: Mapping[str, Tensor] | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """As :class:`Network`. ``residuals[i] (B, tokens, width)`` is added after block i."""
        mask, count = x.masks[self.axis], x.parts[self.part.name].shape[1]
        h, cond, told = self._told(x, level, context)
        h = self.transformer(h, cond, mask[:, :: self.patch], residuals=residuals, **told)
        h = self.out(self.norm_out(h, cond)[0])
        return {self.part.name: h.reshape(len(h), -1, self.bands, self.channels)[:, :count]}

    def features(
        self, x: State, level: Level, context: Context | None, previous: Mapping[str, Tensor] | None = None
    ) -> list[Tensor]:
        h, cond, told = self._told(x, level, context)
        return list(self.transformer.features(h, cond, x.masks[self.axis][:, :: self.patch], **told))

    def cut(self, blocks: int | None = None) -> list[Place]:
        del self.norm_out, self.out
        return self.transformer.cut(blocks)

    def _told(self, x: State, level: Level, context: Context | None) -> tuple[Tensor, Tensor, dict[str, Tensor | None]]:
        """Tokens ``(B, tokens, width)`` with their positions and curves, the vector, and what else blocks are told."""
        frames, mask = x.parts[self.part.name].flatten(2), x.masks[self.axis]
        cond, tokens, token_mask = self.conditioning(level, context, mask)
        count = frames.shape[1]
        short = -count % self.patch
        h = self.embed(F.pad(frames, (0, 0, 0, short)).reshape(len(frames), -(-count // self.patch), -1))
        curves = self.joined(context, mask, self.patch)
        h = h if curves is None else h + curves
        positions = torch.arange(h.shape[1], device=h.device)[:, None]
        h = h + blocks.position_embedding(positions, h.shape[2]).to(h.dtype)
        angles = blocks.rotary_angles(positions, self.head_dim)
        return h, cond, {"context": tokens, "context_mask": token_mask, "angles": angles}


class UNet(FrameNetwork):
    """A convolutional U-Net over frames and bands (Ronneberger et al. 2015; Ho et al. 2020). Every layer keeps to the
    mask of frames, so that padding changes nothing. Curves are further channels of the input, alike in all bands.

    Args:
        layout, context_dim, cross_attention, cond_dim, maps: see :class:`FrameNetwork`.
        channels: width of every level, finest first; both sides halve from one to the next.
        depth: residual blocks per level.
        attention: for every level, whether its blocks are followed by attention over all positions.
        head_dim: channels per attention head.
        patch: frames and bands that are taken together at first; the bands divide by it.
        dropout: probability, in residual blocks.
    """

    place: Tensor

    def __init__(
        self,
        layout: Layout,
        context_dim: int,
        channels: Sequence[int] = (32, 64, 96),
        depth: int = 1,
        attention: Sequence[bool] = (False, False, True),
        head_dim: int = 32,
        cond_dim: int = 128,
        cross_attention: bool = False,
        patch: Sequence[int] = (2, 4),
        dropout: float = 0.0,
        maps: Sequence[MapShape] = (),
    ) -> None:
        super().__init__(layout, context_dim, maps, channels[0], cond_dim, cross_attention)
        if len(patch) != 2 or min(patch) < 1 or self.bands % patch[1]:
            raise UserError(
                f"denoiser.patch={list(patch)} does not fit {self.bands} bands",
                "two numbers: frames, and bands that divide them",
            )
        self.patch = (patch[0], patch[1])
        width = self.channels * patch[0] * patch[1]
        inputs = width + 1 + (channels[0] if maps else 0)
        # A convolution does not know how high it is, but bands are not alike.
        self.register_buffer("place", torch.linspace(-1, 1, self.bands // patch[1]), persistent=False)
        self.unet = blocks.UNet(
            2, inputs, width, channels, depth, attention, cond_dim, self.level.token_dim, head_dim, dropout
        )

    def forward(
        self,
        x: State,
        level: Level,
        context: Context | None,
        previous: Mapping[str, Tensor] | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """As :class:`Network`. ``residuals``: one tensor per skip connection, finest first, then one for the middle."""
        mask = x.masks[self.axis]
        cond, tokens, token_mask = self.conditioning(level, context, mask)
        grid = x.parts[self.part.name].permute(0, 3, 1, 2)
        count = grid.shape[2]
        grid = blocks.space_to_depth(F.pad(grid, (0, 0, 0, -count % self.patch[0])), self.patch)
        told = [self.place.to(grid.dtype).expand(len(grid), 1, grid.shape[2], -1)]
        curves = self.joined(context, mask, self.patch[0])
        if curves is not None:
            told.append(curves.transpose(1, 2)[..., None].expand(-1, -1, -1, grid.shape[3]))
        real = mask[:, :: self.patch[0], None]
        grid = self.unet(torch.cat([grid, *told], 1), cond, tokens, token_mask, residuals, real)
        made = blocks.depth_to_space(grid, self.patch)[:, :, :count]
        return {self.part.name: made.permute(0, 2, 3, 1)}


def frame_part(layout: Layout) -> Part:
    """The only part of a layout, frames of bands.

    Raises:
        UserError: if the layout is another.
    """
    part = layout.sole(1, 2)
    if part is None:
        raise UserError(
            f"this denoiser takes one gaussian part (frames, bands, channels), not {', '.join(layout.names)}",
            "choose a representation of sounds: representation=spectrum",
        )
    return part
