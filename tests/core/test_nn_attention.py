"""Attention, adaptive normalisation, embeddings and transformers against plain formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unnoise import nn as blocks
from unnoise.nn.adaln import make_norm
from unnoise.nn.attention import Attention, attend, head_count, rotary_angles, rotate


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def break_zeros(module):
    """Give every parameter a value, as training would: zero-initialised branches would hide mistakes."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return module


def plain_attention(layer, x, context, allowed, bias=None):
    """Attention by the definition, a head and a query at a time, in numpy."""
    x, context = x.detach().double().numpy(), context.detach().double().numpy()
    weight = {name: value.detach().double().numpy() for name, value in layer.named_parameters()}
    dim = layer.out.in_features
    size = dim // layer.heads

    def rms(v, scale):
        return v / np.sqrt((v**2).mean() + 1e-6) * scale

    q = x @ weight["query.weight"].T + weight["query.bias"]
    kv = context @ weight["key_value.weight"].T + weight["key_value.bias"]
    out = np.zeros((*x.shape[:2], dim))
    for b in range(x.shape[0]):
        for h in range(layer.heads):
            part = slice(h * size, (h + 1) * size)
            for i in range(x.shape[1]):
                keys = [j for j in range(context.shape[1]) if allowed[b, i, j]]
                if not keys:
                    continue
                query = rms(q[b, i, part], weight["query_norm.weight"])
                logits = np.array(
                    [query @ rms(kv[b, j, :dim][part], weight["key_norm.weight"]) / math.sqrt(size) for j in keys]
                )
                if bias is not None:
                    logits += np.array([float(bias[b, h, i, j]) for j in keys])
                share = np.exp(logits - logits.max())
                share /= share.sum()
                out[b, i, part] = sum(s * kv[b, j, dim:][part] for s, j in zip(share, keys, strict=True))
    return out @ weight["out.weight"].T + weight["out.bias"]


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("per_query", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_attention_equals_its_definition(cross, per_query, with_bias):
    layer = break_zeros(Attention(8, 2, 5 if cross else None))
    x = torch.randn(2, 3, 8)
    context = torch.randn(2, 4, 5) if cross else None
    keys = context if context is not None else x
    m = keys.shape[1]
    mask = torch.rand(2, 3, m) < 0.6 if per_query else torch.rand(2, m) < 0.6
    mask[0] = False  # nothing to look at: the output's bias alone
    bias = torch.randn(2, 2, 3, m) if with_bias else None
    allowed = mask if per_query else mask[:, None].expand(2, 3, m)
    expected = plain_attention(layer, x, keys, allowed, bias)
    np.testing.assert_allclose(layer(x, context, mask, bias).detach().numpy(), expected, atol=2e-6)


def test_attention_in_bfloat16_on_a_cpu_computes_its_logits_in_float32():
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 9, 8, generator=generator).bfloat16()
    bias = torch.randn(9, 9, generator=generator).bfloat16()
    weights = (query.float() @ key.float().transpose(-1, -2) * 8**-0.5 + bias.float()).softmax(-1)
    with torch.autocast("cpu", torch.bfloat16):
        got = attend(query, key, value, bias)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, (weights @ value.float()).bfloat16())


def test_attention_refuses_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="3 attention heads do not divide a width of 8"):
        Attention(8, 3)


def test_rotary_turns_pairs_by_position_times_frequency():
    positions = torch.tensor([[0.0], [1.0], [2.5]])
    angles = rotary_angles(positions, 8, base=100.0)
    expected = positions.numpy() * 100.0 ** -(np.arange(4) / 4)
    np.testing.assert_allclose(angles.numpy(), expected, rtol=1e-6)
    x = torch.randn(1, 1, 3, 8)
    turned = rotate(x, angles).numpy()
    as_complex = (x[..., :4].numpy() + 1j * x[..., 4:].numpy()) * np.exp(1j * angles.numpy())
    np.testing.assert_allclose(turned, np.concatenate([as_complex.real, as_complex.imag], -1), atol=1e-6)


