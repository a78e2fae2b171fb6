"""How categorical parts come down: against enumeration, rate equations and closed forms; and what is refused."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

import unnoise
from unnoise import schedules
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.processes import Categorical, Gaussian, Product
from unnoise.sampling import Cursor, Known, trajectory
from unnoise.sampling.descents import Confidence, Move, TauLeap, descent
from unnoise.testing import CategoricalDenoiser, MixedToy

SCHEDULE = schedules.linear_survival()
KERNELS = ["marginal", "uniform", "absorbing"]
ETAS = [0.0, 0.5, 2.0]


def process_of(kernel: str) -> Categorical:
    return Categorical(SCHEDULE, kernel, (0.2, 0.3, 0.5) if kernel == "marginal" else None)  # type: ignore[arg-type]


def part_of(kernel: str, size: int, classes: int = 3) -> Part:
    return Part("x", "categorical", (size,), classes=classes, absorbing=kernel == "absorbing")


def survival(t: float) -> float:
    alpha2, sigma2 = float(SCHEDULE.alpha(t)) ** 2, float(SCHEDULE.sigma(t)) ** 2
    return alpha2 / (alpha2 + sigma2)


def seen_from(process: Categorical, part: Part, t: float) -> np.ndarray:
    """q(x_t | x_0), rows x_0, columns x_t."""
    m, a = process.resting(part).numpy(), survival(t)
    return a * np.eye(part.classes, len(m)) + (1 - a) * m


def one_element(process: Categorical, part: Part, p: Tensor, t: float, s: float, eta: float | None) -> np.ndarray:
    """The matrix of a step for estimates ``p (tokens, K)`` of every x_t; the bridge where eta is None."""
    x_t, x0 = torch.arange(part.tokens)[None], p.log()[None]
    if eta is None:
        return process.bridge_probabilities(part, x_t, x0, t, s)[0].numpy()
    return process.leap_probabilities(part, x_t, x0, t, s, eta)[0].numpy()


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_short_leaps_have_the_rates_of_the_chain(kernel: str, eta: float) -> None:
    process, t, h = process_of(kernel), 0.6, 1e-6
    part = part_of(kernel, 3)
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).expand(part.tokens, -1)
    a = survival(t)
    b = -(math.log(survival(t + h)) - math.log(survival(t - h))) / (2 * h)
    rates = (1 + eta) * b * a / (1 - a) * np.pad(p.numpy(), [(0, 0), (0, part.tokens - 3)])
    rates = rates + eta * b * process.resting(part).numpy()
    np.fill_diagonal(rates, 0)
    step = one_element(process, part, p, t, t - h, eta) / h
    np.fill_diagonal(step, 0)
    np.testing.assert_allclose(step, rates, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_bridge_is_the_minimal_chain_and_noise_in_detailed_balance(kernel: str) -> None:
    """Where the rates come from: what the bridge does beyond them exchanges as much one way as the other."""
    process, t, h = process_of(kernel), 0.6, 1e-6
    part = part_of(kernel, 3)
    for x0 in range(3):
        certain = torch.eye(3, dtype=torch.float64)[x0].expand(part.tokens, -1)
        rest = [one_element(process, part, certain, t, t - h, eta) / h for eta in (None, 0.0)]
        flux = seen_from(process, part, t)[x0][:, None] * (rest[0] - rest[1])
        np.fill_diagonal(flux, 0)
        np.testing.assert_allclose(flux, flux.T, atol=1e-4)


@pytest.mark.parametrize("eta", [None, *ETAS])
@pytest.mark.parametrize("kernel", KERNELS)
def test_independent_elements_have_exact_marginals_after_any_number_of_rows(kernel: str, eta: float | None) -> None:
    process = process_of(kernel)
    part, data = part_of(kernel, 1), np.array([0.6, 0.1, 0.3])
    law = data @ seen_from(process, part, 1.0)
    for t, s in itertools.pairwise([1.0, 0.7, 0.65, 0.2, 0.0]):
        joint = data[:, None] * seen_from(process, part, t)
        posterior = torch.from_numpy((joint / np.maximum(joint.sum(0), 1e-300)).T)
        posterior[posterior.sum(1) == 0] = 1 / 3  # a token that is never seen at this level
        law = law @ one_element(process, part, posterior, t, s, eta)
        np.testing.assert_allclose(law, data @ seen_from(process, part, s), atol=1e-12)


WAYS = ("bridge", "tau_leap")
JOINT = torch.tensor([[0.30, 0.02, 0.08], [0.05, 0.25, 0.01], [0.04, 0.05, 0.20]], dtype=torch.float64)


@pytest.mark.parametrize("eta", [None, *ETAS])
@pytest.mark.parametrize("kernel", KERNELS)
def test_joint_distributions_converge_with_first_order(kernel: str, eta: float | None) -> None:
    """Two dependent elements; every joint state is followed, so nothing is random here."""
    process = process_of(kernel)
    exact = CategoricalDenoiser(JOINT, process)
    part = exact.layout["x"]
    states = torch.tensor(list(itertools.product(range(part.tokens), repeat=2)))

    def error(steps: int) -> float:
        plan = unnoise.plan("ddpm", exact.product, steps)
        rest = process.resting(part)
        law = (rest[:, None] * rest).flatten()
        for row in plan.rows:
            estimate = exact(part_state(exact, states), torch.tensor(row.t))["x"]
            # Two unmasked elements that data never shows together have no posterior; nothing depends on them.
            x0 = torch.where(estimate.isnan(), math.log(1 / 3), estimate)
            if eta is None:
                each = process.bridge_probabilities(part, states, x0, row.t, row.s)
            else:
                each = process.leap_probabilities(part, states, x0, row.t, row.s, eta)
            law = law @ (each[:, 0, :, None] * each[:, 1, None, :]).flatten(1)
        return float((law.reshape(part.tokens, part.tokens)[:3, :3] - JOINT).abs().sum() / 2)

    steps = [8, 16, 32, 64]
    errors = [error(n) for n in steps]
    assert errors[-1] < 0.02
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert -slope == pytest.approx(1, abs=0.25)


def part_state(exact: CategoricalDenoiser, x: Tensor) -> unnoise.State:
    return unnoise.State(exact.layout, {"x": x})


@pytest.mark.parametrize("way", ["bridge", {"name": "tau_leap", "eta": 1.0}, {"name": "tau_leap", "eta": 0.0}])
@pytest.mark.parametrize("kernel", KERNELS)
def test_samples_follow_the_joint_distribution(kernel: str, way: object) -> None:
    exact, count = CategoricalDenoiser(JOINT, process_of(kernel)), 6_000
    plan = unnoise.plan("ddpm", exact.product, 32, categorical=way)  # type: ignore[arg-type]
    x = unnoise.sample(exact, exact.product.prior(Noise.of(0, count)), plan).parts["x"]
    deviation = (JOINT * (1 - JOINT) / count).sqrt()
    assert float(((exact.frequencies(x) - JOINT).abs() - 4 * deviation).max()) < 0.012


def test_without_noise_leaps_reveal_as_the_bridge_does() -> None:
    toy = MixedToy(kernel="absorbing")
    x_T = toy.product.prior(Noise.of(0, 16), {"nodes": torch.tensor([2, 4]).repeat(8)})
    one, other = (unnoise.sample(toy, x_T, unnoise.plan("ddim", toy.product, 5, categorical=w)) for w in WAYS)
    assert all(torch.equal(one.parts[name], other.parts[name]) for name in toy.layout.names)


def test_noise_masks_again_what_was_revealed_and_never_padding() -> None:
    process = process_of("absorbing")
    part = Part("x", "categorical", ("n", "n"), classes=3, absorbing=True, symmetric=True)
    noise, s, t, eta = Noise.of(3, 500), 0.5, 0.8, 1.0
    ratio = survival(t) / survival(s)  # of which eta = 1 resamples on the way

    def moved(size: int) -> Tensor:
        x_t = torch.zeros(500, size, size, dtype=torch.int64)
        real = torch.arange(size) < 6
        mask = (real[:, None] & real & ~torch.eye(size, dtype=torch.bool))[None]
        x_t[:, :3, 3:6] = x_t[:, 3:6, :3] = 3
        estimate = torch.zeros(500, size, size, 3).log_softmax(-1)
        return TauLeap(eta)(Move(part, process, x_t, estimate, t, s, mask, noise, 4))

    x_s = moved(6)
    pairs = torch.ones(6, 6, dtype=torch.bool).triu(1)
    hidden = torch.zeros(6, 6, dtype=torch.bool)
    hidden[:3, 3:6] = True
    lost = survival(t) * ratio
    jump = (survival(s) - lost) / (1 - lost)
    again = (1 - jump) * (1 - ratio)
    masked = (x_s == 3).double().mean(0)
    assert float(masked[hidden].mean()) == pytest.approx(1 - jump, abs=0.02)
    assert float(masked[pairs & ~hidden].mean()) == pytest.approx(again, abs=0.02)
    assert not bool((x_s == 3)[:, torch.eye(6, dtype=torch.bool)].any())
    assert torch.equal(moved(9)[:, :6, :6].triu(1), x_s.triu(1))


@pytest.mark.parametrize("way", ["bridge", "tau_leap", "confidence"])
def test_sharpness_is_a_power_that_follows_the_survival(way: str) -> None:
    """Of one masked element that is shown for sure, so that its law is the estimate's."""
    process, part, count = process_of("absorbing"), part_of("absorbing", 1), 40_000
    p = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    for t in (1.0, 0.5, 0.1):
        power = 0.5 + 1.5 * survival(t)
        x_t, x0 = torch.full((count, 1), 3), p.log().expand(count, 1, 3)
        move = Move(part, process, x_t, x0, t, 0.0, None, Noise.of(0, count), 0)
        share = one_hot(descent({"name": way, "sharpness": [0.5, 2]})(move)[:, 0], 3).double().mean(0)
        torch.testing.assert_close(share, p**power / (p**power).sum(), atol=0.01, rtol=0)


