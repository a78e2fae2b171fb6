"""A small vocoder: mel bands to samples, through one inverse transform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise import nn as blocks
from unnoise.contracts import Codec
from unnoise.errors import UserError
from unnoise.nn.conv import keep
from unnoise.noise import Noise
from unnoise_audio.bands import Mel, Scale
from unnoise_audio.segments import SpectralLoss, format_of, padded, real_samples
from unnoise_audio.sound import Sound


class Vocoder(Codec):
    """Log-mel bands -> magnitudes and phases of every frame -> samples (Siuzdak 2024, "Vocos", without its
    discriminators). Residual convolutions over frames; channels are decoded one by one. Magnitudes start from the
    non-negative inversion of the bands, so that there is only a correction to learn.

    Args:
        n_fft, hop, mels, low, high, scale, floor: of the bands, see :class:`unnoise_audio.bands.Mel`.
        width: channels of the network.
        depth: residual blocks of two convolutions of three frames each.
        seconds: at most so much of a sound's beginning is trained on.
        mel_weight: of the mean error of the log-mel bands beside that of spectra at several resolutions.
    """

    def __init__(
        self,
        n_fft: int = 1024,
        hop: int = 256,
        mels: int = 128,
        low: float = 40.0,
        high: float = 0.0,
        scale: Scale = "slaney",
        floor: float = 1e-4,
        width: int = 192,
        depth: int = 6,
        seconds: float = 1.0,
        mel_weight: float = 3.0,
    ) -> None:
        super().__init__()
        if width < 1 or depth < 1 or seconds <= 0:
            raise UserError(f"codec.width={width}, depth={depth}, seconds={seconds}", "all of them are above 0")
        self.hop, self.mels, self.width, self.depth = hop, mels, width, depth
        self.seconds, self.mel_weight = seconds, mel_weight
        self.bands: dict[str, Any] = {
            "n_fft": n_fft, "hop": hop, "mels": mels, "low": low, "high": high, "scale": scale, "floor": floor
        }  # fmt: skip
        self.spectral = SpectralLoss(floor=floor)

    def fit(self, items: Sequence[Sound]) -> None:
        self.restore(format_of(items, self.seconds))

    def settings(self) -> dict[str, Any]:
        return dict(self.format)

    def restore(self, settings: Mapping[str, Any]) -> None:
        self.format = {key: settings[key] for key in ("rate", "channels", "samples")}
        self.mel = Mel(settings["rate"], **self.bands)
        self.conv_in = blocks.conv_nd(1, self.mels, self.width, 7)
        self.blocks = nn.ModuleList(blocks.ResidualBlock(1, self.width, self.width) for _ in range(self.depth))
        self.norm = blocks.group_norm(self.width)
        self.head = blocks.conv_nd(1, self.width, 3 * self.mel.stft.bins, 1)

    def check(self, rate: int) -> None:
        """Raise :class:`UserError` unless the vocoder was made for sounds of this rate."""
        made = self.format["rate"]
        if rate != made:
            raise UserError(f"sounds of {rate} Hz, but the vocoder was made for {made} Hz", f"data.rate={made}")

    def prepare(self, items: Sequence[Sound]) -> Tensor:
        """The first samples of every sound, ``(B, channels, samples)``; see :func:`unnoise_audio.segments.padded`."""
        return padded(items, **self.format)

    def synthesise(self, log_mel: Tensor, mask: Tensor) -> Tensor:
        """Log-mel ``(B, F, mels)``, real frames ``(B, F)`` -> samples ``(B, (F - 1) * hop)``; padding changes none."""
        h = keep(self.conv_in(keep(log_mel.transpose(1, 2), mask)), mask)
        for block in self.blocks:
            h = block(h, mask=mask)
        gain, cosine, sine = self.head(keep(F.silu(self.norm(h, mask)), mask)).transpose(1, 2).chunk(3, -1)
        with torch.no_grad():
            start = self.mel.magnitude(log_mel)
        magnitude = start * gain.float().clamp(-5, 5).exp()
        length = torch.hypot(cosine.float(), sine.float()).clamp(min=1e-4)
        spectrum = torch.complex(magnitude * cosine.float() / length, magnitude * sine.float() / length)
        return self.mel.stft.inverse(spectrum[:, None], mask)[:, 0]

    def frames_of(self, samples: int) -> int:
        """Frames of a sound of so many samples."""
        return -(-samples // self.hop) + 1

    def samples(self, batch: Tensor, multiple: int = 1) -> tuple[Tensor, Tensor]:
        """What :meth:`prepare` made, with 0 for NaN and padded to whole frames, ``(B * C, n)``: their number is a
        multiple of this; and the real frames of each of the B sounds.
        """
        counts = torch.div(real_samples(batch) - 1, self.hop, rounding_mode="floor") + 2
        frames = -(-self.frames_of(batch.shape[2]) // multiple) * multiple
        x = batch.nan_to_num(0.0).flatten(0, 1)
        return F.pad(x, (0, (frames - 1) * self.hop - x.shape[1])), counts

    def errors(self, x: Tensor, y: Tensor, bands: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """How far samples ``y`` are from ``x (N, n)``, whose bands are ``(N, F, mels)``: of spectra at several
        resolutions, and of log-mel bands in the mean over real frames ``(N, F)``.
        """
        return {"spectral": self.spectral(y, x), "mel_l1": (self.mel(y)[mask] - bands[mask]).abs().mean()}

    def weighed(self, errors: Mapping[str, Tensor]) -> Tensor:
        """The loss of :meth:`errors`."""
        return errors["spectral"] + self.mel_weight * errors["mel_l1"]

    def _errors(self, batch: Tensor) -> dict[str, Tensor]:
        x, counts = self.samples(batch)
        bands = self.mel(x)
        mask = torch.arange(bands.shape[1], device=x.device) < counts[:, None]
        mask = mask.repeat_interleave(batch.shape[1], 0)
        return self.errors(x, self.synthesise(bands, mask), bands, mask)

    def loss(self, batch: Tensor, noise: Noise) -> dict[str, Tensor]:
        errors = self._errors(batch)
        return {"loss": self.weighed(errors), **errors}

    @torch.no_grad()
    def quality(self, batch: Tensor) -> dict[str, float]:
        """Mean errors over the batch: of the log-mel bands (natural logarithm), of spectra at several resolutions."""
        parts = [(self._errors(part), len(part)) for part in torch.split(batch, 64)]
        names = ("mel_l1", "spectral")
        return {name: sum(float(errors[name]) * n for errors, n in parts) / len(batch) for name in names}
