"""Handwritten digits that bounce: made when they are asked for, no download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from unnoise.contracts import Column, Dataset, Labels, Scalars
from unnoise.errors import UserError
from unnoise_video.bouncing import DIRECTIONS, Path, World, held_out, sector
from unnoise_video.clip import Clip

FPS = 8.0


class MovingDigits(Dataset):
    """A handwritten digit (Alpaydin & Kaynak 1998; the 8x8 pictures of scikit-learn, enlarged) that moves at constant
    speed over a black square and bounces off its walls, after "Moving MNIST" (Srivastava et al. 2015).

    Columns: ``class`` ("0" to "9"), ``direction`` (of the first frame: "right", "up-left", ...), ``speed`` (pixels a
    frame), ``fps``, ``duration`` (seconds). Test clips share no picture of a digit with training clips, no start and no
    speed: of 25 bands of speeds, and of places along x, every fifth is the test set's. Nothing depends on the run's
    seed: runs with different seeds are judged on the same clips.

    Args:
        split: "train" or "test".
        seed: has no effect.
        n: training clips; the test split has an eighth of them.
        frames: of the longest clip.
        shortest: frames of the shortest clip; ``frames`` if 0.
        canvas, sprite: sides of the square and of a digit, in pixels.
        slowest, fastest: pixels a frame.

    Raises:
        UserError: if there would be no clip.
    """

    def __init__(
        self,
        split: str,
        seed: int = 0,
        *,
        n: int = 2000,
        frames: int = 16,
        shortest: int = 0,
        canvas: int = 32,
        sprite: int = 12,
        slowest: float = 1.0,
        fastest: float = 3.0,
    ) -> None:
        if n < 8 or not 0 <= shortest <= frames or frames < 1 or not 0 < slowest < fastest:
            message = f"data.n={n}, frames={frames}, shortest={shortest}, speeds from {slowest} to {fastest}"
            raise UserError(message, "n is at least 8, frames 1; ranges are not empty, and speeds above 0")
        self.world = World(canvas, sprite)
        test = split == "test"
        count = n // 8 if test else n
        rng = np.random.default_rng([int(test), 7])
        pictures, labels = _digits(test, sprite)
        self._sprites, self._labels = pictures, labels
        index = np.arange(count)
        # Classes follow each other evenly, and each goes through its pictures in turn.
        by_class = [np.flatnonzero(labels == label) for label in range(10)]
        self._which = np.array([by_class[i % 10][i // 10 % len(by_class[i % 10])] for i in index])
        self.speeds = _drawn(rng, count, slowest, fastest, test)
        angles = 2 * np.pi * rng.random(count)
        self.velocities: Path = self.speeds[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        room = self.world.room
        self.starts: Path = np.stack([_drawn(rng, count, 0.0, room, test), room * rng.random(count)], 1)
        self.counts: NDArray[np.int64] = rng.integers(shortest or frames, frames + 1, count)

    def __len__(self) -> int:
        return len(self._which)

    def __getitem__(self, index: int) -> Clip:
        return Clip(self.world.draw(self._sprites[self._which[index]], self.path(index)), FPS)

    def path(self, index: int) -> Path:
        """Where the upper left corner of the digit of clip ``index`` is, ``(frames, 2)`` as (x, y) in pixels."""
        return self.world.path(self.starts[index], self.velocities[index], int(self.counts[index]))

    def columns(self) -> Mapping[str, Column]:
        directions = np.array([sector(velocity) for velocity in self.velocities], dtype=np.int64)
        return {
            "class": Labels(self._labels[self._which], tuple(map(str, range(10)))),
            "direction": Labels(directions, DIRECTIONS),
            "speed": Scalars(self.speeds, "pixels a frame"),
            "fps": Scalars(np.full(len(self), FPS), "frames a second"),
            "duration": Scalars(self.counts / FPS, "s"),
        }

    def notes(self) -> Sequence[str]:
        return ["digits: Optical Recognition of Handwritten Digits, UCI repository, CC BY 4.0"]


def _drawn(rng: np.random.Generator, count: int, low: float, high: float, test: bool) -> Path:
    """``count`` numbers in [low, high] of the bands of one split, evenly."""
    values = low + (high - low) * rng.random(20 * count + 100)
    chosen: Path = values[held_out(values, low, high) == test][:count]
    return chosen


@lru_cache(maxsize=4)
def _digits(test: bool, side: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pictures ``(N, side, side)`` in [0, 1] and classes of one split: every fourth of a class, in file order, is for
    testing.
    """
    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    rank = np.empty_like(labels)
    for label in range(10):
        rank[labels == label] = np.arange((labels == label).sum())
    chosen = (rank % 4 == 3) == test
    small = [Image.fromarray((image * (255 / 16)).astype(np.uint8)) for image in bunch.images[chosen]]
    large = [np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64) for image in small]
    return np.stack(large) / 255, labels[chosen]
