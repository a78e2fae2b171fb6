"""Denoiser networks for a grid of channels: pixels or latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from unnoise import nn as blocks
from unnoise.contracts import Context, MapShape, Network, Place
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.level import Level
from unnoise.state import State


class GridNetwork(Network):
    """What both networks share: the one part they denoise, the vector that tells them of level and condition, and the
    condition's tokens and maps.

    Args:
        layout: one gaussian part ``(channels, height, width)``.
        context_dim: size of the embedded condition; 0 for none.
        cond_dim: size of the vector.
        cross_attention: whether the condition's tokens are attended to.
        patch: side of the blocks of pixels that are taken together.
        maps: shapes of the maps that are joined to the input.
        width: channels that these are given.

    Raises:
        UserError: if the layout is another, ``patch`` does not divide the sides, there is nothing to attend to, or a
            map is no picture.
    """

    def __init__(
        self,
        layout: Layout,
        context_dim: int,
        cond_dim: int,
        cross_attention: bool,
        patch: int,
        maps: Sequence[MapShape],
        width: int,
    ) -> None:
        super().__init__()
        self.part = grid_part(layout)
        self.channels, *sides = self.part.fixed_shape
        if any(side % patch for side in sides):
            raise UserError(
                f"denoiser.patch={patch} does not divide {sides[0]}x{sides[1]}", "choose a divisor of both sides"
            )
        self.patch, self.sides = (patch, patch), (sides[0] // patch, sides[1] // patch)
        self.level = blocks.Conditioning(cond_dim, context_dim, cross_attention, item="picture")
        self.maps = blocks.JoinMaps(maps, width, self.sides) if maps else None

    def joined(self, context: Context | None) -> Tensor | None:
        """The maps on the grid, ``(B, width, *sides)``; None for a model that is told none."""
        if self.maps is None or context is None:
            return None
        joined: Tensor = self.maps(context.maps)
        return joined

    def conditioning(self, level: Level, context: Context | None) -> blocks.Told:
        """The vector ``(B, cond_dim)``, and the tokens to attend to with their mask.

        Raises:
            UserError: if the noise level varies within a picture, or there are tokens and nothing attends to them.
        """
        return self.level.told(level.c_noise[self.part.name], context)


class UNet(GridNetwork):
    """A convolutional U-Net (Ho et al. 2020; Dhariwal & Nichol 2021).

    Args:
        layout, context_dim, cond_dim, cross_attention, patch, maps: see :class:`GridNetwork`.
        channels: width of every level, finest first; sides halve from one to the next.
        depth: residual blocks per level.
        attention: for every level, whether its blocks are followed by attention over all positions.
        head_dim: channels per attention head.
        dropout: probability, in residual blocks.
    """

    def __init__(
        self,
        layout: Layout,
        context_dim: int,
        channels: Sequence[int] = (32, 64),
        depth: int = 1,
        attention: Sequence[bool] = (False, True),
        head_dim: int = 32,
        cond_dim: int = 128,
        cross_attention: bool = False,
        patch: int = 1,
        dropout: float = 0.0,
        maps: Sequence[MapShape] = (),
    ) -> None:
        super().__init__(layout, context_dim, cond_dim, cross_attention, patch, maps, channels[0])
        width = self.channels * patch**2
        self.unet = blocks.UNet(
            2, width, width, channels, depth, attention, cond_dim, self.level.token_dim, head_dim, dropout
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
        cond, tokens, mask = self.conditioning(level, context)
        grid = blocks.space_to_depth(x.parts[self.part.name], self.patch)
        grid = self.unet(grid, cond, tokens, mask, residuals, hint=self.joined(context))
        return {self.part.name: blocks.depth_to_space(grid, self.patch)}

    def features(
        self, x: State, level: Level, context: Context | None, previous: Mapping[str, Tensor] | None = None
    ) -> list[Tensor]:
        cond, tokens, mask = self.conditioning(level, context)
        grid = blocks.space_to_depth(x.parts[self.part.name], self.patch)
        made: list[Tensor] = self.unet.features(grid, cond, tokens, mask, hint=self.joined(context))
        return made

    def cut(self, blocks: int | None = None) -> list[Place]:
        return self.unet.cut(blocks)


class DiT(GridNetwork):
    """A transformer over patches (Peebles & Xie 2023) with fixed positions and, where asked for, cross-attention.

    Args:
        layout, context_dim, cross_attention, patch, maps: see :class:`GridNetwork`.
        width: channels of every patch.
        depth: number of blocks.
        head_dim: channels per attention head; divides ``width``.
        mlp_ratio: width of a block's MLP over ``width``.
        cond_dim: size of the vector that tells of level and condition; ``width`` if left out.
    """

    positions: Tensor

    def __init__(
        self,
        layout: Layout,
        context_dim: int,
        width: int = 192,
        depth: int = 6,
        head_dim: int = 32,
        patch: int = 2,
        mlp_ratio: float = 4.0,
        cond_dim: int | None = None,
        cross_attention: bool = False,
        maps: Sequence[MapShape] = (),
    ) -> None:
        cond_dim = cond_dim or width
        super().__init__(layout, context_dim, cond_dim, cross_attention, patch, maps, width)
        if width % head_dim:
            raise UserError(f"denoiser.head_dim={head_dim} does not divide denoiser.width={width}", "choose a divisor")
        values = self.channels * patch**2
        self.embed = nn.Linear(values, width)
        heads = width // head_dim
        self.transformer = blocks.Transformer(width, depth, heads, cond_dim, self.level.token_dim, mlp_ratio)
        self.norm_out = blocks.AdaLN(width, cond_dim)
        self.out = nn.Linear(width, values)
        blocks.zero_(self.out)
        positions = blocks.position_embedding(blocks.grid_positions(self.sides), width)
        self.register_buffer("positions", positions, persistent=False)

    def forward(
        self,
        x: State,
        level: Level,
        context: Context | None,
        previous: Mapping[str, Tensor] | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """As :class:`Network`. ``residuals[i] (B, patches, dim)`` is added after block i."""
        cond, tokens, mask = self.conditioning(level, context)
        h = self._embedded(x, context)
        h = self.transformer(h, cond, context=tokens, context_mask=mask, residuals=residuals)
        h, _ = self.norm_out(h, cond)
        return {self.part.name: blocks.unpatchify(self.out(h), self.patch, self.sides)}

    def features(
        self, x: State, level: Level, context: Context | None, previous: Mapping[str, Tensor] | None = None
    ) -> list[Tensor]:
        cond, tokens, mask = self.conditioning(level, context)
        return list(self.transformer.features(self._embedded(x, context), cond, context=tokens, context_mask=mask))

    def cut(self, blocks: int | None = None) -> list[Place]:
        del self.norm_out, self.out
        return self.transformer.cut(blocks)

    def _embedded(self, x: State, context: Context | None) -> Tensor:
        """Tokens ``(B, patches, width)``, with their positions and the maps there."""
        h: Tensor = self.embed(blocks.patchify(x.parts[self.part.name], self.patch)) + self.positions
        joined = self.joined(context)
        return h if joined is None else h + joined.flatten(2).transpose(1, 2)


def grid_part(layout: Layout) -> Part:
    """The only part of a layout, a fixed grid of channels.

    Raises:
        UserError: if the layout is another.
    """
    part = layout.sole(0, 3)
    if part is None:
        raise UserError(
            f"this denoiser takes one gaussian part (channels, height, width), not {', '.join(layout.names)}",
            "choose a representation of pictures: representation=pixels or representation=latents",
        )
    return part
