"""The ready-made denoisers: they learn what an exact denoiser knows, keep to masks, and sets have no order."""

import numpy as np
import pytest
import torch

from unnoise.conditions import ClassCondition, Conditions
from unnoise.contracts import Context, MapShape
from unnoise.denoiser import Denoiser
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.level import Level
from unnoise.noise import Noise
from unnoise.parametrization import Parametrization
from unnoise.processes import Gaussian, Product
from unnoise.ready import SequenceNetwork, SetNetwork, VectorNetwork
from unnoise.schedules import cosine
from unnoise.state import State

MIXED = Layout((Part("x", "gaussian", ("n", 2)), Part("kind", "categorical", ("n",), classes=3)))
FLAT = Layout((Part("x", "gaussian", (4,)), Part("kind", "categorical", (), classes=3, absorbing=True)))
FIXED = Layout((Part("x", "gaussian", (5, 2)), Part("kind", "categorical", (5, 2), classes=3)))


def state(layout, sizes=(5, 3), seed=0):
    generator = torch.Generator().manual_seed(seed)
    axes = {axis: torch.tensor(sizes) for axis in layout.variable_axes}

    def fill(part, x):
        if part.kind == "gaussian":
            return torch.randn(x.shape, generator=generator)
        return torch.randint(0, part.tokens, x.shape, generator=generator)

    return State.zeros(layout, len(sizes), axes).map(fill).project()


def level(layout, x, per_element=False):
    shape = next(iter(x.parts.values())).shape[:2] if per_element else (x.batch,)
    values = torch.linspace(-1, 1, int(np.prod(shape))).reshape(shape)
    same = {part.name: values for part in layout}
    return Level(same, same, same)


def made(kind, layout, **options):
    torch.manual_seed(0)
    network = kind(layout, 0, **{"width": 32, "depth": 2, **options}).eval()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return network


@pytest.mark.parametrize("kind", [SequenceNetwork, SetNetwork])
@pytest.mark.parametrize("per_element", [False, True])
def test_padding_changes_nothing(kind, per_element):
    network, x = made(kind, MIXED), state(MIXED)
    told = level(MIXED, x, per_element)
    longer = x.resize({"n": 9})
    wide = {k: torch.nn.functional.pad(v, (0, 4), value=7.0) if per_element else v for k, v in told.c_noise.items()}
    out, padded = network(x, told, None), network(longer, Level(wide, wide, wide), None)
    for part in MIXED:
        real = x.masks["n"]
        torch.testing.assert_close(padded[part.name][:, :5][real], out[part.name][real])


def test_the_order_of_a_set_makes_no_difference_and_that_of_a_sequence_does():
    x = state(MIXED, sizes=(5, 5))
    order = torch.tensor([3, 0, 4, 1, 2])
    turned = x.replace({name: value[:, order] for name, value in x.parts.items()})
    told = level(MIXED, x)
    for kind, alike in ((SetNetwork, True), (SequenceNetwork, False)):
        network = made(kind, MIXED)
        out, other = network(x, told, None), network(turned, told, None)
        for name in out:
            assert torch.allclose(out[name][:, order], other[name], atol=1e-4) == alike


@pytest.mark.parametrize(("kind", "layout"), [(VectorNetwork, FLAT), (VectorNetwork, FIXED), (SetNetwork, FIXED)])
def test_an_element_with_a_level_of_its_own_is_seen(kind, layout):
    """Elements of a fixed axis may have levels of their own, and every part is told its own."""
    network, x = made(kind, layout), state(layout)
    out = network(x, level(layout, x), None)
    assert {name: tuple(v.shape) for name, v in out.items()} == {
        p.name: (2, *p.fixed_shape, *([p.classes] if p.classes else [])) for p in layout
    }
    for part in layout:
        told = level(layout, x)
        rows = part.fixed_shape[0] if part.fixed_shape else 1
        spread = told.c_noise[part.name][:, None].expand(-1, rows).clone()
        if part.fixed_shape:
            same = network(x, Level(told.t, told.log_snr, {**told.c_noise, part.name: spread}), None)
            torch.testing.assert_close(same["x"], out["x"])  # levels that are alike say no more than one
            spread[:, 0] -= 1
            other = network(x, Level(told.t, told.log_snr, {**told.c_noise, part.name: spread}), None)
        else:
            moved = {**told.c_noise, part.name: told.c_noise[part.name] - 1}
            other = network(x, Level(told.t, told.log_snr, moved), None)
        assert not torch.allclose(other["x"], out["x"])


