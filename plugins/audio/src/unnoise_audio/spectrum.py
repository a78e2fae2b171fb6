"""Sounds as compressed complex spectrograms: nothing is lost on the way."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from unnoise.errors import UserError
from unnoise.layout import Part
from unnoise_audio.representation import AXIS, AudioRepresentation
from unnoise_audio.stft import Stft, compress
from unnoise_audio.wav import Encoding


class ComplexSpectrum(AudioRepresentation):
    """One gaussian part ``spectrum (frames, bins, 2 * channels)``: real and imaginary parts of the short-time Fourier
    transform, every bin of it, with magnitudes to the power of ``exponent`` and divided by what the bin has on average.

    The two parts of a bin are divided by the same number, in all channels, so that phases and the balance of channels
    stay as they are.

    Args:
        n_fft: samples of a frame; ``n_fft / 2 + 1`` bins (510 gives 256).
        hop: samples from one frame to the next.
        exponent: of the magnitudes; 1 compresses nothing.
        whitening: how far bins are made alike: 1 gives each of them variance 1, 0 leaves loud bins louder by all they
            are. In between, what is loud is larger in the loss, and settled earlier in sampling.
        encoding: of the files that are written.

    Raises:
        UserError: if the parameters lose samples (see :class:`unnoise_audio.stft.Stft`).
    """

    scale: Tensor

    def __init__(
        self,
        n_fft: int = 510,
        hop: int = 128,
        exponent: float = 0.5,
        whitening: float = 1.0,
        encoding: Encoding = "pcm16",
    ) -> None:
        super().__init__(encoding)
        if not (0 < exponent <= 1 and 0 <= whitening <= 1):
            fix = "exponent is above 0 and at most 1, whitening from 0 to 1"
            raise UserError(f"representation.exponent={exponent}, whitening={whitening}", fix)
        self.whitening = whitening
        self.stft, self.hop, self.exponent = Stft(n_fft, hop), hop, exponent

    def allocate(self) -> Part:
        self.register_buffer("scale", torch.ones(self.stft.bins))
        return Part("spectrum", "gaussian", (AXIS, self.stft.bins, 2 * self.channels))

    def count(self, samples: int) -> int:
        return self.stft.frames(samples)

    @property
    def reach(self) -> tuple[int, int]:
        return self.stft.n_fft // 2, self.stft.n_fft // 2

    def measure(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        squares, frames = torch.zeros(self.stft.bins, dtype=torch.float64), 0
        for x, mask in batches:
            found = self._compressed(x)[mask].double()
            squares, frames = squares + found.square().mean(-1).sum(0), frames + len(found)
        level = (squares / max(frames, 1)).sqrt()
        # Bins that are as good as silent are not blown up to the size of the others: 80 dB below at exponent 1/2.
        level = level.clamp(min=max(0.01 * float(level.max()), 1e-4))
        share = level.pow(self.whitening)
        self.scale.copy_(share * (level / share).square().mean().sqrt())

    def _compressed(self, x: Tensor) -> Tensor:
        """Samples ``(B, C, n)`` -> ``(B, F, bins, 2 C)``, the channels' real parts first."""
        spectrum = compress(self.stft(x), self.exponent).permute(0, 2, 3, 1)
        return torch.cat([spectrum.real, spectrum.imag], -1)

    def to_frames(self, x: Tensor, mask: Tensor) -> Tensor:
        return self._compressed(x) / self.scale[:, None]

    def to_samples(self, frames: Tensor, mask: Tensor) -> Tensor:
        real, imaginary = (frames * self.scale[:, None]).chunk(2, -1)
        spectrum = compress(torch.complex(real, imaginary).permute(0, 3, 1, 2), 1 / self.exponent)
        return self.stft.inverse(spectrum, mask)
