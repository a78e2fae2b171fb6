"""What both denoisers of clips share, and the space-time transformer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from unnoise import nn as blocks
from unnoise.contracts import Context, MapShape, Network, Place
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.level import Level
from unnoise.nn import first_blocks
from unnoise.state import State
from unnoise_video.spacetime import FactorBlock, Head


class ClipNetwork(Network):
    """What both networks share: the one part they denoise, the vector that tells every frame of its noise level and the
    condition, and the condition's tokens and maps. A level may be one for a clip, or one for each of its frames.

    Args:
        layout: one gaussian part ``(frames, channels, height, width)`` over a variable axis.
        context_dim: size of the embedded condition; 0 for none.
        cond_dim: size of the vector.
        cross_attention: whether the condition's tokens are attended to.
        patch: side of the squares that make up a token, or that are taken together first.
        maps: shapes of the maps that are joined to the input: over frames, height and width; or one picture for all
            frames; or a curve, one number for each frame.
        width: channels that these are given.

    Raises:
        UserError: if the layout is another, squares do not tile the frames, there is nothing to attend to, or a map is
            none of these.
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
        self.part = clip_part(layout)
        (self.axis,) = self.part.variable_axes
        self.channels, height, across = self.part.fixed_shape
        if patch < 1 or height % patch or across % patch:
            raise UserError(f"denoiser.patch={patch} does not tile {height}x{across}", "it divides both sides")
        self.patch, self.grid = patch, (height // patch, across // patch)
        self.level = blocks.Conditioning(cond_dim, context_dim, cross_attention)
        self.maps = blocks.JoinMaps(maps, width, self.grid, moving=True) if maps else None

    def joined(self, context: Context | None, mask: Tensor) -> Tensor | None:
        """The maps of every frame, ``(B, F, width, *grid)``; None for a model that is told none."""
        if self.maps is None or context is None:
            return None
        joined: Tensor = self.maps(context.maps, mask)
        return joined

    def conditioning(self, level: Level, context: Context | None) -> blocks.Told:
        """The vector ``(B, F, cond_dim)``, with F = 1 where all frames have one level, and the tokens to attend to with
        their mask.

        Raises:
            UserError: if there are tokens and nothing attends to them.
        """
        c_noise = level.c_noise[self.part.name]
        return self.level.told(c_noise[:, None] if c_noise.dim() == 1 else c_noise, context)


class SpaceTimeTransformer(ClipNetwork):
    """A transformer whose blocks attend in turn along space and along time ("Latte", Ma et al. 2024, variant 1; after
    Bertasius et al. 2021). With a span above 1 those along space see all places of some neighbouring frames, and so
    what moves. Rotary positions (Su et al. 2021) let it know distances in time and no others, so that it
    takes clips of any length; places are known by rotary and by fixed embeddings, as the borders of a picture are
    something.

    Args:
        layout, context_dim, cross_attention, maps: see :class:`ClipNetwork`.
        width: channels of every token.
        depth: number of blocks, even: half of them along space, half along time.
        head_dim: channels per attention head, a multiple of 4; divides ``width``.
        patch: side of a token's square.
        mlp_ratio: width of a block's MLP over ``width``.
        cond_dim: size of the vector that tells of level and condition; ``width`` if left out.
        head: channels of a :class:`Head`; 0 for none, only a linear map of each token.
        span: frames that attend to each other together in the blocks along space; groups of every second such block
            begin half a span later.
        fold: side of the squares that are one place of the head: 1 for full resolution; 2 costs a quarter of it.
    """

    places: Tensor
    place_angles: Tensor

    def __init__(
        self,
        layout: Layout,
        context_dim: int,
        width: int = 256,
        depth: int = 8,
        head_dim: int = 32,
        patch: int = 8,
        mlp_ratio: float = 3.0,
        cond_dim: int | None = None,
        cross_attention: bool = False,
        head: int = 0,
        fold: int = 1,
        span: int = 1,
        maps: Sequence[MapShape] = (),
    ) -> None:
        cond_dim = cond_dim or width
        super().__init__(layout, context_dim, cond_dim, cross_attention, patch, maps, width)
        if head_dim < 4 or head_dim % 4 or width % head_dim or depth < 2 or depth % 2 or head < 0:
            fix = "head_dim is a multiple of 4 and divides width; depth is even and at least 2, head at least 0"
            raise UserError(f"denoiser.width={width}, head_dim={head_dim}, depth={depth}, head={head}", fix)
        if fold < 1 or patch % fold:
            raise UserError(f"denoiser.fold={fold} does not divide denoiser.patch={patch}", "choose one that does")
        self.head_dim, self.width = head_dim, width
        values = self.channels * patch**2
        if span < 1:
            raise UserError(
                f"denoiser.span={span}", "1 for attention within a frame, or how many frames see each other"
            )
        places = blocks.grid_positions(self.grid)
        self.register_buffer("places", blocks.position_embedding(places, width), persistent=False)
        group = places if span == 1 else blocks.grid_positions((span, *self.grid))
        self.register_buffer("place_angles", blocks.rotary_angles(group, head_dim), persistent=False)
        self.embed = nn.Linear(values, width)
        self.blocks = nn.ModuleList(
            FactorBlock(
                width,
                width // head_dim,
                cond_dim,
                self.level.token_dim,
                mlp_ratio,
                span=0 if i % 2 else span,
                shift=span // 2 if i % 4 == 2 else 0,
            )
            for i in range(depth)
        )
        self.norm_out = blocks.AdaLN(width, cond_dim)
        self.head = Head(self.channels, width, head, patch, fold, cond_dim) if head else None
        self.out = nn.Linear(width, values) if not head else None
        if self.out is not None:
            blocks.zero_(self.out)

    def forward(
        self,
        x: State,
        level: Level,
        context: Context | None,
        previous: Mapping[str, Tensor] | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """As :class:`Network`. ``residuals[i] (B, F, places, width)`` is added after block i.

        Raises:
            ValueError: if there are more residuals than blocks.
        """
        frames = x.parts[self.part.name]
        cond, tokens, token_mask = self.conditioning(level, context)
        for h in self._through(x, context, cond, tokens, token_mask, residuals):
            last = h
        square = (self.patch, self.patch)
        h = self.norm_out(last, cond)[0].flatten(0, 1)
        if self.head is not None:
            every = cond.expand(-1, frames.shape[1], -1).flatten(0, 1)
            made = self.head(h, frames.flatten(0, 1), every, self.grid)
        else:
            assert self.out is not None
            made = blocks.unpatchify(self.out(h), square, self.grid)
        return {self.part.name: made.reshape(frames.shape)}

    def features(
        self, x: State, level: Level, context: Context | None, previous: Mapping[str, Tensor] | None = None
    ) -> list[Tensor]:
        return list(self._through(x, context, *self.conditioning(level, context)))

    def cut(self, blocks: int | None = None) -> list[Place]:
        del self.norm_out, self.head, self.out
        self.blocks = first_blocks(self.blocks, blocks)
        return [Place(self.width, -1) for _ in self.blocks]

    def _through(
        self,
        x: State,
        context: Context | None,
        cond: Tensor,
        tokens: Tensor | None,
        token_mask: Tensor | None,
        residuals: Sequence[Tensor] | None = None,
    ) -> Iterator[Tensor]:
        """What comes out of every block, ``(B, F, places, width)``."""
        frames, mask = x.parts[self.part.name], x.masks[self.axis]
        if residuals is not None and len(residuals) > len(self.blocks):
            raise ValueError(f"{len(residuals)} residuals for {len(self.blocks)} blocks")
        h = self.embed(blocks.patchify(frames.flatten(0, 1), (self.patch, self.patch))) + self.places
        h = h.reshape(*frames.shape[:2], -1, h.shape[-1])
        joined = self.joined(context, mask)
        h = h if joined is None else h + joined.flatten(3).transpose(2, 3)
        moments = blocks.rotary_angles(torch.arange(frames.shape[1], device=h.device)[:, None], self.head_dim)
        for i, block in enumerate(self.blocks):
            angles = moments if i % 2 else self.place_angles
            h = block(h, cond, mask, angles, tokens, token_mask)
            if residuals is not None and i < len(residuals):
                h = h + residuals[i]
            yield h


def clip_part(layout: Layout) -> Part:
    """The only part of a layout, pictures over time.

    Raises:
        UserError: if the layout is another.
    """
    part = layout.sole(1, 3)
    if part is None:
        raise UserError(
            f"this denoiser takes one gaussian part (frames, channels, height, width), not {', '.join(layout.names)}",
            "choose a representation of clips: representation=pixels",
        )
    return part
