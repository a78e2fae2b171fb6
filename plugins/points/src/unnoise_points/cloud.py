"""Clouds: points with what is known at them, which way is up, and the box they lie in.

An item of this plugin is a :class:`Cloud`. The order of its points means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from unnoise.errors import UserError

Points = NDArray[np.float32]
Colours = NDArray[np.uint8]
Up = Literal["x", "y", "z"]
AXES: tuple[str, ...] = get_args(Up)


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points of a surface.

    Args:
        points: float32 ``(n, 3)``, in the item's own units.
        normals: unit vectors, float32 ``(n, 3)``, or None.
        colours: red, green and blue, uint8 ``(n, 3)``, or None.
        up: the axis that points upwards.
        boxed: whether the cloud was brought into the unit box, so that its own place and size are not known.
    """

    points: Points
    normals: Points | None = None
    colours: Colours | None = None
    up: Up = "y"
    boxed: bool = False

    def __len__(self) -> int:
        return len(self.points)

    def take(self, index: Any) -> Cloud:
        """Some of the points."""
        normals = None if self.normals is None else self.normals[index]
        colours = None if self.colours is None else self.colours[index]
        return replace(self, points=self.points[index], normals=normals, colours=colours)

    def moved(self, centre: Points, scale: float | np.float32) -> Cloud:
        """With ``centre`` taken off all points, which are then divided by ``scale``."""
        return replace(self, points=((self.points - centre) / np.float32(scale)).astype(np.float32))

    def turned(self, rotation: NDArray[Any]) -> Cloud:
        """Points and normals turned by a rotation matrix ``(3, 3)``."""
        matrix = rotation.astype(np.float32).T
        normals = None if self.normals is None else self.normals @ matrix
        return replace(self, points=self.points @ matrix, normals=normals)

    def upright(self, up: Up) -> Cloud:
        """The same cloud with another axis upwards."""
        return self if up == self.up else replace(self.turned(turn_up(self.up, up)), up=up)

    def unit(self) -> Cloud:
        """In the unit box: the middle of its own box at 0, its longest side from -1 to 1. One that is there stays."""
        return self if self.boxed else replace(self.moved(*box(self.points)), boxed=True)


def box(points: Points) -> tuple[Points, float]:
    """Middle ``(3,)`` of the box around points, and half of its longest side (at least a millionth)."""
    low, high = points.min(0), points.max(0)
    return np.asarray((low + high) / 2, np.float32), max(float((high - low).max()) / 2, 1e-6)


def turn_up(before: Up, after: Up) -> NDArray[np.float64]:
    """The rotation that brings one axis upwards in place of another, by exchanging axes in turn."""
    shift = (AXES.index(after) - AXES.index(before)) % 3
    return np.roll(np.eye(3), shift, axis=0)


def turn_about(up: Up, angle: float) -> NDArray[np.float64]:
    """The rotation about an axis by an angle in radians."""
    first, second = ((AXES.index(up) + k) % 3 for k in (1, 2))
    matrix = np.eye(3)
    matrix[[first, first, second, second], [first, second, first, second]] = (
        np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    )  # fmt: skip
    return matrix


def check_up(up: str) -> None:
    """Raise :class:`UserError` unless ``up`` names an axis."""
    if up not in AXES:
        raise UserError(f"up={up}", f"it is one of {', '.join(AXES)}")


def describe(clouds: Any) -> str:
    """Numbers of points and the box around all of them, for people."""
    counts = sorted({len(cloud) for cloud in clouds})
    points = f"{counts[0]} points" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} points"
    whole = np.concatenate([cloud.points for cloud in clouds])
    sides = " x ".join(f"{side:.3g}" for side in whole.max(0) - whole.min(0))
    return f"{points} each, in a box of {sides}"
