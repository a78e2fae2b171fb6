"""English text that scikit-learn ships: its pages about data sets."""

import re
from importlib.resources import files

import numpy as np

from unnoise.contracts import Labels
from unnoise.ready import ItemList


class Pages(ItemList):
    """Pieces of whole words, of at most ``longest`` characters: small letters and spaces. The class is the page.

    Each is there once. Neighbours overlap, so whole groups of eight are on one side of the split.
    """

    def __init__(self, split: str, seed: int = 0, longest: int = 24) -> None:
        pages = sorted(p for p in files("sklearn.datasets.descr").iterdir() if p.name.endswith(".rst"))
        items, kinds, seen = [], [], set()
        for kind, page in enumerate(pages):
            words = re.findall(r"[a-z]+", page.read_text(encoding="utf-8").lower())
            for start in range(0, len(words), 2):
                piece = ""
                for word in words[start:]:
                    if len(piece) + len(word) + 1 > longest:
                        break
                    piece = f"{piece} {word}".strip()
                if piece and piece not in seen:
                    seen.add(piece)
                    items.append(piece)
                    kinds.append(kind)
        groups = range(0, len(items), 8)
        names = tuple(page.name.removesuffix(".rst") for page in pages)
        super().__init__(split, [slice(at, at + 8) for at in groups])
        index = [i for group in self._items for i in range(len(items))[group]]
        self._items = [items[i] for i in index]
        self._columns = {"class": Labels(np.array([kinds[i] for i in index]), names)}
