"""Convolutional blocks over masked axes: padding changes nothing, and a full mask is no mask."""

from __future__ import annotations

import pytest
import torch

from unnoise import nn as blocks
from unnoise.nn.conv import coarser, keep


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def broken(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return module


def rows(counts, size):
    return torch.arange(size) < torch.tensor(counts)[:, None]


def test_group_norm_sees_real_elements_only():
    norm, mask = broken(blocks.group_norm(8)), rows([5, 3], 7)[..., None]
    x = torch.randn(2, 8, 7, 4)
    for item, count in enumerate((5, 3)):
        alone = torch.nn.functional.group_norm(
            x[item : item + 1, :, :count], norm.num_groups, norm.weight, norm.bias, norm.eps
        )
        torch.testing.assert_close(norm(x, mask)[item, :, :count], alone[0], atol=1e-5, rtol=1e-5)


def test_masks_of_blocks():
    mask = rows([5, 2], 6)
    assert coarser(mask).tolist() == [[True, True, True], [True, False, False]]
    assert coarser(mask[..., None]).shape == (2, 3, 1) and coarser(None) is None
    assert not keep(torch.ones(2, 3, 6), mask)[1, :, 2:].any()


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("attention", [(False, False), (False, True)])
def test_padding_changes_nothing_in_a_unet(dims, attention):
    net = broken(blocks.UNet(dims, 3, 2, (8, 12), 1, attention, cond_dim=4, head_dim=4))
    across = (5,) * (dims - 1)
    counts = [13, 6, 7, 5, 1]  # blocks of two that are whole, and ones that are half padding
    x, cond = torch.randn(5, 3, 13, *across), torch.randn(5, 4)
    mask = rows(counts, 13).reshape(5, 13, *(1 for _ in across))
    out = net(x, cond, mask=mask)
    junk = torch.where(mask[:, None], x, 99.0)
    assert torch.equal(net(junk, cond, mask=mask), out)
    for item, count in enumerate(counts):
        alone = net(x[item : item + 1, :, :count], cond[item : item + 1])
        torch.testing.assert_close(out[item, :, :count], alone[0], atol=1e-4, rtol=1e-4)
        assert not out[item, :, count:].any()
    torch.testing.assert_close(net(x, cond, mask=torch.ones_like(mask)), net(x, cond), atol=1e-4, rtol=1e-4)


def test_padding_changes_nothing_in_an_autoencoder():
    encoder = broken(blocks.Encoder(1, 3, 2, (8, 8), 1, stem=2))
    decoder = broken(blocks.Decoder(1, 2, 3, (8, 8), 1, stem=2))
    x, counts = torch.randn(3, 3, 16), [16, 8, 4]
    mask = rows(counts, 16)
    z = encoder(x, mask)
    back = decoder(z, mask)
    for item, count in enumerate(counts):
        alone = encoder(x[item : item + 1, :, :count])
        torch.testing.assert_close(z[item, :, : count // 4], alone[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(back[item, :, :count], decoder(alone)[0], atol=1e-4, rtol=1e-4)
        assert not back[item, :, count:].any()
