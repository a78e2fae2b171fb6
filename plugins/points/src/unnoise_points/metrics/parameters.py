"""Whether a cloud is a shape of its family at all: the parameters that explain it best, and what they leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from unnoise.contracts import Evidence, Metric, Score
from unnoise.metrics import subset
from unnoise_points.cloud import Cloud, Points, box
from unnoise_points.data.families import Families
from unnoise_points.families import FAMILIES, Family, Parameters
from unnoise_points.metrics.distances import stacked
from unnoise_points.metrics.judged import nearest_training
from unnoise_points.surfaces import draw_points

_SURFACE = 512
"""Points that stand for the surface of a trial shape."""
_BLUR = 0.035
"""How far from the surface points may lie to count as its own; about the distance of neighbouring points."""


@dataclass(frozen=True)
class Fit:
    """The parameters of a family that explain a cloud best.

    Args:
        parameters: found.
        likelihood: mean log-density of the cloud's points, if they were drawn evenly from the shape's surface and then
            blurred. A surface that goes on where there are no points is less likely than one that ends.
    """

    parameters: Parameters
    likelihood: float


def fit(cloud: Points, family: Family, start: Parameters, rounds: int = 16, trials: int = 12) -> Fit:
    """Search for parameters around a start: in every round some random changes of the best so far are tried, in ever
    smaller steps (a random local search; Rastrigin 1963). The middles of both boxes are taken for the same.

    Args:
        cloud: points ``(n, 3)``.
        family: of the shape.
        start: where to begin, such as the parameters of a similar shape.
        rounds, trials: of the search.
    """
    rng, centred = np.random.default_rng(0), cloud - box(cloud)[0]

    def judged(parameters: Parameters) -> Fit:
        surface = draw_points(family.mesh(parameters), _SURFACE, [0]).points
        squares = cdist(centred, surface, "sqeuclidean")
        return Fit(parameters, float(logsumexp(-squares / (2 * _BLUR**2), axis=1).mean()))

    best = judged(dict(start))
    names = list(family.ranges)
    for step in np.geomspace(0.2, 0.02, rounds):
        for _ in range(trials):
            moved = dict(best.parameters)
            for name in rng.choice(names, size=rng.integers(1, 4), replace=False):
                low, high = family.ranges[name]
                moved[name] = float(np.clip(moved[name] + step * (high - low) * rng.standard_normal(), low, high))
            best = max(best, judged(moved), key=lambda found: found.likelihood)
    return best


def residual(cloud: Points, family: Family, found: Fit) -> float:
    """Root mean square distance of the points of a cloud from the surface that was found."""
    surface = draw_points(family.mesh(found.parameters), 16 * _SURFACE, [1]).points
    return float(np.sqrt(np.square(KDTree(surface).query(cloud - box(cloud)[0])[0]).mean()))


class ParametersMetric(Metric):
    """For shapes of the built-in families: the median over clouds of the root mean square distance of their points from
    the likeliest shape of the family that they were made for. The floor is that of real test clouds, whose parameters
    are known: the note says how well these were found. The search begins at the nearest training shape of the family.

    Args:
        size: clouds of either kind at most.
        points: of each.
    """

    def __init__(self, size: int = 30, points: int = 256) -> None:
        self.size, self.points = size, points

    def __call__(self, evidence: Evidence) -> list[Score]:
        train, test = evidence.train, evidence.test
        wanted = np.asarray(evidence.conditions.get("class", []))
        if not isinstance(train, Families) or not isinstance(test, Families) or not (wanted >= 0).any():
            return []
        if test.turned or any(item.boxed for item in evidence.generated):
            return []  # the search knows neither angles nor the scale
        known = np.flatnonzero(wanted >= 0)
        index = [int(known[i]) for i in subset(len(known), self.size, evidence.seed)]
        made = self._fits([evidence.generated[i] for i in index], [train.names[wanted[i]] for i in index], train)
        real_index = subset(len(test), self.size, evidence.seed)
        real = self._fits([test[i] for i in real_index], [test.family(i) for i in real_index], train)
        errors = [_error(found, test, i) for (found, _), i in zip(real, real_index, strict=True)]
        note = (
            f"N={len(made)}, {self.points} points, the data's own units; floor: {len(real)} real test shapes, whose "
            f"parameters are found to {np.median(errors):.1%} of their ranges (median)"
        )
        value, floor = (float(np.median([distance for _, distance in fits])) for fits in (made, real))
        return [Score("parameters_residual", value, floor, None, "lower", note)]

    def _fits(self, clouds: Sequence[Cloud], families: Sequence[str], train: Families) -> list[tuple[Fit, float]]:
        """What is found for every cloud, and the distance that remains."""
        points = stacked(clouds, self.points, 1)
        found: dict[int, tuple[Fit, float]] = {}
        for name in set(families):
            same = [i for i in range(len(train)) if train.family(i) == name]
            reference = stacked([train[i] for i in same], self.points, 0)
            rows = [i for i, family in enumerate(families) if family == name]
            nearest = nearest_training(points[torch.tensor(rows)], reference)[0].tolist()
            for row, start in zip(rows, nearest, strict=True):
                cloud = points[row].numpy()
                best = fit(cloud, FAMILIES[name], train.parameters(same[start]))
                found[row] = best, residual(cloud, FAMILIES[name], best)
        return [found[row] for row in range(len(clouds))]


def _error(found: Fit, data: Families, index: int) -> float:
    """Mean absolute error of the parameters of a real shape, over their ranges."""
    family, true = FAMILIES[data.family(index)], data.parameters(index)
    shares = [abs(found.parameters[n] - true[n]) / (high - low) for n, (low, high) in family.ranges.items()]
    return float(np.mean(shares))
