"""A U-Net over space whose features attend across frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise import nn as blocks
from unnoise.contracts import Context, MapShape, Place
from unnoise.errors import UserError
from unnoise.layout import Layout
from unnoise.level import Level
from unnoise.state import State
from unnoise_video.networks import ClipNetwork
from unnoise_video.spacetime import across_frames


class FrameMixer(nn.Module):
    """A transformer block across frames, the identity before training.

    Args:
        channels: of the grid.
        head_dim: least channels per attention head; there are as many heads as this allows and divide ``channels``.
        cond_dim: size of the vector of every frame.
        span, shift: see :func:`unnoise_video.spacetime.across_frames`.
    """

    def __init__(self, channels: int, head_dim: int, cond_dim: int, span: int, shift: int) -> None:
        super().__init__()
        self.span, self.shift = span, shift
        heads = blocks.head_count(channels, head_dim)
        self.head_dim = channels // heads
        self.norm, self.attention = blocks.AdaLN(channels, cond_dim), blocks.Attention(channels, heads)
        self.mlp_norm = blocks.AdaLN(channels, cond_dim)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(approximate="tanh"), nn.Linear(2 * channels, channels)
        )

    def forward(self, x: Tensor, cond: Tensor, together: Tensor | None) -> Tensor:
        """``x (B * F, channels, h, w)``, ``cond (B * F, cond_dim)`` -> the shape of ``x``. ``together``, bool ``(B,
        F)``, says which frames are of one clip, and which of these are real.
        """
        assert together is not None
        batch, (height, width) = len(together), x.shape[2:]
        h: Tensor = rearrange(x, "(b f) c h w -> b f (h w) c", b=batch)
        told = cond.reshape(batch, -1, cond.shape[-1])
        positions = (self.span, height, width) if self.span else (h.shape[1],)
        angles = blocks.rotary_angles(blocks.grid_positions(positions, h.device), self.head_dim)
        normed, gate = self.norm(h, told)
        h = h + gate * across_frames(self.attention, normed, together, angles, self.span, self.shift)
        normed, gate = self.mlp_norm(h, told)
        h = h + gate * self.mlp(normed)
        return h.transpose(2, 3).reshape(x.shape)


class FrameConv(nn.Module):
    """A residual convolution along time, the same at every place ("pseudo-3D", Singer et al. 2022, section 3.2): the
    identity before training.

    Args:
        channels: of the grid.
        kernel: frames, odd.
    """

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.norm = blocks.group_norm(channels)
        self.conv = nn.Conv2d(channels, channels, (kernel, 1), padding=(kernel // 2, 0))
        blocks.zero_(self.conv)

    def forward(self, x: Tensor, cond: Tensor, together: Tensor | None) -> Tensor:
        """As :class:`FrameMixer`; padding counts as zeros, as what lies beyond the ends does."""
        assert together is not None
        h = F.silu(self.norm(x)) * together.flatten()[:, None, None, None]
        h = rearrange(h, "(b f) c h w -> b c f (h w)", b=len(together))
        return x + rearrange(self.conv(h), "b c f (h w) -> (b f) c h w", h=x.shape[2])


class FrameLayers(nn.ModuleList):
    """Several of the above, one after the other."""

    def forward(self, x: Tensor, cond: Tensor, together: Tensor | None) -> Tensor:
        """As :class:`FrameMixer`."""
        for layer in self:
            x = layer(x, cond, together)
        return x


class UNet(ClipNetwork):
    """The U-Net of "Video Diffusion Models" (Ho et al. 2022, section 3): convolutions and attention over space within
    each frame, and after each level's attention over space one across frames: along time at every place, or, with a
    span, of all places of neighbouring frames, so that what moves is seen where it was. Unlike there, neighbouring
    frames also meet in a convolution along time after every residual block, at every resolution: with attention at the
    coarsest grid alone, things jump. Cost grows linearly with frames (but for attention along all of the time), and
    padding changes nothing.

    Args:
        layout, context_dim, cross_attention, cond_dim, maps: see :class:`unnoise_video.networks.ClipNetwork`.
        channels: width of every level, finest first; both sides halve from one to the next.
        depth: residual blocks per level.
        attention: for every level, whether its blocks are followed by attention over space and across frames; at least
            one.
        span: frames that attend to each other together; groups of every second such attention begin half a span later.
            0 for attention along time.
        kernel: frames of the convolution along time after each residual block, odd; 1 for none.
        head_dim: channels per attention head.
        patch: side of the squares of pixels that are taken together at first.
        dropout: probability, in residual blocks.
    """

    def __init__(
        self,
        layout: Layout,
        context_dim: int,
        channels: Sequence[int] = (48, 96),
        depth: int = 1,
        attention: Sequence[bool] = (False, True),
        head_dim: int = 32,
        cond_dim: int = 192,
        cross_attention: bool = False,
        patch: int = 4,
        span: int = 0,
        kernel: int = 3,
        dropout: float = 0.0,
        maps: Sequence[MapShape] = (),
    ) -> None:
        super().__init__(layout, context_dim, cond_dim, cross_attention, patch, maps, channels[0])
        if len(attention) != len(channels) or not any(attention):
            raise UserError(
                f"denoiser.attention={list(attention)} for {len(channels)} levels",
                "give one true or false per entry of denoiser.channels, at least one true: frames meet there",
            )
        if kernel < 1 or kernel % 2 == 0:
            raise UserError(f"denoiser.kernel={kernel}", "an odd number of frames; 1 for no convolution along time")
        if span < 0:
            raise UserError(f"denoiser.span={span}", "0 for attention along time, or how many frames attend at once")
        made = count()  # groups of every second attention begin later
        values = self.channels * patch**2

        def mixer(width: int, attend: bool) -> nn.Module:
            layers: list[nn.Module] = [FrameConv(width, kernel)] if kernel > 1 else []
            if attend:
                layers.append(FrameMixer(width, head_dim, cond_dim, span, next(made) % 2 * (span // 2)))
            return FrameLayers(layers)

        self.unet = blocks.UNet(
            2, values, values, channels, depth, attention, cond_dim, self.level.token_dim, head_dim, dropout,
            mixer,
        )  # fmt: skip

    def forward(
        self,
        x: State,
        level: Level,
        context: Context | None,
        previous: Mapping[str, Tensor] | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """As :class:`Network`. ``residuals``: one tensor ``(B * F, channels, h, w)`` per skip connection, finest first,
        then one for the middle.
        """
        grid = self.unet(*self._told(x, level, context), residuals, **self._along(x, context))
        made = blocks.depth_to_space(grid, (self.patch, self.patch))
        return {self.part.name: made.reshape(x.parts[self.part.name].shape)}

    def features(
        self, x: State, level: Level, context: Context | None, previous: Mapping[str, Tensor] | None = None
    ) -> list[Tensor]:
        made: list[Tensor] = self.unet.features(*self._told(x, level, context), **self._along(x, context))
        return made

    def cut(self, blocks: int | None = None) -> list[Place]:
        return self.unet.cut(blocks)

    def _told(
        self, x: State, level: Level, context: Context | None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """All frames as a batch ``(B * F, values, *grid)``, with the vector, the tokens and their mask for each."""
        frames = x.parts[self.part.name]
        length = frames.shape[1]
        cond, tokens, token_mask = self.conditioning(level, context)
        cond = cond.expand(-1, length, -1).flatten(0, 1)
        if tokens is not None:
            tokens = tokens.repeat_interleave(length, 0)
            token_mask = None if token_mask is None else token_mask.repeat_interleave(length, 0)
        return blocks.space_to_depth(frames.flatten(0, 1), (self.patch, self.patch)), cond, tokens, token_mask

    def _along(self, x: State, context: Context | None) -> dict[str, Tensor | None]:
        """Which frames belong together, and the maps of each."""
        mask = x.masks[self.axis]
        joined = self.joined(context, mask)
        return {"together": mask, "hint": None if joined is None else joined.flatten(0, 1)}
