"""Where something bright is in every frame, and the bouncing motion that explains it best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unnoise_video.bouncing import World, reflected
from unnoise_video.clip import Clip

Array = NDArray[np.float64]

DARK = 40.0
"""Grey levels that count as none, so that faint noise does not pull at the centre."""
OFFSET = 3.0
"""Pixels by which the centre of a sprite's light may lie beside the middle of its square."""


@dataclass(frozen=True)
class Bounces:
    """Motions at constant speed between walls, one per clip.

    Args:
        residual: root mean square distance of the track from it, in pixels, ``(N,)``; infinite where there is no track.
        velocity: in the first frame, ``(N, 2)`` as (x, y), in pixels a frame.
    """

    residual: Array
    velocity: Array


def track(clip: Clip) -> Array:
    """The centre of light in every frame, ``(T, 2)`` as (x, y) in pixels; NaN where a frame is dark."""
    light = np.maximum(clip.frames.mean(3, dtype=np.float64) - DARK, 0)
    total = light.sum((1, 2))
    y, x = np.arange(light.shape[1]), np.arange(light.shape[2])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([(light.sum(1) * x).sum(1) / total, (light.sum(2) * y).sum(1) / total], 1)


def fit(tracks: Sequence[Array], world: World, fastest: float) -> Bounces:
    """The least-squares motion of every track: along each axis a place, a speed and an offset of at most
    :data:`OFFSET`, reflected at the walls.

    Args:
        tracks: of :func:`track`, each ``(T, 2)``.
        world: canvas and sprite.
        fastest: speed that is looked for at most, along each axis.
    """
    residual, velocity = np.full(len(tracks), np.inf), np.full((len(tracks), 2), np.nan)
    for i, places in enumerate(tracks):
        if len(places) > 1 and np.isfinite(places).all():
            (x_error, x_speed), (y_error, y_speed) = (_axis(places[:, axis], world, fastest) for axis in (0, 1))
            residual[i], velocity[i] = np.sqrt(x_error + y_error), (x_speed, y_speed)
    return Bounces(residual, velocity)


def _axis(places: Array, world: World, fastest: float) -> tuple[float, float]:
    """Mean squared error and signed first speed along one axis: a grid over place and speed, made finer twice."""
    middle = (world.sprite - 1) / 2
    place, speed = np.arange(0, 2 * world.room, 0.5), np.arange(0, fastest + 0.05, 0.05)
    width = (0.5, 0.05)
    for _ in range(3):
        grid = np.stack(np.meshgrid(place, speed, indexing="ij"), -1).reshape(-1, 2)
        moved = reflected(grid[:, :1] + grid[:, 1:] * np.arange(len(places)), world.room)
        offset = np.clip((places - moved).mean(1), middle - OFFSET, middle + OFFSET)
        errors = np.square(places - moved - offset[:, None]).mean(1)
        best = int(errors.argmin())
        place, speed = (grid[best, k] + width[k] * np.linspace(-1, 1, 11) for k in (0, 1))
        speed = np.maximum(speed, 0)
        width = (width[0] / 5, width[1] / 5)
    start, pace = grid[best]
    forwards = np.mod(start, 2 * world.room) < world.room
    return float(errors[best]), float(pace if forwards else -pace)
