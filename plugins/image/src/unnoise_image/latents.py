"""Pictures as standardised latents of an autoencoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from unnoise.layout import Layout, Part
from unnoise.state import State
from unnoise_image.kl_autoencoder import KLAutoencoder
from unnoise_image.pictures import Picture, unstack
from unnoise_image.representation import ImageRepresentation

MEASURED = 10_000
"""At most so many training pictures, evenly spread, are encoded to measure mean and variance: a percent of accuracy."""


class Latents(ImageRepresentation):
    """One gaussian part ``latents (channels, height, width)``: the means of the autoencoder's posterior, with mean 0
    and variance 1 per channel as measured on training pictures (Rombach et al. 2022, section G, per channel).

    Args:
        codec: the trained autoencoder. Its weights stay as they are and are part of this module.
    """

    needs_codec: ClassVar[bool] = True
    mean: Tensor
    std: Tensor

    def __init__(self, codec: KLAutoencoder) -> None:
        super().__init__()
        self.codec = codec.eval().requires_grad_(False)

    def fit(self, items: Sequence[Picture]) -> None:
        self.restore(self.settings())
        sums, squares = torch.zeros(2, self.layout["latents"].fixed_shape[0], dtype=torch.float64)
        count = 0
        chosen = range(0, len(items), max(1, -(-len(items) // MEASURED)))
        for start in range(0, len(chosen), 256):
            batch = [items[i] for i in chosen[start : start + 256]]
            z = self._latents([item for item in batch if item.shape == self.shape]).double().cpu()
            sums, squares = sums + z.sum((0, 2, 3)), squares + z.square().sum((0, 2, 3))
            count += z[:, 0].numel()
        mean = sums / count
        self.mean.copy_(mean)
        # A channel that the autoencoder does not use is almost constant; its noise is not blown up without bound.
        self.std.copy_((squares / count - mean.square()).clamp(min=1e-6).sqrt())

    def settings(self) -> dict[str, Any]:
        return {}

    def restore(self, settings: Mapping[str, Any]) -> None:
        self.shape = self.codec.shape
        channels, height, width = self.codec.latent_shape
        self.layout = Layout((Part("latents", "gaussian", (channels, height, width)),))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def encode(self, items: Sequence[Picture]) -> State:
        z = (self._latents(items) - self.mean[:, None, None]) / self.std[:, None, None]
        return State(self.layout, {"latents": z})

    @torch.no_grad()
    def decode(self, state: State) -> list[Picture]:
        z = state.parts["latents"].float() * self.std[:, None, None] + self.mean[:, None, None]
        return unstack((self.codec.decode(z) + 1) / 2)

    @torch.no_grad()
    def _latents(self, items: Sequence[Picture]) -> Tensor:
        if not items:
            return torch.zeros(0, *self.codec.latent_shape)
        return self.codec.encode(self.codec.prepare(items).to(self.mean.device))[0]
