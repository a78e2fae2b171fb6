"""Data sets of items that are there already, in an array, in a table, or in a folder of files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unnoise.contracts import Column, Curves, Dataset, Labels, Scalars
from unnoise.errors import UserError
from unnoise.folders import UnreadableError, by_folder, columns_of, find_files, note, printable, read_table, share
from unnoise.ready.records import read_rows
from unnoise.training.data import subset


class ItemList(Dataset):
    """Items in memory, of which a fixed random share is for testing.

    Args:
        split: "train" or "test".
        items: all of both splits.
        columns: what is known of all of them.
        test_fraction: share of items for testing; at least one.
        notes: for people.

    Raises:
        UserError: if a split would be empty.
    """

    def __init__(
        self,
        split: str,
        items: Sequence[Any],
        columns: Mapping[str, Column] | None = None,
        test_fraction: float = 0.2,
        notes: Sequence[str] = (),
    ) -> None:
        tested = max(1, round(test_fraction * len(items)))
        if not 0 < test_fraction < 1 or tested >= len(items):
            message = f"data.test_fraction={test_fraction:g} of {len(items)} items leaves a split empty"
            raise UserError(message, "a share above 0 and below 1, of at least two items")
        shuffled = np.random.default_rng(0).permutation(len(items))
        index = np.sort(shuffled[:tested] if split == "test" else shuffled[tested:])
        self._items = [items[int(i)] for i in index]
        self._columns = {name: subset(column, index.tolist()) for name, column in (columns or {}).items()}
        self._notes = tuple(notes)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        return self._items[index]

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def notes(self) -> Sequence[str]:
        return self._notes


class ArrayFile(ItemList):
    """The arrays of one file: ``.npy`` of shape ``(N, ...)``, or ``.npz`` with such an array ``x`` and maybe further
    ones, which become columns: numbers ``(N,)``, curves ``(N, K)``, or texts, which are classes.

    Args:
        split: "train" or "test".
        seed: has no effect.
        path: of the file.
        test_fraction: share of items for testing.

    Raises:
        UserError: if the file cannot be read, or its arrays do not fit each other.
    """

    def __init__(self, split: str, seed: int = 0, *, path: str, test_fraction: float = 0.2) -> None:
        file = Path(path).expanduser()
        fix = "a .npy file of shape (N, ...), or a .npz file with such an array 'x': data.path=..."
        try:
            found = np.load(file, allow_pickle=False)
            arrays = dict(found) if isinstance(found, np.lib.npyio.NpzFile) else {"x": found}
        except Exception as error:  # zipfile and numpy raise almost anything on damaged data
            raise UserError(f"{file} cannot be read: {str(error).partition(chr(10))[0]}", fix) from error
        x = arrays.pop("x", None)
        if x is None or x.ndim < 1 or x.dtype.kind not in "fiu":
            raise UserError(f"{file} holds no array of numbers 'x'", fix)
        for name, value in arrays.items():
            if value.shape[:1] != x.shape[:1] or value.ndim > 2 or value.dtype.kind not in "fiubU":
                raise UserError(f"{file}: {name!r} is {value.dtype} of shape {list(value.shape)}", fix)
        columns = {name: _column(value) for name, value in arrays.items()}
        super().__init__(split, list(x.astype(np.float32)), columns, test_fraction, [f"{file.name}: {len(x)} items"])


def _column(values: NDArray[Any]) -> Column:
    if values.dtype.kind == "U":
        names, index = np.unique(values, return_inverse=True)
        return Labels(index.astype(np.int64), tuple(map(str, names)))
    if values.ndim == 2:
        return Curves(values.astype(np.float32))
    return Scalars(values.astype(np.float64))


class TableFile(ItemList):
    """The rows of a csv file with a header, ``{column: number or text}``. A column in which every cell that is not
    empty is a number is one of numbers. Each column is also one to condition on.

    Args:
        split: "train" or "test".
        seed: has no effect.
        path: of the file.
        test_fraction: share of rows for testing.

    Raises:
        UserError: if the file cannot be read, or holds too few rows.
    """

    def __init__(self, split: str, seed: int = 0, *, path: str, test_fraction: float = 0.2) -> None:
        file = Path(path).expanduser()
        cells = read_rows(file)
        known = columns_of({str(i): row for i, row in enumerate(cells)}, [str(i) for i in range(len(cells))])
        rows: list[dict[str, Any]] = [dict(row) for row in cells]
        for name, column in known.items():
            for row, value in zip(rows, column.values.tolist(), strict=True):
                known_text = column.names[value] if isinstance(column, Labels) and value >= 0 else None
                row[name] = known_text if isinstance(column, Labels) else value
        super().__init__(split, rows, known, test_fraction, [f"{file.name}: {len(rows)} rows"])


class FileFolder(Dataset):
    """Every file of some endings below a folder, read at once and kept in memory. What cannot be read is skipped and
    named. A file belongs to the test split by a hash of its path, so that adding files moves none.

    Columns: what a table says, or else the first sub-folder, which names the ``class`` (:mod:`unnoise.folders`).

    A derived class says which :attr:`endings` it reads, and :meth:`read`.

    Args:
        split: "train" or "test".
        seed: has no effect.
        root: the folder.
        table: csv or jsonl file below ``root``; empty for the first that exists of labels, captions and metadata.
        test_fraction: share of files for testing.

    Raises:
        UserError: if there is no such folder, or nothing in it can be read for the split.
    """

    endings: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def read(self, path: Path) -> Any:
        """The item of a file. May raise :class:`unnoise.folders.UnreadableError`, or any ``OSError`` or
        ``ValueError``.
        """

    def __init__(self, split: str, seed: int = 0, *, root: str, table: str = "", test_fraction: float = 0.1) -> None:
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder", f"give one of {', '.join(self.endings)} files: data.root=...")
        files, closed = find_files(folder, lambda path: path.suffix.lower() in self.endings)
        paths = [file.relative_to(folder) for file in files]
        known = read_table(folder, table)
        rows = by_folder(paths) if known is None else known
        wanted = [path for path in paths if (share(path) < test_fraction) == (split == "test")]
        self._items, kept, skipped = [], [], []
        for path in wanted:
            try:
                self._items.append(self.read(folder / path))
                kept.append(path.as_posix())
            except (UnreadableError, OSError, ValueError) as error:
                skipped.append(f"{printable(path)} ({error})")
        if not self._items:
            message = f"{folder} holds no {' or '.join(self.endings)} file that can be read for the {split} split"
            raise UserError(message, f"found {len(paths)} files, {len(skipped)} of them unreadable; add more")
        self._columns = columns_of(rows, kept)
        self._notes = [
            *note(f"{len(skipped)} files cannot be read", skipped),
            *note(f"{len(closed)} folders cannot be opened", [printable(path) for path in closed]),
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        return self._items[index]

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def notes(self) -> Sequence[str]:
        return self._notes
