"""Muon against the singular value decomposition and against torch's own."""

import pytest
import torch

from unnoise.training.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 5, 20), (1, 20, 5), (3, 6, 4)])
def test_orthogonalise_keeps_the_singular_vectors_and_levels_the_values(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(x, full_matrices=False)
    # In the basis of its own singular vectors the result is diagonal, with values near 1.
    core = u.mT @ orthogonalise(x, dtype=torch.float32) @ vh.mT
    values = core.diagonal(dim1=-2, dim2=-1)
    assert (core - torch.diag_embed(values)).abs().max() < 1e-4
    assert values.min() > 0.6 and values.max() < 1.3


@pytest.mark.parametrize("shape", [(2, 64, 64), (2, 32, 96), (2, 96, 32)])
def test_bfloat16_is_enough_for_a_direction(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    exact, rounded = (orthogonalise(x, dtype=dtype) for dtype in (torch.float64, torch.bfloat16))
    assert rounded.dtype == exact.dtype == x.dtype
    assert (rounded - exact).norm() < 0.03 * exact.norm()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has it since 2.9")
def test_steps_agree_with_torch_up_to_bfloat16():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, 48).reshape(6, 8)) for _ in range(2))
    a = Muon([ours], lr=0.02, weight_decay=0.1)
    b = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    start = ours.detach().clone()
    for _ in range(5):
        gradient = torch.randn(6, 8)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        a.step()
        b.step()
    assert (ours - theirs).norm() < 0.03 * (ours - start).norm()


def test_a_kernel_is_a_matrix_of_a_row_per_output_channel():
    torch.manual_seed(0)
    kernel, matrix = (torch.nn.Parameter(torch.linspace(-1, 1, 72).reshape(shape)) for shape in ((6, 4, 3), (6, 12)))
    optimizer = Muon([kernel, matrix], lr=0.02, weight_decay=0.1)
    for _ in range(3):
        gradient = torch.randn(6, 12)
        kernel.grad, matrix.grad = gradient.reshape(6, 4, 3), gradient.clone()
        optimizer.step()
    torch.testing.assert_close(kernel.detach().flatten(1), matrix.detach(), rtol=0, atol=1e-7)


def test_single_vectors_are_refused():
    with pytest.raises(ValueError, match="matrices"):
        Muon([torch.nn.Parameter(torch.zeros(3))])
