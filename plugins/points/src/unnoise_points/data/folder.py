"""Meshes and clouds in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from unnoise.contracts import Column, Dataset
from unnoise.errors import UserError
from unnoise.folders import UnreadableError, by_folder, columns_of, note, printable, read_table, share
from unnoise_points.cloud import Cloud, Up, check_up
from unnoise_points.data.base import measured
from unnoise_points.files import endings, read_cloud, shape_files
from unnoise_points.surfaces import address_of


class Folder(Dataset):
    """Every mesh and every cloud of points below a folder: OBJ, PLY, STL, GLB, GLTF and OFF, arrays (NPY) and lines of
    numbers (XYZ). Points are drawn from surfaces by area. What cannot be read is skipped and counted.

    Columns: ``height``, ``width`` and ``depth`` of the box, and what a table says, or else the first sub-folder, which
    names the ``class`` (see :mod:`unnoise.folders`). A shape belongs to the test split by a hash of its path. All are
    kept in memory.

    Args:
        split: "train" or "test".
        seed: has no effect.
        root: the folder.
        pool: points drawn from each surface. Training takes a fresh draw of these each time.
        up: which axis points upwards in the files (GLB and GLTF: always y).
        colours: also read colours; white where a file has none.
        megabytes: larger files are skipped.
        table: csv or jsonl file below ``root``; empty for the first that exists of labels, captions and metadata.
        test_fraction: share of shapes that belong to the test split.

    Raises:
        UserError: if the folder or the table is missing, the table cannot be read, or no shape is left.
    """

    def __init__(
        self,
        split: str,
        seed: int = 0,
        *,
        root: str,
        pool: int = 2048,
        up: Up = "y",
        colours: bool = False,
        megabytes: float = 200.0,
        table: str = "",
        test_fraction: float = 0.1,
    ) -> None:
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise UserError(f"{root} is not a folder", "give a folder of meshes or clouds: data.root=...")
        check_up(up)
        if pool < 1 or not megabytes > 0 or not 0 <= test_fraction < 1:
            message = f"data.pool={pool}, megabytes={megabytes}, test_fraction={test_fraction}"
            raise UserError(message, "pool is at least 1, megabytes above 0, test_fraction from 0 to below 1")
        files, unopened = shape_files(folder)
        paths = [path.relative_to(folder) for path in files]
        rows = read_table(folder, table)
        chosen = [path for path in paths if (share(path) < test_fraction) == (split == "test")]
        read: dict[Path, Cloud] = {}
        skipped = []
        for path in chosen:
            try:
                cloud = read_cloud(folder / path, pool, address_of(path.as_posix()), up, colours, megabytes)
                read[path] = cloud.upright(up)
            except UnreadableError as error:
                skipped.append(f"{printable(path)} ({error})")
        self._notes = [
            *note(f"skipped {len(skipped)} of {len(chosen)} shapes of the {split} split", skipped),
            *note(
                f"skipped {len(unopened)} sub-folders that cannot be opened",
                [printable(path.relative_to(folder)) for path in unopened],
            ),
        ]
        if rows is not None:
            lost = sorted(rows.keys() - {path.as_posix() for path in paths})
            self._notes += note(f"{len(lost)} of {len(rows)} rows of the table name a shape that is not there", lost)
            if lost and len(lost) == len(rows):
                raise UserError(self._notes[-1], "the column 'file' holds paths below data.root")
        if not read:
            found = "; ".join([f"found {len(paths)} shapes, {len(chosen)} of them of the {split} split", *self._notes])
            fix = f"put meshes or clouds there ({endings()}), or change data.test_fraction={test_fraction}"
            raise UserError(f"{root} has no shape for the {split} split: {found}", fix)
        self._items = list(read.values())
        known = by_folder(paths) if rows is None else rows
        self._columns = {**measured(self._items), **columns_of(known, [path.as_posix() for path in read])}

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Cloud:
        return self._items[index]

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def notes(self) -> Sequence[str]:
        return self._notes
