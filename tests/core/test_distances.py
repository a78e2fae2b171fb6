"""Distances of sets of vectors against scipy, scikit-learn and closed forms."""

import numpy as np
import pytest
import torch

from unnoise.distances import correlation_gap, gaussian_mmd, marginal_distances, sliced_wasserstein

stats = pytest.importorskip("scipy.stats")
optimize = pytest.importorskip("scipy.optimize")
RNG = np.random.default_rng(0)


def normal(n, *dims, shift=0.0):
    return torch.from_numpy(RNG.standard_normal((n, *dims)) + shift)


def test_on_a_line_the_sliced_distance_is_the_cheapest_assignment():
    x, y = normal(40, 1), normal(40, 1, shift=0.7) ** 3
    cost = (x - y.T).square().numpy()
    best = cost[optimize.linear_sum_assignment(cost)].mean()
    assert sliced_wasserstein(x, y) == pytest.approx(best**0.5)


def test_a_translation_is_seen_along_every_direction():
    """The mean over directions of ``(v . u)^2`` is ``|v|^2 / D``."""
    x, shift = normal(50, 4), torch.tensor([3.0, 0.0, -4.0, 0.0]).double()
    assert sliced_wasserstein(x, x + shift, directions=20_000) == pytest.approx(2.5, rel=0.02)
    assert sliced_wasserstein(x, x[torch.randperm(50)]) < 1e-12  # a product may round rows at other places otherwise


def test_the_kernel_distance_is_that_of_another_library():
    kernels = pytest.importorskip("sklearn.metrics.pairwise")
    x, y = normal(30, 3, shift=0.5), normal(40, 3)
    distances = kernels.euclidean_distances(y.numpy())
    gamma = 1 / (2 * np.median(np.square(distances[np.triu_indices(40, 1)])))
    xx, yy, xy = (kernels.rbf_kernel(a, b, gamma) for a, b in ((x, x), (y, y), (x, y)))
    expected = (xx.sum() - 30) / (30 * 29) + (yy.sum() - 40) / (40 * 39) - 2 * xy.mean()
    assert gaussian_mmd(x, y) == pytest.approx(expected, abs=2e-3)  # the median of torch is the lower of two
    assert abs(np.mean([gaussian_mmd(normal(60, 2), normal(60, 2)) for _ in range(40)])) < 5e-3  # unbiased


def test_marginals_are_those_of_scipy():
    x, y = normal(50, 3), normal(50, 3, shift=1.0)
    expected = [stats.wasserstein_distance(a, b) for a, b in zip(x.T, y.T, strict=True)]
    assert marginal_distances(x, y).tolist() == pytest.approx(expected)


def test_of_zeros_and_ones_a_marginal_is_the_difference_of_shares():
    x, y = torch.tensor([[1.0], [0], [0], [0]]), torch.tensor([[1.0], [1], [1], [0]])
    assert marginal_distances(x, y).tolist() == [0.5]


def test_correlations_of_columns_that_vary():
    a, b = normal(200, 2), normal(200, 1)
    x = torch.cat([a, b], 1)
    y = torch.cat([a, a[:, :1], torch.ones(200, 1)], 1)[:, :3]
    expected = np.abs(np.corrcoef(x.T) - np.corrcoef(y.T))[np.triu_indices(3, 1)].mean()
    assert correlation_gap(x, y) == pytest.approx(expected)
    constant = torch.cat([a, torch.ones(200, 1)], 1)
    assert correlation_gap(constant, constant) == 0
    assert correlation_gap(a[:, :1], a[:, :1]) == 0


def test_too_few_or_unequal():
    with pytest.raises(ValueError, match="equal size"):
        sliced_wasserstein(normal(3, 2), normal(4, 2))
    with pytest.raises(ValueError, match="at least 2"):
        gaussian_mmd(normal(1, 2), normal(4, 2))
