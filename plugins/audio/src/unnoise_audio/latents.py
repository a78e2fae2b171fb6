"""Sounds as standardised latents of an autoencoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from unnoise.errors import UserError
from unnoise.layout import Part
from unnoise_audio.autoencoder import MelAutoencoder
from unnoise_audio.representation import AXIS, AudioRepresentation
from unnoise_audio.wav import Encoding


class Latents(AudioRepresentation):
    """One gaussian part ``latents (frames, 1, channels)``: means of the autoencoder's posterior, with mean 0 and
    variance 1 per channel as measured. A "frame" stands for several frames of bands.

    Args:
        codec: the trained autoencoder. Its weights stay as they are and are part of this module.
        encoding: of the files that are written.
    """

    needs_codec: ClassVar[bool] = True
    mean: Tensor
    std: Tensor

    def __init__(self, codec: MelAutoencoder, encoding: Encoding = "pcm16") -> None:
        super().__init__(encoding)
        self.codec = codec.eval().requires_grad_(False)
        self.hop = codec.vocoder.hop * codec.factor

    def allocate(self) -> Part:
        made = (self.codec.vocoder.format["rate"], self.codec.vocoder.format["channels"])
        if (self.rate, self.channels) != made:
            raise UserError(
                f"{self.rate} Hz, {self.channels} channels; the autoencoder was made for {made[0]} and {made[1]}",
                f"data.rate={made[0]} data.channels={made[1]}",
            )
        channels = self.codec.latent_channels
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        return Part("latents", "gaussian", (AXIS, 1, channels))

    def count(self, samples: int) -> int:
        return self.codec.latents_of(samples)

    @property
    def reach(self) -> tuple[int, int]:
        """A latent sees its own stretch and, through convolutions, mostly the two beside it."""
        return 2 * self.hop, 3 * self.hop

    def duration(self, frames: int) -> int:
        return self.codec.samples_of(frames)

    @torch.no_grad()
    def measure(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        sums, squares = torch.zeros(2, self.codec.latent_channels, dtype=torch.float64)
        total = 0
        for x, mask in batches:
            z = self.codec.encode(x, mask)[0].transpose(1, 2)[mask].double()
            sums, squares, total = sums + z.sum(0), squares + z.square().sum(0), total + len(z)
        mean = sums / max(total, 1)
        self.mean.copy_(mean)
        # A channel that the autoencoder does not use is almost constant; its noise is not blown up without bound.
        self.std.copy_((squares / max(total, 1) - mean.square()).clamp(min=1e-6).sqrt())

    @torch.no_grad()
    def to_frames(self, x: Tensor, mask: Tensor) -> Tensor:
        z = self.codec.encode(x, mask)[0].transpose(1, 2)
        return ((z - self.mean) / self.std)[:, :, None]

    @torch.no_grad()
    def to_samples(self, frames: Tensor, mask: Tensor) -> Tensor:
        return self.codec.decode((frames[:, :, 0] * self.std + self.mean).transpose(1, 2), mask)