def test_a_vector_network_learns_the_exact_estimate():
    """Of correlated normal data the best estimate is linear: ``alpha C (alpha^2 C + sigma^2)^-1 x_t``."""
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    layout, schedule = Layout.tensor(2), cosine()
    torch.manual_seed(0)
    network = VectorNetwork(layout, 0, width=64, depth=2)
    parametrizations = {"x": Parametrization("v", schedule)}
    denoiser = Denoiser(network, Conditions([], 8), Product(layout, {"x": Gaussian(schedule)}), parametrizations)
    optimizer = torch.optim.Adam(denoiser.parameters(), 3e-3)
    root, rng = torch.linalg.cholesky(covariance), np.random.default_rng(0)

    def noised(batch, step):
        x0 = torch.randn(batch, 2) @ root.T
        u = rng.uniform(0.05, 0.95, batch)
        times = denoiser.product.times(u)
        return x0, times, denoiser.product.corrupt(State(layout, {"x": x0}), times, Noise.of(step * 10_000, batch))

    for step in range(300):
        x0, times, x_t = noised(256, step)
        loss = (denoiser(x_t, times).prediction.x0["x"] - x0).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        x0, times, x_t = noised(4000, 1000)
        found = denoiser(x_t, times).prediction.x0["x"]
    alpha = torch.from_numpy(schedule.alpha(times["x"])).float()[:, None, None]
    sigma = torch.from_numpy(schedule.sigma(times["x"])).float()[:, None, None]
    gain = alpha * covariance @ torch.linalg.inv(alpha**2 * covariance + sigma**2 * torch.eye(2))
    best = (gain @ x_t.parts["x"][..., None])[..., 0]
    excess = (found - best).square().mean() / (best - x0).square().mean()
    assert excess < 0.03


def test_conditions_reach_every_network_and_tokens_only_where_they_are_attended_to():
    for kind, layout, options in (
        (VectorNetwork, FLAT, {}),
        (SetNetwork, MIXED, {"cross_attention": True}),
        (SequenceNetwork, MIXED, {"cross_attention": True}),
    ):
        torch.manual_seed(0)
        network = kind(layout, 8, width=32, depth=1, **options)
        with torch.no_grad():
            for p in network.parameters():
                p.add_(0.1 * torch.randn(p.shape))
        x, told = state(layout), level(layout, state(layout))
        context = ClassCondition("class", 8, tokens=bool(options), names=("a", "b"))(torch.tensor([0, 1]))
        out = network(x, told, context)["x"]
        assert not torch.allclose(out, network(x, told, Context(torch.zeros(2, 8)))["x"])
        without = Context(context.vector, torch.zeros(2, 1, 8))
        if options:
            assert not torch.allclose(out, network(x, told, without)["x"])
        else:
            with pytest.raises(UserError, match="does not attend to tokens"):
                network(x, told, without)


def test_curves_are_joined_to_a_sequence():
    torch.manual_seed(0)
    network = SequenceNetwork(MIXED, 8, maps=[MapShape((4,), 8)], width=32, depth=1)
    torch.nn.init.normal_(network.out.weight)
    x, told = state(MIXED), level(MIXED, state(MIXED))
    low, high = (Context(torch.zeros(2, 8), maps=(torch.full((2, 4, 8), v),)) for v in (0.0, 1.0))
    assert not torch.allclose(network(x, told, low)["x"], network(x, told, high)["x"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VectorNetwork(MIXED, 0), "takes vectors, but axis 'n' varies"),
        (lambda: VectorNetwork(FLAT, 0, width=0), "denoiser.width=0"),
        (lambda: SetNetwork(FLAT, 0), "x, kind do not share one"),
        (lambda: SetNetwork(MIXED, 0, width=40), "width=40, head_dim=32"),
        (lambda: SetNetwork(MIXED, 0, cross_attention=True), "has no condition"),
        (
            lambda: SetNetwork(Layout((Part("pairs", "categorical", ("n", "n"), classes=2, symmetric=True),)), 0),
            "part 'pairs' is one of pairs",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
