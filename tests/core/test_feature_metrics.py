"""Distances of sets of samples against closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from unnoise.metrics import frechet_distance, kernel_distance, moments, nearest_distances, subset


def gaussian(seed, dim=6):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(dim, dim))
    return torch.tensor(rng.normal(size=dim)), torch.tensor(root @ root.T)


def test_moments_are_numpys():
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    mean, covariance = moments(x)
    np.testing.assert_allclose(mean, x.double().numpy().mean(0))
    np.testing.assert_allclose(covariance, np.cov(x.double().numpy().T), rtol=1e-10)
    with pytest.raises(ValueError, match="at least 2 samples, not 1"):
        moments(x[:1])


def test_frechet_distance_of_commuting_gaussians_is_elementary():
    """Diagonal covariances: the sum of squared differences of means and of standard deviations."""
    a, b = torch.tensor([1.0, 4.0, 0.25]), torch.tensor([9.0, 1.0, 0.0])
    mean = torch.tensor([1.0, -2.0, 0.5])
    distance = frechet_distance((mean, a.diag()), (torch.zeros(3), b.diag()))
    assert distance == pytest.approx(5.25 + 4 + 1 + 0.25)


def test_frechet_distance_equals_the_matrix_root_formula():
    a, b = gaussian(0), gaussian(1)
    root = scipy.linalg.sqrtm(a[1].numpy() @ b[1].numpy()).real
    expected = float((a[0] - b[0]).square().sum()) + np.trace(a[1].numpy() + b[1].numpy() - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(b, a) == pytest.approx(expected)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_of_few_samples_stays_finite():
    """10 samples in 64 dimensions: covariances of rank 9, for which sqrtm of the product breaks down."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(10, 64, generator=generator)
    assert frechet_distance(moments(x), moments(x)) == pytest.approx(0, abs=1e-6)
    moved = x + 2
    assert frechet_distance(moments(x), moments(moved)) == pytest.approx(4 * 64, rel=1e-6)


def test_frechet_distance_bears_features_that_never_vary():
    """As of rectified units that are never active: nine in ten of a thousand."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(60, 1000, generator=generator) for _ in range(2))
    x[:, 100:] = y[:, 100:] = 0
    expected = frechet_distance(moments(x[:, :100]), moments(y[:, :100]))
    assert frechet_distance(moments(x), moments(y)) == pytest.approx(expected)


def test_kernel_distance_equals_its_double_sums():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)) + 1

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    xx = np.mean([k(x[i], x[j]) for i in range(5) for j in range(5) if i != j])
    yy = np.mean([k(y[i], y[j]) for i in range(7) for j in range(7) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    assert kernel_distance(torch.tensor(x), torch.tensor(y)) == pytest.approx(xx + yy - 2 * xy)
    with pytest.raises(ValueError, match="at least 2"):
        kernel_distance(torch.zeros(1, 3), torch.zeros(4, 3))


def test_kernel_distance_is_unbiased():
    """Over many pairs of sets from one distribution the mean is 0 within four standard errors."""
    generator = torch.Generator().manual_seed(0)
    values = [
        kernel_distance(torch.randn(12, 4, generator=generator), torch.randn(15, 4, generator=generator))
        for _ in range(800)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


def test_nearest_distances_equal_brute_force_and_vanish_for_copies():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(9, 4, generator=generator), torch.randn(30, 4, generator=generator)
    expected = [min(float((a - b).double().norm()) for b in y) for a in x]
    np.testing.assert_allclose(nearest_distances(x, y, chunk=4), expected, rtol=1e-6)
    assert (nearest_distances(y[:7] * 1e4, y * 1e4) == 0).all()
    assert nearest_distances(x[:0], y).shape == (0,)


def test_subset_is_a_fixed_choice_without_repeats():
    chosen = subset(100, 30, seed=3)
    assert chosen == subset(100, 30, seed=3) != subset(100, 30, seed=4)
    assert len(set(chosen)) == 30 and chosen == sorted(chosen) and min(chosen) >= 0 and max(chosen) < 100
    assert subset(5, 9, seed=0) == [0, 1, 2, 3, 4]
