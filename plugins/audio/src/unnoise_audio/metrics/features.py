"""What the metrics hear: log-mel bands of every sound on one canvas, and a small network that tells classes apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.classifier import Recipe
from unnoise.contracts import Dataset
from unnoise_audio.bands import Mel
from unnoise_audio.sound import Sound, common_format, resampled

FEATURES = 64
MELS = 64
FRAME = 0.016
"""Seconds from one frame to the next."""


@dataclass(frozen=True)
class Canvas:
    """The format in which sounds are compared: that of the training data.

    Args:
        rate: samples per second.
        seconds: of the longest training sound; what is longer is cut, what is shorter ends in silence.
    """

    rate: int
    seconds: float

    @classmethod
    def of(cls, train: Dataset) -> Canvas:
        items = [train[i] for i in range(len(train))]
        return cls(common_format(items)[0], max(item.seconds for item in items))

    def bands(self, items: Sequence[Sound], chunk: int = 256) -> Tensor:
        """Log-mel bands of the mixed channels, ``(N, MELS, T)``."""
        hop = max(round(FRAME * self.rate), 1)
        mel = Mel(self.rate, 4 * hop, hop, MELS, 40.0, 0.0, "htk", 1e-4)
        length = -(-round(self.seconds * self.rate) // hop) * hop
        parts = [torch.zeros(0, MELS, length // hop + 1)]
        for start in range(0, len(items), chunk):
            x = torch.zeros(len(items[start : start + chunk]), length)
            for row, item in zip(x, items[start : start + chunk], strict=True):
                mono = resampled(Sound(item.mono()[None], item.rate), self.rate).samples[0, :length]
                row[: len(mono)] = torch.from_numpy(mono).nan_to_num(0.0)
            parts.append(mel(x).transpose(1, 2))
        return torch.cat(parts)


class Classifier(nn.Module):
    """Convolutions over bands and frames, then 64 features, then the classes.

    Args:
        classes: number of classes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))
        layers = [*_layer(1, 24), *_layer(24, 32), *_layer(32, 48), *_layer(48, 64)]
        self.body = nn.Sequential(
            *layers,
            nn.AdaptiveAvgPool2d((4, 2)),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(64 * 8, FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, classes)

    def features(self, bands: Tensor) -> Tensor:
        """Log-mel bands ``(B, MELS, T)`` -> ``(B, 64)``."""
        features: Tensor = self.body((bands[:, None] - self.mean) / self.std)
        return features

    def forward(self, bands: Tensor) -> Tensor:
        """Log-mel bands ``(B, MELS, T)`` -> logits ``(B, classes)``."""
        logits: Tensor = self.head(self.features(bands))
        return logits

    @torch.no_grad()
    def predict(self, bands: Tensor, batch: int = 256) -> tuple[Tensor, Tensor]:
        """Features ``(N, 64)`` and most likely classes int64 ``(N,)``."""
        features = torch.cat([self.features(part) for part in torch.split(bands, batch)])
        return features, self.head(features).argmax(1)


def _layer(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


@dataclass(frozen=True)
class AudioRecipe(Recipe):
    """How the classifier is trained.

    Args:
        shift: frames by which sounds are moved at most.
        gain: natural logarithm of the largest change of level.
    """

    max_steps: int = 800
    shift: int = 2
    gain: float = 0.35

    def vary(self, bands: Tensor) -> Tensor:
        """A batch moved in time and level; what moves in repeats the border."""
        start = int(torch.randint(0, 2 * self.shift + 1, ()))
        moved = F.pad(bands, (self.shift, self.shift), mode="replicate")[..., start : start + bands.shape[-1]]
        return moved + self.gain * (2 * torch.rand(len(bands), 1, 1) - 1)
