"""A world of known physics: a sprite that moves at constant speed and bounces off the walls of its canvas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unnoise.errors import UserError

Path = NDArray[np.float64]

DIRECTIONS = ("right", "down-right", "down", "down-left", "left", "up-left", "up", "up-right")
"""Names of the eight sectors of directions, by angle; y points down, as in pictures."""


@dataclass(frozen=True)
class World:
    """A square canvas with a square sprite.

    Args:
        canvas: pixels a side.
        sprite: pixels a side of what moves.

    Raises:
        UserError: if nothing could move.
    """

    canvas: int = 32
    sprite: int = 12

    def __post_init__(self) -> None:
        if not 4 <= self.sprite < self.canvas:
            raise UserError(f"a sprite of {self.sprite} pixels on a canvas of {self.canvas}", "4 or more, and smaller")

    @property
    def room(self) -> int:
        """How far the sprite's corner can move along each axis, in pixels."""
        return self.canvas - self.sprite

    def path(self, start: Path, velocity: Path, frames: int) -> Path:
        """The sprite's upper left corner ``(frames, 2)`` as (x, y) in pixels, reflected at the walls.

        Args:
            start: ``(2,)`` in [0, room].
            velocity: ``(2,)``, pixels a frame.
            frames: how many.
        """
        return reflected(start + np.arange(frames)[:, None] * velocity, self.room)

    def draw(self, sprite: NDArray[np.float64], path: Path) -> NDArray[np.uint8]:
        """Frames ``(T, canvas, canvas, 1)`` of a sprite ``(sprite, sprite)`` with values in [0, 1] whose corner follows
        a path; between pixels its light is shared out in proportion (bilinear), so that none is lost.
        """
        frames = np.zeros((len(path), self.canvas + 1, self.canvas + 1))
        for frame, (x, y) in zip(frames, path, strict=True):
            left, top = int(x), int(y)
            right, low = x - left, y - top
            for dy, share_y in ((0, 1 - low), (1, low)):
                for dx, share_x in ((0, 1 - right), (1, right)):
                    rows, columns = slice(top + dy, top + dy + self.sprite), slice(left + dx, left + dx + self.sprite)
                    frame[rows, columns] += share_y * share_x * sprite
        levels = np.round(255 * frames[:, : self.canvas, : self.canvas, None])
        return levels.clip(0, 255).astype(np.uint8)


def reflected(place: Path, room: float) -> Path:
    """Places on a line, folded into [0, room] as by mirrors at both ends."""
    return room - np.abs(np.mod(place, 2 * room) - room)


def sector(velocity: Path) -> int:
    """Index into :data:`DIRECTIONS` of a velocity (x, y)."""
    return int(np.round(np.arctan2(velocity[1], velocity[0]) / (np.pi / 4))) % len(DIRECTIONS)


def held_out(values: Path, low: float, high: float, bands: int = 25) -> NDArray[np.bool_]:
    """Which of some numbers in [low, high] are reserved for testing: every fifth of so many equal bands."""
    band = np.floor((values - low) / (high - low) * bands).astype(int).clip(0, bands - 1)
    return np.asarray(band % 5 == 2)
