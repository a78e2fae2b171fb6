"""The denoisers: what they see, what they refuse, how far they scale."""

from __future__ import annotations

from importlib.resources import files

import pytest
import torch
import yaml

from unnoise.contracts import Context
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.level import Level
from unnoise.plugins import get_registry
from unnoise.state import State
from unnoise_image import conf
from unnoise_image.networks import DiT, UNet

LAYOUT = Layout.tensor(3, 8, 12, name="pixels")
SMALL = {
    UNet: {"channels": [8, 12], "attention": [False, True], "head_dim": 4, "cond_dim": 16},
    DiT: {"width": 16, "depth": 2, "head_dim": 8},
}
both = pytest.mark.parametrize("network", [UNet, DiT])


def level(c_noise):
    return Level({"pixels": c_noise}, {"pixels": c_noise}, {"pixels": c_noise})


def trained(network, context_dim=6, cross_attention=True, **options):
    """A small network with its zero-initialised parts broken, as training does."""
    net = network(LAYOUT, context_dim, cross_attention=cross_attention, **SMALL[network], **options)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net


def told():
    tokens = torch.randn(2, 3, 6)
    return State.of(torch.randn(2, 3, 8, 12), "pixels"), torch.tensor([0.3, -1.0]), torch.randn(2, 6), tokens


@both
@pytest.mark.parametrize("patch", [1, 2])
def test_output_has_the_shape_of_the_part_and_is_zero_before_training(network, patch):
    net = network(LAYOUT, 0, **SMALL[network], patch=patch)
    out = net(told()[0], level(torch.zeros(2)), None)["pixels"]
    assert out.shape == (2, 3, 8, 12)
    assert (out == 0).all()


@both
def test_every_input_matters(network):
    net = trained(network)
    x, c_noise, vector, tokens = told()
    out = net(x, level(c_noise), Context(vector, tokens))["pixels"]

    def moved(x=x, c_noise=c_noise, vector=vector, tokens=tokens, mask=None):
        changed = net(x, level(c_noise), Context(vector, tokens, mask))["pixels"]
        return (changed - out).abs().max().item()

    assert moved() == 0
    assert moved(x=x.map(lambda part, value: value + 1)) > 1e-3
    assert moved(c_noise=c_noise + 0.5) > 1e-4
    assert moved(vector=vector + 1) > 1e-4
    assert moved(tokens=tokens + 1) > 1e-5
    assert moved(mask=torch.tensor([[True, False, True]] * 2)) > 1e-6


@both
def test_masked_tokens_change_nothing(network):
    net = trained(network)
    x, c_noise, vector, tokens = told()
    mask = torch.tensor([[True, True, True, False], [True, True, True, False]])
    padded = torch.cat([tokens, torch.randn(2, 1, 6)], 1)
    alone = net(x, level(c_noise), Context(vector, tokens))["pixels"]
    torch.testing.assert_close(net(x, level(c_noise), Context(vector, padded, mask))["pixels"], alone)


@both
def test_a_picture_does_not_see_its_neighbours_in_the_batch(network):
    net = trained(network)
    x, c_noise, vector, tokens = told()
    out = net(x, level(c_noise), Context(vector, tokens))["pixels"]
    alone = net(x[1:], level(c_noise[1:]), Context(vector[1:], tokens[1:]))["pixels"]
    torch.testing.assert_close(alone, out[1:], atol=1e-5, rtol=1e-5)


