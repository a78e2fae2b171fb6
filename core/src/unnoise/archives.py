"""Reading captioned archives: an ``.npz`` file of arrays, and a ``.json`` list of what is known of each item."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unnoise.errors import UserError


def read_archive(file: Path, main: str, axes: int, layout: str, missing: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file, checked against each other: ``main``, ``split`` (text) and, empty and -1 where there are
    none, ``group_names`` and ``group``.

    Args:
        file: the ``.npz`` file.
        main: name of the array of items, uint8.
        axes: how many it has, that of the items first.
        layout: what such a file holds, for messages.
        missing: what to do where there is no file.

    Raises:
        UserError: if it is missing or no such file. No array is unpickled.
    """
    if not file.is_file():
        raise UserError(f"{file} is missing", missing)
    try:
        with np.load(file, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile and numpy raise almost anything on damaged data
        raise UserError(f"{file} cannot be read: {str(error).partition(chr(10))[0]}", layout) from error
    items, split = found.get(main), found.get("split")
    if (
        items is None
        or items.ndim != axes
        or items.dtype != np.uint8
        or split is None
        or split.shape != items.shape[:1]
    ):
        shapes = ", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in sorted(found.items()))
        raise UserError(f"{file} holds {shapes or 'nothing'}", layout)
    names = found.setdefault("group_names", np.array([], dtype=str))
    group = found.setdefault("group", np.full(len(items), -1))
    if group.shape != split.shape or group.dtype.kind not in "iu" or group.max(initial=-1) >= max(len(names), 0):
        raise UserError(f"{file}: group and group_names do not fit", layout)
    return found


def read_known(file: Path, count: int, what: str) -> list[Mapping[str, Any]]:
    """What is said of each of ``count`` items; nothing where there is no file. ``what`` is how messages call an item.

    Raises:
        UserError: if the file is not a list of so many objects.
    """
    if not file.is_file():
        return [{}] * count
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: {error}", f"it is a JSON list, one object a {what}") from error
    if not isinstance(known, list) or len(known) != count or not all(isinstance(entry, dict) for entry in known):
        raise UserError(f"{file} does not have one object for each of {count} {what}s", "it is a JSON list of objects")
    return known


def caption(known: Mapping[str, Any], tags: int = 0) -> str:
    """The words for an item: its ``label`` and the first of its ``tags`` that the label does not say already."""
    label = str(known.get("label", ""))
    listed = known.get("tags")
    told = set(re.findall(r"\w+", label.casefold()))
    more = [str(tag) for tag in (listed if isinstance(listed, list) else []) if str(tag).casefold() not in told]
    return ", ".join(text for text in [label, *more[:tags]] if text)


def chosen_rows(
    arrays: Mapping[str, NDArray[Any]], file: Path, split: str, groups: Sequence[str] = (), without: Sequence[str] = ()
) -> NDArray[np.int64]:
    """Rows of an archive that belong to a split: of some groups (all if empty), and not of others.

    Raises:
        UserError: if a group does not exist.
    """
    names = list(map(str, arrays["group_names"]))
    for name in (*groups, *without):
        if name not in names:
            raise UserError(f"{file} has no group {name!r}", f"there is: {', '.join(names)}")
    wanted = arrays["split"] == split
    if groups:
        wanted = wanted & np.isin(arrays["group"], [names.index(name) for name in groups])
    return np.flatnonzero(wanted & ~np.isin(arrays["group"], [names.index(name) for name in without]))


def averaged(values: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Grids ``(..., height, width, channels)`` with blocks averaged, so that a side has ``size``.

    Raises:
        UserError: if that does not divide the sides.
    """
    *leading, height, width, channels = values.shape
    if size < 1 or height % size or width % size:
        raise UserError(f"{height}x{width} cannot be averaged to {size}", "data.size divides both sides")
    blocks = values.reshape(*leading, size, height // size, size, width // size, channels)
    return np.asarray(blocks.mean((-4, -2)).round().astype(np.uint8))
