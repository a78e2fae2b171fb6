"""Tables against the published recurrences, written as their papers and the usual code write them: in another space, in
another form, with the same noise. None of these formulas occurs in the package.
"""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

import unnoise
from unnoise import schedules
from unnoise.errors import UserError
from unnoise.layout import Layout
from unnoise.noise import Noise
from unnoise.testing import GaussianDenoiser, MixtureDenoiser

torch.set_num_threads(1)  # small tensors: more threads only wait for each other

CURVES = [schedules.cosine(), schedules.edm(), schedules.flow()]
by_name = pytest.mark.parametrize("schedule", CURVES, ids=lambda s: s.name)
COUNT, STEPS = 4, 9


class Case:
    """A run in ``y = x / alpha`` over ``sigma = sigma / alpha``, the space of variance-exploding code."""

    def __init__(self, schedule, name, **options):
        self.schedule = schedule
        self.denoiser = MixtureDenoiser([0.6, 0.4], [[-0.8, 0.5], [0.9, -0.2]], [0.3, 0.5], schedule)
        x_T = unnoise.prior((COUNT, 2), schedule, seed=4, dtype=torch.float64)
        self.plan = unnoise.plan(name, schedule, STEPS, "log_snr", **options)
        self.y = x_T / float(schedule.alpha(self.plan.t[0]))
        self.sigmas = [*np.exp(-0.5 * schedule.log_snr(self.plan.t[:-1])).tolist(), 0.0]
        self.made = unnoise.sample(self.denoiser, x_T, self.plan, seed=3)

    def model(self, y, sigma):
        t = self.schedule.t_of(-2 * math.log(sigma))
        return self.denoiser(y * float(self.schedule.alpha(t)), float(t))

    def z(self, draw):
        (part,) = Layout.tensor(2)
        return Noise.of(3, COUNT).normal(part, (2,), draw).double()

    def agrees(self, y):
        torch.testing.assert_close(self.made, y, rtol=1e-8, atol=1e-8)


def ancestral(a, b, eta=1.0):
    up = min(b, eta * math.sqrt(b**2 * (a**2 - b**2) / a**2))
    return math.sqrt(b**2 - up**2), up


@by_name
@pytest.mark.parametrize("eta", [0.4, 1.0])
def test_euler_ancestral(schedule, eta):
    case = Case(schedule, "euler_ancestral", eta=eta)
    y = case.y
    for i, (a, b) in enumerate(pairwise(case.sigmas)):
        down, up = ancestral(a, b, eta)
        y = y + (y - case.model(y, a)) / a * (down - a) + up * case.z(i)
    case.agrees(y)


def test_dpm_2_and_its_ancestral_form_at_alpha_one():
    """Half an Euler step to the geometric mean of both sigmas, whose slope the whole step takes."""
    for name, eta in (("dpm_2", 0.0), ("dpm_2_ancestral", 1.0)):
        case = Case(schedules.edm(), name)
        y = case.y
        for i, (a, b) in enumerate(pairwise(case.sigmas)):
            down, up = ancestral(a, b, eta)
            d = (y - case.model(y, a)) / a
            if b == 0:
                y = y + d * (0 - a)
                continue
            mid = math.exp(0.5 * (math.log(a) + math.log(down)))
            half = y + d * (mid - a)
            y = y + (half - case.model(half, mid)) / mid * (down - a) + up * case.z(i)
        case.agrees(y)


@by_name
def test_dpmpp_2s_ancestral(schedule):
    case = Case(schedule, "dpmpp_2s_ancestral")
    y = case.y
    for i, (a, b) in enumerate(pairwise(case.sigmas)):
        down, up = ancestral(a, b)
        denoised = case.model(y, a)
        if b == 0:
            y = denoised
            continue
        t, s = -math.log(a), -math.log(down)
        mid = math.exp(-(t + 0.5 * (s - t)))
        half = (mid / a) * y - math.expm1(-0.5 * (s - t)) * denoised
        y = (down / a) * y - math.expm1(t - s) * case.model(half, mid) + up * case.z(i)
    case.agrees(y)


