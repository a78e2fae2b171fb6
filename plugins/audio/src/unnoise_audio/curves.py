"""How loudness and pitch change over a sound: what a model can be told, and what its samples are judged by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unnoise_audio.pitch import pitch_track
from unnoise_audio.sound import Sound

POINTS = 64
"""Numbers that make up a curve, at equal distances from the beginning of a sound to its end: of a second, 16 ms."""
WINDOW = 0.03
"""Seconds that a level is measured over, or from one point to the next if that is more: four periods of 130 Hz."""
FLOOR = -80.0
"""Decibels of full scale below which levels are not told apart."""


def loudness_curve(sound: Sound) -> NDArray[np.float32]:
    """Root mean square around every point in decibels of full scale: float32 ``(POINTS,)``."""
    count = sound.samples.shape[1]
    energy = np.concatenate([[0.0], np.cumsum(np.square(sound.samples, dtype=np.float64).mean(0))])
    half = max(WINDOW * sound.rate, count / (POINTS - 1)) / 2
    centres = np.linspace(0, count, POINTS)
    first, last = (np.rint(np.clip(centres + side, 0, count)).astype(int) for side in (-half, half))
    mean = (energy[last] - energy[first]) / np.maximum(last - first, 1)
    return np.asarray(np.maximum(10 * np.log10(np.maximum(mean, 1e-30)), FLOOR), np.float32)


def pitch_curve(sound: Sound) -> NDArray[np.float32]:
    """Pitch around every point in semitones, as MIDI keys are counted (69 is A4, 440 Hz); NaN where there is none:
    float32 ``(POINTS,)``.
    """
    hertz = pitch_track(sound, np.linspace(0, sound.seconds, POINTS))
    return (69 + 12 * np.log2(hertz / 440)).astype(np.float32)
