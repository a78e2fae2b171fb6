import itertools
import math

import numpy as np
import pytest
import torch

from unnoise import schedules
from unnoise.processes import Categorical
from unnoise.testing import CategoricalDenoiser, GaussianDenoiser, MixedToy, MixtureDenoiser, probability_flow

torch.set_num_threads(1)  # small tensors: more threads only wait for each other

CURVES = [schedules.cosine(), schedules.edm(), schedules.flow()]
COVARIANCE = torch.tensor([[0.6, 0.3], [0.3, 1.2]], dtype=torch.float64)


def mixture(schedule, labels=None):
    means = [[-1.0, 0.5], [1.2, 0.0], [0.2, -1.5]]
    return MixtureDenoiser([0.5, 0.3, 0.2], means, [0.1, 0.3, 0.2], schedule, labels)


@pytest.mark.parametrize("schedule", CURVES, ids=lambda s: s.name)
def test_gaussian_posterior_mean_solves_the_normal_equations(schedule):
    denoiser = GaussianDenoiser([0.5, -1.0], COVARIANCE, schedule)
    x, t = torch.tensor([[0.3, 0.8], [-2.0, 1.0]], dtype=torch.float64), 0.4
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    precision = (
        COVARIANCE.inverse() + (alpha / sigma) ** 2 * torch.eye(2).double()
    )  # the product of prior and likelihood
    right = COVARIANCE.inverse() @ denoiser.mean + alpha / sigma**2 * x
    expected = torch.linalg.solve(precision, right.T).T
    torch.testing.assert_close(denoiser(x, t), expected, rtol=1e-12, atol=1e-12)
    mean, covariance = denoiser.moments(t)
    torch.testing.assert_close(covariance, alpha**2 * COVARIANCE + sigma**2 * torch.eye(2))
    torch.testing.assert_close(mean, alpha * denoiser.mean)