@by_name
def test_dpmpp_sde(schedule):
    """With eta = 1 each half is an ancestral step; the noise over the whole step holds that of its first half."""
    case = Case(schedule, "dpmpp_sde")
    y = case.y
    for i, (a, b) in enumerate(pairwise(case.sigmas)):
        denoised = case.model(y, a)
        if b == 0:
            y = denoised
            continue
        mid = math.sqrt(a * b)
        down, up = ancestral(a, mid)
        first = up * case.z(2 * i)
        half = (down / a) * y + (1 - down / a) * denoised + first
        down, _ = ancestral(a, b)
        _, later = ancestral(mid, b)
        noise = (b / mid) ** 2 * first + later * case.z(2 * i + 1)
        y = (down / a) * y + (1 - down / a) * case.model(half, mid) + noise
    case.agrees(y)


@by_name
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_dpmpp_2m_sde(schedule, eta):
    case = Case(schedule, "dpmpp_2m_sde", eta=eta)
    y, old, h_last = case.y, None, None
    for i, (a, b) in enumerate(pairwise(case.sigmas)):
        denoised = case.model(y, a)
        if b == 0:
            y = denoised
            continue
        h = math.log(a) - math.log(b)
        y = b / a * math.exp(-eta * h) * y - math.expm1(-h - eta * h) * denoised
        if old is not None:
            y = y - 0.5 * math.expm1(-h - eta * h) * (h / h_last) * (denoised - old)
        y = y + b * math.sqrt(-math.expm1(-2 * eta * h)) * case.z(i)
        old, h_last = denoised, h
    case.agrees(y)


@by_name
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_dpmpp_3m_sde(schedule, eta):
    """With phi-functions and divided differences; the last one counts twice what the released code makes it count."""
    case = Case(schedule, "dpmpp_3m_sde", eta=eta)
    y, past = case.y, []
    for i, (a, b) in enumerate(pairwise(case.sigmas)):
        past = [(case.model(y, a), a), *past][:3]
        denoised = past[0][0]
        if b == 0:
            y = denoised
            continue
        h = math.log(a / b)
        k = h * (1 + eta)
        phi_2 = math.expm1(-k) / k + 1
        phi_3 = phi_2 / k - 0.5
        y = math.exp(-k) * y - math.expm1(-k) * denoised
        slopes = [(f - g) / (math.log(q / p) / h) for (f, p), (g, q) in pairwise(past)]
        if len(slopes) == 1:
            y = y + phi_2 * slopes[0]
        if len(slopes) == 2:
            r0, r1 = (math.log(q / p) / h for (_, p), (_, q) in pairwise(past))
            bend = (slopes[0] - slopes[1]) / (r0 + r1)
            y = y + phi_2 * (slopes[0] + r0 * bend) - 2 * phi_3 * bend
        y = y + b * math.sqrt(-math.expm1(-2 * eta * h)) * case.z(i)
    case.agrees(y)


@by_name
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc(schedule, order, variant):
    """Zhao et al. 2023, algorithms 5 and 6: the weights solve a system of moments, scaled by B(h)."""

    def weights(h, ratios):
        n, size = len(ratios), (-h if variant == "bh1" else math.expm1(-h))
        phi, b = math.expm1(-h) / -h - 1, []
        for k in range(1, n + 1):
            b.append(phi * math.factorial(k) / size)
            phi = phi / -h - 1 / math.factorial(k + 1)
        if n == 1:
            return size * np.array([0.5])
        return size * np.linalg.solve(np.vander(ratios, n, increasing=True).T, b)

    def advance(y, a, b, known, new=None):
        h = math.log(a / b)
        others = [(g, math.log(a / q) / h) for g, q in known[1:]] + ([(new, 1.0)] if new is not None else [])
        y = (b / a) * y - math.expm1(-h) * known[0][0]
        if others:
            for w, (g, ratio) in zip(weights(h, [r for _, r in others]), others, strict=True):
                y = y - w * (g - known[0][0]) / ratio
        return y

    case = Case(schedule, "unipc", order=order, variant=variant)
    y, past, before = case.y, [], None
    for a, b in pairwise(case.sigmas):
        denoised = case.model(y, a)
        if before is not None:
            y = advance(before, past[0][1], a, past[:order], denoised)
        past = [(denoised, a), *past][:order]
        if b == 0:
            y = denoised
            continue
        before, y = y, advance(y, a, b, past)
    case.agrees(y)


