"""An autoencoder of sounds: mel bands to a short sequence of latents, and back to samples by a vocoder of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from unnoise.contracts import Codec
from unnoise.errors import UserError
from unnoise.layout import Part
from unnoise.nn import Decoder, Encoder, zero_
from unnoise.noise import Noise
from unnoise.plugins.signature import check_options
from unnoise_audio.sound import Sound
from unnoise_audio.vocoder import Vocoder

NARROW = -9.0
"""Logarithm of the posterior's variance to begin with, in units of the latents' own."""


class MelAutoencoder(Codec):
    """Log-mel bands <-> latents over frames, whose posterior is pulled towards a standard normal (Kingma & Welling
    2014; Rombach et al. 2022, section 3.1), and a vocoder that learns from the bands as they are decoded. Convolutions
    run over frames; all bands of all channels are a frame's features. No phase is kept.

    Both halves begin as a linear map, the principal components of the data's bands, to which the convolutions learn to
    add: neighbouring bands and frames tell so much of each other that little is left to learn.

    Args:
        vocoder: options of :class:`unnoise_audio.vocoder.Vocoder`, which decide about the bands too.
        latent_channels: numbers per latent.
        channels: width of every level, finest first; frames halve from one to the next.
        blocks: residual blocks per level.
        stem: frames that are taken together first. One latent stands for ``stem * 2^(levels - 1)`` frames.
        kl_weight: of the KL term beside the mean errors of the bands.
    """

    def __init__(
        self,
        vocoder: Mapping[str, Any] | None = None,
        latent_channels: int = 32,
        channels: Sequence[int] = (256, 256),
        blocks: int = 2,
        stem: int = 2,
        kl_weight: float = 1e-4,
    ) -> None:
        super().__init__()
        if min(latent_channels, blocks, stem, *channels) < 1:
            raise UserError("the autoencoder has a size of 0", "latent_channels, channels, blocks and stem are above 0")
        check_options("codec.vocoder", Vocoder, vocoder or {}, ())
        self.vocoder = Vocoder(**(vocoder or {}))
        self.latent_channels, self.channels, self.blocks, self.stem = latent_channels, tuple(channels), blocks, stem
        self.kl_weight = kl_weight
        self.factor: int = stem * 2 ** (len(self.channels) - 1)

    @torch.no_grad()
    def fit(self, items: Sequence[Sound]) -> None:
        self.vocoder.fit(items)
        self._build()
        groups = []
        for i in range(0, len(items), 64):
            x, counts = self.vocoder.samples(self.prepare(items[i : i + 64]), self.factor)
            flat = self._flat(rearrange(self.vocoder.mel(x), "(b c) f m -> b c f m", b=len(counts)))
            shown = self._latent_mask(counts, flat.shape[2] // self.factor)
            groups.append(rearrange(flat, "b d (l k) -> b l (d k)", k=self.factor)[shown].double())
        rows = torch.cat(groups)
        mean = rows.mean(0)
        _, variances, components = torch.linalg.svd(torch.cov(rows.T))
        kept = components[: self.latent_channels]
        scale = variances[: self.latent_channels].mean().clamp(min=1e-12).sqrt()
        self.project.weight.copy_((kept / scale).reshape(self.project.weight.shape))
        self.project.bias.copy_(-(kept @ mean) / scale)
        self.expand.weight.copy_((kept * scale).reshape(self.expand.weight.shape))
        self.offset.copy_(mean.reshape(self.offset.shape))

    def settings(self) -> dict[str, Any]:
        return self.vocoder.settings()

    def restore(self, settings: Mapping[str, Any]) -> None:
        self.vocoder.restore(settings)
        self._build()

    def _build(self) -> None:
        width, latents = self.vocoder.format["channels"] * self.vocoder.mels, self.latent_channels
        if latents > width * self.factor:
            raise UserError(
                f"codec.latent_channels={latents}, of {self.factor} frames of {width} bands", "not more than there are"
            )
        self.encoder = Encoder(1, width, 2 * latents, self.channels, self.blocks, self.stem)
        self.decoder = Decoder(1, latents, width, self.channels, self.blocks, self.stem)
        zero_(self.encoder.layers[-1])
        zero_(self.decoder.conv_out)
        self.project = nn.Conv1d(width, latents, self.factor, self.factor)
        self.expand = nn.ConvTranspose1d(latents, width, self.factor, self.factor, bias=False)
        self.offset = nn.Parameter(torch.zeros(width, self.factor))

    def latents_of(self, samples: int) -> int:
        """Latents of a sound of so many samples."""
        return -(-self.vocoder.frames_of(samples) // self.factor)

    def samples_of(self, latents: int) -> int:
        """Samples that so many latents stand for."""
        return (latents * self.factor - 1) * self.vocoder.hop

    def prepare(self, items: Sequence[Sound]) -> Tensor:
        """The first samples of every sound, ``(B, channels, samples)``; see :func:`unnoise_audio.segments.padded`."""
        return self.vocoder.prepare(items)

    def encode(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Samples ``(B, C, n)`` whose frames are a multiple of ``factor``, with the mask of their latents ``(B, L)`` ->
        mean and log-variance of the posterior, each ``(B, latent_channels, L)``.
        """
        return self._posterior(self.vocoder.mel(x), self._frames(mask))

    def decode(self, z: Tensor, mask: Tensor) -> Tensor:
        """Samples ``(B, C, n)`` of latents ``(B, latent_channels, L)`` with their mask ``(B, L)``."""
        real = self._frames(mask)
        bands = self._bands(z, real)
        x = self._synthesise(bands, real)
        return rearrange(x, "(b c) n -> b c n", b=len(z))

    def _frames(self, mask: Tensor) -> Tensor:
        return mask.repeat_interleave(self.factor, 1)

    def _posterior(self, bands: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        flat = self._flat(bands)
        learnt, log_variance = self.encoder(flat, real).chunk(2, dim=1)
        mean = (self.project(flat) + learnt) * real[:, None, :: self.factor]
        return mean, (log_variance + NARROW).clamp(-30, 20)

    def _bands(self, z: Tensor, real: Tensor) -> Tensor:
        """Latents -> log-mel bands ``(B, C, F, mels)``."""
        flat = self.expand(z) + self.offset.repeat(1, z.shape[2]) + self.decoder(z, real)
        flat = rearrange(flat.float(), "b (c m) f -> b c f m", m=self.vocoder.mels)
        return (1 - flat) * (math.log(self.vocoder.mel.floor) / 2)

    def _synthesise(self, bands: Tensor, real: Tensor) -> Tensor:
        """Bands ``(B, C, F, mels)`` -> samples ``(B * C, n)``."""
        heard = self.vocoder.mel.within(bands).flatten(0, 1)
        return self.vocoder.synthesise(heard, real.repeat_interleave(bands.shape[1], 0))

    def _flat(self, bands: Tensor) -> Tensor:
        """Bands ``(B, C, F, mels)`` -> ``(B, C * mels, F)``, from -1, silence, to 1, a sine at full scale."""
        return rearrange(1 - bands / (math.log(self.vocoder.mel.floor) / 2), "b c f m -> b (c m) f")

    def _latent_mask(self, counts: Tensor, latents: int) -> Tensor:
        """Real frames of each sound -> which latents are real, ``(B, latents)``."""
        last = torch.div(counts - 1, self.factor, rounding_mode="floor")
        return torch.arange(latents, device=counts.device) <= last[:, None]

    def _rebuilt(self, batch: Tensor, noise: Noise | None) -> tuple[dict[str, Tensor], Tensor]:
        """Errors of all real frames, and the KL term; from the posterior's mean where there is no noise."""
        x, counts = self.vocoder.samples(batch, self.factor)
        bands = rearrange(self.vocoder.mel(x), "(b c) f m -> b c f m", b=len(batch))
        mask = self._latent_mask(counts, bands.shape[2] // self.factor)
        real = self._frames(mask)
        mean, log_variance = self._posterior(bands, real)
        z = mean
        if noise is not None:
            part = Part("latents", "gaussian", tuple(mean.shape[1:]))
            eps = noise.normal(part, tuple(mean.shape[1:]), purpose="posterior").to(x.device)
            z = mean + (log_variance / 2).exp() * eps
        made = self._bands(z, real)
        heard = real.repeat_interleave(bands.shape[1], 0)
        errors = self.vocoder.errors(x, self._synthesise(made.detach(), real), bands.flatten(0, 1), heard)
        missed = made - bands
        silent = bands <= math.log(self.vocoder.mel.floor)  # what is made below the floor is silence too
        missed = torch.where(silent, missed.clamp(min=0), missed.abs())
        errors["bands_l1"] = missed.transpose(1, 2)[real].mean()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
        return errors, (kl * mask[:, None]).sum() / (mask.sum() * mean.shape[1])

    def loss(self, batch: Tensor, noise: Noise) -> dict[str, Tensor]:
        errors, kl = self._rebuilt(batch, noise)
        loss = self.vocoder.weighed(errors) + errors["bands_l1"] + self.kl_weight * kl
        return {"loss": loss, **errors, "kl": kl}

    @torch.no_grad()
    def quality(self, batch: Tensor) -> dict[str, float]:
        """Mean errors over the batch: of the log-mel bands of the samples (natural logarithm), of the bands before the
        vocoder, and of spectra at several resolutions.
        """
        parts = [(self._rebuilt(part, None)[0], len(part)) for part in torch.split(batch, 64)]
        return {
            name: sum(float(errors[name]) * n for errors, n in parts) / len(batch)
            for name in ("mel_l1", "bands_l1", "spectral")
        }