def test_residuals_are_added_where_they_are_said_to_be():
    x, c_noise, *_ = told()
    unet = trained(UNet, 0, False)
    out = unet(x, level(c_noise), None)["pixels"]
    shapes = [(8, 8, 12), (8, 8, 12), (12, 4, 6), (12, 4, 6), (12, 4, 6)]
    for i in range(5):
        residuals = [torch.randn(2, *shape) * (i == j) for j, shape in enumerate(shapes)]
        assert (unet(x, level(c_noise), None, residuals=residuals)["pixels"] - out).abs().max() > 1e-4
    dit = trained(DiT, 0, False)
    out = dit(x, level(c_noise), None)["pixels"]
    # Before the last norm nothing else follows: an offset along all features is taken out again by the norm.
    last = [torch.zeros(2, 24, 16), torch.full((2, 24, 16), 3.0)]
    torch.testing.assert_close(dit(x, level(c_noise), None, residuals=last)["pixels"], out, atol=1e-4, rtol=1e-4)
    first = [torch.randn(2, 24, 16)]
    assert (dit(x, level(c_noise), None, residuals=first)["pixels"] - out).abs().max() > 1e-3
    with pytest.raises(ValueError, match="3 residuals for 2"):
        dit(x, level(c_noise), None, residuals=[*last, last[0]])


@both
def test_positions_matter(network):
    """Two pixels exchanged in the input do not merely change places in the output."""
    net = trained(network, 0, False)
    x, c_noise, *_ = told()
    out = net(x, level(c_noise), None)["pixels"]
    turned = net(x.map(lambda part, value: value.flip(3)), level(c_noise), None)["pixels"]
    assert (turned.flip(3) - out).abs().max() > 1e-3


@both
@pytest.mark.parametrize(
    ("layout", "context_dim", "options", "message"),
    [
        (LAYOUT, 0, {"patch": 8}, "patch=8 does not divide 8x12"),
        (LAYOUT, 0, {"cross_attention": True}, "no condition"),
        (Layout.tensor(5), 0, {}, r"one gaussian part \(channels, height, width\)"),
        (Layout((Part("a", "categorical", (3, 8, 8), classes=2),)), 0, {}, "one gaussian part"),
        (Layout((*LAYOUT.parts, Part("b", "gaussian", (1, 2, 2)))), 0, {}, "not pixels, b"),
    ],
)
def test_what_cannot_be_built_is_refused(network, layout, context_dim, options, message):
    with pytest.raises(UserError, match=message):
        network(layout, context_dim, **{**SMALL[network], **options})


def test_contradicting_options_are_refused():
    with pytest.raises(UserError, match="1 entries for 2 levels"):
        UNet(LAYOUT, 0, channels=[8, 8], attention=[True])
    with pytest.raises(UserError, match="no level attends"):
        UNet(LAYOUT, 4, channels=[8], attention=[False], cross_attention=True)
    with pytest.raises(UserError, match="does not divide"):
        DiT(LAYOUT, 0, width=16, head_dim=5)


@both
def test_tokens_that_nobody_reads_and_levels_within_a_picture_are_refused(network):
    net = trained(network, 6, False)
    x, c_noise, vector, tokens = told()
    with pytest.raises(UserError, match="cross_attention=true"):
        net(x, level(c_noise), Context(vector, tokens))
    with pytest.raises(UserError, match="one noise level per picture"):
        net(x, level(torch.zeros(2, 3)), Context(vector))


def built(config, layout):
    """A network of a packaged config, without memory for its weights."""
    node = yaml.safe_load((files(conf) / f"denoiser/image/{config}.yaml").read_text(encoding="utf-8"))
    with torch.device("meta"):
        return get_registry().build("denoiser", node, "image", layout=layout, context_dim=128)


@pytest.mark.parametrize(
    ("config", "layout", "low", "high"),
    [
        ("unet", Layout.tensor(1, 8, 8), 0.9e6, 1.3e6),
        ("dit", Layout.tensor(1, 8, 8), 3e6, 5e6),
        ("unet_large", Layout.tensor(4, 32, 32), 3e8, 9e8),
        ("dit_xl", Layout.tensor(4, 32, 32), 6.7e8, 6.8e8),  # 675 M in Peebles & Xie 2023, table 1
    ],
)
def test_configs_scale_from_a_million_to_hundreds_of_millions(config, layout, low, high):
    count = sum(parameter.numel() for parameter in built(config, layout).parameters())
    assert low < count < high, f"{count / 1e6:.1f} M parameters"
