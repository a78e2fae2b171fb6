"""How a set of generated clouds compares with a set of real ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unnoise.contracts import Evidence, Metric, Score
from unnoise.metrics import subset
from unnoise_points.cloud import Cloud, box
from unnoise_points.metrics.distances import (
    BoundedTable,
    Table,
    WholeTable,
    chamfer,
    nearest_bound,
    sliced_bound,
    stacked,
    transport,
)

GRID = 28
"""Cells on a side of the grid of :class:`OccupancyMetric` (Achlioptas et al. 2018)."""


@dataclass(frozen=True)
class SetScores:
    """How clouds compare with as many references.

    Args:
        accuracy: of telling the two apart by the nearest other cloud ("1-NNA", Lopez-Paz & Oquab 2017; Yang et al.
            2019); 0.5 where they cannot be told apart.
        coverage: share of references that are nearest to some cloud (Achlioptas et al. 2018).
        matching: mean distance of a reference to its nearest cloud ("MMD" there).
    """

    accuracy: float
    coverage: float
    matching: float


def compare(table: Table, made: NDArray[np.int64], real: NDArray[np.int64]) -> SetScores:
    """Compare clouds ``made`` with references ``real``, given as places in a table."""
    both = np.concatenate([made, real])
    alike = 0
    for row in both:
        nearest, _ = table.nearest(int(row), both[both != row])
        alike += int(np.isin(nearest, made) == np.isin(row, made))
    covered = {table.nearest(int(row), real)[0] for row in made}
    matching = [table.nearest(int(row), made)[1] for row in real]
    return SetScores(alike / len(both), len(covered) / len(real), float(np.mean(matching)))


def frame(evidence: Evidence) -> str:
    """In which coordinates clouds are compared: "unit boxes" where the generated ones were brought there."""
    return "unit boxes" if evidence.generated and evidence.generated[0].boxed else "the data's own units"


def framed(items: Sequence[Cloud], evidence: Evidence) -> list[Cloud]:
    """Real clouds as they are compared with the generated ones."""
    return [item.unit() if frame(evidence) == "unit boxes" else item for item in items]


def chosen(evidence: Evidence, size: int) -> dict[str, list[Cloud]]:
    """As many generated, test and training clouds (and noise, if there is some): ``size``, or what all can give."""
    sets: dict[str, Any] = {"made": evidence.generated, "test": evidence.test, "train": evidence.train}
    if len(evidence.noise) >= 2:
        sets["noise"] = evidence.noise
    n = min(size, *(len(items) for items in sets.values()))
    return {
        name: framed([items[i] for i in subset(len(items), n, evidence.seed)], evidence) for name, items in sets.items()
    }


class SetMetric(Metric):
    """1-nearest-neighbour accuracy, coverage and minimum matching distance against real test clouds; the floor is what
    as many real training clouds get. The protocol stands in the note: the number of clouds of either kind, points of
    each, and the coordinates.

    Args:
        size: clouds of either kind at most.
        points: drawn of each.
    """

    name: str
    what: str

    def __init__(self, size: int = 200, points: int = 256) -> None:
        self.size, self.points = size, points

    @abstractmethod
    def table(self, clouds: Tensor) -> Table:
        """Distances of clouds ``(N, points, 3)``."""

    def kinds(self, sets: dict[str, list[Cloud]]) -> list[str]:
        """Which sets are compared with the test set."""
        return [name for name in sets if name != "test"]

    def __call__(self, evidence: Evidence) -> list[Score]:
        sets = chosen(evidence, self.size)
        n = len(sets["test"])
        if n < 2:
            return []
        names = ["test", *self.kinds(sets)]
        clouds = torch.cat([stacked(sets[name], self.points, seed) for seed, name in enumerate(names)])
        clouds = clouds - clouds.mean((0, 1))
        places = {name: np.arange(n) + k * n for k, name in enumerate(names)}
        table = self.table(clouds)
        found = {name: compare(table, places[name], places["test"]) for name in names[1:]}
        note = f"{self.what}; {n} against {n} test clouds, {self.points} points each, in {frame(evidence)}"

        def score(kind: str, better: str) -> Score:
            values = {name: float(getattr(scores, kind)) for name, scores in found.items()}
            label = {"accuracy": "1nna", "coverage": "coverage", "matching": "mmd"}[kind]
            made, floor, ceiling = values["made"], values["train"], values.get("noise")
            return Score(f"{label}_{self.name}", made, floor, ceiling, better, note)

        return [score("accuracy", "near"), score("coverage", "higher"), score("matching", "lower")]


class ChamferMetric(SetMetric):
    """By Chamfer distance: mean squared distances to the nearest points, both ways, added."""

    name = "chamfer"
    what = "Chamfer distance (squared, both ways added)"

    def table(self, clouds: Tensor) -> Table:
        return WholeTable(chamfer(clouds, clouds).numpy())


class TransportMetric(SetMetric):
    """By exact earth mover's distance, the mean distance of optimally paired points. It is computed only where lower
    bounds leave open which cloud is nearest; 200 clouds of 256 points still take minutes. Noise is not compared.
    """

    name = "transport"
    what = "earth mover's distance (exact, mean distance of paired points)"

    def kinds(self, sets: dict[str, list[Cloud]]) -> list[str]:
        return ["made", "train"]

    def table(self, clouds: Tensor) -> Table:
        bounds = torch.maximum(nearest_bound(clouds, clouds), sliced_bound(clouds, clouds))
        bounds = torch.maximum(bounds, bounds.T) * (1 - 1e-3)  # they are products in float32
        return BoundedTable(bounds.numpy(), lambda i, j: transport(clouds[i], clouds[j]))


class OccupancyMetric(Metric):
    """Jensen-Shannon divergence, in bits from 0 to 1, between where the points of all generated and of all real test
    clouds lie on a grid of 28 cells a side over the real ones' box (Achlioptas et al. 2018).

    Args:
        points: drawn of each cloud.
    """

    def __init__(self, points: int = 256) -> None:
        self.points = points

    def __call__(self, evidence: Evidence) -> list[Score]:
        sets = chosen(evidence, len(evidence.generated))
        n = len(sets["test"])
        if not n:
            return []
        clouds = {
            name: stacked(items, self.points, seed).reshape(-1, 3) for seed, (name, items) in enumerate(sets.items())
        }
        centre, half = box(clouds["test"].numpy())
        shares = {name: _occupancy((points.numpy() - centre) / half) for name, points in clouds.items()}
        values = {name: jensen_shannon(share, shares["test"]) for name, share in shares.items()}
        note = f"N={n}, {self.points} points each, grid of {GRID}^3, in {frame(evidence)}"
        return [Score("occupancy_divergence", values["made"], values["train"], values.get("noise"), "lower", note)]


def _occupancy(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Shares of points in the cells of a grid over the unit box; what lies outside counts to the outermost cells."""
    cells = np.clip(((points + 1) / 2 * GRID).astype(int), 0, GRID - 1)
    counts = np.bincount(np.ravel_multi_index(tuple(cells.T), (GRID,) * 3), minlength=GRID**3)
    return np.asarray(counts / max(counts.sum(), 1), np.float64)


def jensen_shannon(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Jensen-Shannon divergence of two distributions, in bits."""
    middle = (p + q) / 2

    def relative(a: NDArray[np.float64]) -> float:
        there = a > 0
        return float((a[there] * np.log2(a[there] / middle[there])).sum())

    return max((relative(p) + relative(q)) / 2, 0.0)
