"""Pictures with captions from one file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unnoise.archives import averaged, caption, chosen_rows, read_archive, read_known
from unnoise.contracts import Column, Dataset, Labels, Texts
from unnoise.errors import UserError
from unnoise_image.pictures import MODES

_LAYOUT = "it holds images (N, H, W, C) as uint8, split (N,) as text, and maybe group (N,) with group_names"
_MISSING = "give the .npz file of pictures: data.path=...; docs/conditions.md says how to make one"

SIDED = (
    "left", "right", "east", "west", "northeast", "northwest", "southeast", "southwest", "clock", "counterclock",
    "anticlock", "watch", "arrow", "chart", "flag", "letter", "number", "digit", "sign", "button", "keycap", "calendar",
    "input", "news", "abc",
)  # fmt: skip
"""Beginnings of words by which a caption says that a mirrored picture would show something else: sides, dials, signs
and what is written.
"""


class Captions(Dataset):
    """Pictures of one size in an ``.npz`` file: ``images`` uint8 ``(N, H, W, C)``, ``split`` ("train" or "test"), and
    maybe ``group`` (int) with ``group_names``, which become the ``class``. Beside it lies a ``.json`` file with a list
    of what each shows: ``label``, a caption, and maybe ``tags``, a list of words.

    Columns: ``text`` (the label, then tags, with commas between), ``class``.

    Training pictures are also shown mirrored, unless that would make the caption untrue.

    Args:
        split: "train" or "test".
        seed: has no effect.
        path: of the ``.npz`` file.
        size: pixels a side, to which pictures are averaged down; as in the file if left out.
        tags: most words that follow the label in a text.
        groups: only pictures of these groups; all if empty.
        without: no pictures of these groups.
        mirror: whether there are mirrored training pictures.
        sided: words, or how they begin, in whose presence no picture is mirrored; in a caption or the group's name.

    Raises:
        UserError: if a file is missing, is no such file, or holds no captioned picture of the split.
    """

    def __init__(
        self,
        split: str,
        seed: int = 0,
        *,
        path: str,
        size: int | None = None,
        tags: int = 0,
        groups: Sequence[str] = (),
        without: Sequence[str] = (),
        mirror: bool = True,
        sided: Sequence[str] = SIDED,
    ) -> None:
        file = Path(path).expanduser()
        arrays = read_archive(file, "images", 4, _LAYOUT, _MISSING)
        pictures, names = arrays["images"], tuple(map(str, arrays["group_names"]))
        if pictures.shape[3] not in MODES:
            raise UserError(f"{file} holds pictures of {pictures.shape[3]} channels", "they have 1, 3 or 4")
        known = read_known(file.with_suffix(".json"), len(pictures), "picture")
        index = chosen_rows(arrays, file, split, groups, without)
        index = index[[bool(caption(known[i])) for i in index]] if len(index) else index
        if not len(index):
            raise UserError(
                f"{file} holds no captioned picture of the {split} split",
                "look at its 'split' and at the .json beside it, or change data.groups",
            )
        chosen = pictures[index] if size is None else averaged(pictures[index], size)
        said = [caption(known[i], tags) for i in index]
        group = arrays["group"][index].astype(np.int64)
        titles = [names[i] if i >= 0 else "" for i in group]
        alike = [
            i for i in range(len(index)) if not _names_a_side(f"{caption(known[index[i]], 99)} {titles[i]}", sided)
        ]
        twice = np.array([*range(len(index)), *(alike if mirror and split == "train" else [])])
        self._items: NDArray[np.uint8] = np.concatenate([chosen, chosen[twice[len(index) :], :, ::-1]])
        self._columns: dict[str, Column] = {"text": Texts(np.array(said, dtype=np.str_)[twice])}
        if names:
            self._columns["class"] = Labels(group[twice], names)
        self._mirrored = len(twice) - len(index)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        item: NDArray[np.uint8] = self._items[index]
        return item

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def notes(self) -> Sequence[str]:
        return [f"captions: {len(self) - self._mirrored} pictures, {self._mirrored} of them also mirrored"]


def _names_a_side(text: str, sided: Sequence[str]) -> bool:
    return any(word.startswith(tuple(sided)) for word in re.findall(r"\w+", text.casefold()))
