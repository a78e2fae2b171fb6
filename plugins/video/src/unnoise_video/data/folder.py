"""Any folder of clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from unnoise.contracts import Column, Dataset, Scalars
from unnoise.errors import UserError
from unnoise.folders import UnreadableError, by_folder, columns_of, note, printable, read_table, share
from unnoise_video.clip import Clip
from unnoise_video.files import clip_files, endings, read_clip, windows


class Folder(Dataset):
    """Every clip below a folder: animated GIF, WebP and PNG files, folders of frames, and films with the package av.
    They are cut to the middle square, scaled, and cut into pieces of ``frames`` frames. What cannot be read, and what
    is shorter, is skipped and counted.

    Columns: ``fps``, ``duration`` (seconds), and what a table says, or else the first sub-folder, which names the
    ``class`` (see :mod:`unnoise.folders`; a folder of frames has the path of the folder). A file belongs to the test
    split by a hash of its path, with all its pieces. All are kept in memory: ``frames * size * size * channels`` bytes
    each.

    Args:
        split: "train" or "test".
        seed: has no effect.
        root: the folder.
        size: pixels along each side.
        channels: 1 (grey), 3 (colour) or 4 (colour and opacity).
        frames: of a clip. With 0, every file is one clip of the length it has.
        fps: frames a second, to which frames are repeated or left out; each file's own if left out.
        pieces: clips that are taken from one file, one after the other.
        stills: whether every still picture is a clip of one frame, whatever ``frames`` says; else those of one folder
            are the frames of one clip.
        table: csv or jsonl file below ``root``; empty for the first that exists of labels, captions and metadata.
        test_fraction: share of files that belong to the test split.

    Raises:
        UserError: if the folder or the table is missing, the table cannot be read, or no clip is left.
    """

    def __init__(
        self,
        split: str,
        seed: int = 0,
        *,
        root: str,
        size: int = 64,
        channels: Literal[1, 3, 4] = 3,
        frames: int = 16,
        fps: float | None = None,
        pieces: int = 1,
        stills: bool = False,
        table: str = "",
        test_fraction: float = 0.1,
    ) -> None:
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise UserError(f"{root} is not a folder", "give a folder of clips: data.root=...")
        if size < 1 or frames < 0 or pieces < 1 or (fps is not None and not fps > 0) or not 0 <= test_fraction < 1:
            message = f"data.size={size}, frames={frames}, fps={fps}, pieces={pieces}, test_fraction={test_fraction}"
            fix = "size and pieces are at least 1, frames 0, fps above 0; test_fraction at least 0 and below 1"
            raise UserError(message, fix)
        files, unopened = clip_files(folder, stills)
        paths = [path.relative_to(folder) for path in files]
        rows = read_table(folder, table)
        chosen = [path for path in paths if (share(path) < test_fraction) == (split == "test")]
        self._items: list[Clip] = []
        kept: list[str] = []
        skipped, short = [], []
        for path in chosen:
            try:
                clip = read_clip(folder / path, size, channels, fps, frames * pieces or None)
            except UnreadableError as error:
                skipped.append(f"{printable(path)} ({error})")
                continue
            whole = not frames or (stills and len(clip.frames) == 1)
            found = [clip] if whole else windows(clip, frames, pieces)
            if not found:
                short.append(f"{printable(path)} ({len(clip.frames)})")
            self._items += found
            kept += [path.as_posix()] * len(found)
        self._notes = [
            *note(f"skipped {len(skipped)} of {len(chosen)} clips of the {split} split", skipped),
            *note(f"left out {len(short)} clips of fewer than {frames} frames", short),
            *note(
                f"skipped {len(unopened)} sub-folders that cannot be opened",
                [printable(path.relative_to(folder)) for path in unopened],
            ),
        ]
        if rows is not None:
            lost = sorted(rows.keys() - {path.as_posix() for path in paths})
            self._notes += note(f"{len(lost)} of {len(rows)} rows of the table name a clip that is not there", lost)
            if lost and len(lost) == len(rows):
                raise UserError(self._notes[-1], "the column 'file' holds paths below data.root")
        if not self._items:
            found_text = f"found {len(paths)} clips, {len(chosen)} of them of the {split} split"
            fix = f"put clips there ({endings()}), lower data.frames, or change data.test_fraction={test_fraction}"
            raise UserError(f"{root} has no clip for the {split} split: {'; '.join([found_text, *self._notes])}", fix)
        self._columns = {**columns_of(by_folder(paths) if rows is None else rows, kept), **measured(self._items)}

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Clip:
        return self._items[index]

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def notes(self) -> Sequence[str]:
        return self._notes


def measured(items: Sequence[Clip]) -> dict[str, Column]:
    """What is known of any clips: their rate, and how long they are."""
    return {
        "fps": Scalars(np.array([item.fps for item in items]), "frames a second"),
        "duration": Scalars(np.array([item.seconds for item in items]), "s"),
    }
