"""Any folder of sounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from unnoise.contracts import Column, Dataset
from unnoise.errors import UserError
from unnoise.folders import UnreadableError, by_folder, columns_of, note, printable, read_table, share
from unnoise_audio.data.base import SoundColumns
from unnoise_audio.files import endings, read_sound, sound_files
from unnoise_audio.sound import Sound


class Folder(Dataset):
    """Every sound below a folder, resampled and mixed to one format, and cut after ``seconds``. WAV is read as it is;
    FLAC, OGG, MP3 and others with the package soundfile. What cannot be read is skipped and counted.

    Columns: what is measured (:class:`unnoise_audio.data.base.SoundColumns`), and what a table says, or else the first
    sub-folder, which names the ``class`` (see :mod:`unnoise.folders`). A sound belongs to the test split by a hash of
    its path. All are kept in memory.

    Args:
        split: "train" or "test".
        seed: has no effect.
        root: the folder.
        rate: samples per second.
        channels: 1 (mixed down) or 2 (mono is repeated).
        seconds: what is longer is cut there.
        silence: a sound whose level is below so many decibels of full scale is left out.
        table: csv or jsonl file below ``root``; empty for the first that exists of labels, captions and metadata.
        test_fraction: share of sounds that belong to the test split.

    Raises:
        UserError: if the folder or the table is missing, the table cannot be read, or no sound is left.
    """

    def __init__(
        self,
        split: str,
        seed: int = 0,
        *,
        root: str,
        rate: int = 16000,
        channels: int = 1,
        seconds: float = 1.0,
        silence: float = -70.0,
        table: str = "",
        test_fraction: float = 0.1,
    ) -> None:
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise UserError(f"{root} is not a folder", "give a folder of sounds: data.root=...")
        if rate < 1000 or channels not in (1, 2) or not seconds > 0 or not 0 <= test_fraction < 1:
            message = f"data.rate={rate}, channels={channels}, seconds={seconds}, test_fraction={test_fraction}"
            raise UserError(
                message, "rate is at least 1000, channels 1 or 2, seconds above 0, test_fraction from 0 to below 1"
            )
        files, unopened = sound_files(folder)
        paths = [path.relative_to(folder) for path in files]
        rows = read_table(folder, table)
        chosen = [path for path in paths if (share(path) < test_fraction) == (split == "test")]
        read: dict[Path, Sound] = {}
        skipped, silent, cut = [], [], []
        for path in chosen:
            try:
                sound = read_sound(folder / path, rate, channels)
            except UnreadableError as error:
                skipped.append(f"{printable(path)} ({error})")
                continue
            if sound.level < silence:
                silent.append(printable(path))
                continue
            if sound.seconds > seconds:
                cut.append(printable(path))
                sound = Sound(sound.samples[:, : max(round(seconds * rate), 1)].copy(), rate)
            read[path] = sound
        self._notes = [
            *note(f"skipped {len(skipped)} of {len(chosen)} sounds of the {split} split", skipped),
            *note(f"left out {len(silent)} sounds below {silence:g} dBFS", silent),
            *note(f"cut {len(cut)} sounds after {seconds:g} s", cut),
            *note(
                f"skipped {len(unopened)} sub-folders that cannot be opened",
                [printable(path.relative_to(folder)) for path in unopened],
            ),
        ]
        if rows is not None:
            lost = sorted(rows.keys() - {path.as_posix() for path in paths})
            self._notes += note(f"{len(lost)} of {len(rows)} rows of the table name a sound that is not there", lost)
            if lost and len(lost) == len(rows):
                raise UserError(self._notes[-1], "the column 'file' holds paths below data.root")
        if not read:
            found = "; ".join([f"found {len(paths)} sounds, {len(chosen)} of them of the {split} split", *self._notes])
            fix = f"put sounds there ({endings()}), or change data.test_fraction={test_fraction}"
            raise UserError(f"{root} has no sound for the {split} split: {found}", fix)
        self._items = list(read.values())
        known = by_folder(paths) if rows is None else rows
        given = columns_of(known, [path.as_posix() for path in read])
        self._columns = SoundColumns(lambda: self._items, given)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Sound:
        return self._items[index]

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def notes(self) -> Sequence[str]:
        return self._notes
