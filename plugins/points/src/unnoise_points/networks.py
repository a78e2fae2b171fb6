"""Denoiser networks over sets: points have no order, and no network here could tell one from another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from unnoise import nn as blocks
from unnoise.contracts import Context, Network
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.level import Level
from unnoise.state import State


class SetNetwork(Network):
    """What both networks share: how a point becomes a token, what they are told, and how a token becomes a point.

    A token is a linear map of a point and of waves over its coordinates, which tell near points apart, and of its own
    noise level, which may differ from point to point: known points are those with less noise. The vector of the noise
    level and the condition is that of the noisiest point.

    Args:
        layout: one gaussian part ``(points, channels)`` over a variable axis.
        context_dim: size of the embedded condition; 0 for none.
        width: channels of a token.
        waves: sinusoids of each coordinate, of angular frequencies 1, 2, 4, ... over its standard deviation.
        cond_dim: size of the vector.

    Raises:
        UserError: if the layout is another.
    """

    def __init__(self, layout: Layout, context_dim: int, width: int, waves: int, cond_dim: int) -> None:
        super().__init__()
        self.part = set_part(layout)
        (self.axis,) = self.part.variable_axes
        (channels,) = self.part.fixed_shape
        self.waves = waves
        self.embed = nn.Linear(channels + 2 * waves * min(channels, 3), width)
        self.own_level = blocks.ScalarEmbedding(width)
        self.level = blocks.Conditioning(cond_dim, context_dim)
        self.norm_out = blocks.AdaLN(width, cond_dim)
        self.out = nn.Linear(width, channels)
        blocks.zero_(self.out)

    def tokens(self, x: State, level: Level) -> Tensor:
        """Points as tokens ``(B, n, width)``."""
        values, c_noise = x.parts[self.part.name], level.c_noise[self.part.name]
        features = [values]
        if self.waves:
            places = values[..., :3].float()
            features.append(blocks.sinusoids(places, 2 * self.waves, 1.0, 2.0 ** (self.waves - 1)).flatten(2))
        told: Tensor = self.own_level(c_noise if c_noise.dim() == 2 else c_noise[:, None])
        embedded: Tensor = self.embed(torch.cat(features, -1))
        return embedded + told

    def conditioning(self, level: Level, context: Context | None, mask: Tensor) -> Tensor:
        """The vector ``(B, cond_dim)``.

        Raises:
            UserError: if there are tokens to attend to.
        """
        c_noise = level.c_noise[self.part.name]
        if c_noise.dim() == 2:
            c_noise = c_noise.masked_fill(~mask, -torch.inf).amax(1)
        return self.level.told(c_noise, context)[0]

    def points(self, h: Tensor, cond: Tensor) -> dict[str, Tensor]:
        """Tokens as raw output."""
        return {self.part.name: self.out(self.norm_out(h, cond)[0])}


class Exchange(nn.Module):
    """Latents read the points, attend to each other, and points read the latents ("RIN", Jabri et al. 2023;
    the two ends are the induced set attention of Lee et al. 2019). Cost grows linearly with points.

    Args:
        width, latent_width: channels of points and of latents.
        layers: transformer blocks of the latents.
        head_dim: channels per attention head.
        cond_dim: size of the condition vector.
        mlp_ratio: width of MLPs over that of their tokens.
    """

    def __init__(
        self, width: int, latent_width: int, layers: int, head_dim: int, cond_dim: int, mlp_ratio: float
    ) -> None:
        super().__init__()
        heads, hidden = latent_width // head_dim, int(width * mlp_ratio)
        self.read_norm = blocks.AdaLN(latent_width, cond_dim)
        self.read_points = blocks.make_norm("layer", width)
        # Queries and keys of points are not normalised one by one, which would be much of a step on a CPU.
        self.read = blocks.Attention(latent_width, heads, width, qk_norm=False)
        self.compute = blocks.Transformer(latent_width, layers, heads, cond_dim, mlp_ratio=mlp_ratio)
        self.write_norm = blocks.AdaLN(width, cond_dim)
        self.write_latents = blocks.make_norm("layer", latent_width)
        self.write = blocks.Attention(width, width // head_dim, latent_width, qk_norm=False)
        self.mlp_norm = blocks.AdaLN(width, cond_dim)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))

    def forward(self, h: Tensor, latents: Tensor, cond: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Points ``(B, n, width)``, latents ``(B, L, latent_width)``, condition ``(B, cond_dim)``, bool ``(B, n)``."""
        query, gate = self.read_norm(latents, cond)
        latents = latents + gate * self.read(query, self.read_points(h), mask)
        latents = self.compute(latents, cond)
        query, gate = self.write_norm(h, cond)
        h = h + gate * self.write(query, self.write_latents(latents))
        normed, gate = self.mlp_norm(h, cond)
        return h + gate * self.mlp(normed), latents


