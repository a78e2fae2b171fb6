"""Clouds to test with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unnoise_points.cloud import Cloud


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def clouds():
    """``clouds(n, points)``: boxes of different sides, sampled within; with ``rich`` also normals and colours."""

    def make(n=4, points=30, rich=False, seed=0, up="y"):
        rng, made = np.random.default_rng(seed), []
        for _ in range(n):
            xyz = (rng.uniform(-1, 1, (points, 3)) * rng.uniform(0.3, 2, 3) + [0.5, 1, 0]).astype(np.float32)
            normals = rng.standard_normal((points, 3)).astype(np.float32)
            normals /= np.linalg.norm(normals, axis=1, keepdims=True)
            colours = rng.integers(0, 256, (points, 3), dtype=np.uint8)
            made.append(Cloud(xyz, normals, colours, up) if rich else Cloud(xyz, up=up))
        return made

    return make
