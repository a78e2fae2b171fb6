"""What every data set of clouds knows of its items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unnoise.contracts import Column, Scalars
from unnoise_points.cloud import AXES, Cloud

SIDES = ("width", "height", "depth")
"""Sides of the box of a cloud whose up axis is y."""


def measured(items: Sequence[Cloud]) -> dict[str, Column]:
    """``height`` along the upward axis, ``width`` and ``depth`` along the other two, in the data's own units."""
    sides = np.array([np.ptp(item.points, axis=0) for item in items], np.float64).reshape(-1, 3)
    shift = [AXES.index(item.up) - 1 for item in items]
    rows = np.arange(len(items))
    return {name: Scalars(sides[rows, np.add(shift, k) % 3]) for k, name in enumerate(SIDES)} if len(items) else {}
