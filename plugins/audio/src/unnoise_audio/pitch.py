"""The pitch of a note, by YIN (de Cheveigne & Kawahara 2002): nothing is trained, and nothing is shared with what makes
or represents sounds here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unnoise_audio.sound import Sound, resampled

THRESHOLD = 0.15
"""A dip of the normalised difference below this is a period (section II.D)."""
LOUD = 20.0
"""Frames that lie more decibels below the loudest do not count."""
AUDIBLE = 40.0
"""The same where the pitch is followed, as a note dies away."""


def pitch_of(sound: Sound, lowest: float = 55.0, highest: float = 2000.0, fine: int = 4) -> float:
    """Hertz of a note: the median over its louder frames that have a period; NaN if fewer than a fifth of them do.

    Args:
        sound: its channels are mixed.
        lowest, highest: Hertz that are looked at.
        fine: by how much the sound is oversampled, so that a period at the top of the range is still many samples.
    """
    rate, x = sound.rate * fine, _oversampled(sound, fine)
    longest = int(rate / lowest)
    size, hop = 2 * longest, rate // 100
    if len(x) < size or not np.isfinite(x).all():
        return float("nan")
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[::hop]
    energy = np.square(frames).sum(1)
    frames = frames[(energy > 0) & (energy >= energy.max() * 10 ** (-LOUD / 10))]
    if not len(frames):
        return float("nan")
    periods = _periods(_normalised_difference(frames, longest), int(rate / highest))
    found = periods[np.isfinite(periods)]
    return float(rate / np.median(found)) if 5 * len(found) >= len(frames) else float("nan")


def pitch_track(
    sound: Sound, moments: NDArray[np.float64], lowest: float = 55.0, highest: float = 2000.0, fine: int = 4
) -> NDArray[np.float64]:
    """Hertz at some moments, from the frames around them (of twice the longest period; those at the ends are moved into
    the sound); NaN where there is no period, or hardly a sound.

    Args:
        sound: its channels are mixed.
        moments: seconds, ``(M,)``.
        lowest, highest, fine: see :func:`pitch_of`.
    """
    rate, found = sound.rate * fine, np.full(len(moments), np.nan)
    longest = int(rate / lowest)
    size = 2 * longest
    if sound.samples.shape[1] * fine < size or not np.isfinite(sound.samples).all():
        return found
    x = _oversampled(sound, fine)
    starts = np.clip(np.rint(moments * rate).astype(int) - longest, 0, len(x) - size)
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[starts]
    energy = np.square(frames).sum(1)
    heard = (energy > 0) & (energy >= energy.max() * 10 ** (-AUDIBLE / 10))
    found[heard] = rate / _periods(_normalised_difference(frames[heard], longest), int(rate / highest))
    return found


def _oversampled(sound: Sound, fine: int) -> NDArray[np.float64]:
    """Samples at ``fine`` times the rate, channels mixed."""
    mono = Sound(sound.mono()[None], sound.rate)
    return np.asarray(resampled(mono, sound.rate * fine).samples[0], np.float64)


def _normalised_difference(frames: NDArray[np.float64], longest: int) -> NDArray[np.float64]:
    """Equations 6 and 8, for lags 0 to ``longest - 1``: ``(frames, longest)``."""
    window = frames[:, :longest]
    size = 1 << (frames.shape[1] + longest - 1).bit_length()
    product = np.fft.rfft(frames, size) * np.conj(np.fft.rfft(window, size))
    correlation = np.fft.irfft(product, size)[:, :longest]
    squares = np.cumsum(np.pad(np.square(frames), ((0, 0), (1, 0))), axis=1)
    lags = np.arange(longest)
    energy = squares[:, lags + longest] - squares[:, lags]
    difference = np.maximum(energy[:, :1] + energy - 2 * correlation, 0)
    mean = np.cumsum(difference[:, 1:], axis=1) / lags[1:]
    return np.concatenate([np.ones((len(frames), 1)), difference[:, 1:] / np.maximum(mean, 1e-20)], axis=1)


def _periods(difference: NDArray[np.float64], shortest: int) -> NDArray[np.float64]:
    """Of every frame the first dip below the threshold, between samples by a parabola; NaN where there is none."""
    found = np.full(len(difference), np.nan)
    for i, row in enumerate(difference):
        below = np.flatnonzero(row[shortest:-1] < THRESHOLD)
        if len(below):
            lag = int(below[0]) + shortest
            while lag + 2 < len(row) and row[lag + 1] < row[lag]:
                lag += 1
            left, middle, right = row[lag - 1 : lag + 2]
            curve = left - 2 * middle + right
            found[i] = lag + (0.5 * (left - right) / curve if curve > 0 else 0.0)
    return found
