"""The loss: known values for exact denoisers, masks, and what is drawn for it."""

import numpy as np
import pytest
import torch

from unnoise.conditions import Conditions
from unnoise.contracts import Network
from unnoise.denoiser import Denoiser
from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.parametrization import Parametrization
from unnoise.processes import Categorical, Gaussian, Product
from unnoise.schedules import cosine
from unnoise.state import State
from unnoise.training.loss import drop_conditions, losses, masked_mean
from unnoise.training.weighting import MinSnrWeighting, UniformWeighting, build_weighting

STD = 0.7
N = 40_000


class ExactGaussian(Network):
    """The raw output of the posterior mean for gaussian data of deviation STD."""

    def __init__(self, parametrization):
        super().__init__()
        self.parametrization = parametrization

    def forward(self, x, level, context, previous=None, residuals=None):
        t = level.t["x"].double().numpy()
        schedule, s = self.parametrization.schedule, self.parametrization.scalings(t)
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        factor = (alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) - s.c_skip) / s.c_out / s.c_in
        return {"x": torch.tensor(factor, dtype=torch.float32)[:, None] * x.parts["x"]}


def gaussian_losses(name, weighting, u):
    schedule = cosine()
    parametrization = Parametrization(name, schedule, STD)
    product = Product(Layout.tensor(1), {"x": Gaussian(schedule)})
    denoiser = Denoiser(ExactGaussian(parametrization), Conditions([], 0), product, {"x": parametrization})
    x0 = State.of(STD * Noise.of(10**6, N).normal(product.layout["x"], (1,), purpose="data"))
    weightings = {"x": build_weighting(weighting, product.layout["x"], STD)}
    return losses(denoiser, weightings, x0, None, product.times(np.full(N, u)), Noise.of(0, N))


@pytest.mark.parametrize("name", ["x0", "v", "flow", "edm"])
@pytest.mark.parametrize("u", [0.2, 0.5, 0.8])
def test_an_exact_denoiser_has_the_bayes_error(name, u):
    """Posterior variance of a gaussian, s^2 sigma^2 / (alpha^2 s^2 + sigma^2), over c_out^2."""
    schedule = cosine()
    alpha, sigma = schedule.alpha(u), schedule.sigma(u)
    bayes = STD**2 * sigma**2 / (alpha**2 * STD**2 + sigma**2)
    c_out = Parametrization(name, schedule, STD).scalings(u).c_out
    error = gaussian_losses(name, {"name": "uniform"}, u).error["x"].mean()
    assert float(error) == pytest.approx(bayes / c_out**2, rel=4 * (2 / N) ** 0.5)


def test_weightings_make_parametrizations_agree():
    for weighting in ({"name": "min_snr"}, {"name": "edm"}):
        values = [gaussian_losses(name, weighting, 0.4).weighted["x"] for name in ("x0", "v", "flow", "edm")]
        for other in values[1:]:
            torch.testing.assert_close(other, values[0], rtol=1e-3, atol=1e-5)


class ExactClasses(Network):
    """Logits of the posterior of independent classes with frequencies ``prior``."""

    def __init__(self, prior, process):
        super().__init__()
        self.prior, self.process = torch.tensor(prior), process

    def forward(self, x, level, context, previous=None, residuals=None):
        keep = torch.tensor(self.process.survival(level.t["c"].double().numpy()))[:, None, None]
        seen = torch.nn.functional.one_hot(x.parts["c"], len(self.prior)).double()
        return {"c": (self.prior * (keep * seen + (1 - keep) / len(self.prior))).log()}


@pytest.mark.parametrize("u", [0.3, 0.6, 0.95])
def test_exact_classes_have_the_conditional_entropy(u):
    prior = [0.6, 0.3, 0.1]
    process = Categorical(cosine(), "uniform")
    part = Part("c", "categorical", (4,), classes=3)
    product = Product(Layout((part,)), {"c": process})
    denoiser = Denoiser(ExactClasses(prior, process), Conditions([], 0), product, {})
    noise = Noise.of(10**6, N)
    x0 = torch.searchsorted(
        torch.tensor(prior).cumsum(0).double(), noise.uniform(part, (4,), purpose="data").contiguous() * 0.9999999
    )
    found = losses(
        denoiser, {"c": UniformWeighting(part)}, State(product.layout, {"c": x0}), None,
        product.times(np.full(N, u)), Noise.of(0, N),
    )  # fmt: skip
    keep = process.survival(u)
    joint = np.array(prior)[:, None] * (keep * np.eye(3) + (1 - keep) / 3)  # clean, seen
    entropy = -(joint * np.log(joint / joint.sum(0))).sum()
    assert float(found.error["c"].mean()) == pytest.approx(entropy, abs=0.006)


def draw(mixed, sizes=(5, 3, 1), pad=None, dropout=0.0, self_conditioning=0.5, seed=0):
    denoiser = mixed.denoiser()
    x0 = mixed.state(sizes)
    if pad:
        x0 = x0.resize({"nodes": pad})
    weightings = {part.name: UniformWeighting(part) for part in mixed.layout}
    times = denoiser.product.times(np.linspace(0.2, 0.8, len(sizes)))
    raw = {"class": torch.arange(len(sizes)) % 2}
    found = losses(denoiser, weightings, x0, raw, times, Noise.of(seed, len(sizes)), dropout, self_conditioning)
    return denoiser, found


