"""Trajectories of our samplers are those of diffusers and k-diffusion, wherever the definitions agree.

All runs are in float64 (``in_double``), on the same levels, with the same exact estimates of a mixture and the same
noise. Where a peer differs, the test says how, by changing what has to be changed.
"""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

import unnoise
from unnoise import schedules
from unnoise.layout import Layout
from unnoise.noise import Noise
from unnoise.sampling import SamplerInfo, trajectory
from unnoise.testing import MixtureDenoiser

if not (find_spec("diffusers") and find_spec("k_diffusion")):
    pytest.skip("the dependency group peers is not installed (make peers)", allow_module_level=True)

from peers import in_double, k_diffusion, levels, peer
from released import dpmpp_3m_released

torch.set_num_threads(1)
STEPS, BATCH = 10, 6
TABLE, EDM, FLOW = schedules.scaled_linear(), schedules.edm(), schedules.flow()
by_name = pytest.mark.parametrize("schedule", [TABLE, EDM], ids=lambda s: s.name)


def mixture(schedule):
    means = [[0.9, -0.4, 0.3], [-0.7, 0.8, 0.1], [0.1, -0.2, -1.0]]
    return MixtureDenoiser([0.5, 0.3, 0.2], means, [0.02, 0.05, 0.1], schedule)


def grid(schedule, high=2.5, low=-3.4, clean=True):
    """Levels unequally spaced in log-SNR, down to clean data or not."""
    curve = np.linspace(0, 1, STEPS + (not clean)) ** 1.2
    times = schedule.t_of(-2 * (high + (low - high) * curve))
    return np.append(times, 0.0) if clean else times


def start(schedule, times):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(BATCH, 3, generator=generator, dtype=torch.float64)
    return noise * float(np.hypot(schedule.alpha(times[0]), schedule.sigma(times[0])))


def noises():
    """Our draws in order: what is injected into the peers."""
    (part,), noise = Layout.tensor(3), Noise.of(7, BATCH)
    return iter([noise.normal(part, (3,), draw).double() for draw in range(STEPS)])


def ours(sampler, schedule, times, **options):
    """The states at the grid's points but the first, ``(STEPS, BATCH, 3)``."""
    plan = unnoise.plan(sampler, schedule, len(times) - 1, times, **options)
    x, states = start(schedule, times), {}
    for cursor in trajectory(mixture(schedule), x, plan, seed=7):
        if cursor.row:
            states[plan.rows[cursor.row - 1].step] = cursor.result()
    return torch.stack(list(states.values()))


def ratios(schedule, times):
    with np.errstate(divide="ignore"):
        return torch.from_numpy(np.exp(-0.5 * schedule.log_snr(times)))


def at_ratio(schedule):
    """The denoiser over ``x / alpha`` and ``sigma / alpha``."""
    denoise = mixture(schedule)

    def model(x, sigma, **_):
        t = float(schedule.t_of(-2 * float(torch.as_tensor(sigma).flatten()[0].log())))
        return denoise(float(schedule.alpha(t)) * x, t)

    return model


def k_diffusion_states(name, schedule, times, **options):
    """The same of k-diffusion, in our scale. Its callback sees the state before every step."""
    sigmas, states = ratios(schedule, times), []
    with in_double():
        method = getattr(k_diffusion("sampling"), name)
        x = start(schedule, times) / float(schedule.alpha(times[0]))
        last = method(at_ratio(schedule), x, sigmas, callback=lambda i: states.append(i["x"]), disable=True, **options)
    scale = torch.from_numpy(np.asarray(schedule.alpha(times[1:])))
    return torch.stack([*states[1:], last]) * scale[:, None, None]


def diffusers_states(kind, schedule, times, space, evaluations=1, noise=None, **options):
    """The same of a scheduler of diffusers that goes by ``sigmas``, which are put in as float64.

    Args:
        space: how its states are scaled, see ``peers.levels``.
        evaluations: of a step.
        noise: iterator of noise to inject, if it takes some.
    """
    with in_double():
        made = peer(kind)(num_train_timesteps=1000, **options)
        made.set_timesteps(len(times) - 1)
        made.set_begin_index(0)
        grid_of = ratios(schedule, times) if space != "flow" else torch.from_numpy(np.asarray(schedule.sigma(times)))
        middle = grid_of[1:-1].repeat_interleave(evaluations)
        made.sigmas = torch.cat([grid_of[:1], middle, grid_of[-1:]])
        made.is_scale_input_called = True
        first = levels(space, float(grid_of[0]))[1] / float(schedule.sigma(times[0]))
        x, states, denoise = start(schedule, times) * first, [], at_ratio(schedule)
        for t in made.timesteps:
            alpha, sigma = levels(space, float(made.sigmas[made.step_index or 0]))
            x0 = denoise(x / alpha, torch.tensor(sigma / alpha))
            eps = (x - alpha * x0) / sigma
            extra = {"variance_noise": next(noise)} if noise else {}
            x = made.step(eps - x0 if space == "flow" else eps, t, x, return_dict=False, **extra)[0]
            states.append(x)
    kept = torch.stack([*states[evaluations - 1 : -1 : evaluations], states[-1]])
    scale = torch.tensor([levels(space, float(sigma))[0] for sigma in grid_of[1:]])
    return kept * (torch.from_numpy(np.asarray(schedule.alpha(times[1:]))) / scale)[:, None, None]


