"""A folder of files that anybody made, for data sets that read one: which files there are, to which split each belongs,
and what a table or its sub-folder says of it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from unnoise.contracts import Column, Labels, Scalars, Texts
from unnoise.errors import UserError

TABLES = ("labels.csv", "labels.jsonl", "captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")
"""Names under which a table is looked for."""
WORDS = ("text", "caption")
"""Columns of a table that hold words."""


class UnreadableError(Exception):
    """Why a file is no item that can be used; the text is for people."""


def find_files(folder: Path, wanted: Callable[[Path], bool]) -> tuple[list[Path], list[Path]]:
    """All wanted files below a folder; no hidden ones. Links are followed, and no folder is entered twice.

    Returns:
        the files, and the sub-folders that cannot be read; both sorted.
    """
    found: list[Path] = []
    closed: list[Path] = []
    seen: set[tuple[int, int]] = set()
    waiting = deque([folder])
    while waiting:
        here = waiting.popleft()
        try:
            place = here.stat()
            if (place.st_dev, place.st_ino) in seen:
                continue
            seen.add((place.st_dev, place.st_ino))
            entries = [entry for entry in os.scandir(here) if not entry.name.startswith(".")]
        except OSError:
            closed.append(here)
            continue
        for entry in entries:
            path = here / entry.name
            with suppress(OSError):  # a link that leads round in a circle
                if entry.is_dir():
                    # Links last, so that a folder is known by its own name rather than by a link's.
                    (waiting.append if entry.is_symlink() else waiting.appendleft)(path)
                elif wanted(path) and entry.is_file():
                    found.append(path)
    return sorted(found), sorted(closed)


def printable(path: Path) -> str:
    """A path as text for people and files; names may hold line ends, or bytes that are no text at all."""
    text = os.fsencode(path.as_posix()).decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def note(what: str, names: Sequence[str]) -> list[str]:
    """A note that names the first few, or nothing where there are none."""
    more = ", ..." if len(names) > 5 else ""
    return [f"folder: {what}: {', '.join(names[:5])}{more}"] if names else []


def share(path: Path) -> float:
    """A number in [0, 1) that depends on nothing but the path: below the test fraction, a file is a test item, so that
    adding files moves none.
    """
    return int.from_bytes(hashlib.blake2b(os.fsencode(path.as_posix()), digest_size=8).digest(), "big") / 2.0**64


def by_folder(paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """The class of each file by its first sub-folder; nothing at all where all lie in one place."""
    return {path.as_posix(): {"class": printable(Path(path.parts[0]))} for path in paths if len(path.parts) > 1}


def read_table(folder: Path, name: str = "") -> dict[str, dict[str, Any]] | None:
    """The rows of a folder's table by file, or None where there is none.

    Args:
        folder: of the files.
        name: of a csv or jsonl file below it; the first that exists of :data:`TABLES` if empty.

    Raises:
        UserError: if a table that was named is missing, or what there is cannot be read.
    """
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
            fix = "every row needs the path of its file in the column 'file'"
            raise UserError(f"{path}: row {number} has no 'file'", fix)
    return {Path(row["file"]).as_posix(): {k: v for k, v in row.items() if k not in ("file", "")} for row in rows}


def columns_of(known: Mapping[str, Mapping[str, Any]], kept: Sequence[str]) -> dict[str, Column]:
    """Columns for the files ``kept``: ``text`` and ``caption`` are words; of the others those that hold only numbers
    become scalars, the rest (and always ``class``) classes. Classes are named by the whole table, so both splits have
    the same.

    Args:
        known: path -> column -> value, of all files.
        kept: paths of the items, in their order.
    """
    names = dict.fromkeys(name for row in known.values() for name in row)
    columns: dict[str, Column] = {}
    for name in names:
        values = {path: row[name] for path, row in known.items() if row.get(name) not in (None, "")}
        if name in WORDS:
            columns[name] = Texts(np.array([str(values.get(path, "")) for path in kept], dtype=np.str_))
            continue
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
