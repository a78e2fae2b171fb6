"""Known elements that the network is shown at a level of their own."""

import numpy as np
import pytest
import torch

import unnoise
from unnoise import schedules
from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.processes import Categorical, Product
from unnoise.sampling import SAMPLERS, Known
from unnoise.state import State

torch.set_num_threads(1)

COVARIANCE = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
MASK = torch.tensor([True, False])


class Pair:
    """The exact mean of a correlated pair, each element at a level of its own; it keeps the times it was asked at."""

    def __init__(self, schedule):
        self.schedule, self.times = schedule, []

    def __call__(self, x, t):
        self.times.append(np.asarray(t))
        t = np.broadcast_to(np.asarray(t), x.shape)
        alpha, sigma = (torch.tensor(f(t)) for f in (self.schedule.alpha, self.schedule.sigma))
        spread = alpha[:, :, None] * COVARIANCE * alpha[:, None] + torch.diag_embed(sigma**2)
        mean = COVARIANCE * alpha[:, None] @ torch.linalg.solve(spread, x.double()[..., None])
        return mean[..., 0].to(x)


def made(sampler, value, n, schedule=None, steps=24, level=0.0):
    schedule = schedule or schedules.flow()
    known = Known(torch.full((n, 2), value), MASK, level)
    plan = unnoise.plan(sampler, schedule, steps)
    return unnoise.sample(Pair(schedule), unnoise.prior((n, 2), schedule), plan, known=known)


@pytest.mark.parametrize("sampler", ["adams", "ddpm", "heun", "dpmpp_2m"])
def test_the_rest_follows_the_conditional_distribution(sampler):
    """Given one of a pair with correlation 0.9, the other is normal with mean 0.9 v and variance 1 - 0.81."""
    x = made(sampler, 2.0, 4000, steps=100)
    assert torch.equal(x[:, 0], torch.full((4000,), 2.0))
    assert abs(float(x[:, 1].mean()) - 1.8) < 0.03
    assert abs(float(x[:, 1].std()) - 0.19**0.5) < 0.03


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_every_sampler_keeps_what_is_known(sampler):
    x = made(sampler, 0.123456789, 3, schedules.cosine(), steps=5)
    assert torch.equal(x[:, 0], torch.full((3,), 0.123456789)) and x.isfinite().all()


def test_levels_are_told_and_never_above_that_of_the_rest():
    schedule = schedules.flow()
    for level, expected in ((0.0, schedule.t_min), (0.3, 0.3)):
        denoiser = Pair(schedule)
        plan = unnoise.plan("ddim", schedule, 10, spacing="linear")
        known = Known(torch.zeros(2, 2), MASK, level)
        unnoise.sample(denoiser, unnoise.prior((2, 2), schedule), plan, known=known)
        times = np.array(denoiser.times)
        assert times.shape == (10, 2, 2)
        np.testing.assert_allclose(times[:, :, 1], np.tile(np.array([row.t for row in plan.rows])[:, None], 2))
        np.testing.assert_allclose(times[:, :, 0], np.minimum(times[:, :, 1], expected))


def test_elements_known_in_part_are_as_noised_as_the_rest():
    seen = []

    def denoise(x, t):
        seen.append(np.asarray(t))
        return x * 0

    schedule = schedules.flow()
    known = Known(torch.ones(1, 2, 2), torch.tensor([[True, True], [True, False]]), 0.0)
    x = unnoise.sample(denoise, unnoise.prior((1, 2, 2), schedule), unnoise.plan("ddim", schedule, 3), known=known)
    assert x.tolist() == [[[1, 1], [1, 0]]]
    assert all(t[0, 0] == schedule.t_min < t[0, 1] for t in seen)


def test_pairs_of_known_elements_are_known():
    """A graph of four nodes of which two are given: their pair is shown as it is, pairs with the others are not."""
    layout = Layout(
        (Part("nodes", "categorical", ("n",), 3), Part("pairs", "categorical", ("n", "n"), 2, symmetric=True))
    )
    product = Product(layout, {name: Categorical(schedules.cosine(), "uniform") for name in layout.names})
    clean = State.zeros(layout, 2, {"n": torch.tensor([4, 4])})
    clean = clean.replace({**clean.parts, "pairs": torch.ones_like(clean.parts["pairs"])}).project()
    given = torch.tensor([[True, True, False, False]])
    known = Known(clean, {"nodes": given, "pairs": given[:, :, None] & given[:, None]}, 0.0)
    plan = unnoise.plan("ddpm", product, 5)
    shown, told = known.shown(clean, {"nodes": 0.9, "pairs": 0.8}, plan, Noise.of(0, 2))
    t_min = product.processes["pairs"].schedule.t_min
    expected = np.full((4, 4), 0.8)
    expected[:2, :2] = t_min
    np.testing.assert_array_equal(told["pairs"], np.tile(expected, (2, 1, 1)))
    np.testing.assert_array_equal(told["nodes"], [[t_min, t_min, 0.9, 0.9]] * 2)
    assert torch.equal(shown.parts["pairs"], clean.parts["pairs"])


def test_a_level_is_a_time():
    with pytest.raises(ValueError, match="from 0 to 1, not 2"):
        Known(torch.zeros(1, 2), MASK, 2.0)
