"""Convolutional blocks, patches, U-Net and autoencoder halves in one, two and three dimensions."""

from __future__ import annotations

import pytest
import torch
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st

from unnoise import nn as blocks
from unnoise.errors import UserError


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def break_zeros(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return module


def grid(dims, size=6, channels=4, batch=2):
    return torch.randn(batch, channels, *(size + i for i in range(dims)))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3), st.integers(1, 3))
def test_patches_round_trip(axes, channels):
    patch, cells = zip(*axes, strict=True)
    x = torch.arange(2 * channels * torch.tensor([p * c for p, c in axes]).prod().item()).float()
    x = x.reshape(2, channels, *(p * c for p, c in axes))
    assert torch.equal(blocks.unpatchify(blocks.patchify(x, patch), patch, cells), x)
    assert torch.equal(blocks.depth_to_space(blocks.space_to_depth(x, patch), patch), x)


def test_patches_are_laid_out_as_einops_says():
    x = torch.randn(2, 3, 4, 6)
    expected = rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=3)
    assert torch.equal(blocks.patchify(x, (2, 3)), expected)
    assert torch.equal(blocks.space_to_depth(x, (2, 2)), torch.nn.functional.pixel_unshuffle(x, 2))
    volume = torch.randn(2, 3, 4, 6, 2)
    expected = rearrange(volume, "b c (t o) (h p) (w q) -> b (t h w) (c o p q)", o=2, p=3, q=1)
    assert torch.equal(blocks.patchify(volume, (2, 3, 1)), expected)


def test_patches_that_do_not_tile_are_refused():
    with pytest.raises(ValueError, match="do not tile"):
        blocks.patchify(torch.zeros(1, 1, 5, 4), (2, 2))
    with pytest.raises(ValueError, match="does not hold blocks"):
        blocks.depth_to_space(torch.zeros(1, 3, 5, 4), (2, 2))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_residual_block_is_the_identity_before_training_and_then_sees_its_condition(dims):
    block = blocks.ResidualBlock(dims, 4, 4, cond_dim=8)
    x, cond = grid(dims), torch.randn(2, 8)
    torch.testing.assert_close(block(x, cond), x)
    break_zeros(block)
    assert (block(x, cond) - block(x, cond + 1)).abs().max() > 1e-3
    widened = blocks.ResidualBlock(dims, 4, 8, cond_dim=0)
    torch.testing.assert_close(widened(x), widened.skip(x))


def test_residual_block_equals_its_formula():
    block = break_zeros(blocks.ResidualBlock(2, 8, 8, cond_dim=5))
    x, cond = grid(2, channels=8), torch.randn(2, 5)
    silu = torch.nn.functional.silu
    groups = 2  # of four channels

    def norm(h, layer):
        flat = h.reshape(2, groups, -1)
        flat = (flat - flat.mean(-1, keepdim=True)) / (flat.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        return flat.reshape(h.shape) * layer.weight[:, None, None] + layer.bias[:, None, None]

    scale, shift = block.project(silu(cond)).chunk(2, 1)
    h = norm(block.conv_in(silu(norm(x, block.norm_in))), block.norm_out)
    h = h * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
    torch.testing.assert_close(block(x, cond), x + block.conv_out(silu(h)), atol=1e-5, rtol=1e-5)


def test_group_norm_divides_any_number_of_channels():
    for channels in (1, 2, 3, 6, 20, 48, 96, 320):
        layer = blocks.group_norm(channels)
        assert channels % layer.num_groups == 0 and layer.num_groups <= 32


def test_convolutions_have_one_to_three_axes():
    with pytest.raises(ValueError, match="1, 2 or 3 axes, not 4"):
        blocks.conv_nd(4, 1, 1, 3)


def unet(dims, **options):
    options = {"attention": (False, True), "context_dim": 5, "head_dim": 4, **options}
    return blocks.UNet(dims, 3, 2, (8, 12), 1, cond_dim=16, **options)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_unet_takes_any_size_and_is_zero_before_training(dims):
    net = unet(dims)
    x, cond = grid(dims, size=5, channels=3), torch.randn(2, 16)
    out = net(x, cond, torch.randn(2, 4, 5))
    assert out.shape == (2, 2, *x.shape[2:])
    assert (out == 0).all()


def test_unet_sees_everything_it_is_told_and_uses_every_parameter():
    net = break_zeros(unet(2))
    x, cond, context = grid(2, 7, 3), torch.randn(2, 16), torch.randn(2, 4, 5)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    out = net(x, cond, context, mask)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())
    for change in ({"x": x + 1}, {"cond": cond + 1}, {"context": context + 1}):
        told = {"x": x, "cond": cond, "context": context, **change}
        assert (net(**told, context_mask=mask) - out).abs().max() > 1e-4, f"blind to {set(change)}"
    other = context.clone()
    other[1, 2:] += 9
    torch.testing.assert_close(net(x, cond, other, mask), out)


