"""The denoisers: padding, levels of frames, places and times, conditions, what is refused."""

from __future__ import annotations

import pytest
import torch

from unnoise.contracts import Context
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.level import Level
from unnoise.nn import grid_positions, rotary_angles
from unnoise.state import State
from unnoise_video.networks import SpaceTimeTransformer
from unnoise_video.spacetime import FactorBlock
from unnoise_video.stacked import StackedUNet, Summary
from unnoise_video.unet import FrameConv, UNet

LAYOUT = Layout((Part("pixels", "gaussian", ("frames", 2, 8, 8)),))
TRANSFORMER = {"width": 32, "depth": 2, "head_dim": 16, "patch": 4}
UNET = {"channels": (8, 12), "attention": (False, True), "head_dim": 4, "cond_dim": 16, "patch": 2}
NETWORKS = {
    "transformer": lambda **o: SpaceTimeTransformer(LAYOUT, 8, **{**TRANSFORMER, **o}),
    "headed": lambda **o: SpaceTimeTransformer(LAYOUT, 8, **{**TRANSFORMER, "head": 8, "fold": 2, **o}),
    "spanning": lambda **o: SpaceTimeTransformer(LAYOUT, 8, **{**TRANSFORMER, "depth": 4, "span": 4, **o}),
    "unet": lambda **o: UNet(LAYOUT, 8, **{**UNET, **o}),
    "flat unet": lambda **o: UNet(LAYOUT, 8, **{**UNET, "kernel": 1, **o}),
    "spanning unet": lambda **o: UNet(LAYOUT, 8, **{**UNET, "span": 4, **o}),
    "stacked": lambda **o: StackedUNet(LAYOUT, 8, **{**UNET, "frames": 9, "own": 4, "patch": 1, **o}),
}
each = pytest.mark.parametrize("name", NETWORKS)


def broken(net):
    """With random weights where training would start from zeros."""
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


def state(counts=(7, 3)):
    counts = torch.tensor(counts)
    x = State.zeros(LAYOUT, len(counts), {"frames": counts})
    return x.replace({"pixels": torch.randn_like(x.parts["pixels"])}).project()


def level(values):
    levels = {"pixels": torch.as_tensor(values, dtype=torch.float32)}
    return Level(levels, levels, levels)


def told(n=2, **changes):
    return Context(**{"vector": torch.ones(n, 8), **changes})


LEVEL = level([0.2, 0.7])


