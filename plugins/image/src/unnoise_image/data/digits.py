"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from unnoise.contracts import Column, Dataset, Labels


class Digits(Dataset):
    """1,797 grey pictures of 8x8 pixels (Alpaydin & Kaynak 1998, test part), classes "0" to "9".

    Every fourth picture of a class, in file order, is a test picture: 445 of them. The split never depends on the seed,
    so that runs with different seeds are judged on pictures that none of them saw.

    Args:
        split: "train" or "test".
        seed: has no effect.
    """

    def __init__(self, split: str, seed: int = 0) -> None:
        bunch = load_digits()
        labels = bunch.target.astype(np.int64)
        rank = np.empty_like(labels)
        for label in range(10):
            rank[labels == label] = np.arange((labels == label).sum())
        chosen = (rank % 4 == 3) == (split == "test")
        pixels = np.round(bunch.images[chosen] * (255 / 16)).astype(np.uint8)
        self._items: NDArray[np.uint8] = pixels[..., None]
        self._labels = labels[chosen]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        item: NDArray[np.uint8] = self._items[index]
        return item

    def columns(self) -> Mapping[str, Column]:
        return {"class": Labels(self._labels, tuple(map(str, range(10))))}

    def notes(self) -> Sequence[str]:
        return ["digits: Optical Recognition of Handwritten Digits, UCI repository, CC BY 4.0"]