def test_unet_adds_residuals_to_its_skips_and_its_middle():
    net = break_zeros(unet(2))
    x, cond = grid(2, 6, 3), torch.randn(2, 16)
    assert net.skips == 4  # the first convolution, a block, a step down, a block
    shapes = [(8, 6, 7), (8, 6, 7), (12, 3, 4), (12, 3, 4), (12, 3, 4)]
    zero = [torch.zeros(2, *shape) for shape in shapes]
    out = net(x, cond)
    torch.testing.assert_close(net(x, cond, residuals=zero), out)
    for i, shape in enumerate(shapes):
        changed = [*zero[:i], torch.randn(2, *shape), *zero[i + 1 :]]
        assert (net(x, cond, residuals=changed) - out).abs().max() > 1e-4, f"residual {i} has no effect"
    with pytest.raises(ValueError, match="takes 5 residuals, not 4"):
        net(x, cond, residuals=zero[:4])


def test_unet_takes_widths_that_its_head_size_does_not_divide():
    """14 channels and heads of at least 4: two heads of 7, as three would not divide."""
    net = blocks.UNet(1, 1, 1, (14,), 1, (True,), cond_dim=4, head_dim=4)
    assert net.middle[0].attention.block.attention.heads == 2


def test_unet_needs_one_attention_entry_per_level():
    with pytest.raises(UserError, match="1 entries for 2 levels"):
        unet(2, attention=(True,))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_autoencoder_halves_mirror_each_other(dims):
    sizes = tuple(8 * (i + 1) for i in range(dims))
    encoder = blocks.Encoder(dims, 3, 6, (8, 12), 1, stem=2)
    decoder = blocks.Decoder(dims, 6, 3, (8, 12), 1, stem=2)
    x = torch.randn(2, 3, *sizes)
    z = encoder(x)
    assert z.shape == (2, 6, *(size // 4 for size in sizes))
    assert decoder(z).shape == x.shape


def test_a_mixer_lets_items_of_a_batch_see_each_other():
    class Mean(torch.nn.Module):
        """Adds to every item the mean of those that belong together."""

        def forward(self, x, cond, together):
            groups = x.unflatten(0, together.shape)
            return (groups + groups.mean(1, keepdim=True)).flatten(0, 1)

    asked = []

    def mixer(width, attends):
        asked.append((width, attends))
        return Mean() if attends else None

    net = blocks.UNet(2, 1, 1, (8, 12), 1, (False, True), cond_dim=4, head_dim=4, mixer=mixer)
    down, middle, up = [(8, False), (12, True)], [(12, True), (12, False)], [(12, True)] * 2 + [(8, False)] * 2
    assert asked == down + middle + up
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, cond, together = torch.randn(6, 1, 4, 4), torch.randn(6, 4), torch.ones(2, 3, dtype=torch.bool)
    out = net(x, cond, together=together)
    other = x.clone()
    other[0] += 1
    changed = (net(other, cond, together=together) - out).abs().amax((1, 2, 3))
    assert (changed[:3] > 1e-4).all() and not changed[3:].any()
