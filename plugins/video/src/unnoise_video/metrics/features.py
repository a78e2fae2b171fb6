"""Small networks that see real clips only and judge generated ones: one looks at frames, one at motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unnoise.classifier import Recipe, train_classifier
from unnoise.nn import conv_nd
from unnoise_video.metrics.views import shuffled, stuttering

FEATURES = 64
MOST_CLIPS = 1200
"""The network of motion is trained on so many clips at most."""
PER_CLIP = 3
"""Frames of a clip that the network of frames is trained on."""


class Watcher(nn.Module):
    """Convolutions over every frame, and, for motion, over frames too; then 64 features, then the classes. What is
    strongest anywhere counts (pooling by the maximum), so that it does not matter where in a frame something is.

    Args:
        channels: of the frames.
        classes: number of classes.
        width: of the first layer.
        motion: whether there are convolutions over frames.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, classes: int, width: int, motion: bool) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("std", torch.ones(channels, 1, 1))
        self.motion = motion
        self.trunk = nn.Sequential(
            *_layer(2, channels, width, 2), *_layer(2, width, 2 * width, 1 if not motion else 2),
            *_layer(2, 2 * width, 3 * width, 2),
        )  # fmt: skip
        over_time = [*_layer(3, 3 * width, 4 * width, (2, 1, 1)), *_layer(3, 4 * width, 4 * width, 1)]
        self.body = nn.Sequential(*(over_time if motion else _layer(2, 3 * width, 4 * width, 1)))
        self.neck = nn.Sequential(nn.Dropout(0.2), nn.Linear(8 * width, FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, classes)

    def features(self, clips: Tensor) -> Tensor:
        """uint8 clips ``(B, T, C, h, w)``, or frames ``(B, C, h, w)`` without motion -> ``(B, 64)``."""
        x = (clips.float() / 255 - self.mean) / self.std
        if self.motion:
            grid = self.trunk(x.flatten(0, 1)).unflatten(0, x.shape[:2]).transpose(1, 2)
            grid = self.body(grid).flatten(2)
        else:
            grid = self.body(self.trunk(x)).flatten(2)
        features: Tensor = self.neck(torch.cat([grid.amax(2), grid.mean(2)], 1))
        return features

    def forward(self, clips: Tensor) -> Tensor:
        """As :meth:`features` -> logits ``(B, classes)``."""
        logits: Tensor = self.head(self.features(clips))
        return logits

    @torch.no_grad()
    def watch(self, clips: Tensor, batch: int = 128) -> tuple[Tensor, Tensor]:
        """Features ``(N, 64)`` and logits ``(N, classes)``."""
        features = torch.cat([self.features(part) for part in torch.split(clips, batch)])
        return features, self.head(features)


def _layer(dims: int, inputs: int, outputs: int, stride: int | tuple[int, ...]) -> list[nn.Module]:
    norm = nn.BatchNorm2d(outputs) if dims == 2 else nn.BatchNorm3d(outputs)
    return [conv_nd(dims, inputs, outputs, 3, stride=stride, bias=False), norm, nn.ReLU()]


def frame_network(clips: Tensor, labels: Tensor, classes: int, max_steps: int, cache: Path | None) -> Watcher:
    """Trained to name the class of single frames of real clips.

    Args:
        clips: uint8 ``(N, T, C, h, w)``.
        labels: int64 ``(N,)``.
        classes: number of classes.
        max_steps: bound on the steps of training.
        cache: where weights are kept.
    """
    rng = np.random.default_rng(0)
    index = torch.from_numpy(rng.integers(clips.shape[1], size=(len(clips), PER_CLIP)))
    frames = clips[torch.arange(len(clips))[:, None], index].flatten(0, 1)
    recipe = Recipe(min_steps=min(400, max_steps), max_steps=max_steps)
    return train_classifier(
        lambda: standardised(Watcher(clips.shape[2], classes, 24, motion=False), clips),
        frames, labels.repeat_interleave(PER_CLIP), recipe, cache=cache,
    )  # fmt: skip


def motion_network(clips: Tensor, labels: Tensor | None, classes: int, max_steps: int, cache: Path | None) -> Watcher:
    """Trained to tell real clips from the same with their frames shuffled and from stuttering ones, and to name their
    class where that is known: its features are of what moves and how.

    Args:
        clips: uint8 ``(N, T, C, h, w)``; of more than :data:`MOST_CLIPS`, so many evenly spread.
        labels: int64 ``(N,)``, -1 where unknown; None where nothing has a class.
        classes: number of classes.
        max_steps: bound on the steps of training.
        cache: where weights are kept.
    """
    chosen = torch.linspace(0, len(clips) - 1, min(len(clips), MOST_CLIPS)).long()
    if labels is not None:
        chosen = chosen[labels[chosen] >= 0]
    real = clips[chosen]
    named = torch.zeros(len(real), dtype=torch.int64) if labels is None else labels[chosen]
    inputs = torch.cat([real, shuffled(real, 0), stuttering(real)])
    wanted = torch.cat([3 * named + played for played in range(3)])
    recipe = Recipe(min_steps=min(400, max_steps), max_steps=max_steps, batch=32)
    return train_classifier(
        lambda: standardised(Watcher(clips.shape[2], 3 * max(classes, 1), 16, motion=True), clips),
        inputs, wanted, recipe, cache=cache,
    )  # fmt: skip


def standardised(net: Watcher, clips: Tensor) -> Watcher:
    """With the mean and deviation of the clips' channels."""
    some = clips[:: max(len(clips) // 256, 1)].transpose(0, 2).flatten(1).float() / 255
    net.mean.copy_(some.mean(1)[:, None, None])
    net.std.copy_(some.std(1).clamp(min=1 / 255)[:, None, None])
    return net