def same(one, other, tolerance=1e-7):
    assert one.shape == other.shape
    torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


@by_name
@pytest.mark.parametrize(
    ("name", "theirs", "options", "peers_options"),
    [
        ("euler", "sample_euler", {}, {}),
        ("ddim", "sample_euler", {}, {}),
        ("dpmpp_2m", "sample_dpmpp_2m", {}, {}),
        ("dpmpp_2s_ancestral", "sample_dpmpp_2s_ancestral", {"eta": 0.0}, {"eta": 0.0}),
    ],
)
def test_k_diffusion(name, theirs, options, peers_options, schedule):
    times = grid(schedule)
    same(ours(name, schedule, times, **options), k_diffusion_states(theirs, schedule, times, **peers_options))


@by_name
@pytest.mark.parametrize(
    ("name", "theirs", "eta"),
    [
        ("euler_ancestral", "sample_euler_ancestral", 1.0),
        ("euler_ancestral", "sample_euler_ancestral", 0.5),
        ("dpmpp_2s_ancestral", "sample_dpmpp_2s_ancestral", 1.0),
        ("dpmpp_2m_sde", "sample_dpmpp_2m_sde", 1.0),
        ("dpmpp_2m_sde", "sample_dpmpp_2m_sde", 0.6),
    ],
)
def test_k_diffusion_with_the_same_noise(name, theirs, eta, schedule):
    times, draws = grid(schedule), noises()
    found = k_diffusion_states(theirs, schedule, times, eta=eta, noise_sampler=lambda *_: next(draws))
    same(ours(name, schedule, times, eta=eta), found)


@pytest.mark.parametrize(("name", "theirs"), [("heun", "sample_heun"), ("dpm_2", "sample_dpm_2")])
def test_k_diffusion_with_two_evaluations(name, theirs):
    """At alpha = 1: elsewhere ours are the rules for alpha and sigma, theirs for their ratio."""
    times = grid(EDM)
    same(ours(name, EDM, times), k_diffusion_states(theirs, EDM, times))


def test_dpm_2_ancestral():
    times, draws = grid(EDM), noises()
    found = k_diffusion_states("sample_dpm_2_ancestral", EDM, times, noise_sampler=lambda *_: next(draws))
    same(ours("dpm_2_ancestral", EDM, times), found)


DPM = "DPMSolverMultistepScheduler"
PLAIN = {"lower_order_final": False, "euler_at_final": True}


@pytest.mark.parametrize(
    ("name", "kind", "options", "theirs"),
    [
        ("dpmpp_2m", DPM, {}, {"solver_order": 2} | PLAIN),
        ("unipc", "UniPCMultistepScheduler", {"order": 1}, {"solver_order": 1}),
        ("unipc", "UniPCMultistepScheduler", {"order": 2}, {"solver_order": 2}),
    ],
)
def test_diffusers(name, kind, options, theirs):
    times = grid(TABLE)
    same(ours(name, TABLE, times, **options), diffusers_states(kind, TABLE, times, "preserving", **theirs))


@pytest.mark.parametrize(
    ("name", "kind", "options", "theirs"),
    [
        ("unipc", "UniPCMultistepScheduler", {"order": 3}, {"solver_order": 3, "lower_order_final": False}),
        ("unipc", "UniPCMultistepScheduler", {"variant": "bh1"}, {"solver_type": "bh1", "lower_order_final": False}),
        ("ddim", "DEISMultistepScheduler", {}, {"solver_order": 1, "lower_order_final": False}),
        ("deis", "DEISMultistepScheduler", {"order": 2}, {"solver_order": 2, "lower_order_final": False}),
        ("deis", "DEISMultistepScheduler", {"order": 3}, {"solver_order": 3, "lower_order_final": False}),
    ],
)
def test_diffusers_down_to_a_level_above_zero(name, kind, options, theirs):
    """What these schedulers do to the last step, or cannot do at sigma = 0, has no part in it."""
    times = grid(TABLE, clean=False)
    same(ours(name, TABLE, times, **options), diffusers_states(kind, TABLE, times, "preserving", **theirs))