def test_rotary_logits_depend_on_differences_alone():
    """Moving all positions, on both axes, changes no product of a query and a key."""
    positions = blocks.grid_positions((3, 4))
    q, k = torch.randn(1, 2, 12, 16), torch.randn(1, 2, 12, 16)

    def logits(moved):
        angles = rotary_angles(positions + moved, 16)
        return rotate(q, angles) @ rotate(k, angles).transpose(-1, -2)

    torch.testing.assert_close(logits(torch.zeros(2)), logits(torch.tensor([5.0, -3.0])), atol=2e-5, rtol=0)
    assert not torch.allclose(logits(torch.zeros(2)), q @ k.transpose(-1, -2), atol=1e-2)


def test_sinusoids_are_the_formula():
    x = torch.tensor([0.3, -2.0])
    w = np.geomspace(0.5, 8.0, 3)
    expected = np.concatenate([np.cos(x.numpy()[:, None] * w), np.sin(x.numpy()[:, None] * w)], 1)
    np.testing.assert_allclose(blocks.sinusoids(x, 6, 0.5, 8.0).numpy(), expected, atol=1e-6)
    with pytest.raises(ValueError, match="even"):
        blocks.sinusoids(x, 5, 0.5, 8.0)


def test_position_embedding_is_distinct_and_pads_what_does_not_divide():
    embedded = blocks.position_embedding(blocks.grid_positions((5, 7, 3)), 32)
    assert embedded.shape == (105, 32)
    assert torch.cdist(embedded, embedded).fill_diagonal_(9).min() > 0.1
    assert (embedded[:, 30:] == 0).all()  # 3 axes of 10


def test_grid_positions_are_row_major():
    assert blocks.grid_positions((2, 3)).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


def test_adaln_is_norm_then_scale_and_shift_per_item_or_element():
    layer = blocks.AdaLN(6, 4)
    x, cond = torch.randn(2, 3, 6), torch.randn(2, 4)
    plain = torch.nn.functional.layer_norm(x, (6,), eps=1e-6)
    h, gate = layer(x, cond)
    torch.testing.assert_close(h, plain)
    assert (gate == 0).all()
    break_zeros(layer)
    shift, scale, expected_gate = layer.project(torch.nn.functional.silu(cond)).chunk(3, -1)
    h, gate = layer(x, cond)
    torch.testing.assert_close(h, plain * (1 + scale[:, None]) + shift[:, None])
    torch.testing.assert_close(gate, expected_gate[:, None])
    repeated, _ = layer(x, cond[:, None].expand(2, 3, 4))
    torch.testing.assert_close(repeated, h)


def test_norms_have_their_moments():
    x = 3 + 2 * torch.randn(4, 50)
    torch.testing.assert_close(blocks.make_norm("rms", 50)(x).square().mean(-1), torch.ones(4))
    assert blocks.make_norm("layer", 50)(x).mean(-1).abs().max() < 1e-6
    with pytest.raises(ValueError, match="'layer' or 'rms'"):
        blocks.make_norm("batch", 50)


def transformer(**options):
    return blocks.Transformer(16, 2, 4, 8, context_dim=6, **options)