def confident(way: Confidence, p: Tensor, gone: float, seed: int = 0, shown: int = 0) -> Tensor:
    """Which of the elements with estimates ``(B, n, K)`` are revealed, if ``gone`` of all stay masked."""
    batch, n, classes = p.shape
    part = part_of("absorbing", n, classes)
    x_t = torch.full((batch, n), classes)
    x_t[:, :shown] = 0
    move = Move(part, process_of("absorbing"), x_t, p.log(), 1.0, gone, None, Noise.of(seed, batch), 0)
    return way(move) < classes


def test_the_surest_come_first_by_every_score() -> None:
    p = torch.tensor([[[0.50, 0.48, 0.02], [0.45, 0.30, 0.25], [0.40, 0.32, 0.28], [0.44, 0.43, 0.13]]]).repeat(
        800, 1, 1
    )
    assert bool((confident(Confidence("top", 0.0), p, 0.5) == torch.tensor([True, True, False, False])).all())
    assert bool((confident(Confidence("margin", 0.0), p, 0.5) == torch.tensor([False, True, True, False])).all())
    # By the class that was drawn: the first element comes first just where its draw was one of its two likely classes.
    rate = float(confident(Confidence("drawn", 0.0), p, 0.75)[:, 0].double().mean())
    assert rate == pytest.approx(0.98, abs=0.02)  # no other element can draw a class likelier than 0.48
    assert bool(confident(Confidence("top", 0.0), p, 0.5, shown=3)[:, 3].logical_not().all()), (
        "enough are shown already"
    )


