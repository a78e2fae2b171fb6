"""Clips to test with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unnoise_video.clip import Clip


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def clips():
    """``clips(n, frames, side, channels, fps)``: a bright block that moves over a random picture."""

    def make(n=4, frames=5, side=8, channels=1, fps=8.0, seed=0):
        rng = np.random.default_rng(seed)
        made = []
        for i in range(n):
            whole = np.repeat(rng.integers(0, 100, (1, side, side, channels), dtype=np.uint8), frames, 0)
            for t in range(frames):
                at = (i + t) % (side - 2)
                whole[t, at : at + 2, at : at + 2] = 255 - 20 * i
            made.append(Clip(whole, fps))
        return made

    return make
