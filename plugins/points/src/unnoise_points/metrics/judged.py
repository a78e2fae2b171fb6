"""How good generated clouds are in the eyes of a network, and whether they repeat the training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unnoise.classifier import Recipe, train_classifier
from unnoise.contracts import Dataset, Evidence, Labels, Metric, Score
from unnoise.errors import UserError
from unnoise.metrics import feature_scores, subset
from unnoise_points.cloud import Cloud
from unnoise_points.metrics.distances import chamfer, stacked
from unnoise_points.metrics.sets import frame, framed

FEATURES = 64
COARSE = 64
"""Points by which the nearest training clouds are first looked for."""
CANDIDATES = 8


class PointNet(nn.Module):
    """The same small network at every point, the maximum over all points, then 64 features and the classes ("PointNet",
    Qi et al. 2017, without its alignment networks).

    Args:
        classes: number of classes.
        scale: that coordinates are divided by.
    """

    scale: Tensor

    def __init__(self, classes: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.each = nn.Sequential(*_layer(3, 64), *_layer(64, 96), *_layer(96, 192))
        self.whole = nn.Sequential(nn.Linear(192, FEATURES), nn.BatchNorm1d(FEATURES), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(FEATURES, classes)

    def features(self, clouds: Tensor) -> Tensor:
        """Clouds ``(B, n, 3)`` -> ``(B, 64)``."""
        pooled = self.each((clouds / self.scale).transpose(1, 2)).amax(2)
        features: Tensor = self.whole(pooled)
        return features

    def forward(self, clouds: Tensor) -> Tensor:
        """Clouds ``(B, n, 3)`` -> logits ``(B, classes)``."""
        logits: Tensor = self.head(self.features(clouds))
        return logits

    @torch.no_grad()
    def predict(self, clouds: Tensor, batch: int = 128) -> tuple[Tensor, Tensor]:
        """Features ``(N, 64)`` and most likely classes int64 ``(N,)``."""
        parts = [self.features(part) for part in torch.split(clouds, batch)]
        features = torch.cat(parts) if parts else torch.zeros(0, FEATURES)
        return features, self.head(features).argmax(1)


def _layer(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]


@dataclass(frozen=True)
class PointRecipe(Recipe):
    """How the classifier is trained.

    Args:
        jitter: deviation of what is added to every coordinate, over the data's.
        stretch: largest change of a side, as a share of it.
    """

    max_steps: int = 600
    jitter: float = 0.02
    stretch: float = 0.1

    def vary(self, clouds: Tensor) -> Tensor:
        """A batch with sides stretched and points moved a little."""
        sides = 1 + self.stretch * (2 * torch.rand(len(clouds), 1, 3) - 1)
        return clouds * sides + self.jitter * clouds.std() * torch.randn_like(clouds)


class ClassifierMetric(Metric):
    """Judged by a small PointNet that saw only the real training split: how often a cloud made for a class is of that
    class, and Frechet and kernel distance of its features to those of real test clouds.

    Data without classes gets no score here.

    Args:
        column: which column of the data names the class.
        max_steps: bound on the network's training steps.
        points: of each cloud that it sees.
    """

    def __init__(self, column: str = "class", max_steps: int = 600, points: int = 256) -> None:
        self.column, self.recipe, self.points = column, PointRecipe(max_steps=max_steps), points

    def __call__(self, evidence: Evidence) -> list[Score]:
        train, test = evidence.train.columns().get(self.column), evidence.test.columns().get(self.column)
        if not isinstance(train, Labels) or not isinstance(test, Labels):
            return []

        def seen(items: Sequence[Cloud]) -> Tensor:
            return stacked(framed(items, evidence), self.points, evidence.seed)

        def labelled(data: Dataset, labels: Labels) -> tuple[Tensor, Tensor]:
            known = np.flatnonzero(labels.values >= 0)
            if not len(known):
                raise UserError("no real cloud has a class", "judge without it: metrics=[chamfer]")
            return seen([data[int(i)] for i in known]), torch.as_tensor(labels.values[known])

        clouds, labels = labelled(evidence.train, train)
        scale = float(clouds.std())
        net = train_classifier(
            lambda: PointNet(len(train.names), scale), clouds, labels, self.recipe, self.recipe.vary, evidence.cache
        )

        def accuracy(clouds: Tensor, wanted: Tensor) -> float:
            return float((net.predict(clouds)[1] == wanted).double().mean())

        scores = []
        wanted = torch.as_tensor(np.asarray(evidence.conditions.get(self.column, [])))
        known = torch.nonzero(wanted >= 0).flatten()
        if len(known):
            made = seen([evidence.generated[i] for i in known.tolist()])
            noise = seen(list(evidence.noise))
            asked = wanted[known][torch.arange(len(noise)) % len(known)]
            scores.append(
                Score(
                    f"{self.column}_accuracy",
                    accuracy(made, wanted[known]),
                    accuracy(*labelled(evidence.test, test)),
                    accuracy(noise, asked) if len(noise) else None,
                    "higher",
                    f"N={len(known)}, {self.points} points, in {frame(evidence)}; floor: the network's own accuracy on "
                    f"{len(test.values)} real test clouds",
                )
            )
        return scores + feature_scores("classifier", lambda items: net.predict(seen(items))[0], evidence)


class MemorisationMetric(Metric):
    """Median Chamfer distance of a cloud to the nearest training cloud, over the same for real test clouds: well below
    1 means that the model repeats its training data. Of the training clouds, the 8 that are nearest by 64 points each
    are compared by all points.

    Args:
        size: clouds of either kind at most.
        points: of each.
    """

    def __init__(self, size: int = 100, points: int = 256) -> None:
        self.size, self.points = size, points

    def __call__(self, evidence: Evidence) -> list[Score]:
        train = framed([evidence.train[i] for i in range(len(evidence.train))], evidence)
        reference = stacked(train, self.points, evidence.seed)

        def median(items: Sequence[Cloud]) -> float:
            index = subset(len(items), self.size, evidence.seed)
            clouds = stacked(framed([items[i] for i in index], evidence), self.points, evidence.seed + 1)
            return float(nearest_training(clouds, reference)[1].median())

        real = median([evidence.test[i] for i in range(len(evidence.test))])
        if not real or not evidence.generated:
            return []  # test clouds repeat training clouds, so nothing can be said
        count = min(self.size, len(evidence.generated))
        note = f"N={count}, {self.points} points, in {frame(evidence)}; real test clouds: {real:.4g} (Chamfer)"
        ceiling = median(evidence.noise) / real if evidence.noise else None
        return [Score("nearest_train_ratio", median(evidence.generated) / real, 1.0, ceiling, "near", note)]


def nearest_training(clouds: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Which reference ``(M, n, 3)`` is nearest to each cloud ``(N, n, 3)``: int64 ``(N,)``; and how far, ``(N,)``."""
    rough = chamfer(clouds[:, :COARSE], reference[:, :COARSE])
    candidates = rough.topk(min(CANDIDATES, len(reference)), 1, largest=False).indices
    rows = [chamfer(cloud[None], reference[index])[0] for cloud, index in zip(clouds, candidates, strict=True)]
    fine = torch.stack(rows) if rows else torch.zeros(0, 1, dtype=torch.float64)
    best = fine.argmin(1)
    return candidates.gather(1, best[:, None])[:, 0], fine.gather(1, best[:, None])[:, 0]
