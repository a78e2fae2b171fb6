"""Valid, connected, unique, novel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from unnoise.contracts import Dataset, Evidence, Metric, Score
from unnoise.metrics import subset
from unnoise_molecules.chemistry import canonical
from unnoise_molecules.properties import values


class ValidityMetric(Metric):
    """Shares of the items that are molecules at all, in one piece, distinct, and not in the training data.

    Nothing is repaired and no largest piece is taken: an item is valid if RDKit's sanitisation accepts it as it is.
    """

    def __call__(self, evidence: Evidence) -> list[Score]:
        n = len(evidence.generated)
        seen = {smiles for smiles in map(canonical, all_of(evidence.train)) if smiles}
        made = shares(evidence.generated, seen)
        real = shares(sample_of(evidence.test, n, evidence.seed), seen)
        noise = shares(evidence.noise, seen)
        notes = {
            "valid": f"N={n}; accepted by RDKit's sanitisation",
            "connected": f"N={n}; valid and in one piece",
            "unique": "share of distinct molecules among the valid ones",
            "novel": "share of the distinct ones that are not in the training data; the floor is the test data's",
        }
        better = {"novel": "near"}
        scores = [
            Score(name, made[name], real[name], known(noise[name]), better.get(name, "higher"), note)
            for name, note in notes.items()
        ]
        return [*scores, _heavy_atoms(evidence, n)]


def shares(items: Sequence[str], seen: set[str]) -> dict[str, float]:
    """``valid`` and ``connected`` of all items, ``unique`` of the valid ones, ``novel`` of the distinct ones; NaN where
    there is nothing to take a share of.

    Args:
        items: SMILES.
        seen: canonical SMILES of the training data.
    """
    valid = [smiles for smiles in map(canonical, items) if smiles]
    distinct = set(valid)
    return {
        "valid": _share(len(valid), len(items)),
        "connected": _share(sum("." not in smiles for smiles in valid), len(items)),
        "unique": _share(len(distinct), len(valid)),
        "novel": _share(len(distinct - seen), len(distinct)),
    }


def all_of(data: Dataset) -> list[str]:
    """Every molecule of a data set."""
    return [data[i] for i in range(len(data))]


def sample_of(data: Dataset, n: int, seed: int) -> list[str]:
    """At most n distinct molecules of a data set, a pure function of the arguments."""
    return [data[i] for i in subset(len(data), min(n, len(data)), seed)]


def _heavy_atoms(evidence: Evidence, n: int) -> Score:
    def mean(items: Sequence[str]) -> float:
        found = values("atoms", items)
        return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")

    real = mean(sample_of(evidence.train, n, evidence.seed))
    noise = known(mean(evidence.noise))
    note = "mean over the valid ones; the floor is the training data's"
    return Score("heavy_atoms", mean(evidence.generated), real, noise, "near", note)


def known(value: float) -> float | None:
    """A number, or None where there is nothing to measure it on."""
    return None if math.isnan(value) else value


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
