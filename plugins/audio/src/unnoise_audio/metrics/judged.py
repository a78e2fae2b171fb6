"""How good generated sounds are in the ears of a network, and whether they repeat the training data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unnoise.classifier import train_classifier
from unnoise.contracts import Dataset, Evidence, Labels, Metric, Score
from unnoise.errors import UserError
from unnoise.metrics import feature_scores, nearest_distances, subset
from unnoise_audio.metrics.features import AudioRecipe, Canvas, Classifier
from unnoise_audio.metrics.musicnn import musicnn_features
from unnoise_audio.sound import Sound

COLUMNS = ("instrument", "class")
"""Which column of the data names what a sound is, in order of preference."""


class ClassifierMetric(Metric):
    """Judged by a small classifier that heard only the real training split: how often a sound made for a class is of
    that class, and Frechet and kernel distance of its features to those of real test sounds.

    Data without classes gets no score here.

    Args:
        column: which column of the data names the class; the first that there is of :data:`COLUMNS` if empty.
        max_steps: bound on the classifier's training steps.
    """

    def __init__(self, column: str = "", max_steps: int = 800) -> None:
        self.column, self.recipe = column, AudioRecipe(max_steps=max_steps)

    def __call__(self, evidence: Evidence) -> list[Score]:
        column = self.column or next((name for name in COLUMNS if name in evidence.train.columns()), "")
        train, test = evidence.train.columns().get(column), evidence.test.columns().get(column)
        if not isinstance(train, Labels) or not isinstance(test, Labels):
            return []
        canvas = Canvas.of(evidence.train)
        net = listener(evidence.train, train, canvas, self.recipe, evidence.cache)

        def accuracy(bands: Tensor, wanted: Tensor) -> float:
            return float((net.predict(bands)[1] == wanted).double().mean())

        scores = []
        wanted = torch.as_tensor(np.asarray(evidence.conditions.get(column, [])))
        known = torch.nonzero(wanted >= 0).flatten()
        if len(known):
            made = canvas.bands([evidence.generated[i] for i in known.tolist()])
            noise = canvas.bands(list(evidence.noise))
            asked = wanted[known][torch.arange(len(noise)) % len(known)]
            scores.append(
                Score(
                    f"{column}_accuracy",
                    accuracy(made, wanted[known]),
                    accuracy(*_labelled(canvas, evidence.test, test)),
                    accuracy(noise, asked) if len(noise) else None,
                    "higher",
                    f"N={len(known)}; floor: the classifier's own accuracy on real test sounds",
                )
            )
        return scores + feature_scores("classifier", lambda items: net.predict(canvas.bands(items))[0], evidence)


def listener(
    train: Dataset, column: Labels, canvas: Canvas, recipe: AudioRecipe, cache: Path | None = None
) -> Classifier:
    """A network that learnt to name the class of real sounds, of which ``column`` tells (:func:`train_classifier`)."""
    bands, labels = _labelled(canvas, train, column)

    def build() -> Classifier:
        net = Classifier(len(column.names))
        net.mean.copy_(bands.mean())
        net.std.copy_(bands.std())
        return net

    return train_classifier(build, bands, labels, recipe, recipe.vary, cache)


class MusicnnMetric(Metric):
    """Frechet and kernel distance in 256 features of a network that was trained to tag music.

    Raises:
        UserError: when called, if the network is not installed.
    """

    def __call__(self, evidence: Evidence) -> list[Score]:
        return feature_scores("musicnn", musicnn_features, evidence)


class MemorisationMetric(Metric):
    """Median distance of a sound's log-mel bands to those of the nearest training sound, over the same for real test
    sounds: well below 1 means that the model repeats its training data. As many test sounds as generated ones are
    looked at (or all there are), chosen by the seed.
    """

    def __call__(self, evidence: Evidence) -> list[Score]:
        canvas = Canvas.of(evidence.train)
        reference = canvas.bands([evidence.train[i] for i in range(len(evidence.train))]).flatten(1)

        def median(items: Sequence[Sound]) -> float:
            found = canvas.bands(items).flatten(1)
            return float(nearest_distances(found, reference).median() / math.sqrt(found.shape[1]))

        chosen = subset(len(evidence.test), len(evidence.generated), evidence.seed)
        real = median([evidence.test[i] for i in chosen])
        if not real:
            return []  # test sounds repeat training sounds, so nothing can be said
        return [
            Score(
                "nearest_train_ratio",
                median(list(evidence.generated)) / real,
                1.0,
                median(list(evidence.noise)) / real if evidence.noise else None,
                "near",
                f"N={len(evidence.generated)}, real test {len(chosen)}, whose median is {real:.3f} (log-mel)",
            )
        ]


def _labelled(canvas: Canvas, data: Dataset, labels: Labels) -> tuple[Tensor, Tensor]:
    """The sounds of a data set whose class is known, and their classes.

    Raises:
        UserError: if none is.
    """
    known = np.flatnonzero(labels.values >= 0)
    if not len(known):
        raise UserError("no real sound has a class", "judge without it: metrics=[memorisation]")
    return canvas.bands([data[int(i)] for i in known]), torch.as_tensor(labels.values[known])
