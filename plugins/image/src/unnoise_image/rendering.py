"""Pictures and exact depth of meshes, by an orthographic view and a depth buffer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LIGHT = np.array([-0.45, 0.6, 0.66])
"""From where the light comes: above, to the left, and from the viewer's side."""
AMBIENT = 0.35
"""Share of a surface's colour that is seen without light."""


@dataclass(frozen=True)
class Surface:
    """Triangles with a colour each.

    Args:
        corners: ``(faces, 3, 3)``; x to the right, y upwards, z towards the viewer, seen from -1 to 1 along x and y.
        colours: ``(faces, 3)``, from 0 to 1.
    """

    corners: Array
    colours: Array


def render(surface: Surface, size: int, background: Array, samples: int = 3) -> tuple[NDArray[np.uint8], Array]:
    """A picture uint8 ``(size, size, 3)``, each pixel the mean of ``samples`` squared rays, and the depth ``(size,
    size)`` at the pixels' centres: z of the nearest surface, NaN where there is none.

    Surfaces are lit from :data:`LIGHT` by Lambert's law, the same from both sides.

    Raises:
        ValueError: unless ``samples`` is odd, as the ray in the middle measures the depth.
    """
    if samples % 2 != 1:
        raise ValueError(f"{samples} rays along a side have none in the middle")
    fine = size * samples
    depth, face = _nearest(surface.corners, fine)
    a, b, c = surface.corners.transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    unit = normals / np.where(lengths > 0, lengths, 1)
    towards = unit * np.where(unit[:, 2:] < 0, -1, 1)  # the side that is seen
    lit = np.clip(towards @ (LIGHT / np.linalg.norm(LIGHT)), 0, 1)[:, None]
    shown = surface.colours * (AMBIENT + (1 - AMBIENT) * lit)
    rays = np.where((face >= 0)[..., None], shown[face], background)
    pixels = rays.reshape(size, samples, size, samples, 3).mean((1, 3))
    return np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8), depth[
        samples // 2 :: samples, samples // 2 :: samples
    ]


def _nearest(corners: Array, size: int) -> tuple[Array, NDArray[np.int64]]:
    """z and index of the nearest triangle on a grid of rays; NaN and -1 where there is none."""
    screen = np.stack([(corners[..., 0] + 1) / 2 * size - 0.5, (1 - corners[..., 1]) / 2 * size - 0.5], -1)
    low = np.clip(np.ceil(screen.min(1)), 0, size).astype(int)
    high = np.clip(np.floor(screen.max(1)), -1, size - 1).astype(int)
    extent = np.maximum(high - low + 1, 0)
    count = extent.prod(1)
    # Every ray in the box around every triangle, in one long list.
    face = np.repeat(np.arange(len(corners)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    wide = np.maximum(extent[face, 0], 1)
    x, y = low[face, 0] + within % wide, low[face, 1] + within // wide
    a, b, c = screen[face].transpose(1, 0, 2)
    edge1, edge2, p = b - a, c - a, np.stack([x, y], 1) - a
    area = edge1[:, 0] * edge2[:, 1] - edge1[:, 1] * edge2[:, 0]
    flat = np.where(area == 0, 1, area)  # seen edge-on: covers nothing
    u = (p[:, 0] * edge2[:, 1] - p[:, 1] * edge2[:, 0]) / flat
    v = (edge1[:, 0] * p[:, 1] - edge1[:, 1] * p[:, 0]) / flat
    hit = (area != 0) & (u >= 0) & (v >= 0) & (u + v <= 1)
    face, ray, u, v = face[hit], (y * size + x)[hit], u[hit], v[hit]
    z = corners[face, 0, 2] * (1 - u - v) + corners[face, 1, 2] * u + corners[face, 2, 2] * v
    depth, nearest = np.full(size * size, -np.inf), np.full(size * size, -1)
    np.maximum.at(depth, ray, z)
    front = z == depth[ray]
    nearest[ray[front]] = face[front]
    depth[np.isinf(depth)] = np.nan
    return depth.reshape(size, size), nearest.reshape(size, size)
