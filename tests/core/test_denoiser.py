"""The denoiser: legal outputs whatever the network does, and branches that do not see each other."""

import numpy as np
import pytest
import torch
from torch import nn

from unnoise.conditions import Conditions
from unnoise.contracts import Network
from unnoise.denoiser import Denoiser
from unnoise.errors import UserError
from unnoise.layout import Layout
from unnoise.noise import Noise
from unnoise.parametrization import Parametrization
from unnoise.processes import Gaussian, Product
from unnoise.schedules import cosine, edm
from unnoise.state import State

SIZES = (5, 3, 1)


def noised(mixed, denoiser, u=(0.3, 0.6, 0.9)):
    times = denoiser.product.times(np.array(u))
    return denoiser.product.corrupt(mixed.state(SIZES), times, Noise.of(7, 3)), times


def test_estimates_are_legal_even_if_the_network_is_not(mixed):
    denoiser = mixed.denoiser()
    x_t, times = noised(mixed, denoiser)
    x0 = denoiser(x_t, times, {"class": torch.tensor([0, 1, -1])}).prediction.x0
    for name in ("dist", "bonds"):
        torch.testing.assert_close(x0[name], x0[name].transpose(1, 2), rtol=0, atol=1e-6)
    mask = x_t.mask("x")
    assert x0["x"].sum(1).abs().max() < 1e-5 and not x0["x"].masked_select(~mask).any()
    for name in ("types", "bonds"):
        torch.testing.assert_close(x0[name].exp().sum(-1), torch.ones(x0[name].shape[:-1]))


def test_symmetric_logits_are_the_mean_of_both_orders(mixed):
    denoiser = mixed.denoiser()
    x_t, times = noised(mixed, denoiser)
    x_in = []
    denoiser.network.register_forward_hook(lambda module, args, out: x_in.append(out["bonds"].detach().clone()))
    x0 = denoiser(x_t, times).prediction.x0["bonds"]
    expected = torch.log_softmax(0.5 * (x_in[0] + x_in[0].transpose(1, 2)), -1)
    mask = x_t.mask("bonds")
    torch.testing.assert_close(x0[mask], expected[mask])


def test_what_is_not_masked_is_known_under_an_absorbing_kernel(mixed):
    denoiser = mixed.denoiser()
    x_t, times = noised(mixed, denoiser)
    p = denoiser(x_t, times).prediction.x0["types"].exp()
    seen = x_t.parts["types"]
    visible = (seen < 4) & x_t.masks["nodes"]
    assert visible.any() and ((seen == 4) & x_t.masks["nodes"]).any()
    assert torch.equal(p[visible], nn.functional.one_hot(seen[visible], 4).float())
    assert (p[seen == 4] > 0).all()


def test_padding_changes_no_estimate(mixed):
    denoiser = mixed.denoiser()
    x_t, times = noised(mixed, denoiser)
    raw = {"size": torch.tensor([0.3, float("nan"), -1.0])}
    plain = denoiser(x_t, times, raw).prediction.x0
    padded = denoiser(x_t.resize({"nodes": 9}), times, raw).prediction.x0
    for name, value in plain.items():
        cut = padded[name][:, :5, :5] if name in ("dist", "bonds") else padded[name][:, :5]
        torch.testing.assert_close(cut, value, rtol=1e-5, atol=1e-6)


def test_fused_branches_equal_single_calls_with_their_own_history(mixed):
    denoiser = mixed.denoiser().eval()
    x_t, times = noised(mixed, denoiser)
    branches = [{"class": torch.tensor([0, 1, 1])}, {}, {"size": torch.tensor([1.0, 2.0, 3.0])}]
    alone = [denoiser(x_t, times, raw).prediction for raw in branches]
    for one, fused in zip(alone, denoiser.predict(x_t, times, branches), strict=True):
        for name in mixed.layout.names:
            torch.testing.assert_close(fused.x0[name], one.x0[name], rtol=1e-5, atol=1e-6)
    again = [denoiser(x_t, times, r, denoiser.shown(p)).prediction for r, p in zip(branches, alone, strict=True)]
    for one, fused in zip(again, denoiser.predict(x_t, times, branches, alone), strict=True):
        for name in mixed.layout.names:
            torch.testing.assert_close(fused.x0[name], one.x0[name], rtol=1e-5, atol=1e-6)
    assert not torch.equal(again[0].x0["x"], alone[0].x0["x"])


def test_one_time_for_all_equals_that_time_for_each(mixed):
    denoiser = mixed.denoiser().eval()
    x_t, _ = noised(mixed, denoiser)
    one = denoiser(x_t, denoiser.product.times(0.4)).prediction
    each = denoiser(x_t, denoiser.product.times(np.full(3, 0.4))).prediction
    assert all(torch.equal(one.x0[name], each.x0[name]) for name in mixed.layout.names)


def test_without_self_conditioning_the_history_is_not_used(mixed):
    denoiser = mixed.denoiser(self_conditioning=False)
    denoiser.network.forward = lambda x, level, context, previous=None: seen.append(previous) or {
        "x": x.parts["x"], "dist": x.parts["dist"],
        "types": torch.zeros(*x.parts["types"].shape, 4), "bonds": torch.zeros(*x.parts["bonds"].shape, 3),
    }  # fmt: skip
    seen: list = []
    x_t, times = noised(mixed, denoiser)
    first = denoiser.predict(x_t, times)
    denoiser.predict(x_t, times, [{}], first)
    assert seen == [None, None]


def test_a_condition_the_model_does_not_know_is_named(mixed):
    denoiser = mixed.denoiser()
    x_t, times = noised(mixed, denoiser)
    with pytest.raises(UserError, match=r"no condition 'clas'\. Did you mean 'class'"):
        denoiser(x_t, times, {"clas": torch.zeros(3)})


class Exact(Network):
    """The exact raw output for data of deviation ``std``, from nothing but what a network is given."""

    def __init__(self, parametrization, std):
        super().__init__()
        self.parametrization, self.std = parametrization, std

    def forward(self, x, level, context, previous=None, residuals=None):
        t = level.t["x"].double().numpy()
        schedule, s = self.parametrization.schedule, self.parametrization.scalings(t)
        x_t = x.parts["x"].double() / torch.tensor(s.c_in)[:, None]
        alpha, sigma = torch.tensor(schedule.alpha(t)), torch.tensor(schedule.sigma(t))
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        return {"x": ((gain - torch.tensor(s.c_skip)) / torch.tensor(s.c_out))[:, None] * x_t}


@pytest.mark.parametrize("name", ["x0", "v", "flow", "edm"])
@pytest.mark.parametrize("schedule", [cosine(), edm()], ids=["cosine", "edm"])
def test_every_parametrization_gives_the_posterior_mean_of_a_gaussian(name, schedule):
    parametrization = Parametrization(name, schedule, 0.7)
    product = Product(Layout.tensor(2), {"x": Gaussian(schedule)})
    denoiser = Denoiser(Exact(parametrization, 0.7), Conditions([], 0), product, {"x": parametrization})
    u = np.array([0.3, 0.5, 0.8])
    x_t = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    prediction = denoiser.predict(State.of(x_t), product.times(u))[0]
    alpha, sigma = schedule.alpha(u)[:, None], schedule.sigma(u)[:, None]
    expected = alpha * 0.49 / (alpha**2 * 0.49 + sigma**2) * x_t.numpy()
    np.testing.assert_allclose(prediction.x0["x"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(prediction.eps("x"), (x_t.numpy() - alpha * expected) / sigma, rtol=1e-3, atol=1e-5)
