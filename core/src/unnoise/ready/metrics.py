"""Metrics of items of any kind, each beside its floor (real training items) and its ceiling (noise)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from unnoise.contracts import Evidence, Metric, Score
from unnoise.distances import correlation_gap, gaussian_mmd, marginal_distances, sliced_wasserstein
from unnoise.errors import UserError
from unnoise.metrics import equal_sets, nearest_distances, subset
from unnoise.ready.features import Features, features_of

Distance = Callable[[Tensor, Tensor], float]


class FeatureMetric(Metric):
    """What the metrics here share: they compare vectors. A derived class with better ones gives them:
    :meth:`features`.

    Args:
        size: items of either kind at most.

    Raises:
        UserError: if ``size`` is below 2.
    """

    def __init__(self, size: int = 1000) -> None:
        if size < 2:
            raise UserError(f"size={size} of a metric", "it compares at least 2 items of a kind")
        self.size = size

    def features(self, evidence: Evidence) -> Features:
        """How items become vectors; measured on training items, :func:`unnoise.ready.features.features_of`."""
        train = evidence.train
        return features_of([train[i] for i in subset(len(train), self.size, evidence.seed)])

    def compare(self, evidence: Evidence, distances: dict[str, Distance]) -> list[Score]:
        """A score for every distance of generated to real test items; nothing where there are fewer than 2."""
        found = equal_sets(self.features(evidence), evidence, self.size)
        if not found:
            return []
        test = found["test"]

        def score(name: str, distance: Distance) -> Score:
            ceiling = distance(found["noise"], test) if "noise" in found else None
            values = distance(found["made"], test), distance(found["train"], test)
            return Score(name, *values, ceiling, "lower", f"N={len(test)}, {test.shape[1]} numbers an item")

        return [score(name, distance) for name, distance in distances.items()]


class SlicedMetric(FeatureMetric):
    """Sliced Wasserstein distance (:func:`unnoise.distances.sliced_wasserstein`).

    Args:
        size: items of either kind at most.
        directions: random ones.
    """

    def __init__(self, size: int = 1000, directions: int = 256) -> None:
        super().__init__(size)
        self.directions = directions

    def __call__(self, evidence: Evidence) -> list[Score]:
        def distance(a: Tensor, b: Tensor) -> float:
            return sliced_wasserstein(a, b, self.directions, evidence.seed)

        return self.compare(evidence, {"sliced_wasserstein": distance})


class KernelMetric(FeatureMetric):
    """Squared maximum mean discrepancy (:func:`unnoise.distances.gaussian_mmd`)."""

    def __call__(self, evidence: Evidence) -> list[Score]:
        return self.compare(evidence, {"mmd": gaussian_mmd})


class MarginalMetric(FeatureMetric):
    """How far single columns, and correlations of pairs of them, are from those of real items: the mean and the largest
    distance of a column (:func:`unnoise.distances.marginal_distances`: standard deviations for numbers, differences of
    probabilities for classes), and the mean difference of a correlation.
    """

    def __call__(self, evidence: Evidence) -> list[Score]:
        return self.compare(
            evidence,
            {
                "marginals": lambda a, b: float(marginal_distances(a, b).mean()),
                "worst_marginal": lambda a, b: float(marginal_distances(a, b).max()),
                "correlations": correlation_gap,
            },
        )


class NearestMetric(FeatureMetric):
    """Median distance of an item to the nearest training item, over the same for real test items: well below 1 means
    that the model repeats its training data.
    """

    def __call__(self, evidence: Evidence) -> list[Score]:
        features, train = self.features(evidence), evidence.train
        reference = features([train[i] for i in range(len(train))])

        def median(items: Any) -> float:
            chosen = subset(len(items), self.size, evidence.seed)
            return float(nearest_distances(features([items[i] for i in chosen]), reference).median())

        real = median(evidence.test)
        if not real or not len(evidence.generated):
            return []  # test items repeat training items, so nothing can be said
        ceiling = median(evidence.noise) / real if len(evidence.noise) else None
        note = f"N={min(self.size, len(evidence.generated))}; real test items: {real:.4g}"
        return [Score("nearest_train_ratio", median(evidence.generated) / real, 1.0, ceiling, "near", note)]