def test_gumbel_noise_takes_the_first_in_proportion_to_a_power_of_its_score() -> None:
    """The argmax of ``log w + T g`` is i with probability ``w_i^(1/T) / sum`` (Gumbel 1954)."""
    top, gone, temperature = torch.tensor([0.9, 0.7, 0.6, 0.5]), 0.75, 2.0
    p = torch.stack([top, 1 - top], -1).expand(8_000, -1, -1)
    rates = confident(Confidence("top", temperature), p, gone).double()
    assert bool((rates.sum(1) == 1).all())
    weights = top.double() ** (1 / (temperature * gone))
    torch.testing.assert_close(rates.mean(0), weights / weights.sum(), atol=0.025, rtol=0)


def test_the_schedule_settles_how_many_are_shown() -> None:
    """In graphs of several sizes, with padding and symmetric pairs, alone or in a batch."""
    toy = MixedToy(kernel="absorbing")
    plan = unnoise.plan("ddim", toy.product, 7, categorical={"name": "confidence", "temperature": 0.5})
    sizes = torch.tensor([2, 5, 4, 1])

    def run(index: list[int]) -> list[Cursor]:
        noise = Noise(torch.tensor(index))
        x_T = toy.product.prior(noise, {"nodes": sizes[index]})
        return list(trajectory(toy, x_T, plan, seed=noise.seeds))

    cursors = run([0, 1, 2, 3])
    for row, cursor in zip(plan.rows, cursors[1:], strict=True):
        for name, total in (("kind", sizes), ("edge", sizes * (sizes - 1) // 2)):
            masked = (cursor.x.parts[name] == 2).flatten(1).sum(1) // (1 if name == "kind" else 2)
            gone = 1 - 1 / (1 + np.exp(-toy.product.processes[name].schedule.log_snr(row.s)))
            assert masked.tolist() == np.floor(total.numpy() * gone + 1e-6).tolist()
    for name in ("kind", "edge"):
        alone, inside = run([2])[-1].x.parts[name], cursors[-1].x[2:3].trim().parts[name]
        assert torch.equal(alone, inside)


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m", "renoise", "restart"])
@pytest.mark.parametrize("way", [{"name": "tau_leap", "eta": 0.3}, {"name": "confidence", "score": "margin"}])
def test_every_way_goes_with_every_sampler(sampler: str, way: dict[str, object]) -> None:
    toy = MixedToy(kernel="absorbing")
    plan = unnoise.plan(sampler, toy.product, 12, categorical=way)
    x_T = toy.product.prior(Noise.of(0, 64), {"nodes": torch.tensor([2, 3]).repeat(32)})
    x = unnoise.sample(toy, x_T, plan)
    assert x.layout["kind"].classes == 2 and int(x.parts["kind"].max()) == 1 and int(x.parts["edge"].max()) == 1
    assert torch.equal(x.project().parts["edge"], x.parts["edge"])
    assert way["name"] in str(plan).split("\n")[2]


def test_known_classes_are_kept() -> None:
    exact = CategoricalDenoiser(JOINT, process_of("absorbing"))
    clean = part_state(exact, torch.tensor([[2, 0]]).repeat(2000, 1))
    known = Known(clean, {"x": torch.tensor([[True, False]])})
    for way in ({"name": "tau_leap", "eta": 1.0}, {"name": "confidence", "temperature": 0.0}):
        plan = unnoise.plan("ddpm", exact.product, 12, categorical=way)
        x = unnoise.sample(exact, exact.product.prior(Noise.of(0, 2000)), plan, known=known).parts["x"]
        assert bool((x[:, 0] == 2).all()) and int(x.max()) == 2
    # What is known is surest, so it is shown first, and the other element is drawn given it.
    share = one_hot(x[:, 1], 3).double().mean(0)
    torch.testing.assert_close(share, JOINT[2] / JOINT[2].sum(), atol=0.04, rtol=0)


def test_wrong_use_is_refused() -> None:
    product = MixedToy(kernel="uniform").product
    for way, message in (
        ("confidence", "part 'kind' has no mask"),
        ("tau_leep", "no categorical way 'tau_leep'. Did you mean 'tau_leap'?"),
        ({"name": "tau_leap", "eta": -0.1}, "eta is -0.1"),
        ({"name": "tau_leap", "eta": math.inf}, "eta is inf"),
        ({"name": "tau_leap", "eta": "much"}, "eta='much' does not fit"),
        ({"name": "tau_leap", "temperature": 1}, "no option 'temperature'"),
        ({"name": "confidence", "temperature": math.nan}, "temperature is nan"),
        ({"name": "confidence", "score": "entropy"}, "score='entropy' does not fit"),
        ({"name": "bridge", "sharpness": [1, 0]}, "sharpness is .1.0, 0.0."),
        ({"name": "tau_leap", "sharpness": [1.2]}, "sharpness is .1.2."),
        ({"name": "tau_leap", "sharpness": 2}, "sharpness=2 does not fit"),
    ):
        with pytest.raises(UserError, match=message):
            unnoise.plan("ddim", product, 4, categorical=way)  # type: ignore[arg-type]
    alone = Product(Layout.tensor(2), {"x": Gaussian(SCHEDULE)})
    for what in (SCHEDULE, alone):
        unnoise.plan("ddim", what, 4, categorical="bridge")
        with pytest.raises(UserError, match="tau_leap moves categorical parts, and there are none"):
            unnoise.plan("ddim", what, 4, categorical="tau_leap")


def test_a_way_is_made_again_from_what_records_say() -> None:
    for node in (
        "bridge",
        {"name": "tau_leap", "eta": 0.25, "sharpness": [0.9, 1.5]},
        {"name": "confidence", "score": "top", "temperature": 3},
    ):
        way = descent(node)
        assert descent(json.loads(json.dumps(way.config()))) == way
