import math
from itertools import pairwise

import numpy as np
import pytest
import torch

import unnoise
from unnoise import schedules
from unnoise.errors import UserError
from unnoise.sampling import SAMPLERS, Table
from unnoise.testing import GaussianDenoiser, MixtureDenoiser, law_of, order_of

torch.set_num_threads(1)  # small tensors: more threads only wait for each other

CURVES = [schedules.cosine(), schedules.linear_beta(), schedules.edm(), schedules.flow()]
CONVERGENT = sorted(name for name, info in SAMPLERS.items() if info.order > 0)
by_name = pytest.mark.parametrize("schedule", CURVES, ids=lambda s: s.name)


@pytest.mark.parametrize("schedule", [schedules.cosine(), schedules.edm(), schedules.flow()], ids=lambda s: s.name)
@pytest.mark.parametrize("problem", ["gaussian", "mixture"])
@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m"])
def test_observed_order(name, problem, schedule):
    """With the sampler's own start-up: the one first-order step of dpmpp_2m costs no order."""
    made = order_of(name, schedule, problem, steps=(32, 64))
    assert made.value == pytest.approx(SAMPLERS[name].order, abs=0.06), made


def test_order_needs_a_deterministic_sampler():
    with pytest.raises(ValueError, match="draws noise"):
        order_of("ddpm")


@by_name
@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_one_step_gives_the_estimate(name, schedule):
    once = {"repeats": 1} if name == "repaint" else {}
    ops = [op for row in unnoise.plan(name, schedule, steps=1, **once).rows for op in row.ops if op.into == "x"]
    assert [(op.registers, op.predictions, op.draws) for op in ops] == [((), ((0, None, 1.0),), ())]


@by_name
@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"adams", "lms", "ipndm"}))  # which extrapolate
def test_the_last_row_is_an_exact_jump(name, schedule):
    (op,) = unnoise.plan(name, schedule, steps=5).rows[-1].ops
    ((row, branch, c),) = op.predictions
    assert (op.into, op.registers, op.draws, branch, c) == ("x", (), (), None, 1.0)
    assert row == len(unnoise.plan(name, schedule, steps=5).rows) - 1


@pytest.fixture
def case():
    def build(schedule):
        denoiser = MixtureDenoiser([0.6, 0.4], [[-0.8, 0.5], [0.9, -0.2]], [0.3, 0.5], schedule)
        return denoiser, unnoise.prior((5, 2), schedule, seed=4, dtype=torch.float64)

    return build


def noise_to_signal(schedule, times):
    """The schedule as a list of sigmas in x / alpha, in which k-diffusion's forms are written."""
    return [float(schedule.sigma(t) / schedule.alpha(t)) for t in times]


@by_name
@pytest.mark.parametrize("name", ["ddim", "euler"])
def test_ddim_is_euler_over_sigma(name, schedule, case):
    denoiser, x_T = case(schedule)
    plan = unnoise.plan(name, schedule, steps=12)
    sigmas, x = noise_to_signal(schedule, plan.t), x_T / float(schedule.alpha(plan.t[0]))
    for i, (a, b) in enumerate(pairwise(sigmas)):
        d = (x - denoiser(x * float(schedule.alpha(plan.t[i])), plan.t[i])) / a
        x = x + d * (b - a)
    torch.testing.assert_close(unnoise.sample(denoiser, x_T, plan), x, rtol=1e-9, atol=1e-9)


