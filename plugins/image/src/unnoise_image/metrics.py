"""How good generated pictures are, each number beside what real and random pictures get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unnoise.contracts import Dataset, Evidence, Labels, Metric, Score
from unnoise.errors import UserError
from unnoise.metrics import feature_scores, nearest_distances, subset
from unnoise_image.classifier import Recipe, predict, train_classifier
from unnoise_image.lite0 import lite0_features
from unnoise_image.pictures import Picture, stack
from unnoise_image.representation import describe

Features = Callable[[Tensor], Tensor]


class ClassifierMetric(Metric):
    """Judged by a small classifier that saw only the real training split: how often a picture made for a class is of
    that class, and Frechet and kernel distance of its features to those of real test pictures.

    Data without classes gets no score here.

    Args:
        column: which column of the data names the class.
        max_steps: bound on the classifier's training steps.

    Its training has a seed of its own, so that different models are judged by the same classifier.
    """

    def __init__(self, column: str = "class", max_steps: int = 1500) -> None:
        self.column, self.recipe = column, Recipe(max_steps=max_steps)

    def __call__(self, evidence: Evidence) -> list[Score]:
        train, test = evidence.train.columns().get(self.column), evidence.test.columns().get(self.column)
        if not isinstance(train, Labels) or not isinstance(test, Labels):
            return []
        real, labels = _labelled(evidence.train, train.values)
        net = train_classifier(real, labels, len(train.names), self.recipe, evidence.cache)
        scores = []
        if self.column in evidence.conditions:
            wanted = np.asarray(evidence.conditions[self.column])
            known = np.flatnonzero(wanted >= 0)

            def accuracy(pictures: Tensor, classes: NDArray[Any] | Tensor) -> float:
                return float((predict(net, pictures)[1] == torch.as_tensor(classes)).double().mean())

            if len(known):
                made = pictures_of([evidence.generated[int(i)] for i in known], like=real)
                noise = pictures_of(evidence.noise, like=real) if evidence.noise else None
                asked = np.resize(wanted[known], 0 if noise is None else len(noise))
                note = f"N={len(known)}; floor: the classifier's own accuracy on {len(test.values)} real test pictures"
                scores.append(
                    Score(
                        "class_accuracy",
                        accuracy(made, wanted[known]),
                        accuracy(*_labelled(evidence.test, test.values)),
                        None if noise is None else accuracy(noise, asked),
                        "higher",
                        note,
                    )
                )
        return scores + _feature_scores("classifier", lambda x: predict(net, x)[0], evidence)


class Lite0Metric(Metric):
    """Frechet distance ("FD-Lite0"; it is no FID) and kernel distance in features of EfficientNet-Lite0.

    Args:
        size: side to which pictures are scaled.

    Raises:
        UserError: when called, if the network is not installed.
    """

    def __init__(self, size: int = 64) -> None:
        self.size = size

    def __call__(self, evidence: Evidence) -> list[Score]:
        return _feature_scores("lite0", lambda x: lite0_features(x, self.size), evidence)


class MemorisationMetric(Metric):
    """Median Euclidean distance of a picture to the nearest training picture, over the same for real test pictures:
    well below 1 means that the model repeats its training data. As many test pictures as generated ones are looked at
    (or all there are), chosen by the seed.
    """

    def __call__(self, evidence: Evidence) -> list[Score]:
        train = pictures_of(evidence.train)
        reference = train.flatten(1)

        def median(items: Sequence[Picture]) -> float:
            return float(nearest_distances(pictures_of(items, like=train).flatten(1), reference).median()) / 255

        chosen = subset(len(evidence.test), len(evidence.generated), evidence.seed)
        test = [evidence.test[i] for i in chosen]
        real = median(test)
        if not real:
            return []  # test pictures repeat training pictures, so nothing can be said
        return [
            Score(
                "nearest_train_ratio",
                median(evidence.generated) / real,
                1.0,
                median(evidence.noise) / real if evidence.noise else None,
                "near",
                f"N={len(evidence.generated)}, real test {len(test)}, whose median is {real:.3f} (levels in [0, 1])",
            )
        ]


def _feature_scores(name: str, features: Features, evidence: Evidence) -> list[Score]:
    """As :func:`unnoise.metrics.feature_scores`, for pictures of the shape of the real test pictures."""
    test = pictures_of([evidence.test[0]])
    return feature_scores(name, lambda items: features(pictures_of(items, like=test)), evidence)


def pictures_of(items: Sequence[Picture] | Dataset, like: Tensor | None = None) -> Tensor:
    """Items as uint8 ``(N, channels, height, width)``.

    Raises:
        UserError: if they are not of the shape of ``like``.
    """
    pictures = stack([items[i] for i in range(len(items))])
    if like is not None and pictures.shape[1:] != like.shape[1:]:
        raise _other_shape(pictures, (*like.shape[2:], like.shape[1]))
    return pictures


def _other_shape(pictures: Tensor, real: Sequence[int]) -> UserError:
    channels, height, width = pictures.shape[1:]
    return UserError(
        f"the pictures have {describe((height, width, channels))}, the real ones {describe(real)}",
        "scale them first, or judge them against other data: data=folder data.root=... data.size=...",
    )


def _labelled(data: Dataset, labels: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """The pictures whose class is known, and their classes."""
    known = np.flatnonzero(labels >= 0)
    return pictures_of([data[int(i)] for i in known]), torch.as_tensor(labels[known])
