"""What both codecs share: sounds of different lengths as one tensor, and a loss that hears several resolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.errors import UserError
from unnoise_audio.sound import Sound, common_format
from unnoise_audio.stft import Stft


def format_of(items: Sequence[Sound], seconds: float) -> dict[str, int]:
    """Rate and channels that most items have, and the samples of the longest, at most ``seconds`` of them."""
    rate, channels = common_format(items)
    longest = max(item.samples.shape[1] for item in items if (item.rate, item.channels) == (rate, channels))
    return {"rate": rate, "channels": channels, "samples": max(min(longest, round(seconds * rate)), 1)}


def padded(items: Sequence[Sound], rate: int, channels: int, samples: int) -> Tensor:
    """The first ``samples`` of every sound, ``(B, channels, samples)``; NaN stands for what a shorter one lacks.

    Raises:
        UserError: for a sound of another rate or number of channels.
    """
    x = torch.full((len(items), channels, samples), torch.nan)
    for row, item in zip(x, items, strict=True):
        if (item.rate, item.channels) != (rate, channels):
            raise UserError(
                f"a sound of {item.rate} Hz and {item.channels} channels; the codec was made for {rate} Hz, {channels}",
                "bring the data to one format: data.rate=..., data.channels=...",
            )
        row[:, : item.samples.shape[1]] = torch.from_numpy(item.samples[:, :samples])
    return x


def real_samples(x: Tensor) -> Tensor:
    """How many samples each of the sounds of :func:`padded` has: int64 ``(B,)``."""
    return x[:, 0].isfinite().sum(1)


class SpectralLoss(nn.Module):
    """Distance of two sounds by magnitudes of their spectra at several resolutions (Yamamoto et al. 2020, equations 3
    to 6): relative error of the magnitudes plus mean error of their logarithms, averaged.

    Args:
        sizes: of the frames; the hop is a quarter.
        floor: of magnitudes whose logarithm is taken, where a sine at full scale has 1.
    """

    def __init__(self, sizes: Sequence[int] = (256, 512, 1024), floor: float = 1e-4) -> None:
        super().__init__()
        self.floor = floor
        self.transforms = nn.ModuleList(Stft(size, size // 4) for size in sizes)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """``(B, n)`` each -> a scalar."""
        losses = []
        for stft in self.transforms:
            assert isinstance(stft, Stft)
            unit = stft.window.sum() / 2
            a, b = (stft(F.pad(signal, (0, -x.shape[1] % stft.hop))).abs() / unit for signal in (x, y))
            relative = (a - b).norm() / b.norm().clamp(min=1e-8)
            logarithms = (a.clamp(min=self.floor).log() - b.clamp(min=self.floor).log()).abs().mean()
            losses.append(relative + logarithms)
        return torch.stack(losses).mean()