@pytest.mark.parametrize(
    ("name", "kind", "schedule", "space", "evaluations"),
    [
        ("euler", "EulerDiscreteScheduler", TABLE, "ratio", 1),
        ("heun", "HeunDiscreteScheduler", EDM, "ratio", 2),
        ("euler", "FlowMatchEulerDiscreteScheduler", FLOW, "flow", 1),
        ("heun", "FlowMatchHeunDiscreteScheduler", FLOW, "flow", 2),
    ],
)
def test_diffusers_in_other_scales(name, kind, schedule, space, evaluations):
    times = grid(schedule)
    same(ours(name, schedule, times), diffusers_states(kind, schedule, times, space, evaluations))


def test_diffusers_dpmpp_2m_sde_with_the_same_noise():
    times, draws = grid(TABLE), noises()
    options = {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"} | PLAIN
    same(ours("dpmpp_2m_sde", TABLE, times), diffusers_states(DPM, TABLE, times, "preserving", noise=draws, **options))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_diffusers_ddim(eta):
    """On the integer steps of its table, trailing, with that table in float64."""
    times = unnoise.plan("ddim", TABLE, STEPS, "trailing").t
    x, states, draws, denoise = start(TABLE, times), [], noises(), mixture(TABLE)
    with in_double():
        made = peer("DDIMScheduler")(clip_sample=False, timestep_spacing="trailing")
        made.alphas_cumprod = torch.from_numpy(TABLE.alpha(TABLE.t_of_step(np.arange(1000))) ** 2)
        made.set_timesteps(STEPS)
        for t in made.timesteps:
            time = float(TABLE.t_of_step(int(t)))
            alpha, sigma = float(TABLE.alpha(time)), float(TABLE.sigma(time))
            eps = (x - alpha * denoise(x, time)) / sigma
            x = made.step(eps, int(t), x, eta=eta, variance_noise=next(draws), return_dict=False)[0]
            states.append(x)
    same(ours("ddim", TABLE, times, eta=eta), torch.stack(states))


@by_name
def test_the_peers_third_order_method_is_not_ours(schedule):
    """Theirs has half the second divided difference (``released``), and so is of second order; ours has all of it."""
    times = grid(schedule)
    released = ours(SamplerInfo("released", dpmpp_3m_released, 2), schedule, times)
    theirs = k_diffusion_states("sample_dpmpp_3m_sde", schedule, times, eta=0.0)
    same(released, theirs)
    options = {"solver_order": 3, "solver_type": "heun"} | PLAIN  # of the second step, which has two estimates
    if schedule is TABLE:
        same(released, diffusers_states(DPM, TABLE, times, "preserving", **options))
    proper = ours("dpmpp_3m", schedule, times)
    same(proper[:2], theirs[:2])  # two steps without a second difference
    assert (proper - theirs).abs().max() > 1e-3


def test_heun_in_another_coordinate_is_another_method():
    """On a variance-preserving table: ours against theirs in sigma / alpha, with the same levels, and the solution."""
    times = grid(TABLE, clean=False)
    one, other = ours("heun", TABLE, times), k_diffusion_states("sample_heun", TABLE, times)
    assert (one - other).abs().max() > 1e-3


@by_name
@pytest.mark.parametrize("order", [3, 4])
def test_lms(schedule, order):
    """The last step too, which is a multistep one down to sigma = 0."""
    times = grid(schedule)
    made = ours("lms", schedule, times, order=order)
    same(made, k_diffusion_states("sample_lms", schedule, times, order=order))
    if schedule is TABLE and order == 4:
        same(made, diffusers_states("LMSDiscreteScheduler", TABLE, times, "ratio"))


def test_ipndm_of_diffusers():
    """IPNDM takes standard deviations as they are, so it can be given ours."""
    times = grid(TABLE)
    sigmas = np.asarray(TABLE.sigma(times))
    with in_double():
        made = peer("IPNDMScheduler")(trained_betas=sigmas.tolist())
        made.set_timesteps(STEPS)
        x, states, denoise = start(TABLE, times), [], mixture(TABLE)
        for t, time in zip(made.timesteps, times, strict=False):
            alpha, sigma = float(TABLE.alpha(time)), float(TABLE.sigma(time))
            x0 = denoise(x, time)
            v = alpha * (x - alpha * x0) / sigma - sigma * x0
            x = made.step(v, t, x, return_dict=False)[0]
            states.append(x)
    same(ours("ipndm", TABLE, times), torch.stack(states))
