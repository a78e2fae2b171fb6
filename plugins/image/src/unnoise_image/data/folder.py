"""Any folder of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unnoise.contracts import Column, Dataset
from unnoise.errors import UserError
from unnoise.folders import UnreadableError, by_folder, columns_of, note, printable, read_table, share
from unnoise_image.files import endings, picture_files, read_picture
from unnoise_image.pictures import Picture


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
        rows = read_table(folder, table)
        known = by_folder(paths) if rows is None else rows
        chosen = [path for path in paths if (share(path) < test_fraction) == (split == "test")]
        read: dict[Path, Picture] = {}
        skipped = []
        for path in chosen:
            try:
                read[path] = read_picture(folder / path, size, channels)
            except UnreadableError as error:
                skipped.append(f"{printable(path)} ({error})")
        self._notes = [
            *note(f"skipped {len(skipped)} of {len(chosen)} pictures of the {split} split", skipped),
            *note(f"skipped {len(closed)} sub-folders that cannot be opened", closed),
        ]
        if rows is not None:
            lost = sorted(rows.keys() - {path.as_posix() for path in paths})
            self._notes += note(f"{len(lost)} of {len(rows)} rows of the table name a picture that is not there", lost)
            if lost and len(lost) == len(rows):
                raise UserError(self._notes[-1], "the column 'file' holds paths below data.root")
        if not read:
            found = "; ".join(
                [f"found {len(paths)} pictures, {len(chosen)} of them of the {split} split", *self._notes]
            )
            fix = f"put pictures there ({', '.join(sorted(endings()))}), or change data.test_fraction={test_fraction}"
            raise UserError(f"{root} has no picture for the {split} split: {found}", fix)
        self._items: NDArray[np.uint8] = np.stack(list(read.values()))
        self._columns = columns_of(known, [path.as_posix() for path in read])

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        item: NDArray[np.uint8] = self._items[index]
        return item

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def notes(self) -> Sequence[str]:
        return self._notes
