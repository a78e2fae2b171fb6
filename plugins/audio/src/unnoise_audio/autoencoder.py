"""An autoencoder of sounds: complex spectra to a short sequence of latents."""

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
from unnoise_audio.segments import SpectralLoss, padded, real_samples, signal_to_noise
from unnoise_audio.sound import Sound
from unnoise_audio.spectrum import ComplexSpectrum


class SpectrumAutoencoder(Codec):
    """Compressed complex spectra <-> latents over frames, whose posterior is pulled towards a standard normal (Kingma &
    Welling 2014; Rombach et al. 2022, section 3.1). Convolutions run over frames; all bins of a frame are its channels.

    Args:
        n_fft, hop, exponent: of the spectra, see :class:`unnoise_audio.spectrum.ComplexSpectrum`.
        latent_channels: numbers per latent.
        channels: width of every level, finest first; frames halve from one to the next.
        blocks: residual blocks per level.
        stem: frames that are taken together first. One latent stands for ``stem * 2^(levels - 1)`` frames.
        seconds: at most so much of a sound's beginning is trained on.
        kl_weight: of the KL term.
        spectral_weight: of the error of magnitudes at several resolutions beside that of the compressed spectra.
    """

    def __init__(
        self,
        n_fft: int = 510,
        hop: int = 128,
        exponent: float = 0.5,
        latent_channels: int = 32,
        channels: Sequence[int] = (256, 256),
        blocks: int = 2,
        stem: int = 2,
        seconds: float = 1.0,
        kl_weight: float = 1e-4,
        spectral_weight: float = 0.1,
    ) -> None:
        super().__init__()
        if min(latent_channels, blocks, stem, *channels) < 1 or seconds <= 0:
            raise UserError("the autoencoder has a size of 0", "channels, blocks, stem and seconds are above 0")
        self.spectrum = ComplexSpectrum(n_fft, hop, exponent)
        self.latent_channels, self.channels, self.blocks, self.stem = latent_channels, tuple(channels), blocks, stem
        self.seconds, self.kl_weight, self.spectral_weight = seconds, kl_weight, spectral_weight
        self.factor: int = stem * 2 ** (len(self.channels) - 1)
        self.spectral = SpectralLoss()

    def fit(self, items: Sequence[Sound]) -> None:
        self.spectrum.fit(items)
        self._build()

    def settings(self) -> dict[str, Any]:
        return self.spectrum.settings()

    def restore(self, settings: Mapping[str, Any]) -> None:
        self.spectrum.restore(settings)
        self._build()

    def _build(self) -> None:
        (part,) = self.spectrum.layout
        width = part.fixed_size
        self.encoder = Encoder(1, width, 2 * self.latent_channels, self.channels, self.blocks, self.stem)
        self.decoder = Decoder(1, self.latent_channels, width, self.channels, self.blocks, self.stem)

    def latents_of(self, samples: int) -> int:
        """Latents of a sound of so many samples."""
        return -(-self.spectrum.count(samples) // self.factor)

    def samples_of(self, latents: int) -> int:
        """Samples that so many latents stand for."""
        return (latents * self.factor - 1) * self.spectrum.hop

    def prepare(self, items: Sequence[Sound]) -> Tensor:
        """The first samples of every sound, ``(B, channels, samples)``; see :func:`unnoise_audio.segments.padded`."""
        longest = self.spectrum.duration(len(self.spectrum.lengths) - 1)
        samples = self.samples_of(self.latents_of(min(longest, round(self.seconds * self.spectrum.rate))))
        return padded(items, self.spectrum.rate, self.spectrum.channels, samples)

    def encode(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Samples ``(B, C, n)`` whose frames are a multiple of ``factor``, with the mask of their latents ``(B, L)`` ->
        mean and log-variance of the posterior, each ``(B, latent_channels, L)``.
        """
        real = mask.repeat_interleave(self.factor, 1)
        mean, log_variance = self.encoder(self._flat(x, real), real).chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def decode(self, z: Tensor, mask: Tensor) -> Tensor:
        """Samples ``(B, C, n)`` of latents."""
        real = mask.repeat_interleave(self.factor, 1)
        return self._samples(self.decoder(z, real), real)

    def _flat(self, x: Tensor, real: Tensor) -> Tensor:
        """Samples -> spectra with all of a frame as channels, ``(B, bins * 2 C, F)``."""
        return self.spectrum.to_frames(x, real).flatten(2).transpose(1, 2)

    def _samples(self, flat: Tensor, real: Tensor) -> Tensor:
        shape = (self.spectrum.stft.bins, 2 * self.spectrum.channels)
        return self.spectrum.to_samples(flat.float().transpose(1, 2).reshape(len(flat), -1, *shape), real)

    def _mask(self, batch: Tensor) -> Tensor:
        frames = torch.div(real_samples(batch) - 1, self.spectrum.hop, rounding_mode="floor") + 2
        latents = torch.div(frames - 1, self.factor, rounding_mode="floor") + 1
        return torch.arange(self.latents_of(batch.shape[2]), device=batch.device) < latents[:, None]

    def loss(self, batch: Tensor, noise: Noise) -> dict[str, Tensor]:
        mask = self._mask(batch)
        x = batch.nan_to_num(0.0)
        real = mask.repeat_interleave(self.factor, 1)
        target = self._flat(x, real)
        mean, log_variance = self.encode(x, mask)
        part = Part("latents", "gaussian", tuple(mean.shape[1:]))
        eps = noise.normal(part, tuple(mean.shape[1:]), purpose="posterior").to(batch.device)
        made = self.decoder(mean + (log_variance / 2).exp() * eps, real)
        shown = real[:, None]
        error = ((made - target).abs() * shown).sum() / (shown.sum() * target.shape[1])
        spectral = self.spectral(self._samples(made, real).flatten(0, 1), x.flatten(0, 1))
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
        kl = (kl * mask[:, None]).sum() / (mask.sum() * mean.shape[1])
        loss = error + self.spectral_weight * spectral + self.kl_weight * kl
        return {"loss": loss, "error": error, "spectral": spectral, "kl": kl}

    @torch.no_grad()
    def quality(self, batch: Tensor) -> dict[str, float]:
        """Signal-to-noise ratio in decibels of the posterior's mean, and the distance of spectra, over the batch."""
        made = torch.cat([self.decode(self.encode(x.nan_to_num(0.0), m)[0], m) for x, m in self._parts(batch)])
        x = batch.nan_to_num(0.0)
        made = F.pad(made, (0, x.shape[2] - made.shape[2]))
        return {
            "snr_db": signal_to_noise(made, x),
            "spectral": float(self.spectral(made.flatten(0, 1), x.flatten(0, 1))),
        }

    def _parts(self, batch: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(part, self._mask(part)) for part in torch.split(batch, 64)]
