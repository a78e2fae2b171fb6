"""Sounds to test with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unnoise_audio.sound import Sound

RATE = 8000


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def sine():
    """``sine(hertz, seconds, amplitude, rate, channels)``."""

    def make(hertz=440.0, seconds=0.3, amplitude=0.5, rate=RATE, channels=1):
        time = np.arange(round(seconds * rate)) / rate
        wave = amplitude * np.sin(2 * np.pi * hertz * time)
        return Sound(np.tile(wave.astype(np.float32), (channels, 1)), rate)

    return make


@pytest.fixture
def sounds():
    """``sounds(n, channels, seed)``: noise through a random filter, of different lengths and levels."""

    def make(n=6, channels=1, seed=0, shortest=900, longest=2500):
        rng = np.random.default_rng(seed)
        items = []
        for _ in range(n):
            length, level = int(rng.integers(shortest, longest)), 10 ** rng.uniform(-2, -0.5)
            wave = rng.standard_normal((channels, length))
            wave = np.stack([np.convolve(row, rng.standard_normal(8) / 4, "same") for row in wave])
            items.append(Sound((level * wave / np.abs(wave).max()).astype(np.float32), RATE))
        return items

    return make