@each
def test_padding_and_neighbours_change_nothing(name):
    net, x = broken(NETWORKS[name]()), state()
    out = net(x, LEVEL, told())["pixels"]
    assert out.shape == x.parts["pixels"].shape
    longer = net(x.resize({"frames": 12}), LEVEL, told())["pixels"]
    torch.testing.assert_close(longer[0, :7], out[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(longer[1, :3], out[1, :3], atol=1e-4, rtol=1e-4)
    alone = net(x[1:2].trim(), level([0.7]), told(1))["pixels"]
    torch.testing.assert_close(alone[0], out[1, :3], atol=1e-4, rtol=1e-4)


@each
def test_a_level_for_every_frame(name):
    """Equal levels of frames are one level of the clip; another level of one frame is seen by that frame and others."""
    net, x = broken(NETWORKS[name]()), state((5, 5))
    out = net(x, LEVEL, told())["pixels"]
    spread = torch.tensor([[0.2], [0.7]]).expand(2, 5)
    torch.testing.assert_close(net(x, level(spread), told())["pixels"], out, atol=1e-4, rtol=1e-4)
    other = spread.clone()
    other[:, 2] = 0.05
    changed = (net(x, level(other), told())["pixels"] - out).abs().amax((2, 3, 4))
    assert (changed > 1e-4).all() and (changed[:, 2] > changed[:, 0]).all()


@each
def test_frames_see_each_other_and_know_their_distance(name):
    net, x = broken(NETWORKS[name]()), state((5, 5))
    out = net(x, LEVEL, told())["pixels"]
    moved = x.replace({"pixels": x.parts["pixels"].clone()})
    moved.parts["pixels"][:, 4] += 1
    assert ((net(moved, LEVEL, told())["pixels"] - out)[:, 0].abs() > 1e-5).any()
    # In another order, frames give another result than the same in that order.
    order = torch.tensor([0, 2, 1, 3, 4])
    swapped = net(x.replace({"pixels": x.parts["pixels"][:, order]}), LEVEL, told())["pixels"]
    assert (swapped[:, order] - out).abs().max() > 1e-3


@each
def test_a_still_picture_is_a_clip_of_one_frame(name):
    net = broken(NETWORKS[name]())
    assert net(state((1, 1)), LEVEL, told())["pixels"].shape == (2, 1, 2, 8, 8)


def test_time_is_distance_alone_but_places_are_known():
    net = broken(NETWORKS["transformer"]())
    block = net.blocks[1]
    h, cond, mask = torch.randn(1, 5, 4, 32), torch.randn(1, 1, 32), torch.ones(1, 5, dtype=torch.bool)
    angles = [rotary_angles(torch.arange(5)[:, None] + shift, 16) for shift in (0, 40)]
    here, there = (block(h, cond, mask, a) for a in angles)
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)
    one = torch.zeros(1, 1, 2, 8, 8)
    one[..., :4, :4] = 1
    other = one.flip(3)
    x = [State(LAYOUT, {"pixels": value}, {"frames": torch.ones(1, 1, dtype=torch.bool)}) for value in (one, other)]
    out = [net(value, level([0.5]), told(1))["pixels"] for value in x]
    assert (out[0].flip(3) - out[1]).abs().max() > 1e-3


@pytest.mark.parametrize(("shift", "groups"), [(0, [{0, 1, 2, 3}, {4, 5, 6}]), (2, [{0, 1}, {2, 3, 4, 5}, {6}])])
def test_a_span_is_the_frames_that_see_each_other(shift, groups):
    block = broken(FactorBlock(32, 2, 32, 0, 2.0, span=4, shift=shift))
    h, cond, mask = torch.randn(1, 7, 4, 32), torch.randn(1, 1, 32), torch.ones(1, 7, dtype=torch.bool)
    angles = rotary_angles(grid_positions((4, 2, 2)), 16)
    out = block(h, cond, mask, angles)
    for group in groups:
        for frame in group:
            moved = h.clone()
            moved[:, frame, 0] += torch.randn(32)  # one place of it is seen at all places
            changed = (block(moved, cond, mask, angles) - out).abs().amax(3)[0] > 1e-6
            assert set(changed.any(1).nonzero().flatten().tolist()) == group
            assert changed[sorted(group)].all()


@each
def test_level_and_condition_are_seen(name):
    net, x = broken(NETWORKS[name]()), state((4, 4))
    out = net(x, LEVEL, told())["pixels"]
    assert (net(x, level([0.3, 0.8]), told())["pixels"] - out).abs().max() > 1e-3
    assert (net(x, LEVEL, told(vector=torch.zeros(2, 8)))["pixels"] - out).abs().max() > 1e-3


@each
def test_tokens_are_attended_to_where_asked_for(name):
    x, tokens = state(), torch.randn(2, 3, 8)
    net = broken(NETWORKS[name](cross_attention=True))
    out = net(x, LEVEL, told(tokens=tokens))["pixels"]
    assert (net(x, LEVEL, told(tokens=tokens + 1))["pixels"] - out).abs().max() > 1e-4
    mask = torch.tensor([[True, True, False]] * 2)
    other = tokens.clone()
    other[:, 2] += 5
    masked = [net(x, LEVEL, told(tokens=t, token_mask=mask))["pixels"] for t in (tokens, other)]
    assert torch.equal(*masked)
    with pytest.raises(UserError, match="does not attend to tokens"):
        NETWORKS[name]()(x, LEVEL, told(tokens=tokens))


@each
def test_a_fresh_network_says_nothing_and_trains_everywhere(name):
    net, x = NETWORKS[name](), state()
    assert not net(x, LEVEL, told())["pixels"].any()
    broken(net).train()(x, LEVEL, told())["pixels"].square().sum().backward()
    unused = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    # Keys are normalised after their bias, and a bias before a norm over single channels has no effect.
    assert not [n for n in unused if "bias" not in n], unused


def test_residuals_are_added_after_their_block():
    net, x = broken(NETWORKS["transformer"]()), state((2, 2))
    out = net(x, LEVEL, told())["pixels"]
    nothing = [torch.zeros(2, 2, 4, 32)] * 2
    torch.testing.assert_close(net(x, LEVEL, told(), residuals=nothing)["pixels"], out)
    assert (net(x, LEVEL, told(), residuals=[torch.randn(2, 2, 4, 32)])["pixels"] - out).abs().max() > 1e-3
    with pytest.raises(ValueError, match="3 residuals for 2 blocks"):
        net(x, LEVEL, told(), residuals=[*nothing, nothing[0]])


def test_stacked_frames_have_places_and_a_longest_clip():
    net = broken(NETWORKS["stacked"]())
    one = state((9,))
    net(one, level([0.5]), told(1))
    net(one.resize({"frames": 14}), level([0.5]), told(1))  # of which five are padding
    with pytest.raises(UserError, match="clips of 10 frames, and the denoiser takes at most 9"):
        net(state((10, 3)), LEVEL, told())
    with pytest.raises(UserError, match=r"denoiser\.frames=0"):
        NETWORKS["stacked"](frames=0)
    with pytest.raises(UserError, match="kernel is odd"):
        NETWORKS["stacked"](kernel=4)
    with pytest.raises(UserError, match="for 2 levels"):
        NETWORKS["stacked"](attention=(True,))
    with pytest.raises(UserError, match="no level attends"):
        NETWORKS["stacked"](attention=(False, False), cross_attention=True)
    out = net(one, level([0.5]), told(1))["pixels"]
    net.places.zero_()  # borders alone would tell of places, too
    assert (net(one, level([0.5]), told(1))["pixels"] - out).abs().max() > 1e-3


def test_stacked_frames_are_shown_an_earlier_estimate():
    net, x = broken(NETWORKS["stacked"]()), state((5, 5))
    nothing = torch.zeros_like(x.parts["pixels"])
    out = net(x, LEVEL, told())["pixels"]
    torch.testing.assert_close(net(x, LEVEL, told(), {"pixels": nothing})["pixels"], out)
    assert (net(x, LEVEL, told(), {"pixels": nothing + 1})["pixels"] - out).abs().max() > 1e-3


def test_a_summary_knows_what_is_seen_and_not_where_or_when():
    net, x, mask = broken(Summary(8, 6)), torch.randn(2, 5, 8, 4, 4), torch.ones(2, 5, dtype=torch.bool)
    out = net(x.flatten(0, 1), mask)
    moved = x[:, [3, 0, 4, 1, 2]].roll((1, 2), (3, 4))
    torch.testing.assert_close(net(moved.flatten(0, 1), mask), out)
    other = x.clone()
    other[1, 2, :, 0, 0] += 3
    seen = net(other.flatten(0, 1), mask) - out
    assert seen[0].abs().max() < 1e-6 < 1e-4 < seen[1].abs().max()


def test_what_does_not_fit_is_refused():
    fixed = Layout((Part("pixels", "gaussian", (3, 8, 8)),))
    for make in (SpaceTimeTransformer, UNet):
        with pytest.raises(UserError, match="one gaussian part"):
            make(fixed, 0)
        with pytest.raises(UserError, match="does not tile 8x8"):
            make(LAYOUT, 0, patch=3)
    with pytest.raises(UserError, match="model has no condition"):
        SpaceTimeTransformer(LAYOUT, 0, cross_attention=True)
    for options in ({"width": 32, "head_dim": 24}, {"depth": 3}, {"head_dim": 2}):
        with pytest.raises(UserError, match="depth is even"):
            SpaceTimeTransformer(LAYOUT, 0, **options)
    for options in ({"patch": 4, "head": 8, "fold": 3}, {"patch": 4, "fold": 0}, {"patch": 4, "span": 0}):
        with pytest.raises(UserError, match=rf"denoiser.{list(options)[-1]}={list(options.values())[-1]}"):
            SpaceTimeTransformer(LAYOUT, 0, **options)
    with pytest.raises(UserError, match=r"denoiser\.kernel=2"):
        UNet(LAYOUT, 0, kernel=2)
    with pytest.raises(UserError, match=r"denoiser\.span=-1"):
        UNet(LAYOUT, 0, span=-1)
    for attention in ((True,), (False, False)):
        with pytest.raises(UserError, match="for 2 levels"):
            UNet(LAYOUT, 0, channels=(8, 8), attention=attention)


def test_cost_of_the_transformer_grows_linearly_with_frames_but_for_attention():
    """Multiply-adds counted by torch: from 16 to 64 frames at most 4.2 times as many."""
    from torch.utils.flop_counter import FlopCounterMode

    net, costs = NETWORKS["transformer"](), []
    for frames in (16, 32, 64):
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            net(state((frames,)), level([0.5]), told(1))
        costs.append(counter.get_total_flops())
    assert 3.5 < costs[2] / costs[0] < 4.4, costs


def test_a_convolution_along_time_is_one_of_the_real_frames_at_every_place():
    conv, mask = broken(FrameConv(8, 5)), torch.arange(6)[None] < torch.tensor([[6], [4]])
    x = torch.randn(12, 8, 2, 3)
    out = conv(x, None, mask).unflatten(0, (2, 6))
    normed = torch.nn.functional.silu(conv.norm(x)).unflatten(0, (2, 6))
    for item, count in enumerate((6, 4)):
        along = normed[item, :count].permute(2, 3, 1, 0).flatten(0, 1)  # places, channels, frames
        added = torch.nn.functional.conv1d(along, conv.conv.weight[..., 0], conv.conv.bias, padding=2)
        added = added.unflatten(0, (2, 3)).permute(3, 2, 0, 1)
        wanted = x.unflatten(0, (2, 6))[item, :count] + added
        torch.testing.assert_close(out[item, :count], wanted, atol=1e-5, rtol=1e-5)
