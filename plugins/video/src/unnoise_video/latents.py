"""Clips as standardised latents of an autoencoder of frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from unnoise.errors import UserError
from unnoise.layout import Part
from unnoise_video.autoencoder import FrameAutoencoder, scaled
from unnoise_video.clip import describe
from unnoise_video.representation import AXIS, VideoRepresentation
from unnoise_video.writing import Format


class Latents(VideoRepresentation):
    """One gaussian part ``latents (frames, channels, height, width)``: the means of the autoencoder's posterior, with
    mean 0 and variance 1 per channel as measured on training clips.

    Args:
        codec: the trained autoencoder. Its weights stay as they are and are part of this module.
        stills, format: see :class:`unnoise_video.representation.VideoRepresentation`.
    """

    needs_codec: ClassVar[bool] = True
    mean: Tensor
    std: Tensor

    def __init__(self, codec: FrameAutoencoder, stills: float = 0.0, format: Format = "webp") -> None:
        super().__init__(stills, format)
        self.codec = codec.eval().requires_grad_(False)

    def allocate(self) -> Part:
        if self.shape != self.codec.shape:
            made = describe(self.codec.shape)
            raise UserError(
                f"frames of {describe(self.shape)}, but the autoencoder was made for {made}",
                "train it on clips of this shape: unnoise train stage=codec ...",
            )
        channels, height, width = self.codec.latent_shape
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        return Part("latents", "gaussian", (AXIS, channels, height, width))

    @torch.no_grad()
    def measure(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        sums, squares = torch.zeros(2, self.codec.latent_channels, dtype=torch.float64)
        count = 0
        for pixels, mask in batches:
            z = self.codec.encode(scaled(pixels))[0][mask].double()
            sums, squares, count = sums + z.sum((0, 2, 3)), squares + z.square().sum((0, 2, 3)), count + z[:, 0].numel()
        mean = sums / max(count, 1)
        self.mean.copy_(mean)
        # A channel that the autoencoder does not use is almost constant; its noise is not blown up without bound.
        self.std.copy_((squares / max(count, 1) - mean.square()).clamp(min=1e-6).sqrt())

    @torch.no_grad()
    def to_part(self, pixels: Tensor, mask: Tensor) -> Tensor:
        z = self.codec.encode(scaled(pixels))[0]
        return (z - self.mean[:, None, None]) / self.std[:, None, None]

    @torch.no_grad()
    def to_pixels(self, values: Tensor, mask: Tensor) -> Tensor:
        z = values * self.std[:, None, None] + self.mean[:, None, None]
        return (self.codec.decode(z, mask) + 1) / 2