@by_name
@pytest.mark.parametrize("name", ["lms", "deis"])
def test_lms_and_deis(schedule, name):
    """Noise as a cubic in sigma (lms, down to 0) or a parabola in log sigma (deis, then a jump), fitted and integrated
    term by term."""
    case = Case(schedule, name)
    y, past, order = case.y, [], {"lms": 4, "deis": 3}[name]

    def integral(k, a, b):  # of sigma^k, or of log(sigma)^k, from a to b
        if name == "lms":
            return (b ** (k + 1) - a ** (k + 1)) / (k + 1)
        u, v = math.log(a), math.log(b)
        return b - a if k == 0 else b * v**k - a * u**k - k * integral(k - 1, a, b)

    for a, b in pairwise(case.sigmas):
        d = (y - case.model(y, a)) / a
        past = [(d, a), *past][:order]
        if b == 0 and name == "deis":
            y = y - a * d
            continue
        knots = [q if name == "lms" else math.log(q) for _, q in past]
        moments = [integral(k, a, b) for k in range(len(knots))]
        for w, (slope, _) in zip(np.linalg.solve(np.vander(knots, increasing=True).T, moments), past, strict=True):
            y = y + w * slope
    torch.testing.assert_close(
        case.made, y, rtol=1e-6, atol=1e-6
    )  # the fitted system is ill-conditioned, not the table


@by_name
def test_ipndm(schedule):
    case = Case(schedule, "ipndm")
    y, past = case.y, []
    for a, b in pairwise(case.sigmas):
        past = [(y - case.model(y, a)) / a, *past][:4]
        d = {
            1: lambda e: e[0],
            2: lambda e: (3 * e[0] - e[1]) / 2,
            3: lambda e: (23 * e[0] - 16 * e[1] + 5 * e[2]) / 12,
            4: lambda e: (55 * e[0] - 59 * e[1] + 37 * e[2] - 9 * e[3]) / 24,
        }[len(past)](past)
        y = y + (b - a) * d
    case.agrees(y)


def test_churn_at_alpha_one():
    """Karras et al. 2022, algorithm 2; the first step is not churned above sigma_max."""
    schedule = schedules.edm()
    case = Case(schedule, "heun", s_churn=2.0, s_tmin=0.05, s_tmax=50.0, s_noise=1.01)
    y = case.y
    for i, (a, b) in enumerate(pairwise(case.sigmas)):
        hat = a * (1 + min(2.0 / STEPS, math.sqrt(2) - 1)) if 0.05 <= a <= 50 else a
        y = y + math.sqrt(hat**2 - a**2) * 1.01 * case.z(i)
        d = (y - case.model(y, hat)) / hat
        trial = y + (b - hat) * d
        y = trial if b == 0 else y + (b - hat) * 0.5 * (d + (trial - case.model(trial, b)) / b)
    case.agrees(y)


@by_name
def test_lcm_is_consistency_sampling(schedule):
    """Song et al. 2023, algorithm 1: to data, and up by fresh noise."""
    case = Case(schedule, "lcm")
    y = case.y
    for i, (a, b) in enumerate(pairwise(case.sigmas)):
        y = case.model(y, a) + b * case.z(i)
    case.agrees(y)


def lagrange(knots, j, at):
    return math.prod((at - knot) / (knots[j] - knot) for i, knot in enumerate(knots) if i != j)


