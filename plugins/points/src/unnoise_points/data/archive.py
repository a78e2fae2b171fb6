"""Clouds of one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unnoise.contracts import Column, Dataset, Labels
from unnoise.errors import UserError, did_you_mean
from unnoise_points.cloud import Cloud, Up, check_up
from unnoise_points.data.base import measured

_LAYOUT = "it holds points (N, n, 3) as floats, split (N,) as text, and maybe label (N,) with class_names"


class Archive(Dataset):
    """Clouds of one size in an ``.npz`` file: ``points`` ``(N, n, 3)``, ``split`` ("train" or "test"), and maybe
    ``label`` (int) with ``class_names``, which become the ``class``, and ``scale`` ``(N,)``, by which coordinates are
    multiplied if asked for.

    Columns: ``class``, and the sides of the box, ``height``, ``width`` and ``depth``.

    Args:
        split: "train" or "test".
        seed: has no effect.
        path: of the ``.npz`` file.
        classes: only clouds of these classes; all if empty.
        without: classes that are left out.
        up: which axis points upwards.
        scaled: multiply by ``scale``, so that clouds have their own units.

    Raises:
        UserError: if the file is missing, is no such file, or holds no cloud of the split.
    """

    def __init__(
        self,
        split: str,
        seed: int = 0,
        *,
        path: str,
        classes: Sequence[str] = (),
        without: Sequence[str] = (),
        up: Up = "y",
        scaled: bool = False,
    ) -> None:
        check_up(up)
        file = Path(path).expanduser()
        arrays = _arrays(file)
        names = tuple(map(str, arrays["class_names"]))
        for name in (*classes, *without):
            if name not in names:
                known = ", ".join(names) or "none at all"
                raise UserError(f"{file} has no class {name!r}.{did_you_mean(name, names)}", f"There is: {known}")
        kept = [name for name in names if (not classes or name in classes) and name not in without]
        wanted = arrays["split"] == split
        if len(kept) < len(names):
            wanted &= np.isin(arrays["label"], [names.index(name) for name in kept])
        index = np.flatnonzero(wanted)
        if not len(index):
            raise UserError(
                f"{file} holds no cloud of the {split} split", "look at its 'split', or change data.classes"
            )
        points = arrays["points"][index].astype(np.float32)
        if scaled:
            if "scale" not in arrays:
                raise UserError(f"{file} holds no 'scale'", "data.scaled=false")
            points *= arrays["scale"][index].astype(np.float32)[:, None, None]
        self._items = [Cloud(cloud, up=up) for cloud in points]
        self._columns: dict[str, Column] = dict(measured(self._items))
        if names:
            number = {names.index(name): i for i, name in enumerate(kept)}
            values = [number.get(int(label), -1) for label in arrays["label"][index]]
            self._columns["class"] = Labels(np.array(values, np.int64), tuple(kept))

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Cloud:
        return self._items[index]

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def notes(self) -> Sequence[str]:
        return [f"archive: {len(self)} clouds of {len(self._items[0])} points"]


def _arrays(file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file, checked against each other."""
    if not file.is_file():
        fix = "give the .npz file of clouds: data.path=...; docs/points.md says how to make one"
        raise UserError(f"{file} is missing", fix)
    try:
        with np.load(file, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile and numpy raise almost anything on damaged data
        raise UserError(f"{file} cannot be read: {str(error).partition(chr(10))[0]}", _LAYOUT) from error
    points, split = found.get("points"), found.get("split")
    if points is None or points.ndim != 3 or points.shape[2] != 3 or points.dtype.kind != "f" or split is None:
        shapes = ", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in sorted(found.items()))
        raise UserError(f"{file} holds {shapes or 'nothing'}", _LAYOUT)
    names = found.setdefault("class_names", np.array([], dtype=str))
    label = found.setdefault("label", np.full(len(points), -1))
    fits = all(value.shape == points.shape[:1] for value in (split, label, found.get("scale", split)))
    if not fits or label.dtype.kind not in "iu" or label.max(initial=-1) >= len(names):
        raise UserError(f"{file}: split, label, class_names and scale do not fit its {len(points)} clouds", _LAYOUT)
    return found
