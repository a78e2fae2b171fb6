"""A map of points, and a network that can be told it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from unnoise.contracts import MapMaker, MapShape, Network, Place
from unnoise.layout import Layout
from unnoise.nn import JoinMaps, first_blocks


class Quadrant(MapMaker):
    """Two by two cells, ``high`` in the one where a point lies and 0 elsewhere."""

    def __init__(self, high: float = 1.0) -> None:
        self.high = high

    def __call__(self, items):
        points = np.stack(list(items))
        made = np.zeros((len(points), 2, 2, 1), np.float32)
        made[np.arange(len(points)), (points[:, 1] > 0).astype(int), (points[:, 0] > 0).astype(int)] = self.high
        return made

    def read(self, path):
        return np.loadtxt(path, dtype=np.float32, ndmin=2)[None, ..., None]

    def agreement(self, wanted, items, train, cache=None):
        return (self(items) * wanted).sum((1, 2, 3)) / self.high**2


class Ladder(Network):
    """Residual blocks over coordinates, noise level, context and maps."""

    def __init__(
        self, layout: Layout, context_dim: int, width: int = 32, depth: int = 3, maps: Sequence[MapShape] = ()
    ) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(3 + context_dim, width)
        self.maps = JoinMaps(maps, width, (1, 1), width=8) if maps else None
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(depth)
        )
        self.out = nn.Linear(width, 2)

    def forward(self, x, level, context, previous=None, residuals=None):
        return {"x": self.out(self.features(x, level, context, residuals=residuals)[-1])}

    def features(self, x, level, context, previous=None, residuals=()):
        inputs = [x.parts["x"], level.c_noise["x"][:, None]]
        has_vector = context is not None and context.vector.shape[1]
        h = self.embed(torch.cat([*inputs, context.vector] if has_vector else inputs, 1))
        if self.maps is not None:
            h = h + self.maps(context.maps).flatten(1)
        made = []
        for i, block in enumerate(self.blocks):
            h = h + block(h)
            if residuals and i < len(residuals):
                h = h + residuals[i]
            made.append(h)
        return made

    def cut(self, blocks=None):
        del self.out
        self.blocks = first_blocks(self.blocks, blocks)
        return [Place(self.width, -1) for _ in self.blocks]
