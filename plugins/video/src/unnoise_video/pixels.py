"""Clips as standardised pixels."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from unnoise.layout import Part
from unnoise_video.representation import AXIS, VideoRepresentation


class Pixels(VideoRepresentation):
    """One gaussian part ``pixels (frames, channels, height, width)`` with mean 0 and variance 1 per channel, as
    measured. Options: :class:`unnoise_video.representation.VideoRepresentation`.
    """

    mean: Tensor
    std: Tensor

    def allocate(self) -> Part:
        height, width, channels = self.shape
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        return Part("pixels", "gaussian", (AXIS, channels, height, width))

    def measure(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        sums, squares = torch.zeros(2, self.shape[2], dtype=torch.float64)
        count = 0
        for pixels, mask in batches:
            x = pixels[mask].float() / 255
            sums, squares = sums + x.sum((0, 2, 3)).double(), squares + x.square().sum((0, 2, 3)).double()
            count += x[:, 0].numel()
        mean = sums / count
        self.mean.copy_(mean)
        # A channel that never changes has no deviation to divide by; one grey level keeps it finite.
        self.std.copy_((squares / count - mean.square()).clamp(min=(1 / 255) ** 2).sqrt())

    def to_part(self, pixels: Tensor, mask: Tensor) -> Tensor:
        return (pixels.float() / 255 - self.mean[:, None, None]) / self.std[:, None, None]

    def to_pixels(self, values: Tensor, mask: Tensor) -> Tensor:
        return values * self.std[:, None, None] + self.mean[:, None, None]
