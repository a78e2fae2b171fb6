"""Pictures rendered from meshes, with exact depth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unnoise.contracts import Column, Dataset, Labels, Maps
from unnoise.errors import UserError
from unnoise.folders import find_files, share
from unnoise.progress import Bar
from unnoise_image.pictures import Picture
from unnoise_image.rendering import Surface, render

FILES = (".glb", ".obj", ".off", ".ply", ".stl")
SOLIDS = ("ball", "box", "cone", "cylinder", "ring")
LARGEST = 0.62
"""Radius of the ball around the largest solid of a scene; what is seen goes from -1 to 1."""
_MOST_FACES = 200_000

Mesh = tuple[NDArray[np.float64], NDArray[np.int64]]


class Rendered(Dataset):
    """Solids in any colour, size and direction, two or three of them in a picture, lit from the upper left before a
    grey background; or the meshes below a folder, one in a picture. What is known of a picture: the ``class`` (the
    largest solid, or the sub-folder of the mesh), and its ``depth``: how far each pixel lies before the plane that is
    one unit behind the middle, 0 for the background and up to 2.

    Test pictures are of other draws than training pictures; those of a folder are of other meshes, by a hash of their
    paths.

    Args:
        split: "train" or "test".
        seed: of what is drawn.
        n: training pictures; there are a quarter as many test pictures.
        size: pixels along each side.
        root: a folder of meshes; solids if empty.
        test_fraction: share of the meshes of a folder that belongs to the test split.

    Raises:
        UserError: if trimesh is not installed, a number is out of range, or the folder holds no meshes of this split.
    """

    def __init__(
        self, split: str, seed: int = 0, *, n: int = 3000, size: int = 32, root: str = "", test_fraction: float = 0.1
    ) -> None:
        if n < 4 or not 4 <= size <= 512:
            raise UserError(f"data.n={n} and data.size={size}", "n is at least 4, size from 4 to 512")
        test = split == "test"
        self._notes: list[str] = []
        count = n // 4 if test else n
        drawn: Callable[[np.random.Generator], tuple[Surface, int]]
        if root:
            meshes, labels, names = self._meshes(root, test, test_fraction)
            drawn = lambda rng: _one_of(rng, meshes, labels)  # noqa: E731
        else:
            drawn, names = _scene, SOLIDS
        self._items = np.empty((count, size, size, 3), np.uint8)
        depth = np.empty((count, size, size, 1), np.float32)
        classes = np.empty(count, np.int64)
        with Bar("rendering", count) as bar:
            for i in range(count):
                rng = np.random.default_rng([seed, test, i])
                surface, classes[i] = drawn(rng)
                self._items[i], found = render(surface, size, np.full(3, rng.uniform(0.75, 1.0)))
                depth[i, ..., 0] = np.nan_to_num(found + 1)
                bar.advance(1)
        self._columns = {"class": Labels(classes, tuple(names)), "depth": Maps(depth, "units before the rear plane")}

    def _meshes(self, root: str, test: bool, fraction: float) -> tuple[list[Mesh], list[int], list[str]]:
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise UserError(f"{root} is not a folder", "give a folder of meshes: data.root=...")
        files = [file.relative_to(folder) for file in find_files(folder, lambda p: p.suffix.lower() in FILES)[0]]
        names = sorted({str(file.parent) if file.parent.name else "mesh" for file in files})
        meshes, labels, skipped = [], [], []
        for file in (file for file in files if (share(file) < fraction) == test):
            try:
                meshes.append(_loaded(folder / file))
            except Exception as error:  # readers of meshes raise almost anything on damaged data
                skipped.append(f"{file} ({str(error).partition(chr(10))[0] or type(error).__name__})")
                continue
            labels.append(names.index(str(file.parent) if file.parent.name else "mesh"))
        if skipped:
            self._notes.append(f"skipped {len(skipped)} meshes: {', '.join(skipped[:3])}")
        if not meshes:
            fix = f"put meshes there ({', '.join(FILES)}), or change data.test_fraction={fraction}"
            raise UserError(f"{root} has no mesh for the {'test' if test else 'train'} split", fix)
        return meshes, labels, names

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Picture:
        item: Picture = self._items[index]
        return item

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def notes(self) -> Sequence[str]:
        return self._notes


def _scene(rng: np.random.Generator) -> tuple[Surface, int]:
    """Two or three solids around the middle, the largest first, and which that is."""
    count = int(rng.integers(2, 4))
    kinds = rng.integers(len(SOLIDS), size=count)
    radii = LARGEST * np.array([1.0, *rng.uniform(0.45, 0.8, count - 1)])
    placed = []
    for kind, radius in zip(kinds, radii, strict=True):
        middle = rng.uniform(-1, 1, 3) * (1 - radius)
        corners, colours = _placed(rng, _solid(SOLIDS[kind]), radius, middle)
        a, b, c = corners[..., :2].transpose(1, 0, 2)
        front = (b - a)[:, 0] * (c - a)[:, 1] > (b - a)[:, 1] * (c - a)[:, 0]  # solids are closed: no rear is seen
        placed.append((corners[front], colours[front]))
    return Surface(*(np.concatenate(parts) for parts in zip(*placed, strict=True))), int(kinds[0])


def _one_of(rng: np.random.Generator, meshes: Sequence[Mesh], labels: Sequence[int]) -> tuple[Surface, int]:
    i = int(rng.integers(len(meshes)))
    return Surface(*_placed(rng, meshes[i], 0.95, np.zeros(3))), labels[i]


def _placed(
    rng: np.random.Generator, mesh: Mesh, radius: float, middle: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners and colours of a mesh of radius 1, turned at random, scaled and moved."""
    vertices, faces = mesh
    turned = vertices @ _rotation(rng).T * radius + middle
    colour = rng.uniform(0.1, 1.0, 3)
    return turned[faces], np.broadcast_to(colour, (len(faces), 3))


def _rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """A rotation matrix, evenly distributed: that of a random unit quaternion (Shoemake 1992)."""
    w, x, y, z = (q := rng.standard_normal(4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@lru_cache(maxsize=len(SOLIDS))
def _solid(kind: str) -> Mesh:
    create = _trimesh().creation
    made = {
        "ball": lambda: create.icosphere(subdivisions=2),
        "box": lambda: create.box((1.0, 1.4, 0.8)),
        "cone": lambda: create.cone(radius=0.7, height=1.5, sections=20),
        "cylinder": lambda: create.cylinder(radius=0.5, height=1.4, sections=20),
        "ring": lambda: create.torus(0.7, 0.28, major_sections=20, minor_sections=10),
    }[kind]()
    return _unit(made)


def _loaded(file: Path) -> Mesh:
    mesh = _trimesh().load(file, force="mesh", process=False)
    if not 0 < len(mesh.faces) <= _MOST_FACES:
        raise ValueError(f"{len(mesh.faces)} faces")
    return _unit(mesh)


def _unit(mesh: Any) -> Mesh:
    """Vertices and faces, the box around it in the middle, the farthest vertex at distance 1."""
    vertices = np.asarray(mesh.vertices, np.float64)
    vertices = vertices - (vertices.min(0) + vertices.max(0)) / 2
    radius = np.linalg.norm(vertices, axis=1).max()
    if not radius > 0 or not np.isfinite(radius):
        raise ValueError("it has no extent")
    return vertices / radius, np.asarray(mesh.faces, np.int64)


def _trimesh() -> Any:
    try:
        import trimesh
    except ImportError as error:
        raise UserError("meshes need trimesh, which is not installed", "pip install 'unnoise-image[meshes]'") from error
    return trimesh
