"""From surfaces to points: pieces of meshes, and points drawn from them by area."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from unnoise.folders import UnreadableError
from unnoise_points.cloud import Cloud, Up

Array = NDArray[np.float64]


def box(size: Sequence[float], centre: Sequence[float], matrix: Array | None = None) -> trimesh.Trimesh:
    """A box of sides ``size`` around ``centre``, turned and moved by ``matrix (4, 4)``."""
    return _placed(_unit_box(), np.asarray(size), centre, matrix)


def cylinder(
    radius: float, height: float, centre: Sequence[float], matrix: Array | None = None, depth: float | None = None
) -> trimesh.Trimesh:
    """An upright (y) cylinder around ``centre``; elliptic with another radius ``depth`` along z."""
    return _placed(_unit_cylinder(), np.array([radius, height, radius if depth is None else depth]), centre, matrix)


def lathe(profile: Sequence[tuple[float, float]], centre: Sequence[float] = (0, 0, 0)) -> trimesh.Trimesh:
    """A profile of (radius, height) turned about the y axis."""
    turned = trimesh.creation.revolve(np.asarray(profile, float), sections=24, process=False)
    return trimesh.Trimesh(_z_to_y(turned.vertices) + centre, turned.faces, process=False)


def handle(radius: float, tube: float, centre: Sequence[float], beyond: float) -> trimesh.Trimesh:
    """The part of an upright ring (in the plane of x and y) with ``x`` above ``beyond``."""
    ring = trimesh.creation.torus(radius, tube, major_sections=24, minor_sections=8)
    vertices = np.asarray(ring.vertices) + centre
    kept = vertices[ring.faces].mean(1)[:, 0] > beyond
    return trimesh.Trimesh(vertices, ring.faces[kept], process=False)


def joined(pieces: Sequence[trimesh.Trimesh]) -> trimesh.Trimesh:
    """All pieces as one mesh; nothing is merged."""
    counts = np.cumsum([0, *(len(piece.vertices) for piece in pieces[:-1])])
    faces = [piece.faces + first for piece, first in zip(pieces, counts, strict=True)]
    return trimesh.Trimesh(np.concatenate([p.vertices for p in pieces]), np.concatenate(faces), process=False)


def draw_points(
    mesh: trimesh.Trimesh, count: int, address: Sequence[int], up: Up = "y", colours: bool = False
) -> Cloud:
    """Points drawn evenly by area, with normals of their faces. The same address gives the same points.

    Args:
        mesh: the surface.
        count: number of points.
        address: integers that seed the draw, such as those of :func:`address_of`.
        up: of the mesh.
        colours: also those of the mesh at the points; white where it has none.

    Raises:
        UnreadableError: if the surface has no area.
    """
    if not len(mesh.faces):
        raise UnreadableError("it has no faces")
    if not np.isfinite(mesh.vertices).all():
        raise UnreadableError("some of its vertices are not finite")
    if not mesh.area > 0:
        raise UnreadableError("its faces have no area")
    points, faces = trimesh.sample.sample_surface(mesh, count, seed=np.random.default_rng(list(address)))[:2]
    normals = np.asarray(mesh.face_normals)[faces]
    painted = _colours(mesh, np.asarray(points), faces) if colours else None
    return Cloud(np.asarray(points, np.float32), normals.astype(np.float32), painted, up)


def address_of(text: str) -> list[int]:
    """Integers that seed what is drawn for whatever a text names."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()
    return [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]


def _colours(mesh: trimesh.Trimesh, points: Array, faces: NDArray[np.int64]) -> NDArray[np.uint8]:
    visual: Any = mesh.visual
    if not visual.defined:
        return np.full((len(points), 3), 255, np.uint8)
    if visual.kind == "texture":
        visual = visual.to_color()
    if visual.kind == "face":
        return np.asarray(visual.face_colors)[faces, :3].astype(np.uint8)
    weights = trimesh.triangles.points_to_barycentric(mesh.triangles[faces], points)
    corners = np.asarray(visual.vertex_colors)[mesh.faces[faces], :3].astype(np.float64)
    return np.asarray(np.clip(np.rint((weights[..., None] * corners).sum(1)), 0, 255), np.uint8)


def _placed(
    mesh: tuple[Array, NDArray[np.int64]], size: Array, centre: Sequence[float], matrix: Array | None
) -> trimesh.Trimesh:
    vertices = mesh[0] * size + np.asarray(centre, float)
    if matrix is not None:
        vertices = vertices @ matrix[:3, :3].T + matrix[:3, 3]
    return trimesh.Trimesh(vertices, mesh[1], process=False)


@lru_cache(maxsize=1)
def _unit_box() -> tuple[Array, NDArray[np.int64]]:
    made = trimesh.creation.box((1, 1, 1))
    return np.asarray(made.vertices), np.asarray(made.faces)


@lru_cache(maxsize=1)
def _unit_cylinder() -> tuple[Array, NDArray[np.int64]]:
    made = trimesh.creation.cylinder(1.0, 1.0, sections=20)
    return _z_to_y(made.vertices), np.asarray(made.faces)


def _z_to_y(vertices: Any) -> Array:
    """The z axis turned upwards to y."""
    x, y, z = np.asarray(vertices, float).T
    return np.stack([x, z, -y], 1)
