"""Maps and control of the denoisers of clips."""

import pytest
import torch

from unnoise.conditions import Conditions, MapCondition
from unnoise.contracts import Context, MapShape
from unnoise.control import Control
from unnoise.layout import Layout, Part
from unnoise.level import Level
from unnoise.state import State
from unnoise_video.networks import SpaceTimeTransformer
from unnoise_video.stacked import StackedUNet
from unnoise_video.unet import UNet

LAYOUT = Layout((Part("pixels", "gaussian", ("frames", 1, 8, 8)),))
NETWORKS = {
    "transformer": lambda **o: SpaceTimeTransformer(LAYOUT, 6, width=16, depth=4, head_dim=8, patch=4, **o),
    "unet": lambda **o: UNet(LAYOUT, 6, channels=(8, 12), head_dim=4, cond_dim=16, patch=2, **o),
    "stacked": lambda **o: StackedUNet(
        LAYOUT, 6, frames=6, own=4, channels=(8, 12), head_dim=4, cond_dim=16, patch=1, **o
    ),
}
COUNTS = torch.tensor([5, 3])


def noised():
    x = State.zeros(LAYOUT, 2, {"frames": COUNTS})
    at = {"pixels": torch.tensor([0.3, 0.6])}
    return x.replace({"pixels": torch.randn_like(x.parts["pixels"])}).project(), Level(at, at, at)


def random(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return module.eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_moving_map_is_seen_in_its_frame_and_padding_changes_nothing(name):
    net = random(NETWORKS[name](maps=[MapShape((5, 8, 8), 2), MapShape((4,), 3)]))
    x, level = noised()
    maps = (torch.rand(2, 5, 8, 8, 2), torch.rand(2, 4, 3))

    def out(x, maps):
        return net(x, level, Context(torch.zeros(2, 6), maps=maps))["pixels"]

    plain, longer = out(x, maps), out(x.resize({"frames": 9}), maps)
    for i, count in enumerate(COUNTS.tolist()):
        torch.testing.assert_close(longer[i, :count], plain[i, :count], atol=1e-4, rtol=1e-4)
    moved = maps[0].clone()
    moved[:, 1, :4, :4] += 3
    change = (out(x, (moved, maps[1])) - plain)[0].abs().mean((1, 2, 3))
    assert int(change.argmax()) == 1  # of five frames under five points
    assert not torch.equal(out(x, (maps[0], maps[1] + 1)), plain)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_control_of_a_clip_starts_as_nothing_and_acts_at_every_place(name):
    base = random(NETWORKS[name]())
    condition = MapCondition("m", 6, points=(5, 8, 8), channels=1, mean=0.0, std=1.0)
    control = Control(NETWORKS[name](maps=[condition.map_shape]), condition)
    control.begin(base)
    control.eval().requires_grad_(False)
    x, level = noised()
    context = Conditions([MapCondition("c", 6, points=(2, 2), channels=1, mean=0.0, std=1.0)], 6)(None, 2)
    context = Context(context.vector)
    raw = torch.rand(2, 5, 8, 8, 1)
    plain = base(x, level, context)["pixels"]
    assert torch.equal(base(x, level, context, None, control(x, level, context, None, raw))["pixels"], plain)
    features = control.network.features(x, level, Context(context.vector, maps=(torch.zeros(2, 5, 8, 8, 2),)))
    for own, whole in zip(features, base.features(x, level, context), strict=False):
        torch.testing.assert_close(own, whole)  # the copy is a copy
    for out in control.outs:
        torch.nn.init.normal_(out.weight, std=0.5)
        moved = base(x, level, context, None, control(x, level, context, None, raw))["pixels"]
        assert not torch.equal(moved, plain)
        torch.nn.init.zeros_(out.weight)
    random(control)
    padded = x.resize({"frames": 8})
    short, longer = (
        base(s, level, context, None, control(s, level, context, None, raw))["pixels"] for s in (x, padded)
    )
    for i, count in enumerate(COUNTS.tolist()):
        torch.testing.assert_close(longer[i, :count], short[i, :count], atol=1e-3, rtol=1e-3)
