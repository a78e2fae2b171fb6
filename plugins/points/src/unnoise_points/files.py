"""Reading meshes and clouds from files that anybody made."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from unnoise.errors import UserError
from unnoise.folders import UnreadableError, find_files, printable
from unnoise_points.cloud import Cloud, Up
from unnoise_points.surfaces import draw_points

MESHES = (".obj", ".ply", ".stl", ".glb", ".gltf", ".off")
CLOUDS = (".npy", ".xyz")
"""Plain arrays, and lines of numbers."""
EITHER = (".ply", ".glb", ".gltf")
"""What may hold a mesh, or points without faces."""
MEGABYTE = 1 << 20


def read_cloud(
    path: Path, pool: int, address: list[int], up: Up = "y", colours: bool = False, megabytes: float = 200.0
) -> Cloud:
    """What a file holds, as points: those of a cloud as they are, or ones drawn from the surface of a mesh, of all
    meshes of a scene together.

    Args:
        path: of the file.
        pool: points drawn from a surface, and at most so many taken of a cloud.
        address: integers that seed the draw.
        up: which axis points upwards in the file; in GLB and GLTF it is always y.
        colours: also read colours; white where there are none.
        megabytes: larger files are not opened.

    Raises:
        UnreadableError: for whatever is wrong with it.
    """
    try:
        size = path.stat().st_size / MEGABYTE
    except OSError as error:
        raise UnreadableError(error.strerror or "it cannot be opened") from error
    if size > megabytes:
        raise UnreadableError(f"it has {size:.0f} megabytes, more than {megabytes:g}")
    kind = path.suffix.lower()
    if kind in CLOUDS:
        found = _array_cloud(_array(path), up)
    else:
        up = "y" if kind in (".glb", ".gltf") else up
        loaded = _loaded(path)
        if isinstance(loaded, trimesh.Trimesh):
            return draw_points(loaded, pool, address, up, colours)
        found = _point_cloud(loaded, up)
    if not len(found):
        raise UnreadableError("it holds no points")
    if not np.isfinite(found.points).all():
        raise UnreadableError("some of its points are not finite")
    if colours and found.colours is None:
        found = Cloud(found.points, found.normals, np.full((len(found), 3), 255, np.uint8), up)
    if len(found) > pool:
        found = found.take(np.sort(np.random.default_rng(address).permutation(len(found))[:pool]))
    return found


def _loaded(path: Path) -> Any:
    """One mesh or one cloud of points."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scene = trimesh.load_scene(path, process=False)
            pieces = scene.dump(concatenate=False) if scene.geometry else []
    except Exception as error:  # damaged files make its readers raise almost anything
        raise UnreadableError(str(error).partition("\n")[0] or type(error).__name__) from error
    meshes = [piece for piece in pieces if isinstance(piece, trimesh.Trimesh) and len(piece.faces)]
    clouds = [piece for piece in pieces if isinstance(piece, trimesh.PointCloud) and len(piece.vertices)]
    if meshes:
        return meshes[0] if len(meshes) == 1 else trimesh.util.concatenate(meshes)
    if not clouds or path.suffix.lower() not in EITHER:
        raise UnreadableError("it has no faces")
    return clouds[0]


def _point_cloud(loaded: Any, up: Up) -> Cloud:
    """A cloud of a file, with normals if it is PLY and has some."""
    points = np.asarray(loaded.vertices, np.float32)
    painted = np.asarray(loaded.colors) if getattr(loaded, "colors", None) is not None else np.zeros((0, 4))
    colours = painted[:, :3].astype(np.uint8) if len(painted) == len(points) else None
    raw = loaded.metadata.get("_ply_raw", {}).get("vertex", {}).get("data")
    normals = None
    if raw is not None and getattr(raw, "dtype", None) is not None and {"nx", "ny", "nz"} <= set(raw.dtype.names or ()):
        normals = np.stack([np.asarray(raw[name]).reshape(-1) for name in ("nx", "ny", "nz")], 1).astype(np.float32)
    return Cloud(points, normals, colours, up)


def _array(path: Path) -> NDArray[Any]:
    try:
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, allow_pickle=False, mmap_mode="r"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files without a line
            return np.loadtxt(path, ndmin=2)
    except Exception as error:  # of numpy, on whatever is in the file
        raise UnreadableError(str(error).partition("\n")[0] or type(error).__name__) from error


def _array_cloud(values: NDArray[Any], up: Up) -> Cloud:
    """``(n, 3)``, ``(n, 6)`` with normals (or colours, where they go up to 255), or ``(n, 9)`` with both."""
    if values.dtype.kind not in "fiu" or values.ndim != 2 or values.shape[1] not in (3, 6, 9):
        raise UnreadableError(f"it holds {values.dtype}{list(values.shape)}, no numbers (n, 3), (n, 6) or (n, 9)")
    parts = [np.asarray(values[:, k : k + 3], np.float32) for k in range(0, values.shape[1], 3)]
    coloured = len(parts) == 3 or (len(parts) == 2 and float(np.abs(parts[1]).max(initial=0)) > 1.5)
    colours = np.clip(np.nan_to_num(parts.pop()), 0, 255).astype(np.uint8) if coloured else None
    return Cloud(parts[0], parts[1] if len(parts) > 1 else None, colours, up)


def shape_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """All files below a folder whose ending says mesh or cloud, and the sub-folders that cannot be read (see
    :func:`unnoise.folders.find_files`).
    """
    return find_files(folder, lambda path: path.suffix.lower() in MESHES + CLOUDS)


def endings() -> str:
    """What the names of meshes and clouds end in, for messages."""
    return ", ".join(MESHES + CLOUDS)


def read_clouds(path: Path) -> list[Cloud]:
    """The shapes in a folder (in order of their paths) or in one file, as 2,048 points at most. None is skipped: who
    judges a model's samples has to judge all of them.

    Raises:
        UserError: if there are none, or one cannot be read.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist", "name a folder of meshes or clouds, or one file")
    items: list[Cloud] = []
    for file in shape_files(path)[0] if path.is_dir() else [path]:
        try:
            items.append(read_cloud(file, 2048, [len(items)]))
        except UnreadableError as error:
            fix = "remove it, or name another folder"
            raise UserError(f"{printable(file)} cannot be read: {error}", fix) from error
    if not items:
        raise UserError(f"{path} holds no shapes", f"meshes and clouds end in {endings()}")
    return items
