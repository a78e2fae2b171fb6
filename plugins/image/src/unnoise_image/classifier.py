"""A small classifier of pictures, trained on real training data only, that judges generated ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise import classifier

FEATURES = 64


@dataclass(frozen=True)
class Recipe(classifier.Recipe):
    """How the classifier is trained.

    Args:
        shift: pictures are moved by up to so many pixels.
    """

    shift: int = 1


class Classifier(nn.Module):
    """Three convolutions on a grid of at most 16 cells a side, then 64 features, then the classes.

    Args:
        channels: of the pictures.
        size: the longer side of the pictures.
        classes: number of classes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("std", torch.ones(channels, 1, 1))
        width, cells = 32, size
        layers = _layer(channels, width, 2 if cells > 16 else 1)
        while cells > 32:
            layers += _layer(width, width, 2)
            cells = -(-cells // 2)
        layers += [
            *_layer(width, 2 * width, 1),
            *_layer(2 * width, 2 * width, 2),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        ]
        self.body = nn.Sequential(*layers, nn.Dropout(0.3), nn.Linear(8 * width, FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, classes)

    @classmethod
    def standardised(cls, pictures: Tensor, classes: int) -> Self:
        """A fresh one with mean and deviation of uint8 pictures ``(N, channels, height, width)``."""
        net = cls(pictures.shape[1], max(pictures.shape[2:]), classes)
        values = pictures.transpose(0, 1).flatten(1).float() / 255
        net.mean.copy_(values.mean(1)[:, None, None])
        net.std.copy_(values.std(1).clamp(min=1 / 255)[:, None, None])
        return net

    def features(self, x: Tensor) -> Tensor:
        """uint8 pictures ``(B, channels, height, width)`` -> ``(B, 64)``."""
        features: Tensor = self.body((x.float() / 255 - self.mean) / self.std)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """uint8 pictures ``(B, channels, height, width)`` -> logits ``(B, classes)``."""
        logits: Tensor = self.head(self.features(x))
        return logits


def _layer(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def train_classifier(
    pictures: Tensor, labels: Tensor, classes: int, recipe: Recipe | None = None, cache: Path | None = None
) -> Classifier:
    """Train on real pictures; see :func:`unnoise.classifier.train_classifier`.

    Args:
        pictures: uint8 ``(N, channels, height, width)``.
        labels: int64 ``(N,)``, each in [0, classes).
        classes: number of classes.
        recipe: how.
        cache: where weights are kept.
    """
    recipe = recipe or Recipe()
    build, vary = partial(Classifier.standardised, pictures, classes), partial(shifted, limit=recipe.shift)
    return classifier.train_classifier(build, pictures, labels, recipe, vary, cache)


def shifted(x: Tensor, limit: int) -> Tensor:
    """A batch moved by up to ``limit`` pixels along both sides; what moves in repeats the border."""
    down, right = torch.randint(0, 2 * limit + 1, (2,)).tolist()
    padded = F.pad(x.float(), (limit, limit, limit, limit), mode="replicate").to(x.dtype)
    return padded[:, :, down : down + x.shape[2], right : right + x.shape[3]]


@torch.no_grad()
def predict(net: Classifier, pictures: Tensor, batch: int = 512) -> tuple[Tensor, Tensor]:
    """Features ``(N, 64)`` and most likely classes int64 ``(N,)`` of uint8 pictures."""
    features = torch.cat([net.features(part) for part in torch.split(pictures, batch)])
    return features, net.head(features).argmax(1)
