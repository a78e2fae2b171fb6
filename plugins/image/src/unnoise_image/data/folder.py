"""Any folder of pictures."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unnoise.contracts import Column, Dataset, Labels, Scalars
from unnoise.errors import UserError
from unnoise_image.files import UnreadableError, endings, picture_files, printable, read_picture
from unnoise_image.pictures import Picture

TABLES = ("labels.csv", "labels.jsonl", "captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")


class Folder(Dataset):
    """Every picture below a folder, cut to the middle square and scaled. Hidden files and folders are left alone, links
    followed, and what cannot be read is skipped and counted.

    What is known of a picture comes from a table, if there is one, else from its sub-folder, which names its class. A
    table has a column ``file`` (path below the folder); of the other columns, those that hold only numbers become
    scalars, the rest classes. Pictures that the table does not name are kept and are unknown.

    A picture belongs to the test split by a hash of its path, so that adding pictures moves none. All pictures are
    decoded at once and kept: ``size * size * channels`` bytes each.

    Args:
        split: "train" or "test".
        seed: has no effect.
        root: the folder.
        size: pixels along each side.
        channels: 1 (grey), 3 (colour) or 4 (colour and opacity).
        table: csv or jsonl file below ``root``; empty for the first that exists of labels, captions and metadata.
        test_fraction: share of pictures that belong to the test split.

    Raises:
        UserError: if the folder or the table is missing, the table cannot be read, or no picture is left.
    """

    def __init__(
        self,
        split: str,
        seed: int = 0,
        *,
        root: str,
        size: int = 64,
        channels: Literal[1, 3, 4] = 3,
        table: str = "",
        test_fraction: float = 0.1,
    ) -> None:
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise UserError(f"{root} is not a folder", "give a folder of pictures: data.root=...")
        if size < 1 or not 0 <= test_fraction < 1:
            message = f"data.size={size} and data.test_fraction={test_fraction}"
            raise UserError(message, "size is at least 1; test_fraction at least 0 and below 1")
        files, unopened = picture_files(folder)
        paths = [path.relative_to(folder) for path in files]
        closed = [printable(path.relative_to(folder)) for path in unopened]
        rows = _read_table(folder, table)
        known = _by_folder(paths) if rows is None else rows
        chosen = [path for path in paths if (_share(path) < test_fraction) == (split == "test")]
        read: dict[Path, Picture] = {}
        skipped = []
        for path in chosen:
            try:
                read[path] = read_picture(folder / path, size, channels)
            except UnreadableError as error:
                skipped.append(f"{printable(path)} ({error})")
        self._notes = [
            *_note(f"skipped {len(skipped)} of {len(chosen)} pictures of the {split} split", skipped),
            *_note(f"skipped {len(closed)} sub-folders that cannot be opened", closed),
        ]
        if rows is not None:
            lost = sorted(rows.keys() - {path.as_posix() for path in paths})
            self._notes += _note(f"{len(lost)} of {len(rows)} rows of the table name a picture that is not there", lost)
            if lost and len(lost) == len(rows):
                raise UserError(self._notes[-1], "the column 'file' holds paths below data.root")
        if not read:
            found = "; ".join(
                [f"found {len(paths)} pictures, {len(chosen)} of them of the {split} split", *self._notes]
            )
            fix = f"put pictures there ({', '.join(sorted(endings()))}), or change data.test_fraction={test_fraction}"
            raise UserError(f"{root} has no picture for the {split} split: {found}", fix)
        self._items: NDArray[np.uint8] = np.stack(list(read.values()))
        self._columns = _columns(known, [path.as_posix() for path in read])

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        item: NDArray[np.uint8] = self._items[index]
        return item

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def notes(self) -> Sequence[str]:
        return self._notes


def _note(what: str, names: Sequence[str]) -> list[str]:
    """A note that names the first few, or nothing where there are none."""
    more = ", ..." if len(names) > 5 else ""
    return [f"folder: {what}: {', '.join(names[:5])}{more}"] if names else []


def _share(path: Path) -> float:
    """A number in [0, 1) that depends on nothing but the path."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(path.as_posix()), digest_size=8).digest(), "big") / 2.0**64


def _by_folder(paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """The class of each picture by its first sub-folder; nothing at all where all lie in one place."""
    if not any(len(path.parts) > 1 for path in paths):
        return {}
    return {path.as_posix(): {"class": printable(Path(path.parts[0]))} for path in paths if len(path.parts) > 1}


def _read_table(folder: Path, name: str) -> dict[str, dict[str, Any]] | None:
    """The rows of the table by file, or None where there is none."""
    candidates = [folder / name] if name else [folder / table for table in TABLES]
    path = next((p for p in candidates if p.is_file()), None)
    if path is None:
        if name:
            raise UserError(f"{folder / name} is missing", "data.table names a csv or jsonl file below data.root")
        return None
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        else:
            rows = list(csv.DictReader(io.StringIO(text, newline=""), restkey="", restval=""))
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read: {error}", "it should be csv with a header, or one JSON object a line"
        ) from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not row.get("file") or not isinstance(row["file"], str):
            fix = "every row needs the path of its picture in the column 'file'"
            raise UserError(f"{path}: row {number} has no 'file'", fix)
    return {Path(row["file"]).as_posix(): {k: v for k, v in row.items() if k not in ("file", "")} for row in rows}


def _columns(known: Mapping[str, Mapping[str, Any]], kept: Sequence[str]) -> dict[str, Column]:
    """Columns for the pictures ``kept``. Classes are named by the whole table, so both splits have the same."""
    names = dict.fromkeys(name for row in known.values() for name in row)
    columns: dict[str, Column] = {}
    for name in names:
        values = {path: row[name] for path, row in known.items() if row.get(name) not in (None, "")}
        numbers = {path: _number(value) for path, value in values.items()}
        if name != "class" and numbers and not any(map(math.isnan, numbers.values())):
            columns[name] = Scalars(np.array([numbers.get(path, math.nan) for path in kept], dtype=np.float64))
        else:
            classes = {text: i for i, text in enumerate(sorted({str(value) for value in values.values()}))}
            indices = [classes[str(values[path])] if path in values else -1 for path in kept]
            columns[name] = Labels(np.array(indices, dtype=np.int64), tuple(classes))
    return columns


def _number(value: Any) -> float:
    """The number that a cell holds; NaN where it holds none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan
