"""Distributions of properties, and whether what was asked for was made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from unnoise.contracts import Evidence, Metric, Score
from unnoise.errors import UserError, did_you_mean
from unnoise_molecules.metrics.validity import known, sample_of
from unnoise_molecules.properties import PROPERTIES, values


class PropertiesMetric(Metric):
    """Wasserstein-1 distance of every property's distribution to that of real test molecules, in its own unit; and
    for a property that was asked for, the mean absolute error.

    Args:
        names: which properties; see :data:`unnoise_molecules.properties.PROPERTIES`.
    """

    def __init__(self, names: Sequence[str] = tuple(PROPERTIES)) -> None:
        for name in names:
            if name not in PROPERTIES:
                message = f"metric 'properties' knows no property {name!r}.{did_you_mean(name, PROPERTIES)}"
                raise UserError(message, f"There is: {', '.join(PROPERTIES)}")
        self.names = tuple(names)

    def __call__(self, evidence: Evidence) -> list[Score]:
        n = len(evidence.generated)
        train, test = (sample_of(data, n, evidence.seed) for data in (evidence.train, evidence.test))
        scores = []
        for name in self.names:
            made, seen, real = (values(name, items) for items in (evidence.generated, train, test))
            noise = values(name, evidence.noise)
            note = f"{PROPERTIES[name][1]}; valid items against {len(real)} test molecules".lstrip("; ")
            ceiling = known(distance(noise, real))
            scores.append(Score(f"{name}_distance", distance(made, real), distance(seen, real), ceiling, "lower", note))
            if name in evidence.conditions:
                scores += _asked(name, made, np.asarray(evidence.conditions[name], dtype=np.float64), seen)
        return scores


def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Wasserstein-1 distance of two sets of numbers, without their NaN; NaN where one is empty."""
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    return float(wasserstein_distance(a, b)) if len(a) and len(b) else float("nan")


def _asked(name: str, made: NDArray[np.float64], wanted: NDArray[np.float64], seen: NDArray[np.float64]) -> list[Score]:
    """The error of what was made, beside that of molecules made without listening."""
    asked = np.isfinite(wanted)
    both = asked & np.isfinite(made)
    if not both.any():
        return []
    error = float(np.abs(made[both] - wanted[both]).mean())
    deaf = float(np.abs(np.resize(seen, asked.sum()) - wanted[asked]).mean())
    note = f"N={int(both.sum())} valid of {int(asked.sum())} asked; ceiling: training molecules drawn at random"
    return [Score(f"{name}_error", error, 0.0, deaf, "lower", note)]
