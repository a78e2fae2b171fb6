"""Mel bands: the filter bank, the logarithm, and the way back to magnitudes."""

from __future__ import annotations

import math
import warnings
from typing import Literal

import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from unnoise.errors import UserError
from unnoise_audio.stft import Stft

Scale = Literal["slaney", "htk"]


def filter_bank(bins: int, mels: int, rate: int, low: float, high: float, scale: Scale) -> Tensor:
    """Overlapping triangles ``(mels, bins)`` at equal distances on a mel scale, each of height 1.

    Raises:
        UserError: if a triangle lies between two bins and would never see anything.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filterbank")  # said below, as an error
        bank: Tensor = melscale_fbanks(bins, low, high, mels, rate, norm=None, mel_scale=scale).T.contiguous()
    empty = int((bank.sum(1) == 0).sum())
    if empty:
        raise UserError(f"{empty} of {mels} mel bands lie between two bins", "lower mels, or raise n_fft")
    return bank


def non_negative(bank: Tensor, mel: Tensor, iterations: int = 50) -> Tensor:
    """Magnitudes ``(..., bins)``, none below 0, whose bands under ``bank (mels, bins)`` come close to ``mel (...,
    mels)`` in least squares, by multiplicative updates (Lee & Seung 2001, equation 4).
    """
    wanted = mel @ bank
    found = wanted.clamp(min=1e-12)
    for _ in range(iterations):
        found = found * wanted / (found @ bank.T @ bank).clamp(min=1e-12)
    return found


class Mel(nn.Module):
    """Samples -> log-mel bands ``log(max(m, floor))`` of magnitudes in which a sine at full scale has about 1.

    Args:
        rate: of the samples.
        n_fft, hop: of the transform.
        mels: number of bands.
        low, high: Hertz that the bands span; ``high`` 0 is half the rate.
        scale: "slaney" or "htk".
        floor: -80 dB of full scale at 1e-4.
    """

    bank: Tensor

    def __init__(
        self, rate: int, n_fft: int, hop: int, mels: int, low: float, high: float, scale: Scale, floor: float
    ) -> None:
        super().__init__()
        high = high or rate / 2
        if scale not in ("slaney", "htk") or mels < 1 or not 0 <= low < high <= rate / 2 or floor <= 0:
            raise UserError(
                f"mels={mels}, low={low}, high={high}, scale={scale}, floor={floor} make no mel bands",
                f"0 <= low < high <= {rate / 2:g} (half the rate), scale is slaney or htk, floor above 0",
            )
        self.stft, self.floor = Stft(n_fft, hop), floor
        self.unit = float(self.stft.window.sum()) / 2
        self.register_buffer("bank", filter_bank(self.stft.bins, mels, rate, low, high, scale), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., n)`` -> ``(..., F, mels)``."""
        magnitude: Tensor = self.stft(x).abs() / self.unit
        return (magnitude @ self.bank.T).clamp(min=self.floor).log()

    def within(self, log_mel: Tensor) -> Tensor:
        """Bands that a network made up, ``(..., mels)``, each within what samples from -1 to 1 can have: a frame's
        magnitudes have a root sum of squares of at most that of the window (Parseval), and a band no more than this
        times that of its filter (Cauchy and Schwarz).
        """
        frame = float(self.stft.n_fft * self.stft.window.square().sum()) ** 0.5 / self.unit
        most = (frame * self.bank.square().sum(1).sqrt()).log()
        return torch.minimum(log_mel.clamp(min=math.log(self.floor)), most)

    def magnitude(self, log_mel: Tensor) -> Tensor:
        """Magnitudes ``(..., bins)`` of a spectrum, as the transform gives them, that has about these bands."""
        return non_negative(self.bank, log_mel.exp()) * self.unit
