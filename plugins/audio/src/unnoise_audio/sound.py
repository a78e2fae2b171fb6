"""Sounds: samples with their rate, their level, other rates and numbers of channels, and names of notes.

An item of this plugin is a :class:`Sound`. Full scale is 1; nothing is ever made louder or cut in passing.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torchaudio.functional import resample

from unnoise.errors import UserError

Samples = NDArray[np.float32]

SILENCE = -120.0
"""Decibels that stand for no sound at all."""
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclass(frozen=True, eq=False)
class Sound:
    """A recording.

    Args:
        samples: float32 ``(channels, n)``, full scale 1.
        rate: samples per second.
    """

    samples: Samples
    rate: int

    @property
    def channels(self) -> int:
        return len(self.samples)

    @property
    def seconds(self) -> float:
        return float(self.samples.shape[1] / self.rate)

    @property
    def level(self) -> float:
        """Root mean square in decibels of full scale; :data:`SILENCE` at least."""
        mean = float(np.square(self.samples, dtype=np.float64).mean()) if self.samples.size else 0.0
        return max(10 * math.log10(mean), SILENCE) if mean > 0 else SILENCE

    @property
    def peak(self) -> float:
        """Largest magnitude."""
        return float(np.abs(self.samples).max(initial=0.0))

    def mono(self) -> Samples:
        """The mean of the channels, ``(n,)``."""
        return np.asarray(self.samples.mean(0))


def resampled(sound: Sound, rate: int) -> Sound:
    """At another rate: ``ceil(n * rate / sound.rate)`` samples, band-limited by a windowed sinc of 64 zero crossings
    (Smith & Gossett 1984) whose Kaiser window leaves -100 dB beyond the lower of the two Nyquist frequencies.
    """
    if rate == sound.rate:
        return sound
    x = torch.from_numpy(np.ascontiguousarray(sound.samples))
    y = resample(x, sound.rate, rate, lowpass_filter_width=64, rolloff=0.95, resampling_method="sinc_interp_kaiser")
    return Sound(y.numpy(), rate)


def with_channels(sound: Sound, channels: int) -> Sound:
    """Mixed down to one channel (their mean), or one channel repeated.

    Raises:
        UserError: for any other change of the number of channels.
    """
    if channels == sound.channels:
        return sound
    if channels == 1:
        return Sound(sound.mono()[None], sound.rate)
    if sound.channels == 1:
        return Sound(sound.samples.repeat(channels, axis=0), sound.rate)
    raise UserError(f"a sound has {sound.channels} channels, not {channels}", "mix it down: data.channels=1")


def common_format(items: Sequence[Sound]) -> tuple[int, int]:
    """The rate and number of channels that most sounds have.

    Raises:
        UserError: if there are no sounds.
    """
    counts = Counter((item.rate, item.channels) for item in items)
    if not counts:
        raise UserError("there are no sounds to learn from", "name a data set that holds some: data.root=...")
    return counts.most_common(1)[0][0]


def frequency(key: float) -> float:
    """Hertz of a MIDI key in equal temperament: 69 is A4, 440 Hz."""
    return float(440 * 2 ** ((key - 69) / 12))


def note_name(key: int) -> str:
    """``69 -> "A4"``."""
    return f"{NAMES[key % 12]}{key // 12 - 1}"


def key_of(name: str) -> int | None:
    """``"A4" -> 69``; None for what is no note's name."""
    match = re.fullmatch(r"([A-G]#?)(-?\d+)", name)
    return None if match is None else NAMES.index(match[1]) + 12 * (int(match[2]) + 1) if match[1] in NAMES else None


def cents(hertz: float, reference: float) -> float:
    """How far a frequency lies above a reference; 1200 cents are an octave."""
    return 1200 * math.log2(hertz / reference)
