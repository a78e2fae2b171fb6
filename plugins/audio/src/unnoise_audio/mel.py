"""Sounds as log-mel spectrograms: small, but without phases, which have to be found again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from unnoise.errors import UserError
from unnoise.layout import Part
from unnoise_audio.bands import Mel, Scale
from unnoise_audio.representation import AXIS, AudioRepresentation
from unnoise_audio.stft import griffin_lim
from unnoise_audio.vocoder import Vocoder
from unnoise_audio.wav import Encoding


class LogMel(AudioRepresentation):
    """One gaussian part ``mel (frames, mels, channels)``, each band with mean 0 and variance 1 as measured. Decoded by
    Griffin and Lim's algorithm from a non-negative inversion of the bands.

    Args:
        n_fft, hop, mels, low, high, scale, floor: see :class:`Mel`.
        iterations: of Griffin and Lim's algorithm.
        encoding: of the files that are written.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        n_fft: int = 1024,
        hop: int = 256,
        mels: int = 128,
        low: float = 40.0,
        high: float = 0.0,
        scale: Scale = "slaney",
        floor: float = 1e-4,
        iterations: int = 32,
        encoding: Encoding = "pcm16",
    ) -> None:
        super().__init__(encoding)
        if iterations < 1:
            raise UserError(f"representation.iterations={iterations}", "at least 1")
        self.hop, self.mels, self.iterations = hop, mels, iterations
        self._options = (n_fft, hop, mels, low, high, scale, floor)

    def allocate(self) -> Part:
        self.mel = self._front_end()
        self.register_buffer("mean", torch.zeros(self.mels))
        self.register_buffer("std", torch.ones(self.mels))
        return Part("mel", "gaussian", (AXIS, self.mels, self.channels))

    def _front_end(self) -> Mel:
        return Mel(self.rate, *self._options)

    def count(self, samples: int) -> int:
        return -(-samples // self.hop) + 1

    @property
    def reach(self) -> tuple[int, int]:
        return self.mel.stft.n_fft // 2, self.mel.stft.n_fft // 2

    def measure(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        sums, squares = torch.zeros(2, self.mels, dtype=torch.float64)
        total = 0
        for x, mask in batches:
            bands = self.mel(x).transpose(1, 2)[mask].double().flatten(0, 1)
            sums, squares, total = sums + bands.sum(0), squares + bands.square().sum(0), total + len(bands)
        mean = sums / max(total, 1)
        self.mean.copy_(mean)
        # A band that is always silent has no deviation to divide by.
        self.std.copy_((squares / max(total, 1) - mean.square()).clamp(min=1e-2).sqrt())

    def to_frames(self, x: Tensor, mask: Tensor) -> Tensor:
        bands: Tensor = (self.mel(x) - self.mean) / self.std
        return bands.permute(0, 2, 3, 1)

    def to_samples(self, frames: Tensor, mask: Tensor) -> Tensor:
        magnitude = self.mel.magnitude(self._bands(frames))
        return griffin_lim(self.mel.stft, magnitude, mask, self.iterations)

    def _bands(self, frames: Tensor) -> Tensor:
        """Standardised ``(B, F, mels, C)`` -> log-mel ``(B, C, F, mels)``, within what a sound can have."""
        return self.mel.within(frames.permute(0, 3, 1, 2) * self.std + self.mean)


class VocodedMel(LogMel):
    """As :class:`LogMel`, decoded by a trained vocoder, which also brings the parameters of the bands.

    Args:
        codec: the vocoder. Its weights stay as they are and are part of this module.
        encoding: of the files that are written.
    """

    needs_codec: ClassVar[bool] = True

    def __init__(self, codec: Vocoder, encoding: Encoding = "pcm16") -> None:
        AudioRepresentation.__init__(self, encoding)
        self.codec = codec.eval().requires_grad_(False)
        self.hop, self.mels = codec.hop, codec.mels

    def _front_end(self) -> Mel:
        self.codec.check(self.rate)
        return self.codec.mel

    def to_samples(self, frames: Tensor, mask: Tensor) -> Tensor:
        bands = self._bands(frames).flatten(0, 1)
        x = self.codec.synthesise(bands, mask.repeat_interleave(self.channels, 0))
        return x.reshape(len(frames), self.channels, -1)
