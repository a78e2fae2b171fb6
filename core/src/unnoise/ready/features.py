"""Items of any kind as vectors, so that sets of them can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Features = Callable[[Sequence[Any]], Tensor]
"""Items -> float64 ``(N, D)``."""
PAIRS = 100
"""Of neighbouring symbols, the most frequent so many pairs are counted."""


def features_of(items: Sequence[Any]) -> Features:
    """A function that turns items into vectors, measured on real ones.

    - rows ``{column: number or text}``: numbers, in standard deviations from their mean, and a 1 for every text;
    - texts: shares of symbols and of frequent pairs of neighbours, and the length, standardised;
    - arrays of one shape: all their numbers, standardised;
    - arrays of many lengths: of every channel mean, deviation, extremes and deviation of the steps from one element to
      the next, and the length, standardised.
    """
    first = items[0]
    if isinstance(first, Mapping):
        return _rows(items)
    if isinstance(first, str):
        return _standardised(items, _texts(items))
    shapes = {np.shape(item) for item in items}
    return _standardised(items, _flat if len(shapes) == 1 else _summaries)


def _standardised(items: Sequence[Any], features: Callable[[Sequence[Any]], NDArray[np.float64]]) -> Features:
    real = features(items)
    mean, std = real.mean(0), real.std(0)
    std = np.where(std > 1e-9, std, 1.0)
    return lambda some: torch.from_numpy((features(some) - mean) / std)


def _rows(items: Sequence[Mapping[str, Any]]) -> Features:
    texts = {name: sorted({row[name] for row in items}) for name, v in items[0].items() if isinstance(v, str)}
    numbers = [name for name in items[0] if name not in texts]

    def values(rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        return np.array([[float(row[name]) for name in numbers] for row in rows]).reshape(len(rows), len(numbers))

    scaled = _standardised(items, values)

    def features(rows: Sequence[Mapping[str, Any]]) -> Tensor:
        ones = [[float(row[name] == text) for name, known in texts.items() for text in known] for row in rows]
        return torch.cat([scaled(rows), torch.tensor(ones, dtype=torch.float64).reshape(len(rows), -1)], 1)

    return features


def _texts(items: Sequence[str]) -> Callable[[Sequence[str]], NDArray[np.float64]]:
    singles = sorted({symbol for item in items for symbol in item})
    pairs = Counter(pair for item in items for pair in pairwise(item))
    common = [pair for pair, _ in sorted(pairs.items(), key=lambda found: (-found[1], found[0]))[:PAIRS]]

    def features(texts: Sequence[str]) -> NDArray[np.float64]:
        rows = []
        for text in texts:
            one, two = Counter(text), Counter(pairwise(text))
            size = max(len(text), 1)
            rows.append([*(one[s] / size for s in singles), *(two[p] / size for p in common), len(text)])
        return np.array(rows, dtype=np.float64)

    return features


def _flat(items: Sequence[Any]) -> NDArray[np.float64]:
    return np.stack([np.asarray(item, dtype=np.float64).ravel() for item in items])


def _summaries(items: Sequence[Any]) -> NDArray[np.float64]:
    rows = []
    for item in items:
        x = np.asarray(item, dtype=np.float64).reshape(len(item), -1)
        steps = np.diff(x, axis=0).std(0) if len(x) > 1 else np.zeros(x.shape[1])
        rows.append(np.concatenate([x.mean(0), x.std(0), x.min(0), x.max(0), steps, [len(x)]]))
    return np.stack(rows)
