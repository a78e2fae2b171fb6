"""A U-Net of all frames, stacked as channels, between convolutions that read and draw every frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise import nn as blocks
from unnoise.contracts import Context, MapShape, Place
from unnoise.errors import UserError
from unnoise.layout import Layout
from unnoise.level import Level
from unnoise.state import State
from unnoise_video.networks import ClipNetwork
from unnoise_video.unet import FrameConv

_LEVEL = 32
"""Numbers that tell the stack of one frame's level."""
_ASKED, _HEAD = 8, 16
"""Questions that a summary asks of a clip, and least channels per attention head for them."""


class Summary(nn.Module):
    """What is seen anywhere in a clip, as one vector: learned queries attend to all places of all frames ("pooling by
    multihead attention", Lee et al. 2019, section 3.2). A stack knows what is where; what looks the same wherever it
    moves is known by this. It says nothing before training.

    Args:
        channels: of every frame.
        cond_dim: size of the vector.
    """

    def __init__(self, channels: int, cond_dim: int) -> None:
        super().__init__()
        self.norm = blocks.group_norm(channels)
        self.queries = nn.Parameter(torch.randn(_ASKED, channels))
        self.attention = blocks.Attention(channels, blocks.head_count(channels, _HEAD), channels)
        self.answer = nn.Sequential(nn.Linear(_ASKED * channels, cond_dim), nn.SiLU(), nn.Linear(cond_dim, cond_dim))
        blocks.zero_(self.answer[-1])

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x (B * F, channels, h, w)``, ``mask (B, F)`` of real frames -> ``(B, cond_dim)``."""
        places = self.norm(x).flatten(2).unflatten(0, mask.shape).transpose(2, 3)
        real = mask[..., None].expand(*places.shape[:3]).flatten(1)
        seen = self.attention(self.queries.expand(len(mask), -1, -1), places.flatten(1, 2), real)
        summary: Tensor = self.answer(seen.flatten(1))
        return summary


class StackedUNet(ClipNetwork):
    """Frames as channels ("MCVD", Voleti et al. 2022, section 3.3), between a few convolutions that read and draw every
    frame alike. In between every convolution is a filter over all of the time: so motion is found in much noise, and a
    clip costs not much more than a picture. Every frame is told a :class:`Summary` of the clip. In return there is a
    longest clip, which the network is built for; longer ones are made window by window
    (:func:`unnoise_video.infill.roll`). Each frame may have a noise level of its own, padding changes nothing, and
    places are known.

    Args:
        layout, context_dim, cross_attention, cond_dim, maps: see :class:`unnoise_video.networks.ClipNetwork`.
        frames: most frames of a clip.
        own: channels of each frame, before and after the stack.
        kernel: frames, odd, that a convolution along time sees there; 1 for none.
        channels: width of every level of the stack, finest first.
        depth: residual blocks per level, and of each frame after the stack.
        attention: for every level, whether its blocks are followed by attention over space.
        head_dim: channels per attention head.
        patch: side of the squares of pixels that are one place of the finest grid.
        dropout: probability, in residual blocks.

    Raises:
        UserError: as :class:`unnoise_video.networks.ClipNetwork`, or for options that do not fit together.
    """

    self_conditioning = True
    places: Tensor

    def __init__(
        self,
        layout: Layout,
        context_dim: int,
        frames: int = 16,
        own: int = 64,
        kernel: int = 5,
        channels: Sequence[int] = (192, 256),
        depth: int = 1,
        attention: Sequence[bool] = (False, True),
        head_dim: int = 32,
        cond_dim: int = 256,
        cross_attention: bool = False,
        patch: int = 4,
        dropout: float = 0.0,
        maps: Sequence[MapShape] = (),
    ) -> None:
        super().__init__(layout, context_dim, cond_dim, cross_attention, patch, maps, own)
        if min(frames, own, depth, kernel) < 1 or kernel % 2 == 0:
            message = f"denoiser.frames={frames}, own={own}, depth={depth}, kernel={kernel}"
            raise UserError(message, "they are at least 1; frames is that of the longest clip, and kernel is odd")
        self.frames, self.own = frames, own
        values = self.channels * patch**2
        places = blocks.position_embedding(blocks.grid_positions(self.grid), own)
        self.register_buffer("places", places.T.reshape(1, own, *self.grid), persistent=False)
        self.own_level = blocks.ScalarEmbedding(_LEVEL)
        self.own_levels = nn.Linear(frames * (_LEVEL + 1), cond_dim)
        self.conv_in = blocks.conv_nd(2, 2 * values, own, 3)
        self.read = blocks.ResidualBlock(2, own, own, cond_dim, dropout)
        self.before, self.after = (FrameConv(own, kernel) if kernel > 1 else None for _ in range(2))
        width = channels[0]
        self.summary = Summary(own, cond_dim)
        self.join = blocks.conv_nd(2, frames * own, width, 1)
        self.stack = blocks.UNet(
            2, width, width, channels, depth, attention, cond_dim, self.level.token_dim, head_dim, dropout
        )
        self.split = blocks.conv_nd(2, width, frames * own, 1, bias=False)
        widths = [2 * own, *[own] * (depth - 1)]
        self.draw = nn.ModuleList(blocks.ResidualBlock(2, width, own, cond_dim, dropout) for width in widths)
        self.norm_out = blocks.group_norm(own)
        self.conv_out = blocks.conv_nd(2, own, values, 3)
        blocks.zero_(self.conv_out)

    def forward(
        self,
        x: State,
        level: Level,
        context: Context | None,
        previous: Mapping[str, Tensor] | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """As :class:`Network`. ``residuals``: one tensor ``(B * F, own, h, w)`` of the frames, then one per skip
        connection of the stack, ``(B, channels, h, w)``, finest first, then one for its middle.

        Raises:
            UserError: for clips of more frames than the network was built for.
        """
        clips, mask = x.parts[self.part.name], x.masks[self.axis]
        each, cond, *told = self._told(level, context, mask)
        fine = self._read(x, context, each, previous)
        summary = self.summary(fine, mask)
        each = each + summary.repeat_interleave(clips.shape[1], 0)
        deeper = None if residuals is None else residuals[1:]
        stacked = self.stack(self._stacked(fine, mask), cond + summary, *told, deeper)
        fine = fine if residuals is None else fine + residuals[0]
        made = self.split(stacked).unflatten(1, (self.frames, self.own))
        h = torch.cat([_cut(made, clips.shape[1]).flatten(0, 1), fine], 1)
        for block in self.draw:
            h = block(h, each)
        h = h if self.after is None else self.after(h, each, mask)
        h = self.conv_out(F.silu(self.norm_out(h)))
        return {self.part.name: blocks.depth_to_space(h, (self.patch, self.patch)).reshape(clips.shape)}

    def features(
        self, x: State, level: Level, context: Context | None, previous: Mapping[str, Tensor] | None = None
    ) -> list[Tensor]:
        mask = x.masks[self.axis]
        each, cond, *told = self._told(level, context, mask)
        fine = self._read(x, context, each, previous)
        deeper = self.stack.features(self._stacked(fine, mask), cond + self.summary(fine, mask), *told)
        return [fine, *deeper]

    def cut(self, blocks: int | None = None) -> list[Place]:
        places = [Place(self.own, 1), *self.stack.cut(blocks)]
        del self.split, self.draw, self.after, self.norm_out, self.conv_out
        return places

    def _told(
        self, level: Level, context: Context | None, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """The vector of every frame ``(B * F, cond_dim)``, then that of the stack, the tokens and their mask."""
        each, tokens, token_mask = self.conditioning(level, context)
        c_noise = level.c_noise[self.part.name]
        c_noise = c_noise if c_noise.dim() == 2 else c_noise[:, None]
        levels = self.own_level(c_noise).expand(*mask.shape, -1) * mask[..., None]
        seen = _cut(torch.cat([levels, mask[..., None].to(levels)], -1), self.frames)
        # The clip as a whole is told of the condition, and of its frames' levels and number.
        whole = self.level.told(torch.zeros_like(c_noise[:, 0]), context)[0] + self.own_levels(seen.flatten(1))
        return each.expand(*mask.shape, -1).flatten(0, 1), whole, tokens, token_mask

    def _read(self, x: State, context: Context | None, each: Tensor, previous: Mapping[str, Tensor] | None) -> Tensor:
        """Features of every frame, ``(B * F, own, h, w)``."""
        noised = x.parts[self.part.name]
        estimate = torch.zeros_like(noised) if previous is None else previous[self.part.name]
        seen = torch.cat([noised, estimate], 2).flatten(0, 1)
        squares = blocks.space_to_depth(seen, (self.patch, self.patch))
        joined = self.joined(context, x.masks[self.axis])
        h = self.conv_in(squares) + self.places
        h = h if joined is None else h + joined.flatten(0, 1)
        read: Tensor = self.read(h, each)
        return read if self.before is None else self.before(read, each, x.masks[self.axis])

    def _stacked(self, fine: Tensor, mask: Tensor) -> Tensor:
        """All frames in the channels of the stack, ``(B, channels[0], h, w)``."""
        if mask.shape[1] > self.frames and bool(mask[:, self.frames :].any()):
            raise UserError(
                f"clips of {int(mask.sum(1).max())} frames, and the denoiser takes at most {self.frames}",
                "train with denoiser.frames=..., or make longer ones piece by piece: unnoise_video.infill.roll",
            )
        every = fine.unflatten(0, mask.shape) * mask[:, :, None, None, None]
        joined: Tensor = self.join(_cut(every, self.frames).flatten(1, 2))
        return joined


def _cut(x: Tensor, count: int) -> Tensor:
    """``x (B, F, ...)`` with ``count`` frames: zeros behind, or the last ones left out."""
    return F.pad(x, (0, 0) * (x.dim() - 2) + (0, max(count - x.shape[1], 0)))[:, :count]
