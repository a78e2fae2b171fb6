"""Any folder of pictures."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unnoise.contracts import Column, Dataset, Labels, Scalars
from unnoise.errors import UserError
from unnoise_image.pictures import from_image, picture_files

TABLES = ("labels.csv", "labels.jsonl", "captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")


class Folder(Dataset):
    """Every picture below a folder, cut to the middle square and scaled.

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
        paths = [path.relative_to(folder) for path in picture_files(folder)]
        rows = _read_table(folder, table)
        known = _by_folder(paths) if rows is None else rows
        chosen = [path for path in paths if (_share(path) < test_fraction) == (split == "test")]
        self._unreadable: list[Path] = []
        items = []
        kept = []
        for path in chosen:
            try:
                with Image.open(folder / path) as image:
                    items.append(from_image(image, size, channels))
                kept.append(path.as_posix())
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow's decoders raise
                self._unreadable.append(path)
        if not items:
            found = f"{len(paths)} pictures, {len(self._unreadable)} of the {split} split unreadable"
            fix = "put pictures there (.png, .jpg, .webp, ...), or change data.test_fraction"
            raise UserError(f"no picture for the {split} split in {root}: {found}", fix)
        self._items: NDArray[np.uint8] = np.stack(items)
        self._columns = _columns(known, kept)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        item: NDArray[np.uint8] = self._items[index]
        return item

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def notes(self) -> Sequence[str]:
        if not self._unreadable:
            return ()
        shown = ", ".join(path.as_posix() for path in self._unreadable[:5])
        more = ", ..." if len(self._unreadable) > 5 else ""
        return [f"folder: skipped {len(self._unreadable)} unreadable pictures: {shown}{more}"]


def _share(path: Path) -> float:
    """A number in [0, 1) that depends on nothing but the path."""
    return int.from_bytes(hashlib.blake2b(path.as_posix().encode(), digest_size=8).digest(), "big") / 2.0**64


def _by_folder(paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """The class of each picture by its first sub-folder; nothing at all where all lie in one place."""
    if not any(len(path.parts) > 1 for path in paths):
        return {}
    return {path.as_posix(): {"class": path.parts[0]} for path in paths if len(path.parts) > 1}


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
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = list(csv.DictReader(text.splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read: {error}", "it should be csv with a header, or one JSON object a line"
        ) from error
    if not all(isinstance(row, dict) and row.get("file") for row in rows):
        raise UserError(f"{path}: a row has no 'file'", "every row needs the path of its picture in the column 'file'")
    return {Path(row["file"]).as_posix(): {str(k): v for k, v in row.items() if k != "file"} for row in rows}


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
