"""The short-time Fourier transform and its exact inverse, on batches of sounds of different lengths."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from unnoise.errors import UserError


class Stft(nn.Module):
    """Frames of ``n_fft`` samples under a Hann window, one every ``hop`` samples, the first centred at sample 0.

    A sound of ``hop * (F - 1)`` samples has F frames; beyond its ends there is silence. The inverse overlaps and adds,
    divided by the sum of the squared windows *of the frames there are* (Griffin & Lim 1984, equation 6), so that it is
    exact for every length in a padded batch.

    Args:
        n_fft: even.
        hop: at most half of ``n_fft``, which leaves no sample without a window.

    Raises:
        UserError: if they are not.
    """

    window: Tensor

    def __init__(self, n_fft: int, hop: int) -> None:
        super().__init__()
        if n_fft < 4 or n_fft % 2 or not 1 <= hop <= n_fft // 2:
            raise UserError(
                f"n_fft={n_fft} and hop={hop} lose samples", "n_fft is even; hop is at least 1 and at most n_fft / 2"
            )
        self.n_fft, self.hop, self.bins = n_fft, hop, n_fft // 2 + 1
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def frames(self, samples: int) -> int:
        """Frames of a sound, whose end is padded with silence to a whole number of hops."""
        return -(-samples // self.hop) + 1

    def samples(self, frames: int) -> int:
        """Samples of a sound of so many frames."""
        return (frames - 1) * self.hop

    def forward(self, x: Tensor) -> Tensor:
        """Samples ``(..., n)``, n a multiple of ``hop`` -> complex ``(..., n / hop + 1, bins)``."""
        flat = x.reshape(-1, x.shape[-1])
        spectrum = torch.stft(
            flat, self.n_fft, self.hop, window=self.window, center=True, pad_mode="constant", return_complex=True
        )
        turned: Tensor = spectrum.transpose(1, 2)
        return turned.reshape(*x.shape[:-1], *turned.shape[1:])

    def inverse(self, spectrum: Tensor, mask: Tensor | None = None) -> Tensor:
        """Complex ``(B, C, F, bins)``, ``mask (B, F)`` of real frames -> samples ``(B, C, (F - 1) * hop)``; what lies
        beyond the real frames is 0.
        """
        batch, _, count = spectrum.shape[:3]
        if mask is None:
            mask = torch.ones(batch, count, dtype=torch.bool, device=spectrum.device)
        real = mask[:, None, :, None]
        frames = (torch.fft.irfft(spectrum, self.n_fft) * self.window).masked_fill(~real, 0)
        total, weight = self._overlap_add(frames), self._overlap_add(self.window.square() * real)
        start = self.n_fft // 2
        span = slice(start, start + self.samples(count))
        inside = torch.arange(self.samples(count), device=mask.device) < (mask.sum(1)[:, None] - 1) * self.hop
        return (total[..., span] / weight[..., span].clamp(min=1e-8)).masked_fill(~inside[:, None], 0)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """``(B, C, F, n_fft)`` -> ``(B, C, n)`` with n at least ``(F - 1) * hop + n_fft``."""
        pieces = -(-self.n_fft // self.hop)
        whole = nn.functional.pad(frames, (0, pieces * self.hop - self.n_fft))
        cut = whole.reshape(*whole.shape[:-1], pieces, self.hop)
        shifted = [nn.functional.pad(cut[..., i, :], (0, 0, i, pieces - 1 - i)) for i in range(pieces)]
        return torch.stack(shifted).sum(0).flatten(-2)


def compress(spectrum: Tensor, exponent: float) -> Tensor:
    """Magnitudes to a power, phases kept (Richter et al. 2023, "SGMSE+", equation 6): loud and soft come closer."""
    return spectrum * spectrum.abs().clamp(min=1e-12).pow(exponent - 1)


def griffin_lim(stft: Stft, magnitude: Tensor, mask: Tensor, iterations: int = 32, momentum: float = 0.99) -> Tensor:
    """Samples whose spectrum has about these magnitudes (Griffin & Lim 1984; with momentum, Perraudin et al. 2013).

    The first phases turn at the frequency of each bin, so nothing is drawn at random.

    Args:
        stft: the transform.
        magnitude: ``(B, C, F, bins)``, not negative.
        mask: real frames, bool ``(B, F)``.
        iterations: projections onto spectra of real signals; at least 1.
        momentum: share of the last change that is added again.

    Returns:
        ``(B, C, (F - 1) * hop)``.
    """
    steps = torch.arange(magnitude.shape[2], device=magnitude.device)[:, None]
    bins = torch.arange(stft.bins, device=magnitude.device)
    # Reduced before it is multiplied out: in float32, large phases lose their digits.
    turns = (steps * bins * stft.hop) % stft.n_fft
    guess = torch.polar(torch.ones_like(magnitude), (2 * math.pi / stft.n_fft * turns).expand_as(magnitude).float())
    last: Tensor | None = None
    for _ in range(iterations):
        rebuilt = stft(stft.inverse(magnitude * guess, mask))
        moved = rebuilt if last is None else rebuilt + momentum * (rebuilt - last)
        guess = moved / moved.abs().clamp(min=1e-12)
        last = rebuilt
    return stft.inverse(magnitude * guess, mask)
