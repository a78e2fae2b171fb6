"""Clips with captions from one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unnoise.archives import averaged, caption, chosen_rows, read_archive, read_known
from unnoise.contracts import Column, Dataset, Labels, Texts
from unnoise.errors import UserError
from unnoise_video.clip import Clip
from unnoise_video.data.folder import measured

_LAYOUT = "it holds clips (N, T, H, W, C) as uint8, split (N,) as text, and maybe group (N,) with group_names"
_MISSING = "give the .npz file of clips: data.path=...; docs/video.md says how to make one"


class Archive(Dataset):
    """Short loops of one size in an ``.npz`` file: ``clips`` uint8 ``(N, T, H, W, C)``, ``split`` ("train" or "test"),
    and maybe ``group`` (int) with ``group_names``, which become the ``class``. Beside it may lie a ``.json`` file with
    a list of what is known of each: ``label``, a caption, ``tags``, a list of words, and ``loop_ms``, from which the
    frame rate follows.

    Columns: ``text``, ``class``, ``fps``, ``duration``.

    Args:
        split: "train" or "test".
        seed: has no effect.
        path: of the ``.npz`` file.
        size: pixels a side, to which frames are averaged down; as in the file if left out.
        fps: of clips whose loop time is not known.
        groups: only clips of these groups; all if empty.
        tags: most words that follow the label in a text.

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
        tags: int = 0,
    ) -> None:
        file = Path(path).expanduser()
        arrays = read_archive(file, "clips", 5, _LAYOUT, _MISSING)
        clips, names = arrays["clips"], tuple(map(str, arrays["group_names"]))
        index = chosen_rows(arrays, file, split, groups)
        if not len(index):
            raise UserError(f"{file} holds no clip of the {split} split", "look at its 'split', or change data.groups")
        known = read_known(file.with_suffix(".json"), len(clips), "clip")
        rates = [_rate(known[i], clips.shape[1], fps) for i in index]
        chosen = clips[index] if size is None else averaged(clips[index], size)
        self._items = [Clip(frames, rate) for frames, rate in zip(chosen, rates, strict=True)]
        self._captions = [caption(known[i], tags) for i in index]
        self._columns: dict[str, Column] = measured(self._items)
        self._columns["text"] = Texts(np.array(self._captions, dtype=np.str_))
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


def _rate(known: Mapping[str, Any], frames: int, default: float) -> float:
    loop = known.get("loop_ms")
    return round(1000 * frames / loop, 3) if isinstance(loop, (int, float)) and loop > 0 else default