def integral(f, a, b, parts=400):
    """Simpson's rule."""
    at = np.linspace(a, b, parts + 1)
    weights = np.array([1, *([4, 2] * (parts // 2 - 1)), 4, 1])
    return (b - a) / (3 * parts) * sum(w * f(s) for w, s in zip(weights, at, strict=True))


@pytest.mark.parametrize("schedule", [schedules.cosine(), schedules.flow()], ids=lambda s: s.name)
def test_deis_over_time(schedule):
    """Noise as a parabola in time, down to time 0 as well, integrated over sigma by Simpson's rule."""
    case = Case(schedule, "deis", over="time")
    y, past = case.y, []

    def time(sigma):
        return float(schedule.t_of(-2 * math.log(sigma))) if sigma else 0.0

    for a, b in pairwise(case.sigmas):
        past = [(time(a), (y - case.model(y, a)) / a), *past][:3]
        knots = [knot for knot, _ in past]
        for j, (_, d) in enumerate(past):
            y = y + integral(lambda sigma, j=j, knots=knots: lagrange(knots, j, time(sigma)), a, b) * d
    torch.testing.assert_close(case.made, y, rtol=1e-6, atol=1e-6)


@by_name
def test_adams_is_the_predictor_and_corrector_for_the_velocity_over_the_angle(schedule):
    """In TrigFlow's form (Lu & Song 2025): dz / dtheta = v, with integrals of Lagrange's polynomials by Simpson's rule;
    the predictor through three velocities, the corrector through these and the new one, none before data."""
    case = Case(schedule, "adams")
    angles = np.arctan(case.sigmas)
    z, past, begun = case.y * math.cos(angles[0]), [], None

    def turned(z, a, b, velocities):
        knots = [knot for knot, _ in velocities]
        for j, (_, v) in enumerate(velocities):
            z = z + integral(partial(lagrange, knots, j), a, b) * v
        return z

    for i, (a, b) in enumerate(pairwise(angles)):
        clean = case.model(z / math.cos(a), math.tan(a))
        velocity = (math.cos(a) * z - clean) / math.sin(a)
        if past and b > 0:
            z = turned(begun, angles[i - 1], a, [(a, velocity), *past])
            velocity = (math.cos(a) * z - clean) / math.sin(a)
        past, begun = [(a, velocity), *past][:3], z
        z = turned(z, a, b, past)
    case.agrees(z)


@by_name
@pytest.mark.parametrize("steps", [2, 3, 5])
def test_adams_is_exact_on_gaussian_data_of_its_scale(schedule, steps):
    denoiser = GaussianDenoiser([0.0, 0.0], 0.49, schedule)
    x = unnoise.prior((5, 2), schedule, seed=1, dtype=torch.float64)
    made = unnoise.sample(denoiser, x, unnoise.plan("adams", schedule, steps, scale=0.7))
    torch.testing.assert_close(made, denoiser.solution(x, schedule.t_max, 0.0), rtol=1e-10, atol=1e-12)


def test_adams_and_its_grid_converge_down_to_data():
    """Faster than to second order, though the jump begins at a level that falls with the steps."""
    schedule = schedules.cosine()
    denoiser = GaussianDenoiser([0.4, -0.3], [0.3, 1.7], schedule)
    x = unnoise.prior((20, 2), schedule, seed=2, dtype=torch.float64)
    truth = denoiser.solution(x, schedule.t_max, 0.0)
    errors = [
        float((unnoise.sample(denoiser, x, unnoise.plan("adams", schedule, n)) - truth).square().mean().sqrt())
        for n in (12, 24)
    ]
    assert math.log2(errors[0] / errors[1]) > 2.3 and errors[1] < 1e-4


def test_the_scale_of_data_is_one_of_noise_levels():
    """Data and noise that are both k times as large take the same course: options in place of a change of units."""
    schedule, k = schedules.edm(), 3.0
    one = MixtureDenoiser([0.6, 0.4], [[-0.8, 0.5], [0.9, -0.2]], [0.3, 0.5], schedule)
    large = MixtureDenoiser([0.6, 0.4], [[-2.4, 1.5], [2.7, -0.6]], [2.7, 4.5], schedule)
    levels = np.array([40.0, 8.0, 3.0, 1.0, 0.4, 0.1])
    small, big = (np.append(schedule.t_of(-2 * np.log(f * levels)), 0.0) for f in (0.5, 0.5 * k))
    x = 20 * torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    made = unnoise.sample(one, x, unnoise.plan("adams", schedule, 6, small))
    scaled = unnoise.sample(large, k * x, unnoise.plan("adams", schedule, 6, big, scale=k))
    torch.testing.assert_close(scaled, k * made, rtol=1e-9, atol=1e-9)
    ratios = []
    for scale, highest in ((1.0, 20.0), (k, 20.0 * k)):
        start = float(schedule.t_of(-2 * math.log(highest)))
        times = unnoise.plan("adams", schedule, 6, {"name": "quadratic", "scale": scale}, start).t[:-1]
        ratios.append(np.exp(-0.5 * schedule.log_snr(times)))
    np.testing.assert_allclose(ratios[1], k * ratios[0], rtol=1e-9)


def test_adams_refuses():
    for options, message in (({"order": 5}, "order is 5"), ({"scale": 0.0}, "scale is 0")):
        with pytest.raises(UserError, match=message):
            unnoise.plan("adams", schedules.flow(), 4, **options)