@pytest.mark.parametrize("self_conditioning", [0.0, 0.5, 1.0])
def test_padding_changes_no_loss_and_no_gradient(mixed, self_conditioning):
    results = []
    for pad in (None, 6, 11):
        denoiser, found = draw(mixed, pad=pad, self_conditioning=self_conditioning)
        sum(value.mean() for value in found.weighted.values()).backward()
        results.append((found, [p.grad for p in denoiser.parameters() if p.grad is not None]))
    (first, gradients), *others = results
    for found, other in others:
        for name, value in first.error.items():
            torch.testing.assert_close(found.error[name], value, rtol=1e-5, atol=1e-6)
        for a, b in zip(gradients, other, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-6)


def test_a_sample_has_the_same_loss_in_any_company(mixed):
    _, together = draw(mixed, (5, 3, 1))
    denoiser = mixed.denoiser()
    weightings = {part.name: UniformWeighting(part) for part in mixed.layout}
    x0 = mixed.state((5, 3, 1))
    for i, u in enumerate(np.linspace(0.2, 0.8, 3)):
        alone = losses(
            denoiser, weightings, x0[i : i + 1].trim(), {"class": torch.tensor([i % 2])},
            denoiser.product.times(np.array([u])), Noise.of(i, 1), 0.0, 0.5,
        )  # fmt: skip
        for name, value in alone.error.items():
            torch.testing.assert_close(value[0], together.error[name][i], rtol=1e-5, atol=1e-6)


def test_an_item_without_elements_of_a_part_has_no_loss_there(mixed):
    _, found = draw(mixed, (1, 2, 3))
    assert found.error["bonds"][0] == 0 and found.error["bonds"][1] > 0 and found.error["types"].isfinite().all()


def test_masked_mean_counts_real_elements_only(mixed):
    state = mixed.state((4, 2))
    values = torch.arange(32.0).reshape(2, 4, 4)
    off = ~torch.eye(4, dtype=torch.bool)
    expected = [values[0][off].mean(), values[1, :2, :2][off[:2, :2]].mean()]
    torch.testing.assert_close(masked_mean(state, "bonds", values), torch.stack(expected))


def test_self_conditioning_shows_the_chosen_their_own_first_estimate(mixed):
    denoiser = mixed.denoiser()
    calls = []
    denoiser.network.register_forward_hook(
        lambda module, args, out: calls.append((args[3]["x"].abs().flatten(1).sum(1) > 0, torch.is_grad_enabled()))
    )
    weightings = {part.name: UniformWeighting(part) for part in mixed.layout}
    batch = 200
    x0 = mixed.state([3] * batch)
    losses(denoiser, weightings, x0, {}, denoiser.product.times(np.full(batch, 0.5)), Noise.of(0, batch), 0.0, 0.3)
    (first, first_grad), (second, second_grad) = calls
    assert not first.any() and not first_grad and second_grad
    assert len(first) == int(second.sum()) and 0.2 < second.float().mean() < 0.4


def test_conditions_are_hidden_together_and_alone(mixed):
    conditions, n, p = mixed.denoiser().conditions, 20_000, 0.2
    raw = {"class": torch.zeros(n, dtype=torch.int64), "size": torch.zeros(n)}
    hidden = drop_conditions(conditions, raw, Noise.of(0, n), p)
    gone = torch.stack([hidden["class"] < 0, hidden["size"].isnan()]).double()
    alone = p + (1 - p) * p
    assert gone.mean(1).tolist() == pytest.approx([alone, alone], abs=0.01)
    assert float(gone.prod(0).mean()) == pytest.approx(p + (1 - p) * p**2, abs=0.01)


def test_a_single_condition_is_hidden_with_the_stated_chance(mixed):
    single, n = Conditions([mixed.denoiser().conditions["class"]], 8), 20_000
    hidden = drop_conditions(single, {"class": torch.zeros(n, dtype=torch.int64)}, Noise.of(0, n), 0.2)
    assert float((hidden["class"] < 0).double().mean()) == pytest.approx(0.2, abs=0.01)


def test_per_element_levels_weigh_elements(mixed):
    """A part of four elements, each at a level of its own: the loss is the mean of the four weighted errors."""
    schedule = cosine()
    parametrization = Parametrization("x0", schedule, STD)
    part = Part("x", "gaussian", (4, 1))
    product = Product(Layout((part,)), {"x": Gaussian(schedule)})

    class Zero(Network):
        def forward(self, x, level, context, previous=None, residuals=None):
            return {"x": torch.zeros_like(x.parts["x"])}

    denoiser = Denoiser(Zero(), Conditions([], 0), product, {"x": parametrization})
    x0 = State(product.layout, {"x": torch.tensor([[[1.0], [2.0], [3.0], [4.0]]])})
    t = np.array([[0.1, 0.4, 0.6, 0.9]])
    found = losses(denoiser, {"x": MinSnrWeighting(part)}, x0, None, {"x": t}, Noise.of(0, 1))
    expected = np.mean(np.minimum(np.exp(schedule.log_snr(t)), 5) * np.array([[1, 4, 9, 16]]))
    assert float(found.weighted["x"]) == pytest.approx(expected, rel=1e-4)
    assert float(found.error["x"]) == pytest.approx(7.5, rel=1e-4)
