"""How well arrays of numbers go together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def correlations(a: Iterable[NDArray[Any]], b: Iterable[NDArray[Any]]) -> NDArray[np.float64]:
    """Pearson's correlation of each array of ``a`` with that of ``b``, over the numbers that are finite in both; 0
    where either does not vary.

    Raises:
        ValueError: if there are not as many of the ones as of the others.
    """
    return np.array([_correlation(x, y) for x, y in zip(a, b, strict=True)])


def _correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    x, y = (values[known].astype(np.float64) for values in (a, b))
    if not len(x) or not x.std() or not y.std():
        return 0.0
    return float(np.mean((x - x.mean()) * (y - y.mean())) / (x.std() * y.std()))
