"""Whether sounds are sound: level, silence, clipping, offset."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unnoise.contracts import Evidence, Metric, Score
from unnoise.metrics import subset
from unnoise_audio.sound import Sound

QUIET = -60.0
"""Decibels of full scale below which a sound counts as silent."""
REAL = 500
"""At most so many real test sounds are looked at."""


class HealthMetric(Metric):
    """Shares of sounds that are silent, and that exceed full scale (which PCM files clip), and the median offset: the
    magnitude of the mean over the root mean square.
    """

    def __call__(self, evidence: Evidence) -> list[Score]:
        real = [evidence.test[i] for i in subset(len(evidence.test), REAL, evidence.seed)]

        def score(name: str, summary: Callable[[Sequence[Sound]], float]) -> Score:
            ceiling = summary(evidence.noise) if evidence.noise else None
            return Score(name, summary(evidence.generated), summary(real), ceiling, "near", note)

        if not evidence.generated or not real:
            return []
        note = f"N={len(evidence.generated)}; silent: below {QUIET:g} dBFS"
        return [
            score("silent", lambda items: float(np.mean([item.level < QUIET for item in items]))),
            score("clipped", lambda items: float(np.mean([item.peak > 1 for item in items]))),
            score("offset", lambda items: float(np.median([_offset(item) for item in items]))),
        ]


def _offset(item: Sound) -> float:
    mono = item.mono().astype(np.float64)
    return abs(float(mono.mean())) / max(float(np.sqrt(np.square(mono).mean())), 1e-9) if len(mono) else 0.0


class LoudnessMetric(Metric):
    """Median error of the level in decibels, where a loudness was asked for. The ceiling is that of noise; the floor,
    0, is what real sounds have by definition.

    Args:
        column: which condition is the loudness, in decibels of full scale.
    """

    def __init__(self, column: str = "loudness") -> None:
        self.column = column

    def __call__(self, evidence: Evidence) -> list[Score]:
        wanted = np.asarray(evidence.conditions.get(self.column, []), dtype=np.float64)
        known = np.flatnonzero(np.isfinite(wanted))
        if not len(known):
            return []

        def error(items: Sequence[Sound], asked: Sequence[float]) -> float:
            return float(np.median([abs(item.level - level) for item, level in zip(items, asked, strict=True)]))

        made = error([evidence.generated[int(i)] for i in known], wanted[known].tolist())
        noise = evidence.noise
        ceiling = error(noise, np.resize(wanted[known], len(noise)).tolist()) if noise else None
        return [Score("loudness_error_db", made, 0.0, ceiling, "lower", f"N={len(known)}")]
