"""The denoisers: sets without order, padding, levels of points, conditions, cost, what is refused."""

from __future__ import annotations

import pytest
import torch

from unnoise.contracts import Context
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.level import Level
from unnoise.state import State
from unnoise_points.networks import LatentSetTransformer, SetTransformer

LAYOUT = Layout((Part("points", "gaussian", ("points", 6)),))
NETWORKS = {
    "latent": lambda **o: LatentSetTransformer(
        LAYOUT, 8, **{"width": 32, "latents": 6, "latent_width": 32, "depth": 2, "layers": 1, "head_dim": 16, **o}
    ),
    "transformer": lambda **o: SetTransformer(LAYOUT, 8, **{"width": 32, "depth": 2, "head_dim": 16, **o}),
}
each = pytest.mark.parametrize("name", NETWORKS)


def broken(net):
    """With random weights where training would start from zeros."""
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


def state(counts=(9, 4)):
    x = State.zeros(LAYOUT, len(counts), {"points": torch.tensor(counts)})
    return x.replace({"points": torch.randn_like(x.parts["points"])}).project()


def level(values):
    levels = {"points": torch.as_tensor(values, dtype=torch.float32)}
    return Level(levels, levels, levels)


def told(n=2, **changes):
    return Context(**{"vector": torch.ones(n, 8), **changes})


LEVEL = level([0.2, 0.7])


@each
def test_permuting_points_permutes_the_result(name):
    net, x = broken(NETWORKS[name]()), state((9, 9))
    order = torch.randperm(9)
    moved = x.replace({"points": x.parts["points"][:, order]})
    spread = torch.rand(2, 9)
    for one, two in ((LEVEL, LEVEL), (level(spread), level(spread[:, order]))):
        out, permuted = net(x, one, told())["points"], net(moved, two, told())["points"]
        torch.testing.assert_close(permuted, out[:, order], atol=1e-5, rtol=1e-5)
        assert out.std() > 0.1 and (out[0] - out[1]).abs().max() > 1e-2


@each
def test_padding_and_neighbours_change_nothing(name):
    net, x = broken(NETWORKS[name]()), state()
    out = net(x, LEVEL, told())["points"]
    longer = net(x.resize({"points": 15}), LEVEL, told())["points"]
    torch.testing.assert_close(longer[0, :9], out[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(longer[1, :4], out[1, :4], atol=1e-5, rtol=1e-5)
    alone = net(x[1:2].trim(), level([0.7]), told(1))["points"]
    torch.testing.assert_close(alone[0], out[1, :4], atol=1e-5, rtol=1e-5)


@each
def test_a_level_for_every_point(name):
    """Equal levels of points are one level of the cloud; another level of one point is seen by all."""
    net, x = broken(NETWORKS[name]()), state((5, 5))
    out = net(x, LEVEL, told())["points"]
    spread = torch.tensor([[0.2], [0.7]]).repeat(1, 5)
    torch.testing.assert_close(net(x, level(spread), told())["points"], out, atol=1e-5, rtol=1e-5)
    spread[:, 2] = -0.5  # less noise: given
    changed = (net(x, level(spread), told())["points"] - out).abs().amax(2)
    assert (changed > 1e-4).all() and (changed[:, 2] > changed[:, 0]).all()


@each
def test_levels_of_padding_mean_nothing(name):
    net, x = broken(NETWORKS[name]()), state((5, 3))
    spread = torch.full((2, 5), 0.3)
    out = net(x, level(spread), told())["points"]
    spread[1, 3:] = 2.0
    torch.testing.assert_close(net(x, level(spread), told())["points"][1, :3], out[1, :3])


@each
def test_points_see_each_other_and_level_and_condition_are_seen(name):
    net, x = broken(NETWORKS[name]()), state((5, 5))
    out = net(x, LEVEL, told())["points"]
    moved = x.replace({"points": x.parts["points"].clone()})
    moved.parts["points"][:, 4] += 1
    assert ((net(moved, LEVEL, told())["points"] - out)[:, 0].abs() > 1e-5).any()
    assert (net(x, level([0.3, 0.8]), told())["points"] - out).abs().max() > 1e-3
    assert (net(x, LEVEL, told(vector=torch.zeros(2, 8)))["points"] - out).abs().max() > 1e-3


@each
def test_a_fresh_network_says_nothing_and_trains_everywhere(name):
    net, x = NETWORKS[name](), state()
    assert not net(x, LEVEL, told())["points"].any()
    broken(net).train()(x, LEVEL, told())["points"].square().sum().backward()
    unused = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not [n for n in unused if "bias" not in n], unused  # a bias of keys moves no softmax


@each
def test_residuals_are_added_after_their_round(name):
    net, x = broken(NETWORKS[name]()), state((3, 3))
    out = net(x, LEVEL, told())["points"]
    nothing = [torch.zeros(2, 3, 32)] * 2
    torch.testing.assert_close(net(x, LEVEL, told(), residuals=nothing)["points"], out)
    assert (net(x, LEVEL, told(), residuals=[torch.randn(2, 3, 32)])["points"] - out).abs().max() > 1e-3
    with pytest.raises(ValueError, match="3 residuals"):
        net(x, LEVEL, told(), residuals=[*nothing, nothing[0]])


def test_what_does_not_fit_is_refused():
    fixed = Layout((Part("points", "gaussian", (3, 6)),))
    for make in (LatentSetTransformer, SetTransformer):
        with pytest.raises(UserError, match="one gaussian part"):
            make(fixed, 0)
        with pytest.raises(UserError, match="depth=0"):
            make(LAYOUT, 0, depth=0)
        with pytest.raises(UserError, match="head_dim divides"):
            make(LAYOUT, 0, width=40, head_dim=16)
    with pytest.raises(UserError, match="does not attend to tokens"):
        NETWORKS["latent"]()(state(), LEVEL, told(tokens=torch.zeros(2, 1, 8)))


def test_the_cost_of_latents_grows_linearly_with_points():
    """Multiply-adds counted by torch: twice the points are at most twice the cost; not so for the plain transformer."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    growth = {}
    for name, make in NETWORKS.items():
        net, costs = make().requires_grad_(False), []
        for points in (512, 1024):
            counter = FlopCounterMode(display=False)
            with counter, sdpa_kernel(SDPBackend.MATH):  # the fused kernels of a CPU are not counted
                net(state((points,)), level([0.5]), told(1))
            costs.append(counter.get_total_flops())
        growth[name] = costs[1] / costs[0]
    assert growth["latent"] < 2.01 < 2.5 < growth["transformer"], growth