class LatentSetTransformer(SetNetwork):
    """A set transformer through a bottleneck of latents, of which most of the work is done: it trains on a CPU.

    Args:
        layout, context_dim, width, waves: see :class:`SetNetwork`.
        latents: their number.
        latent_width: channels of each.
        depth: rounds of :class:`Exchange`.
        layers, head_dim, mlp_ratio: of each round.
        cond_dim: size of the vector that tells of level and condition; ``latent_width`` if left out.
    """

    def __init__(
        self,
        layout: Layout,
        context_dim: int,
        width: int = 96,
        latents: int = 32,
        latent_width: int = 192,
        depth: int = 3,
        layers: int = 2,
        head_dim: int = 32,
        mlp_ratio: float = 2.0,
        waves: int = 5,
        cond_dim: int | None = None,
    ) -> None:
        cond_dim = cond_dim or latent_width
        _check(width=width, latents=latents, latent_width=latent_width, depth=depth, layers=layers, head_dim=head_dim)
        if width % head_dim or latent_width % head_dim:
            message = f"denoiser.width={width}, latent_width={latent_width}, head_dim={head_dim}"
            raise UserError(message, "head_dim divides both widths")
        super().__init__(layout, context_dim, width, waves, cond_dim)
        self.latents = nn.Parameter(torch.randn(latents, latent_width) * latent_width**-0.5)
        self.rounds = nn.ModuleList(
            Exchange(width, latent_width, layers, head_dim, cond_dim, mlp_ratio) for _ in range(depth)
        )

    def forward(
        self,
        x: State,
        level: Level,
        context: Context | None,
        previous: Mapping[str, Tensor] | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """As :class:`Network`. ``residuals[i] (B, n, width)`` is added to the points after round i."""
        mask = x.masks[self.axis]
        cond, h = self.conditioning(level, context, mask), self.tokens(x, level)
        latents = self.latents.to(h.dtype).expand(len(h), -1, -1)
        added = _residuals(residuals, len(self.rounds))
        for i, exchange in enumerate(self.rounds):
            h, latents = exchange(h, latents, cond, mask)
            h = h + added[i] if i < len(added) else h
        return self.points(h, cond)


class SetTransformer(SetNetwork):
    """A plain transformer over points ("Point-E", Nichol et al. 2022): every point attends to every other.
    For GPUs.

    Args:
        layout, context_dim, width, waves: see :class:`SetNetwork`.
        depth: number of blocks.
        head_dim: channels per attention head; divides ``width``.
        mlp_ratio: width of a block's MLP over ``width``.
        cond_dim: size of the vector that tells of level and condition; ``width`` if left out.
    """

    def __init__(
        self,
        layout: Layout,
        context_dim: int,
        width: int = 256,
        depth: int = 6,
        head_dim: int = 32,
        mlp_ratio: float = 4.0,
        waves: int = 5,
        cond_dim: int | None = None,
    ) -> None:
        cond_dim = cond_dim or width
        _check(width=width, depth=depth, head_dim=head_dim)
        if width % head_dim:
            raise UserError(f"denoiser.width={width}, head_dim={head_dim}", "head_dim divides width")
        super().__init__(layout, context_dim, width, waves, cond_dim)
        self.transformer = blocks.Transformer(width, depth, width // head_dim, cond_dim, mlp_ratio=mlp_ratio)

    def forward(
        self,
        x: State,
        level: Level,
        context: Context | None,
        previous: Mapping[str, Tensor] | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """As :class:`Network`. ``residuals[i] (B, n, width)`` is added after block i."""
        mask = x.masks[self.axis]
        cond = self.conditioning(level, context, mask)
        return self.points(self.transformer(self.tokens(x, level), cond, mask, residuals=residuals), cond)


def set_part(layout: Layout) -> Part:
    """The only part of a layout, a set of points.

    Raises:
        UserError: if the layout is another.
    """
    part = layout.sole(1, 1)
    if part is None:
        raise UserError(
            f"this denoiser takes one gaussian part (points, channels), not {', '.join(layout.names)}",
            "choose a representation of points: representation=set",
        )
    return part


def _check(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise UserError(f"denoiser.{name}={value}", "it is at least 1")


def _residuals(residuals: Sequence[Tensor] | None, most: int) -> Sequence[Tensor]:
    found = residuals or ()
    if len(found) > most:
        raise ValueError(f"{len(found)} residuals for {most} rounds")
    return found
