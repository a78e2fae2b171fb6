"""How well two parts of a sound join."""

from __future__ import annotations

import numpy as np

from unnoise.errors import UserError
from unnoise_audio.sound import Sound


def seam(sound: Sound, at: float, frame: float = 0.016) -> float:
    """How much the spectrum changes at a moment, in standard deviations from what it changes elsewhere in the sound:
    the flux of log magnitudes across ``at``, standardised by that between all other neighbouring frames. About 0 for a
    seam that cannot be heard; compare with uncut recordings.

    Args:
        sound: its channels are mixed.
        at: seconds.
        frame: seconds of the frames before and after.

    Raises:
        UserError: if the sound has too few frames to compare with.
    """
    size = max(round(frame * sound.rate), 8)
    start = round(at * sound.rate) % size
    frames = sound.mono()[start : start + (sound.samples.shape[1] - start) // size * size].reshape(-1, size)
    index = round(at * sound.rate) // size
    if len(frames) < 6 or not 1 <= index < len(frames):
        raise UserError(f"a sound of {sound.seconds:.3g} s has no seam to judge at {at:.3g} s", "take a longer one")
    levels = np.log10(np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) + 1e-4)
    flux = np.square(np.diff(levels, axis=0)).mean(1)
    others = np.delete(flux, index - 1)
    return float((flux[index - 1] - others.mean()) / max(float(others.std()), 1e-9))
