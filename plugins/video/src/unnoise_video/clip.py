"""What an item is: frames in time, and how many of them a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unnoise.errors import UserError

Frames = NDArray[np.uint8]
Shape = tuple[int, int, int]

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Number of channels -> Pillow's name for it."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A moving picture; a still one is a clip of one frame.

    Args:
        frames: uint8 ``(T, height, width, channels)`` with 1, 3 or 4 channels.
        fps: frames a second.
    """

    frames: Frames
    fps: float

    @property
    def shape(self) -> Shape:
        """Height, width and channels."""
        height, width, channels = self.frames.shape[1:]
        return height, width, channels

    @property
    def seconds(self) -> float:
        return len(self.frames) / self.fps

    def cut(self, start: int, stop: int) -> Clip:
        """The frames from ``start`` up to, not including, ``stop``."""
        return Clip(self.frames[start:stop], self.fps)


def common_shape(items: Sequence[Clip]) -> Shape:
    """The shape that the frames of most clips have.

    Raises:
        UserError: if there are no clips, or their frames are no uint8 arrays with 1, 3 or 4 channels.
    """
    if not len(items):
        raise UserError("there are no clips to learn from", "name a data set that holds some: data.root=...")
    counts: Counter[Shape] = Counter()
    for item in items:
        frames = item.frames
        if frames.ndim != 4 or frames.shape[3] not in MODES or frames.dtype != np.uint8:
            raise UserError(
                f"the frames of a clip have shape {frames.shape} and type {frames.dtype}",
                "a data set must give uint8 arrays (frames, height, width, channels) with 1, 3 or 4 channels",
            )
        counts[item.shape] += 1
    return counts.most_common(1)[0][0]


def common_rate(items: Sequence[Clip]) -> float:
    """The frame rate that most clips have."""
    return Counter(item.fps for item in items).most_common(1)[0][0]


def padded(items: Sequence[Clip], length: int | None = None) -> tuple[Tensor, Tensor]:
    """Clips of one shape as one tensor.

    Args:
        items: at least one.
        length: frames of the result; the longest clip's if left out.

    Returns:
        uint8 ``(N, T, channels, height, width)`` with zeros after a clip's end, and which frames are real, bool ``(N,
        T)``.

    Raises:
        UserError: if their shapes differ.
    """
    shapes = {item.shape for item in items}
    if len(shapes) != 1:
        raise UserError(f"clips of different shapes: {', '.join(sorted(map(describe, shapes)))}", "bring them to one")
    counts = torch.tensor([len(item.frames) for item in items])
    length = int(counts.max()) if length is None else length
    whole = np.zeros((len(items), length, *next(iter(shapes))), np.uint8)
    for row, item in zip(whole, items, strict=True):
        row[: len(item.frames)] = item.frames[:length]
    return torch.from_numpy(whole).permute(0, 1, 4, 2, 3), torch.arange(length) < counts[:, None]


def to_frames(pixels: Tensor) -> Frames:
    """uint8 ``(T, height, width, channels)`` of numbers in [0, 1], ``(T, channels, height, width)``; what lies outside
    is clipped.
    """
    levels = (pixels.detach().clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())


def describe(shape: Sequence[int]) -> str:
    """``"32x32x1"``."""
    return "x".join(map(str, shape))
