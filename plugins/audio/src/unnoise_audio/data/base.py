"""What every data set of sounds knows of its items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from unnoise.contracts import Column, Curves, Scalars
from unnoise.progress import Bar
from unnoise_audio.curves import loudness_curve, pitch_curve
from unnoise_audio.sound import Sound

_SCALARS: dict[str, tuple[Callable[[Sound], float], str]] = {
    "duration": (lambda sound: sound.seconds, "s"),
    "loudness": (lambda sound: sound.level, "dBFS"),
}
_CURVES: dict[str, tuple[Callable[[Sound], NDArray[np.float32]], str]] = {
    "loudness_curve": (loudness_curve, "dBFS"),
    "pitch_curve": (pitch_curve, "semitones"),
}
"""Name -> function of a sound, and unit."""


class SoundColumns(Mapping[str, Column]):
    """What a data set knows of its sounds, and what can be measured of them, which is done when a column is asked for:
    ``duration`` (seconds), ``loudness`` (dBFS), ``loudness_curve`` (dBFS of short frames) and ``pitch_curve``
    (semitones, 69 is A4; takes about 30 ms a second of sound).

    Args:
        sounds: gives the sounds.
        given: what the data set knows; it goes before what is measured.
    """

    def __init__(self, sounds: Callable[[], Sequence[Sound]], given: Mapping[str, Column]) -> None:
        self._sounds, self._known = sounds, dict(given)
        self._names = list(dict.fromkeys([*given, *_SCALARS, *_CURVES]))

    def __getitem__(self, name: str) -> Column:
        if name not in self._known:
            if name in _SCALARS:
                of, unit = _SCALARS[name]
                self._known[name] = Scalars(np.array([of(sound) for sound in self._sounds()]), unit)
            elif name in _CURVES:
                self._known[name] = _followed(self._sounds(), name)
            else:
                raise KeyError(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


def _followed(sounds: Sequence[Sound], name: str) -> Curves:
    of, unit = _CURVES[name]
    rows = []
    with Bar(f"measuring {name}", len(sounds)) as bar:
        for sound in sounds:
            rows.append(of(sound))
            bar.advance(1)
    return Curves(np.array(rows), unit)
