"""A small classifier of pictures, trained on real training data only, that judges generated ones."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

FEATURES = 64


@dataclass(frozen=True)
class Recipe:
    """How the classifier is trained; part of the key under which its weights are cached.

    Args:
        seed: of the initial weights, the order and the shifts.
        epochs: passes over the data, within the bounds on steps.
        min_steps, max_steps: bounds.
        batch: pictures per step.
        lr: highest learning rate of the one-cycle schedule (Smith & Topin 2018).
        weight_decay: of AdamW.
        smoothing: of the labels.
        shift: pictures are moved by up to so many pixels.
    """

    seed: int = 0
    epochs: int = 25
    min_steps: int = 400
    max_steps: int = 1500
    batch: int = 64
    lr: float = 3e-3
    weight_decay: float = 0.05
    smoothing: float = 0.05
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


def train_classifier(pictures: Tensor, labels: Tensor, classes: int, recipe: Recipe | None = None) -> Classifier:
    """Train on real pictures.

    Args:
        pictures: uint8 ``(N, channels, height, width)``.
        labels: int64 ``(N,)``, each in [0, classes).
        classes: number of classes.
        recipe: how; the global random state is left as it was.

    Returns:
        the classifier, in evaluation mode.
    """
    recipe = recipe or Recipe()
    steps = min(max(recipe.epochs * len(pictures) // recipe.batch, recipe.min_steps), recipe.max_steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = Classifier(pictures.shape[1], max(pictures.shape[2:]), classes)
        values = pictures.transpose(0, 1).flatten(1).float() / 255
        net.mean.copy_(values.mean(1)[:, None, None])
        net.std.copy_(values.std(1).clamp(min=1 / 255)[:, None, None])
        optimiser = torch.optim.AdamW(net.parameters(), weight_decay=recipe.weight_decay)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, total_steps=steps)
        order = torch.cat([torch.randperm(len(pictures)) for _ in range(-(-steps * recipe.batch // len(pictures)))])
        for i in range(steps):
            rows = order[i * recipe.batch : (i + 1) * recipe.batch]
            x = _shifted(pictures[rows], recipe.shift)
            loss = F.cross_entropy(net(x), labels[rows], label_smoothing=recipe.smoothing)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            rate.step()
    return net.eval()


def _shifted(x: Tensor, limit: int) -> Tensor:
    """A batch moved by up to ``limit`` pixels along both sides; what moves in repeats the border."""
    down, right = torch.randint(0, 2 * limit + 1, (2,)).tolist()
    padded = F.pad(x.float(), (limit, limit, limit, limit), mode="replicate").to(x.dtype)
    return padded[:, :, down : down + x.shape[2], right : right + x.shape[3]]


def cached_classifier(
    pictures: Tensor, labels: Tensor, classes: int, recipe: Recipe | None = None, cache: Path | None = None
) -> Classifier:
    """As :func:`train_classifier`, but looked up in the folder ``cache`` first, under a hash of data and recipe.

    A damaged file there is replaced.
    """
    recipe = recipe or Recipe()
    if cache is None:
        return train_classifier(pictures, labels, classes, recipe)
    digest = hashlib.blake2b(digest_size=12)
    digest.update(json.dumps([asdict(recipe), classes, list(pictures.shape)]).encode())
    digest.update(pictures.contiguous().numpy().tobytes())
    digest.update(labels.contiguous().numpy().tobytes())
    path = cache / f"classifier-{digest.hexdigest()}.safetensors"
    if path.is_file():
        net = Classifier(pictures.shape[1], max(pictures.shape[2:]), classes)
        with suppress(OSError, SafetensorError, RuntimeError):
            net.load_state_dict(load_file(path))
            return net.eval()
    net = train_classifier(pictures, labels, classes, recipe)
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(net.state_dict(), partial)
    partial.replace(path)
    return net


@torch.no_grad()
def predict(net: Classifier, pictures: Tensor, batch: int = 512) -> tuple[Tensor, Tensor]:
    """Features ``(N, 64)`` and most likely classes int64 ``(N,)`` of uint8 pictures."""
    features = torch.cat([net.features(part) for part in torch.split(pictures, batch)])
    return features, net.head(features).argmax(1)