@pytest.mark.filterwarnings("error")
def test_rms_norm_takes_bfloat16_with_a_gain_in_float32():
    norm, x = make_norm("rms", 6), torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    torch.nn.init.constant_(norm.weight, 3.0)
    expected = 3 * x.float() * (x.float().square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    assert norm(x).dtype == torch.bfloat16
    torch.testing.assert_close(norm(x).float(), expected, rtol=1e-2, atol=0)


def test_transformer_is_the_identity_before_training():
    net = transformer()
    x = torch.randn(2, 5, 16)
    torch.testing.assert_close(net(x, torch.randn(2, 8), context=torch.randn(2, 3, 6)), x)


def test_transformer_padding_changes_nothing():
    """Padded tokens and padded context, whatever they hold, change no real token."""
    net = break_zeros(transformer())
    x, cond, context = torch.randn(2, 5, 16), torch.randn(2, 8), torch.randn(2, 3, 6)
    bias = torch.randn(2, 4, 5, 5)
    short = net(x, cond, torch.ones(2, 5, dtype=torch.bool), context, torch.ones(2, 3, dtype=torch.bool), bias)
    mask, context_mask = torch.arange(9).expand(2, 9) < 5, torch.arange(7).expand(2, 7) < 3
    wide = torch.cat([x, torch.randn(2, 4, 16)], 1)
    wide_bias = torch.randn(2, 4, 9, 9)
    wide_bias[:, :, :5, :5] = bias
    long = net(wide, cond, mask, torch.cat([context, torch.randn(2, 4, 6)], 1), context_mask, wide_bias)
    torch.testing.assert_close(long[:, :5], short, atol=1e-5, rtol=1e-5)


def test_transformer_is_equivariant_without_positions_and_not_with_them():
    net = break_zeros(transformer())
    x, cond = torch.randn(2, 5, 16), torch.randn(2, 8)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(net(x[:, order], cond), net(x, cond)[:, order], atol=1e-5, rtol=1e-5)
    angles = rotary_angles(blocks.grid_positions((5,)), 4)
    assert (net(x[:, order], cond, angles=angles) - net(x, cond, angles=angles)[:, order]).abs().max() > 1e-3


def test_transformer_sees_condition_context_and_per_element_condition():
    net = break_zeros(transformer(norm="rms"))
    x, cond, context = torch.randn(1, 5, 16), torch.randn(1, 8), torch.randn(1, 3, 6)
    out = net(x, cond, context=context)
    assert (net(x, cond + 1, context=context) - out).abs().max() > 1e-2
    assert (net(x, cond, context=context + 1) - out).abs().max() > 1e-2
    torch.testing.assert_close(net(x, cond[:, None].expand(1, 5, 8), context=context), out, atol=1e-5, rtol=1e-5)


def test_transformer_adds_residuals_after_its_blocks():
    net = transformer()  # the identity, so what is added shows unchanged
    x, extra = torch.randn(1, 5, 16), [torch.randn(1, 5, 16) for _ in range(2)]
    torch.testing.assert_close(net(x, torch.randn(1, 8), residuals=extra), x + extra[0] + extra[1])
    with pytest.raises(ValueError, match="3 residuals for 2 transformer blocks"):
        net(x, torch.randn(1, 8), residuals=[*extra, extra[0]])


def test_level_embedding_tells_levels_apart_smoothly_and_takes_a_condition():
    layer = blocks.LevelEmbedding(32, 4)
    c = torch.linspace(-2, 2, 41)
    embedded = layer(c, torch.zeros(41, 4))
    assert torch.cdist(embedded, embedded).fill_diagonal_(9).min() > 1e-3
    assert (layer(c, torch.ones(41, 4)) - embedded).abs().max() > 1e-2
    context = torch.randn(41, 4)
    torch.testing.assert_close(layer(c[:, None].expand(41, 3), context)[:, 1], layer(c, context))


def test_residual_mlp_is_zero_before_training_and_sees_its_condition():
    net = blocks.ResidualMLP(3, 2, 16, 2, 8)
    x, cond = torch.randn(4, 5, 3), torch.randn(4, 8)
    assert (net(x, cond) == 0).all()
    break_zeros(net)
    assert net(x, cond).shape == (4, 5, 2)
    assert (net(x, cond) - net(x, cond + 1)).abs().max() > 1e-2
    torch.testing.assert_close(net(x[:, 2], cond), net(x, cond)[:, 2], atol=1e-5, rtol=1e-5)


def test_there_are_as_many_heads_as_divide_the_channels():
    assert [head_count(n, 32) for n in (16, 32, 48, 64, 96, 112, 250)] == [1, 1, 1, 2, 3, 2, 5]
