"""The path of a seed: a Brownian motion, and the same one for every number of steps."""

import math

import numpy as np
import pytest
import torch

import unnoise
from unnoise import schedules
from unnoise.errors import UserError
from unnoise.sampling.brownian import increment, value
from unnoise.testing import GaussianDenoiser, law_of

torch.set_num_threads(1)  # small tensors: more threads only wait for each other

ALL = {
    "ddpm": {},
    "dpm_2_ancestral": {},
    "dpmpp_2s_ancestral": {},
    "dpmpp_sde": {},
    "dpmpp_2m_sde": {"eta": 0.5},
    "dpmpp_3m_sde": {},
    "sa": {"tau_low": 0.0, "tau_high": math.inf},
}
every = pytest.mark.parametrize("name", ALL)


def product(one, other):
    return sum(c * other.get(draw, 0.0) for draw, c in one.items())


@pytest.mark.parametrize("eta", [0.3, 1.0, 2.0])
def test_covariances_are_those_of_a_brownian_motion(eta):
    levels = [-6.9, -3.0, -0.501, -0.5, 0.7, 4.2, 6.9]
    paths = [value(lam, eta, 20) for lam in levels]
    for one, a in zip(paths, levels, strict=True):
        for other, b in zip(paths, levels, strict=True):
            assert product(one, other) == pytest.approx(math.exp(2 * eta * min(a, b)), rel=1e-6)


def test_increments_are_independent_and_add_up():
    whole, first, second = (increment(a, b, 1.0, 0.1) for a, b in ((-1.0, 1.0), (-1.0, 0.3), (0.3, 1.0)))
    assert [product(z, z) for z in (whole, first, second)] == pytest.approx([1, 1, 1])
    assert product(first, second) == pytest.approx(0, abs=1e-6)
    span = {pair: math.sqrt(math.exp(2 * pair[1]) - math.exp(2 * pair[0])) for pair in ((-1, 1), (-1, 0.3), (0.3, 1))}
    for draw in whole | first | second:
        parts = span[-1, 0.3] * first.get(draw, 0) + span[0.3, 1] * second.get(draw, 0)
        assert span[-1, 1] * whole.get(draw, 0) == pytest.approx(parts, abs=1e-6)
    with pytest.raises(ValueError, match="not at 40"):
        value(40.0, 1.0, 16)


@every
def test_more_steps_follow_the_same_path(name):
    """With a constant estimate every step is exact, so that what is left is the noise, and it is the same."""
    schedule = schedules.cosine()
    x_T = unnoise.prior((3, 2), schedule, seed=1, dtype=torch.float64)

    def run(steps, path):
        plan = unnoise.plan(name, schedule, steps, "log_snr", stop=0.2, path=path, **ALL[name])
        return unnoise.sample(lambda x, t: torch.full_like(x, 0.3), x_T, plan, seed=5)

    torch.testing.assert_close(run(5, True), run(10, True), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(run(5, False), run(10, False), atol=0.05)


@every
def test_the_path_has_the_law_of_fresh_noise(name):
    schedule = schedules.flow()
    denoiser = GaussianDenoiser([0.8], [0.5], schedule)
    one, other = (
        law_of(unnoise.plan(name, schedule, 12, path=path, **ALL[name]).rows, denoiser) for path in (False, True)
    )
    assert one == pytest.approx(other, rel=1e-6)


def test_levels_of_their_own_are_refused():
    times = np.array([[0.9, 0.8], [0.5, 0.4], [0.0, 0.0]])
    with pytest.raises(UserError, match="same levels for all"):
        unnoise.plan("ddpm", schedules.flow(), 2, times, path=True)
