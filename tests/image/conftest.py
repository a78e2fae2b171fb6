"""Pictures to test with."""

from __future__ import annotations

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def pictures():
    """``pictures(n, height, width, channels)``: random blocks, with one black and one white picture."""

    def make(n=6, height=8, width=12, channels=3, seed=0):
        rng = np.random.default_rng(seed)
        coarse = rng.random((n, -(-height // 4), -(-width // 4), channels))
        items = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width] * 255
        items[0], items[1] = 0, 255
        return list(items.round().astype(np.uint8))

    return make
