"""Whether sounds follow the curves that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unnoise.contracts import Evidence, Metric, Score
from unnoise.metrics import subset
from unnoise_audio.curves import POINTS, loudness_curve, pitch_curve
from unnoise_audio.metrics.tuning import NEAR, WORST
from unnoise_audio.sound import Sound

Curve = NDArray[np.float32]


@dataclass(frozen=True)
class _Judgement:
    """A score's summary of the errors of all sounds, each an array over the points; and its floor."""

    summary: Callable[[Sequence[Curve]], float]
    floor: float
    better: str


class CurvesMetric(Metric):
    """Errors of the curves of loudness and pitch, where they were asked for: of every sound the mean over the points
    that say something, of all sounds the median; and of pitch the share of all points within 50 cents. A point that
    should have a pitch and has none counts as an octave off.

    The floor is 0 (or 1) by definition: what is asked for is measured of real sounds in the same way. The ceiling is
    that of real test sounds, which were not made for these curves.

    Args:
        loudness, pitch: which conditions are the curves.
        most: at most so many real test sounds are measured.
    """

    def __init__(self, loudness: str = "loudness_curve", pitch: str = "pitch_curve", most: int = 500) -> None:
        self.loudness, self.pitch, self.most = loudness, pitch, most

    def __call__(self, evidence: Evidence) -> list[Score]:
        typical = _Judgement(lambda errors: float(np.median([error.mean() for error in errors])), 0.0, "lower")
        near = _Judgement(lambda errors: float((np.concatenate(errors) <= NEAR).mean()), 1.0, "higher")
        return [
            *self._scores(evidence, self.loudness, _decibels, {"error_db": typical}),
            *self._scores(evidence, self.pitch, _cents, {"error_cents": typical, "within_50_cents": near}),
        ]

    def _scores(
        self,
        evidence: Evidence,
        column: str,
        compare: Callable[[Sound, Curve], Curve],
        judgements: Mapping[str, _Judgement],
    ) -> list[Score]:
        asked = np.asarray(evidence.conditions.get(column, []))
        if asked.ndim != 2 or asked.shape[1] != POINTS:
            return []

        def errors(items: Sequence[Sound]) -> list[Curve]:
            pairs = ((item, asked[i % len(asked)]) for i, item in enumerate(items))
            return [compare(item, wanted)[np.isfinite(wanted)] for item, wanted in pairs if np.isfinite(wanted).any()]

        made = errors(evidence.generated)
        real = errors([evidence.test[i] for i in subset(len(evidence.test), self.most, evidence.seed)])
        if not made or not real:
            return []
        note = f"N={len(made)}; floor: by definition; ceiling: {len(real)} real sounds that have other curves"
        return [
            Score(f"{column}_{name}", how.summary(made), how.floor, how.summary(real), how.better, note)
            for name, how in judgements.items()
        ]


def _decibels(item: Sound, wanted: Curve) -> Curve:
    return np.asarray(np.abs(loudness_curve(item) - wanted))


def _cents(item: Sound, wanted: Curve) -> Curve:
    errors = 100 * np.abs(pitch_curve(item) - wanted)
    return np.asarray(np.minimum(np.nan_to_num(errors, nan=WORST), WORST))
