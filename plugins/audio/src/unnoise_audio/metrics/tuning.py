"""Whether notes have the pitch that was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from unnoise.contracts import Evidence, Labels, Metric, Score
from unnoise.errors import UserError
from unnoise.metrics import subset
from unnoise_audio.metrics.crepe import SIZES, crepe_pitches, weights_file
from unnoise_audio.pitch import pitch_of
from unnoise_audio.sound import Sound, cents, frequency, key_of

WORST = 1200.0
"""Cents that count for a sound without a pitch, and at most for any."""
NEAR = 50.0
"""Cents within which a note is still the one that was asked for: half of a semitone."""


Hear = Callable[[Sequence[Sound]], Sequence[float]]


class PitchMetric(Metric):
    """Error of the pitch in cents (a semitone has 100): its median, and the share of notes within 50 cents. A sound
    without a pitch counts as an octave off. It is heard by :func:`unnoise_audio.pitch.pitch_of`; and, where the package
    ``torchcrepe`` is installed, once more by :func:`unnoise_audio.metrics.crepe.crepe_pitches`.

    Data without a column of notes' names gets no score here.

    Args:
        column: which column of the data names the note ("A4").
        floor: at most so many real test notes are listened to.
        crepe: size of the second estimator's network, "tiny" or "full", which takes 40 times as long.
    """

    def __init__(self, column: str = "pitch", floor: int = 500, crepe: str = "tiny") -> None:
        if crepe not in SIZES:
            raise UserError(f"metric 'pitch' has no network {crepe!r}", f"choose one of {', '.join(SIZES)}")
        self.column, self.floor, self.crepe = column, floor, crepe

    def __call__(self, evidence: Evidence) -> list[Score]:
        test, wanted = evidence.test.columns().get(self.column), evidence.conditions.get(self.column)
        if not isinstance(test, Labels) or wanted is None or any(key_of(name) is None for name in test.names):
            return []
        chosen = subset(len(evidence.test), self.floor, evidence.seed)
        sets = {
            "made": _notes(evidence.generated, test.names, wanted),
            "real": _notes([evidence.test[i] for i in chosen], test.names, test.values[chosen]),
            "noise": _notes(evidence.noise, test.names, np.resize(wanted, len(evidence.noise))),
        }
        if not sets["made"][0] or not sets["real"][0]:
            return []
        scores = _scores("pitch", "YIN", lambda items: [pitch_of(item) for item in items], sets)
        weights = weights_file(self.crepe)
        if weights is not None:
            scores += _scores("crepe", f"CREPE, {self.crepe}", lambda items: crepe_pitches(items, weights), sets)
        return scores


_Notes = tuple[list[Sound], list[float]]
"""Sounds, and the frequencies that they should have."""


def _notes(items: Sequence[Sound], names: Sequence[str], wanted: NDArray[np.int64]) -> _Notes:
    """Those of the sounds whose pitch is known."""
    keys = [key_of(names[int(index)]) if index >= 0 else None for index in wanted]
    known = [(item, frequency(key)) for item, key in zip(items, keys, strict=True) if key is not None]
    return [item for item, _ in known], [hertz for _, hertz in known]


def _scores(name: str, estimator: str, hear: Hear, sets: Mapping[str, _Notes]) -> list[Score]:
    """What an estimator says of the notes that were made, the real ones and noise."""
    errors = {key: _errors(hear(items), wanted) for key, (items, wanted) in sets.items()}
    note = f"N={len(errors['made'])}; {estimator}; floor: its own error on {len(errors['real'])} real test notes"

    def score(name: str, summary: Callable[[NDArray[np.float64]], float], better: str) -> Score:
        ceiling = summary(errors["noise"]) if len(errors["noise"]) else None
        return Score(name, summary(errors["made"]), summary(errors["real"]), ceiling, better, note)

    return [
        score(f"{name}_error_cents", lambda found: float(np.median(found)), "lower"),
        score(f"{name}_within_50_cents", lambda found: float((found <= NEAR).mean()), "higher"),
    ]


def _errors(heard: Sequence[float], wanted: Sequence[float]) -> NDArray[np.float64]:
    """Absolute errors in cents."""
    pairs = zip(heard, wanted, strict=True)
    return np.array([WORST if math.isnan(hertz) else min(abs(cents(hertz, asked)), WORST) for hertz, asked in pairs])
