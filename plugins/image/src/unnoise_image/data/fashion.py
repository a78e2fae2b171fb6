"""Fashion-MNIST from its IDX files."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unnoise.contracts import Column, Dataset, Labels
from unnoise.errors import UserError
from unnoise_image.plugin import FASHION_ROOT

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


class FashionMnist(Dataset):
    """70,000 grey pictures of 28x28 pixels in ten classes of garments (Xiao et al. 2017); its own split.

    Args:
        split: "train" (60,000) or "test" (10,000).
        seed: has no effect.
        root: folder of the four ``*-ubyte.gz`` files. MNIST and other relatives of ten classes have the same
            format.

    Raises:
        UserError: if a file is missing or broken.
    """

    def __init__(self, split: str, seed: int = 0, root: str = FASHION_ROOT) -> None:
        prefix = Path(root) / ("t10k" if split == "test" else "train")
        self._items = read_idx(Path(f"{prefix}-images-idx3-ubyte.gz"), axes=3)[..., None]
        self._labels = read_idx(Path(f"{prefix}-labels-idx1-ubyte.gz"), axes=1).astype(np.int64)
        if len(self._items) != len(self._labels):
            raise UserError(
                f"{prefix}-*: {len(self._items)} pictures but {len(self._labels)} labels", "get both files anew"
            )
        if not len(self._items) or self._labels.max() >= len(CLASSES):
            found = f"{len(self._items)} pictures, labels up to {self._labels.max(initial=0)}"
            raise UserError(f"{prefix}-*: {found}", f"there should be some, in classes 0 to {len(CLASSES) - 1}")

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        item: NDArray[np.uint8] = self._items[index]
        return item

    def columns(self) -> Mapping[str, Column]:
        return {"class": Labels(self._labels, CLASSES)}

    def notes(self) -> Sequence[str]:
        return ["fashion: Fashion-MNIST, Zalando SE, MIT licence"]


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """A gzipped IDX file of unsigned bytes: two zero bytes, the type 8, the number of axes, their sizes, the data.

    Args:
        path: the file.
        axes: how many axes are expected: 1 for labels, 3 for pictures.

    Raises:
        UserError: if it is missing or not such a file.
    """
    if not path.exists():
        fix = "apt-get install dataset-fashion-mnist, or give the folder of the files: data.root=..."
        raise UserError(f"{path} is missing", fix)
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is no gzip file: {error}", "get it anew") from error
    start = 4 + 4 * axes
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4")) if len(content) >= start else ()
    if content[:4] != bytes([0, 0, 8, axes]) or not shape or len(content) != start + math.prod(shape):
        raise UserError(f"{path} is no IDX file of unsigned bytes with {axes} axes, or is cut off", "get it anew")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
