"""How the metrics see clips: all on one small canvas, as the training data has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unnoise.contracts import Dataset
from unnoise.errors import UserError
from unnoise_video.clip import Clip, Shape, common_shape, describe

SIDE = 32
"""Pixels of a frame's longer side, at most; larger ones are averaged down."""


@dataclass(frozen=True)
class View:
    """The form in which clips are compared.

    Args:
        shape: height, width and channels of the real frames.
        frames: of the longest real training clip; longer ones are cut, the last frame of shorter ones stands.
    """

    shape: Shape
    frames: int

    @classmethod
    def of(cls, train: Dataset) -> View:
        items = [train[i] for i in range(len(train))]
        return cls(common_shape(items), max(len(item.frames) for item in items))

    def __call__(self, items: Sequence[Clip] | Dataset) -> Tensor:
        """uint8 ``(N, frames, channels, h, w)``.

        Raises:
            UserError: for frames of another shape.
        """
        rows = [self._one(items[i]) for i in range(len(items))]
        height, width, channels = self.shape
        factor = -(-max(height, width) // SIDE)
        small = (self.frames, channels, -(-height // factor), -(-width // factor))
        return torch.stack(rows) if rows else torch.zeros(0, *small, dtype=torch.uint8)

    def _one(self, item: Clip) -> Tensor:
        if item.shape != self.shape:
            raise UserError(
                f"the clips have frames of {describe(item.shape)}, the real ones {describe(self.shape)}",
                "scale them first, or judge them against other data: data=folder data.root=... data.size=...",
            )
        index = np.minimum(np.arange(self.frames), len(item.frames) - 1)
        frames = torch.from_numpy(item.frames[index]).permute(0, 3, 1, 2)
        factor = -(-max(self.shape[:2]) // SIDE)
        if factor == 1:
            return frames
        return F.avg_pool2d(frames.float(), factor, ceil_mode=True).round().to(torch.uint8)


def shuffled(clips: Tensor, seed: int) -> Tensor:
    """Clips ``(N, T, ...)`` with their frames in another order, drawn for each."""
    rng = np.random.default_rng(seed)
    orders = rng.permuted(np.tile(np.arange(clips.shape[1]), (len(clips), 1)), axis=1)
    return clips[torch.arange(len(clips))[:, None], torch.from_numpy(orders)]


def frozen(clips: Tensor) -> Tensor:
    """Clips that stand at their first frame."""
    return clips[:, :1].expand_as(clips).contiguous()


def stuttering(clips: Tensor) -> Tensor:
    """Clips of which every other frame is shown twice, and the next not at all."""
    return clips[:, torch.arange(clips.shape[1]) // 2 * 2]