@by_name
def test_dpmpp_2m_in_another_space(schedule, case):
    """Lu et al. 2022b, algorithm 2, as usually written for x / alpha: data prediction over -log sigma."""
    denoiser, x_T = case(schedule)
    plan = unnoise.plan("dpmpp_2m", schedule, steps=12)
    sigmas, x, old = noise_to_signal(schedule, plan.t), x_T / float(schedule.alpha(plan.t[0])), None
    for i, (a, b) in enumerate(pairwise(sigmas)):
        denoised = denoiser(x * float(schedule.alpha(plan.t[i])), plan.t[i])
        if b == 0:
            x = denoised
        elif old is None:
            x = (b / a) * x + (1 - b / a) * denoised
        else:
            r = math.log(sigmas[i - 1] / a) / math.log(a / b)
            x = (b / a) * x + (1 - b / a) * ((1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * old)
        old = denoised
    torch.testing.assert_close(unnoise.sample(denoiser, x_T, plan), x, rtol=1e-9, atol=1e-9)


def test_heun_is_edms_at_alpha_one(case):
    """Karras et al. 2022, algorithm 1, without churn."""
    schedule = schedules.edm()
    denoiser, x_T = case(schedule)
    plan = unnoise.plan("heun", schedule, steps=9, spacing="karras")
    x = x_T
    for t, s in pairwise(plan.t):
        a, b = float(schedule.sigma(t)), float(schedule.sigma(s))
        d = (x - denoiser(x, t)) / a
        trial = x + (b - a) * d
        x = trial if b == 0 else x + (b - a) * 0.5 * (d + (trial - denoiser(trial, s)) / b)
    torch.testing.assert_close(unnoise.sample(denoiser, x_T, plan), x, rtol=1e-9, atol=1e-9)
    assert plan.nfe == 2 * 9 - 1


def test_heun_on_a_flow_integrates_its_velocity(case):
    schedule = schedules.flow()
    denoiser, x_T = case(schedule)
    plan = unnoise.plan("heun", schedule, steps=9)
    x = x_T
    for t, s in pairwise(plan.t):
        velocity = (x - denoiser(x, t)) / t  # eps - x0 with x = (1 - t) x0 + t eps
        trial = x + (s - t) * velocity
        x = trial if s == 0 else x + (s - t) * 0.5 * (velocity + (trial - denoiser(trial, s)) / s)
    torch.testing.assert_close(unnoise.sample(denoiser, x_T, plan), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_is_the_published_formula_on_betas(eta):
    """Song et al. 2021a, eqs. 12 and 16, on the integer steps of Ho et al. 2020, betas and all; eta = 1 has their
    posterior mean and variance, eqs. 6 and 7."""
    betas = np.linspace(1e-3, 0.1, 30)
    alphas_bar = np.append(1.0, np.cumprod(1 - betas))  # index k + 1 is step k; index 0 is data
    plan = unnoise.plan("ddim", schedules.tabulated(betas), 30, "linear", eta=eta)
    for k, row in zip(range(29, -1, -1), plan.rows, strict=True):
        here, there = alphas_bar[k + 1], alphas_bar[k]
        sigma = eta * math.sqrt((1 - there) / (1 - here) * (1 - here / there))
        on_eps = math.sqrt(max(1 - there - sigma**2, 0.0))
        on_x = on_eps / math.sqrt(1 - here)
        on_x0 = math.sqrt(there) - on_x * math.sqrt(here)
        (op,) = row.ops
        assert dict(op.registers).get("x", 0.0) == pytest.approx(on_x, abs=1e-10)
        assert op.predictions[0][2] == pytest.approx(on_x0, abs=1e-10)
        assert sum(c for _, c in op.draws) == pytest.approx(sigma, abs=1e-10)
        if eta == 1 and k > 0:
            beta, variance = betas[k], (1 - there) / (1 - here) * betas[k]
            assert on_x0 == pytest.approx(math.sqrt(there) * beta / (1 - here), abs=1e-10)
            assert on_x == pytest.approx(math.sqrt(1 - beta) * (1 - there) / (1 - here), abs=1e-10)
            assert sigma == pytest.approx(math.sqrt(variance), abs=1e-10)


@by_name
def test_ddpm_moments(schedule):
    """Its law tends to the data's at first order, and what the loop draws has the law the table says."""
    denoiser = GaussianDenoiser([0.8], [0.5], schedule)
    plans = [unnoise.plan("ddpm", schedule, n, "log_snr") for n in (25, 200, 400)]
    mean, variance = zip(*(law_of(plan.rows, denoiser) for plan in plans), strict=True)
    assert mean[2] == pytest.approx(0.8, abs=0.005) and variance[2] == pytest.approx(0.5, abs=0.02)
    assert (0.5 - variance[1]) / (0.5 - variance[2]) == pytest.approx(2, abs=0.15)
    count = 20_000
    made = unnoise.sample(denoiser, unnoise.prior((count, 1), schedule, 10), plans[0], seed=10)
    assert made.mean().item() == pytest.approx(mean[0], abs=4 * math.sqrt(variance[0] / count))
    assert made.var().item() == pytest.approx(variance[0], rel=4 * math.sqrt(2 / count))


@by_name
@pytest.mark.parametrize("name", CONVERGENT)
def test_samples_are_those_of_the_data(name, schedule):
    """Fifty steps over the whole range, with the spread of a mixture's classes as the witness."""
    denoiser = MixtureDenoiser([0.7, 0.3], [[-1.0], [1.5]], [0.05, 0.05], schedule)
    plan = unnoise.plan(name, schedule, 50)
    x = unnoise.sample(denoiser, unnoise.prior((4000, 1), schedule), plan)
    assert (x > 0.25).double().mean().item() == pytest.approx(0.3, abs=0.03)
    assert x[x > 0.25].mean().item() == pytest.approx(1.5, abs=0.05)
    assert x[x < 0.25].std().item() == pytest.approx(math.sqrt(0.05), rel=0.2)


@pytest.mark.parametrize("name", CONVERGENT)
def test_waiting_steps_change_nothing(name):
    """A part of a product whose range ends early is at one level for several steps."""
    schedule = schedules.cosine()
    denoiser = GaussianDenoiser([0.8], [0.5], schedule)
    plain, early, late = (
        law_of(SAMPLERS[name].function(schedule, np.array(times)), denoiser)
        for times in ([0.9, 0.5, 0.0], [0.9, 0.9, 0.9, 0.5, 0.0], [0.9, 0.5, 0.5, 0.5, 0.0])
    )
    if name == "restart":  # which walks another stretch of a longer grid
        assert np.isfinite([*early, *late]).all()
        return
    assert early == pytest.approx(plain, abs=1e-9)
    # A corrector uses the wait to estimate anew at the corrected state, which may only do good.
    exact = np.array([0.8, 0.5])
    assert late == pytest.approx(plain, abs=1e-9) or np.abs(late - exact).sum() < np.abs(plain - exact).sum()


@by_name
def test_renoise_keeps_the_law_where_a_jump_to_data_is_exact(schedule):
    """With a consistency function for estimate, which the closed-form solution is on gaussian data."""
    exact = GaussianDenoiser([0.8], [0.5], schedule)
    x_T, plan = unnoise.prior((20_000, 1), schedule), unnoise.plan("renoise", schedule, 6)
    made = unnoise.sample(lambda x, t: exact.solution(x, t, 0.0), x_T, plan)
    assert made.mean().item() == pytest.approx(0.8, abs=0.02) and made.var().item() == pytest.approx(0.5, rel=0.04)
    shallow, ddim = unnoise.plan("renoise", schedule, 6, depth=0.0), unnoise.plan("ddim", schedule, 6)
    assert str(shallow).splitlines()[1:] == str(ddim).splitlines()[1:]
    with pytest.raises(UserError, match="depth is -1"):
        unnoise.plan("renoise", schedule, 6, depth=-1.0)


def test_an_unknown_sampler_or_option_is_named():
    with pytest.raises(UserError, match="Did you mean 'dpmpp_2m'"):
        unnoise.plan("dpmpp2m", schedules.cosine(), 5)
    with pytest.raises(UserError, match="Did you mean 'eta'"):
        unnoise.plan("ddim", schedules.cosine(), 5, etta=1.0)
    with pytest.raises(UserError, match="eta is 2"):
        unnoise.plan("ddim", schedules.cosine(), 5, eta=2.0)
    assert set(SAMPLERS) <= set(unnoise.samplers())


def test_formulas_are_checked_when_they_are_written():
    table = Table(schedules.cosine(), np.array([0.9, 0.5, 0.0]))
    x, x0 = table.x, table.predict()
    with pytest.raises(ValueError, match="one evaluation"):
        table.predict()
    table.advance(table.points[1], order=1, x=0.5 * x + 0.5 * x0)
    table.predict()
    with pytest.raises(ValueError, match="overwritten"):
        table.advance(table.points[2], order=1, x=x)
    with pytest.raises(ValueError, match="coefficient"):
        table.advance(table.points[2], order=1, x=math.inf * table.x)
