"""Clips with captions from one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unnoise.contracts import Column, Dataset, Labels
from unnoise.errors import UserError
from unnoise_video.clip import Clip
from unnoise_video.data.folder import measured

_LAYOUT = "it holds clips (N, T, H, W, C) as uint8, split (N,) as text, and maybe group (N,) with group_names"


class Archive(Dataset):
    """Short loops of one size in an ``.npz`` file: ``clips`` uint8 ``(N, T, H, W, C)``, ``split`` ("train" or "test"),
    and maybe ``group`` (int) with ``group_names``, which become the ``class``. Beside it may lie a ``.json`` file with
    a list of what is known of each: ``label``, a caption, and ``loop_ms``, from which the frame rate follows.

    Columns: ``class``, ``fps``, ``duration``.

    Args:
        split: "train" or "test".
        seed: has no effect.
        path: of the ``.npz`` file.
        size: pixels a side, to which frames are averaged down; as in the file if left out.
        fps: of clips whose loop time is not known.
        groups: only clips of these groups; all if empty.

    Raises:
        UserError: if a file is missing, is no such file, or holds no clip of the split.
    """

    def __init__(
        self,
        split: str,
        seed: int = 0,
        *,
        path: str,
        size: int | None = None,
        fps: float = 8.0,
        groups: Sequence[str] = (),
    ) -> None:
        file = Path(path).expanduser()
        arrays = _arrays(file)
        clips, names = arrays["clips"], tuple(map(str, arrays["group_names"]))
        unknown = sorted(set(groups) - set(names))
        if unknown:
            raise UserError(f"{file} has no group {unknown[0]!r}", f"there is: {', '.join(names)}")
        wanted = arrays["split"] == split
        if groups:
            wanted &= np.isin(arrays["group"], [names.index(name) for name in groups])
        index = np.flatnonzero(wanted)
        if not len(index):
            raise UserError(f"{file} holds no clip of the {split} split", "look at its 'split', or change data.groups")
        known = _known(file.with_suffix(".json"), len(clips))
        rates = [_rate(known[i], clips.shape[1], fps) for i in index]
        chosen = clips[index] if size is None else averaged(clips[index], size)
        self._items = [Clip(frames, rate) for frames, rate in zip(chosen, rates, strict=True)]
        self._captions = [str(known[i].get("label", "")) for i in index]
        self._columns: dict[str, Column] = measured(self._items)
        if names:
            self._columns["class"] = Labels(arrays["group"][index].astype(np.int64), names)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Clip:
        return self._items[index]

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def captions(self) -> list[str]:
        """What each clip shows, in words; empty where nothing is said."""
        return self._captions

    def notes(self) -> Sequence[str]:
        return [f"archive: {len(self)} clips of {len(self._items[0].frames)} frames"]


def averaged(clips: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Clips ``(N, T, H, W, C)`` with blocks of pixels averaged, so that a side has ``size``.

    Raises:
        UserError: if that does not divide the sides.
    """
    n, frames, height, width, channels = clips.shape
    if size < 1 or height % size or width % size:
        raise UserError(f"clips of {height}x{width} cannot be averaged to {size}", "data.size divides both sides")
    blocks = clips.reshape(n, frames, size, height // size, size, width // size, channels)
    return np.asarray(blocks.mean((3, 5)).round().astype(np.uint8))


def _arrays(file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file, checked against each other."""
    if not file.is_file():
        raise UserError(
            f"{file} is missing", "give the .npz file of clips: data.path=...; docs/video.md says how to make one"
        )
    try:
        with np.load(file, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile and numpy raise almost anything on damaged data
        raise UserError(f"{file} cannot be read: {str(error).partition(chr(10))[0]}", _LAYOUT) from error
    clips, split = found.get("clips"), found.get("split")
    if clips is None or clips.ndim != 5 or clips.dtype != np.uint8 or split is None or split.shape != clips.shape[:1]:
        shapes = ", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in sorted(found.items()))
        raise UserError(f"{file} holds {shapes or 'nothing'}", _LAYOUT)
    names = found.setdefault("group_names", np.array([], dtype=str))
    group = found.setdefault("group", np.full(len(clips), -1))
    if group.shape != split.shape or group.dtype.kind not in "iu" or group.max(initial=-1) >= max(len(names), 0):
        raise UserError(f"{file}: group and group_names do not fit", _LAYOUT)
    return found


def _known(file: Path, count: int) -> list[Mapping[str, Any]]:
    """What is said of each clip; nothing where there is no file."""
    if not file.is_file():
        return [{}] * count
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: {error}", "it is a JSON list, one object a clip") from error
    if not isinstance(known, list) or len(known) != count or not all(isinstance(entry, dict) for entry in known):
        raise UserError(f"{file} does not have one object for each of {count} clips", "it is a JSON list of objects")
    return known


def _rate(known: Mapping[str, Any], frames: int, default: float) -> float:
    loop = known.get("loop_ms")
    return round(1000 * frames / loop, 3) if isinstance(loop, (int, float)) and loop > 0 else default
