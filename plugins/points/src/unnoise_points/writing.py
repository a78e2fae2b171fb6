"""Clouds as files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import trimesh
from numpy.typing import NDArray

from unnoise_points.cloud import Cloud
from unnoise_points.pictures import turntable

Format = Literal["ply", "glb", "npy"]
FORMATS: tuple[str, ...] = get_args(Format)
TURNTABLE = "turntable.gif"
_SHOWN = 16
"""Clouds of the turntable at most."""
_SECONDS = 3.0


def write_clouds(items: Sequence[Cloud], folder: Path, settings: Mapping[str, Any], format: Format) -> list[Path]:
    """A file per cloud and one animation of the first ones; the same arguments give the same bytes.

    PLY and GLB hold ``settings``; NPY is a plain array ``(n, 3 [+ 3] [+ 3])`` with normals and colours (0 to 255)
    after the coordinates, beside which ``record.json`` says the rest.
    """
    paths = [folder / f"{i:05d}.{format}" for i in range(len(items))]
    for item, path in zip(items, paths, strict=True):
        path.write_bytes(encoded(item, settings, format))
    if items:
        first, *others = turntable(items[:_SHOWN])
        duration = round(1000 * _SECONDS / (len(others) + 1))
        first.save(folder / TURNTABLE, save_all=True, append_images=others, duration=duration, loop=0)
        paths.append(folder / TURNTABLE)
    return paths


def encoded(item: Cloud, settings: Mapping[str, Any], format: Format) -> bytes:
    """The bytes of a file."""
    if format == "ply":
        return _ply(item, settings)
    if format == "glb":
        return _glb(item, settings)
    stream = BytesIO()
    np.save(stream, np.concatenate(_columns(item), 1, dtype=np.float32))
    return stream.getvalue()


def _columns(item: Cloud) -> list[NDArray[Any]]:
    return [part for part in (item.points, item.normals, item.colours) if part is not None]


def _ply(item: Cloud, settings: Mapping[str, Any]) -> bytes:
    """Binary, little-endian; settings and the upward axis in comments."""
    fields = [(name, "<f4") for name in "xyz"]
    fields += [] if item.normals is None else [(f"n{name}", "<f4") for name in "xyz"]
    fields += [] if item.colours is None else [(name, "u1") for name in ("red", "green", "blue")]
    table = np.zeros(len(item), fields)
    values = [column for part in _columns(item) for column in part.T]
    for (name, _), column in zip(fields, values, strict=True):
        table[name] = column
    text = json.dumps(settings, sort_keys=True, default=str)
    header = ["ply", "format binary_little_endian 1.0", f"comment up {item.up}", f"comment settings {text}"]
    header.append(f"element vertex {len(item)}")
    header += [f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in fields]
    return "\n".join([*header, "end_header", ""]).encode("ascii") + table.tobytes()


def _glb(item: Cloud, settings: Mapping[str, Any]) -> bytes:
    """Points of glTF, in which y is up; settings as the scene's extras."""
    upright = item.upright("y")
    colours = None if upright.colours is None else np.pad(upright.colours, ((0, 0), (0, 1)), constant_values=255)
    scene = trimesh.Scene(trimesh.PointCloud(upright.points, colors=colours), metadata={"settings": dict(settings)})
    return bytes(scene.export(file_type="glb"))
