"""What a line camera sees: two photographs that scikit-learn ships, line by line."""

import numpy as np
from sklearn.datasets import load_sample_images

from unnoise.contracts import Dataset, Labels


class Scans(Dataset):
    """Pieces of 16 to 48 steps of lines, three channels each (red, green, blue from 0 to 1; float32 ``(n, 3)``); the
    class is the photograph. Every fifth block of 21 lines is for testing, as lines next to each other are alike.
    """

    def __init__(self, split: str, seed: int = 0, pool: int = 4) -> None:
        rng = np.random.default_rng(2)
        self._items, kinds = [], []
        for kind, photograph in enumerate(load_sample_images().images):
            height, width = (size // pool for size in photograph.shape[:2])
            pooled = photograph[: height * pool, : width * pool].reshape(height, pool, width, pool, 3)
            for row, line in enumerate(pooled.mean((1, 3)) / 255):
                start = 0
                while start + 16 <= width:
                    stop = start + int(rng.integers(16, 49))
                    if (row // 21 % 5 == 2) == (split == "test") and stop <= width:
                        self._items.append(line[start:stop].astype(np.float32))
                        kinds.append(kind)
                    start = stop
        self._columns = {"class": Labels(np.array(kinds), ("china", "flower"))}

    def __len__(self):
        return len(self._items)

    def __getitem__(self, index):
        return self._items[index]

    def columns(self):
        return self._columns
