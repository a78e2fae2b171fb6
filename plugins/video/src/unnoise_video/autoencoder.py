"""An autoencoder of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.contracts import Codec
from unnoise.errors import UserError
from unnoise.layout import Part
from unnoise.nn import Decoder, Encoder, ResidualBlock
from unnoise.noise import Noise
from unnoise_video.clip import Clip, Shape, common_shape, describe, padded


class FrameAutoencoder(Codec):
    """Every frame <-> a small grid of latents whose posterior is pulled towards a standard normal (Kingma & Welling
    2014; Rombach et al. 2022, section 3.1).

    Every side shrinks by ``stem * 2 ** (len(channels) - 1)``. The loss is the mean absolute error of pixels in [-1, 1],
    plus that of their differences to the right and downward neighbours and to the next frame, plus ``kl_weight`` times
    the KL divergence per latent element. A frame's latents depend on that frame alone; with ``temporal`` layers, the
    decoder sees the latents of neighbouring frames, which takes flicker away (Blattmann et al. 2023, section 3.1.1).

    Args:
        channels: width of every level, finest first.
        blocks: residual blocks per level.
        stem: side of the blocks of pixels that become channels before the first convolution.
        latent_channels: channels of the latents.
        temporal: residual blocks over time at the beginning of the decoder; 0 for none.
        frames: at most so many frames of a clip are trained on at once.
        kl_weight: weight of the KL divergence.
        gradient_weight: weight of the error of differences.

    Raises:
        UserError: for a size of 0; when fitted, if the factor does not divide the frames' sides.
    """

    shape: Shape

    def __init__(
        self,
        channels: Sequence[int] = (64,),
        blocks: int = 2,
        stem: int = 4,
        latent_channels: int = 4,
        temporal: int = 0,
        frames: int = 8,
        kl_weight: float = 1e-4,
        gradient_weight: float = 0.5,
    ) -> None:
        super().__init__()
        if min(latent_channels, blocks, stem, frames, *channels) < 1 or temporal < 0:
            raise UserError("the autoencoder has a size of 0", "channels, blocks, stem and frames are above 0")
        self.channels, self.blocks, self.stem, self.temporal = tuple(channels), blocks, stem, temporal
        self.latent_channels, self.frames = latent_channels, frames
        self.kl_weight, self.gradient_weight = kl_weight, gradient_weight

    @property
    def factor(self) -> int:
        """By how much every side shrinks."""
        return int(self.stem * 2 ** (len(self.channels) - 1))

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a frame's latents."""
        return self.latent_channels, self.shape[0] // self.factor, self.shape[1] // self.factor

    def fit(self, items: Sequence[Clip]) -> None:
        longest = max((len(item.frames) for item in items), default=1)
        self.restore({"shape": common_shape(items), "frames": min(self.frames, longest)})

    def settings(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "frames": self.frames}

    def restore(self, settings: Mapping[str, Any]) -> None:
        height, width, colours = settings["shape"]
        if height % self.factor or width % self.factor:
            raise UserError(
                f"frames of {height}x{width} cannot shrink by {self.factor}",
                "choose codec.stem * 2^(levels - 1) so that it divides both sides",
            )
        self.shape, self.frames = (height, width, colours), settings["frames"]
        self.encoder = Encoder(2, colours, 2 * self.latent_channels, self.channels, self.blocks, self.stem)
        self.over_time = nn.ModuleList(
            ResidualBlock(1, self.latent_channels, self.latent_channels) for _ in range(self.temporal)
        )
        self.decoder = Decoder(2, self.latent_channels, colours, self.channels, self.blocks, self.stem)

    def prepare(self, items: Sequence[Clip]) -> Tensor:
        """The first frames of every clip, uint8 ``(B, frames, channels, height, width)``; the last frame of a shorter
        one stands.

        Raises:
            UserError: for frames of another shape.
        """
        for item in items:
            if item.shape != self.shape:
                made = describe(self.shape)
                raise UserError(
                    f"frames of {describe(item.shape)}, but the autoencoder was made for {made}",
                    "train it on clips of this shape: unnoise train stage=codec ...",
                )
        pixels, mask = padded(items, self.frames)
        index = torch.minimum(torch.arange(self.frames), mask.sum(1, keepdim=True) - 1)
        return pixels[torch.arange(len(items))[:, None], index]

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior of frames with pixels in [-1, 1], ``(B, F, channels, height, width)``
        -> each ``(B, F, *latent_shape)``.
        """
        mean, log_variance = self.encoder(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2]).chunk(2, dim=2)
        return mean, log_variance.clamp(-30, 20)

    def decode(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pixels in about [-1, 1] of latents ``(B, F, *latent_shape)``; ``mask``, bool ``(B, F)``, says which frames
        are real.
        """
        batch, _, _, height, width = z.shape
        if self.temporal:
            along = rearrange(z, "b f c h w -> (b h w) c f")
            real = None if mask is None else mask.repeat_interleave(height * width, 0)
            for layer in self.over_time:
                along = layer(along, mask=real)
            z = rearrange(along, "(b h w) c f -> b f c h w", b=batch, h=height)
        x: Tensor = self.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        return x

    def loss(self, batch: Tensor, noise: Noise) -> dict[str, Tensor]:
        pixels = scaled(batch)
        mean, log_variance = self.encode(pixels)
        shape = tuple(mean.shape[1:])
        eps = noise.normal(Part("latents", "gaussian", shape), shape, purpose="posterior").to(batch.device)
        error = self.decode(mean + (log_variance / 2).exp() * eps) - pixels
        axes = [axis for axis in (1, 3, 4) if error.shape[axis] > 1]
        gradient = torch.stack([error.diff(dim=axis).abs().mean() for axis in axes] or [error.sum() * 0]).mean()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        pixel = error.abs().mean()
        loss = pixel + self.gradient_weight * gradient + self.kl_weight * kl
        return {"loss": loss, "pixel": pixel, "gradient": gradient, "kl": kl}

    @torch.no_grad()
    def quality(self, batch: Tensor) -> dict[str, float]:
        """Peak signal-to-noise ratio in decibels of the posterior's mean, over all pixels of the batch."""
        errors = [
            F.mse_loss(self.decode(self.encode(scaled(part))[0]).clamp(-1, 1), scaled(part))
            for part in torch.split(batch, 32)
        ]
        return {"psnr_db": float(10 * torch.log10(4 / torch.stack(errors).mean().clamp(min=1e-12)))}


def scaled(pixels: Tensor) -> Tensor:
    """uint8 pixels as numbers in [-1, 1]."""
    return pixels.float() / 127.5 - 1
