"""Distances of two sets of vectors ``(N, D)`` that need no network. Everything is computed in float64."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def sliced_wasserstein(x: Tensor, y: Tensor, directions: int = 256, seed: int = 0) -> float:
    """Root of the mean squared 2-Wasserstein distance along random directions (Bonneel et al. 2015, equation 10).

    Args:
        x, y: ``(N, D)`` each.
        directions: their number; the same for the same seed.
        seed: of the directions.

    Raises:
        ValueError: if the shapes differ, or there are no rows.
    """
    x, y = _alike(x, y)
    drawn = np.random.default_rng(seed).standard_normal((x.shape[1], directions))
    unit = torch.from_numpy(drawn / np.linalg.norm(drawn, axis=0)).to(x.device)
    return math.sqrt(float(((x @ unit).sort(0).values - (y @ unit).sort(0).values).square().mean()))


def gaussian_mmd(x: Tensor, y: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy with a Gaussian kernel whose width is the median distance of two rows
    of ``y`` (Gretton et al. 2012, equation 3 and section 8). Near 0, of either sign, for samples of one distribution.

    Args:
        x, y: ``(N, D)`` and ``(M, D)``, N and M at least 2; ``y`` is the real one.

    Raises:
        ValueError: if there are fewer than two rows.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"a kernel distance needs at least 2 samples of each kind, not {len(x)} and {len(y)}")
    x, y = x.double(), y.double()
    squared = torch.cdist(y, y).square()
    i, j = torch.triu_indices(len(y), len(y), 1)
    width = squared[i, j].median().clamp(min=1e-12)

    def within(a: Tensor) -> Tensor:
        values = torch.exp(-torch.cdist(a, a).square() / (2 * width))
        return (values.sum() - len(a)) / (len(a) * (len(a) - 1))

    across = torch.exp(-torch.cdist(x, y).square() / (2 * width)).mean()
    return float(within(x) + within(y) - 2 * across)


def marginal_distances(x: Tensor, y: Tensor) -> Tensor:
    """1-Wasserstein distance of every column: float64 ``(D,)``. Of columns of 0 and 1 it is the difference of their
    shares of 1.

    Args:
        x, y: ``(N, D)`` each.

    Raises:
        ValueError: if the shapes differ, or there are no rows.
    """
    x, y = _alike(x, y)
    return (x.sort(0).values - y.sort(0).values).abs().mean(0)


def correlation_gap(x: Tensor, y: Tensor) -> float:
    """Mean absolute difference of Pearson's correlation over all pairs of columns that vary in both sets; 0 where there
    are no such pairs.

    Args:
        x, y: ``(N, D)`` and ``(M, D)``.
    """
    vary = (x.double().std(0) > 1e-9) & (y.double().std(0) > 1e-9)
    if int(vary.sum()) < 2:
        return 0.0
    gap = torch.corrcoef(x.double()[:, vary].T) - torch.corrcoef(y.double()[:, vary].T)
    i, j = torch.triu_indices(len(gap), len(gap), 1)
    return float(gap[i, j].abs().mean())


def _alike(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if x.shape != y.shape or not len(x):
        raise ValueError(f"sets of equal size are compared, not {tuple(x.shape)} and {tuple(y.shape)}")
    return x.double(), y.double()
