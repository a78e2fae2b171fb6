"""The denoisers: padding, positions, conditions, what is refused."""

from __future__ import annotations

import pytest
import torch

from unnoise.contracts import Context
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.level import Level
from unnoise.state import State
from unnoise_audio.networks import FrameTransformer, UNet

LAYOUT = Layout((Part("spectrum", "gaussian", ("frames", 16, 2)),))
TRANSFORMER = {"width": 32, "depth": 2, "head_dim": 16}
UNET = {"channels": (8, 12), "attention": (False, True), "head_dim": 4, "cond_dim": 16}
NETWORKS = {
    "transformer": lambda **o: FrameTransformer(LAYOUT, 8, **{**TRANSFORMER, "patch": 3, **o}),
    "unet": lambda **o: UNet(LAYOUT, 8, **{**UNET, "patch": (3, 4), **o}),
}


def broken(net):
    """With random weights where training would start from zeros."""
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


def state(counts=(11, 4), layout=LAYOUT):
    counts = torch.tensor(counts)
    x = State.zeros(layout, len(counts), {"frames": counts})
    (part,) = layout
    return x.replace({part.name: torch.randn_like(x.parts[part.name])}).project()


def level(n=2, shape=()):
    values = {"spectrum": torch.linspace(0.2, 0.7, n).reshape(n, *(1 for _ in shape)).expand(n, *shape)}
    return Level(values, values, values)


def told(n=2, **changes):
    return Context(**{"vector": torch.ones(n, 8), **changes})


@pytest.mark.parametrize("name", NETWORKS)
def test_padding_and_neighbours_change_nothing(name):
    net, x = broken(NETWORKS[name]()), state()
    out = net(x, level(), told())["spectrum"]
    assert out.shape == x.parts["spectrum"].shape
    longer = net(x.resize({"frames": 19}), level(), told())["spectrum"]
    torch.testing.assert_close(longer[:1, :11], out[:1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(longer[1, :4], out[1, :4], atol=1e-4, rtol=1e-4)
    one = level()
    one = Level(*({"spectrum": value["spectrum"][1:]} for value in (one.t, one.log_snr, one.c_noise)))
    alone = net(x[1:2].trim(), one, told(1))["spectrum"]
    torch.testing.assert_close(alone[0], out[1, :4], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_level_condition_and_length_are_seen(name):
    net, x = broken(NETWORKS[name]()), state((6, 6))
    out = net(x, level(), told())["spectrum"]
    later = Level(*({"spectrum": v["spectrum"] + 0.1} for v in (level().t, level().log_snr, level().c_noise)))
    assert (net(x, later, told())["spectrum"] - out).abs().max() > 1e-3
    assert (net(x, level(), told(vector=torch.zeros(2, 8)))["spectrum"] - out).abs().max() > 1e-3
    # A longer sound of the same beginning, of which the rest is silence, is another sound.
    longer = State(LAYOUT, {"spectrum": torch.cat([x.parts["spectrum"], torch.zeros(2, 3, 16, 2)], 1)}, {
        "frames": torch.ones(2, 9, dtype=torch.bool)
    })  # fmt: skip
    assert (net(longer, level(), told())["spectrum"][:, :6] - out).abs().max() > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_tokens_are_attended_to_where_asked_for(name):
    x, tokens = state(), torch.randn(2, 3, 8)
    net = broken(NETWORKS[name](cross_attention=True))
    out = net(x, level(), told(tokens=tokens))["spectrum"]
    assert (net(x, level(), told(tokens=tokens + 1))["spectrum"] - out).abs().max() > 1e-4
    mask = torch.tensor([[True, True, False]] * 2)
    other = tokens.clone()
    other[:, 2] += 5
    masked = [net(x, level(), told(tokens=t, token_mask=mask))["spectrum"] for t in (tokens, other)]
    assert torch.equal(*masked)
    with pytest.raises(UserError, match="does not attend to tokens"):
        NETWORKS[name]()(x, level(), told(tokens=tokens))


def test_the_transformer_knows_distances_in_time_but_no_place():
    """Moved in time by whole tokens, with silence that is no padding hidden, the same frames give the same result."""
    net = broken(NETWORKS["transformer"](patch=1))
    (block,) = net.transformer.blocks[:1]
    h, cond = torch.randn(1, 5, 32), torch.randn(1, 32)
    from unnoise.nn import rotary_angles

    angles = [rotary_angles(torch.arange(5)[:, None] + shift, 16) for shift in (0, 40)]
    here, there = (block(h, cond, angles=a) for a in angles)
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)
    swapped = block(h[:, [1, 0, 2, 3, 4]], cond, angles=angles[0])
    assert (swapped[:, [1, 0, 2, 3, 4]] - here).abs().max() > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_a_fresh_network_says_nothing_and_trains_everywhere(name):
    net, x = NETWORKS[name](), state()
    assert not net(x, level(), told())["spectrum"].any()
    broken(net).train()(x, level(), told())["spectrum"].square().sum().backward()
    unused = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    # Keys are normalised after their bias, and a bias before a norm over single channels has no effect.
    assert not [n for n in unused if "bias" not in n], unused


def test_what_does_not_fit_is_refused():
    fixed = Layout((Part("pixels", "gaussian", (3, 8, 8)),))
    for make in (FrameTransformer, UNet):
        with pytest.raises(UserError, match="one gaussian part"):
            make(fixed, 0)
    with pytest.raises(UserError, match="model has no condition"):
        FrameTransformer(LAYOUT, 0, cross_attention=True)
    with pytest.raises(UserError, match="head_dim=24"):
        FrameTransformer(LAYOUT, 0, width=32, head_dim=24)
    with pytest.raises(UserError, match="entries for 2 levels"):
        UNet(LAYOUT, 0, channels=(8, 8), attention=(True,))
    with pytest.raises(UserError, match="does not fit 16 bands"):
        UNet(LAYOUT, 0, patch=(1, 5))
    with pytest.raises(UserError, match="no level attends"):
        UNet(LAYOUT, 8, channels=(8,), attention=(False,), cross_attention=True)
    with pytest.raises(UserError, match="one noise level per sound"):
        NETWORKS["transformer"]()(state(), level(shape=(11,)), told())
