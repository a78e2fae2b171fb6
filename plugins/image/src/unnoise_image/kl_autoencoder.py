"""A convolutional autoencoder with a KL term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from unnoise.contracts import Codec
from unnoise.errors import UserError
from unnoise.layout import Part
from unnoise.nn import Decoder, Encoder
from unnoise.noise import Noise
from unnoise_image.pictures import Picture, stack
from unnoise_image.representation import Shape, common_shape, describe


class KLAutoencoder(Codec):
    """Pictures <-> a small grid of latents whose posterior is pulled towards a standard normal (Kingma & Welling 2014;
    Rombach et al. 2022, section 3.1).

    Every side shrinks by ``stem * 2 ** (len(channels) - 1)``. The loss is the mean absolute error of pixels in [-1, 1],
    plus that of their differences to the right and downward neighbours (which keeps edges sharp where a trained
    perceptual loss is not at hand), plus ``kl_weight`` times the KL divergence per latent element.

    Args:
        channels: width of every level, finest first.
        blocks: residual blocks per level.
        stem: side of the blocks of pixels that become channels before the first convolution.
        latent_channels: channels of the latents.
        kl_weight: weight of the KL divergence.
        gradient_weight: weight of the error of differences.

    Raises:
        UserError: when fitted, if the factor does not divide the pictures' sides.
    """

    shape: Shape

    def __init__(
        self,
        channels: Sequence[int] = (64,),
        blocks: int = 2,
        stem: int = 4,
        latent_channels: int = 4,
        kl_weight: float = 1e-4,
        gradient_weight: float = 0.5,
    ) -> None:
        super().__init__()
        self.channels, self.blocks, self.stem = tuple(channels), blocks, stem
        self.latent_channels, self.kl_weight, self.gradient_weight = latent_channels, kl_weight, gradient_weight

    @property
    def factor(self) -> int:
        """By how much every side shrinks."""
        return int(self.stem * 2 ** (len(self.channels) - 1))

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the latents."""
        return self.latent_channels, self.shape[0] // self.factor, self.shape[1] // self.factor

    def fit(self, items: Sequence[Picture]) -> None:
        self.restore({"shape": common_shape(items)})

    def settings(self) -> dict[str, Any]:
        return {"shape": list(self.shape)}

    def restore(self, settings: Mapping[str, Any]) -> None:
        height, width, colours = settings["shape"]
        if height % self.factor or width % self.factor:
            raise UserError(
                f"pictures of {height}x{width} cannot shrink by {self.factor}",
                "choose codec.stem * 2^(levels - 1) so that it divides both sides",
            )
        self.shape = (height, width, colours)
        self.encoder = Encoder(2, colours, 2 * self.latent_channels, self.channels, self.blocks, self.stem)
        self.decoder = Decoder(2, self.latent_channels, colours, self.channels, self.blocks, self.stem)

    def prepare(self, items: Sequence[Picture]) -> Tensor:
        """Pixels in [-1, 1], float32 ``(B, channels, height, width)``."""
        x = stack(items)
        if tuple(x.shape[1:]) != (self.shape[2], *self.shape[:2]):
            raise UserError(
                f"pictures of {describe(items[0].shape)}, but the autoencoder was made for {describe(self.shape)}",
                "train it on pictures of this shape: unnoise train stage=codec ...",
            )
        return x.float() / 127.5 - 1

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, each ``(B, *latent_shape)``."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def decode(self, z: Tensor) -> Tensor:
        """Pixels in about [-1, 1] of latents ``(B, *latent_shape)``."""
        x: Tensor = self.decoder(z)
        return x

    def loss(self, batch: Tensor, noise: Noise) -> dict[str, Tensor]:
        mean, log_variance = self.encode(batch)
        part = Part("latents", "gaussian", self.latent_shape)
        eps = noise.normal(part, self.latent_shape, purpose="posterior").to(batch.device)
        x = self.decode(mean + (log_variance / 2).exp() * eps)
        pixel = (x - batch).abs().mean()
        gradient = _difference_error(x, batch)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        loss = pixel + self.gradient_weight * gradient + self.kl_weight * kl
        return {"loss": loss, "pixel": pixel, "gradient": gradient, "kl": kl}

    @torch.no_grad()
    def quality(self, batch: Tensor) -> dict[str, float]:
        """Peak signal-to-noise ratio in decibel of the posterior's mean, over all pixels of the batch."""
        error = F.mse_loss(self.decode(self.encode(batch)[0]).clamp(-1, 1), batch)
        return {"psnr_db": float(10 * torch.log10(4 / error.clamp(min=1e-12)))}


def _difference_error(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute error of the differences between neighbours, averaged over the two directions."""
    error = x - y
    return (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()) / 2