@pytest.mark.parametrize("schedule", CURVES, ids=lambda s: s.name)
def test_gaussian_solution_is_what_runge_kutta_finds(schedule):
    denoiser = GaussianDenoiser([0.5, -1.0], COVARIANCE, schedule)
    t, s = float(schedule.t_of(-4.0)), float(schedule.t_of(4.0))
    x = torch.tensor([[0.3, 0.8], [-2.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(denoiser.solution(x, t, s), probability_flow(denoiser, x, t, s), rtol=1e-8, atol=1e-8)


def test_runge_kutta_reference_has_converged():
    schedule = schedules.cosine()
    denoiser, x = mixture(schedule), torch.tensor([[0.3, 0.8], [-1.0, 1.0]], dtype=torch.float64)
    t, s = float(schedule.t_of(-4.0)), float(schedule.t_of(4.0))
    coarse, fine = (probability_flow(denoiser, x, t, s, steps) for steps in (100, 200))
    torch.testing.assert_close(coarse, fine, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("label", [None, 1])
@pytest.mark.parametrize("schedule", CURVES, ids=lambda s: s.name)
def test_mixture_score_is_the_gradient_and_gives_the_mean(schedule, label):
    """The score by autograd, and Tweedie's formula from it (Robbins 1956)."""
    denoiser, t = mixture(schedule, labels=[0, 1, 1]), 0.35
    x = torch.tensor([[0.3, 0.8], [-2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(denoiser.log_density(x, t, label).sum(), x)
    torch.testing.assert_close(denoiser.score(x, t, label), gradient)
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    torch.testing.assert_close(denoiser(x, t, label), (x + sigma**2 * gradient) / alpha, rtol=1e-9, atol=1e-9)


def test_mixture_density_integrates_to_one_and_times_may_differ():
    denoiser = mixture(schedules.cosine(), labels=[0, 1, 1])
    axis = torch.linspace(-7, 7, 281, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    for label in (None, 1):
        mass = denoiser.log_density(points, 0.3, label).exp().sum() * (axis[1] - axis[0]) ** 2
        assert mass.item() == pytest.approx(1, abs=1e-6)
    x, t = points[:2], torch.tensor([0.2, 0.7])
    each = torch.cat([denoiser(x[i : i + 1], float(t[i])) for i in range(2)])
    torch.testing.assert_close(denoiser(x, t), each)
    labels = torch.tensor([1, 0])
    each = torch.cat([denoiser(x[i : i + 1], 0.3, int(labels[i])) for i in range(2)])
    torch.testing.assert_close(denoiser(x, 0.3, labels), each)


def test_mixture_samples_have_its_moments():
    values, classes = mixture(schedules.cosine()).sample(20_000, seed=3)
    torch.testing.assert_close(torch.bincount(classes) / 20_000, torch.tensor([0.5, 0.3, 0.2]), atol=0.012, rtol=0)
    torch.testing.assert_close(values.mean(0), torch.tensor([-0.1, -0.05], dtype=torch.float64), atol=0.03, rtol=0)


@pytest.mark.parametrize("kernel", ["uniform", "marginal", "absorbing"])
def test_categorical_posterior_by_simulation(kernel):
    """Draw clean pairs, noise them with the process, and count: p(x0_i | x_t) without a formula."""
    joint = torch.tensor([[0.3, 0.05], [0.15, 0.5]])
    process = Categorical(schedules.cosine(), kernel, (0.4, 0.6) if kernel == "marginal" else None)
    denoiser, t, count = CategoricalDenoiser(joint, process), 0.6, 400_000
    generator = np.random.default_rng(0)
    clean = torch.from_numpy(generator.choice(4, size=count, p=joint.flatten().double() / joint.double().sum()))
    clean = torch.stack([clean // 2, clean % 2], 1)
    survival = 1 / (1 + math.exp(-float(schedules.cosine().log_snr(t))))
    rest = {"uniform": [0.5, 0.5, 0], "marginal": [0.4, 0.6, 0], "absorbing": [0, 0, 1]}[kernel]
    fresh = torch.from_numpy(generator.choice(3, size=(count, 2), p=rest))
    x = torch.where(torch.from_numpy(generator.random((count, 2)) < survival), clean, fresh)
    for a, b in itertools.product(range(denoiser.layout["x"].tokens), repeat=2):
        rows = (x == torch.tensor([a, b])).all(1)
        state = denoiser.product.prior(noise_of(1)).replace({"x": torch.tensor([[a, b]])})
        estimate = denoiser(state, t)["x"][0].exp()
        counted = torch.stack([torch.bincount(clean[rows, i], minlength=2) / rows.sum() for i in range(2)])
        torch.testing.assert_close(estimate, counted.double(), atol=0.01, rtol=0)


@pytest.mark.parametrize("kernel", ["uniform", "absorbing"])
def test_mixed_toy_posterior_by_brute_force(kernel):
    """Sum over every clean graph of two nodes and integrate over positions on a grid."""
    toy, t = MixedToy(means=[[-1.0], [1.5]], kernel=kernel), 0.5
    x = toy.product.corrupt(toy.sample(torch.tensor([2]), seed=1), toy.product.times(t), noise_of(1))
    schedule = schedules.cosine()
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    survival = alpha**2

    def q(seen, clean, classes):
        rest = float(seen == classes) if kernel == "absorbing" else 1 / classes
        return survival * (seen == clean) + (1 - survival) * rest

    def normal(value, mean, variance):
        return torch.exp(-0.5 * (value - mean) ** 2 / variance) / math.sqrt(2 * math.pi * variance)

    grid = torch.linspace(-5, 5, 2001, dtype=torch.float64)
    kinds, edges, position, total = torch.zeros(2, 2), torch.zeros(2), torch.zeros(2), 0.0
    for k0, k1, e in itertools.product(range(2), repeat=3):
        weight, centres = q(int(x.parts["edge"][0, 0, 1]), e, 2) * float(toy.edges[k0, k1, e]), []
        for i, k in enumerate((k0, k1)):
            seen = x.parts["position"][0, i, 0].double()
            density = normal(grid, float(toy.means[k, 0]), toy.variance) * normal(seen, alpha * grid, sigma**2)
            weight *= float(toy.frequencies[k]) * q(int(x.parts["kind"][0, i]), k, 2) * float(density.sum())
            centres.append(float((density * grid).sum() / density.sum()))
        total += weight
        kinds[0, k0] += weight
        kinds[1, k1] += weight
        edges[e] += weight
        position += weight * torch.tensor(centres)
    made = toy(x, t)
    torch.testing.assert_close(made["kind"][0].exp().float(), kinds / total, atol=1e-5, rtol=0)
    torch.testing.assert_close(made["edge"][0, 0, 1].exp().float(), edges / total, atol=1e-5, rtol=0)
    torch.testing.assert_close(made["position"][0, :, 0].float(), position / total, atol=1e-5, rtol=0)


def test_mixed_toy_ignores_padding_and_is_symmetric():
    toy = MixedToy()
    x = toy.product.corrupt(toy.sample(torch.tensor([2, 3]), seed=1), toy.product.times(0.5), noise_of(2))
    alone = toy(x[:1].trim(), 0.5)
    both = toy(x.resize({"nodes": 4}), 0.5)
    for name in toy.layout.names:
        cut = both[name][:1, :2, :2] if name == "edge" else both[name][:1, :2]
        torch.testing.assert_close(alone[name], cut)
    torch.testing.assert_close(both["edge"], both["edge"].transpose(1, 2))


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="not of shape"):
        GaussianDenoiser([0.0, 1.0], torch.eye(3), schedules.flow())
    with pytest.raises(ValueError, match="negative eigenvalues"):
        GaussianDenoiser([0.0, 1.0], torch.tensor([[1.0, 2.0], [2.0, 1.0]]), schedules.flow())
    with pytest.raises(ValueError, match="weights"):
        MixtureDenoiser([1.0], [[0.0], [1.0]], 1.0, schedules.flow())


def noise_of(batch):
    from unnoise.noise import Noise

    return Noise.of(0, batch)
