"""Everything the toy plugin registers."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import nn

from unnoise.contracts import Dataset, Kept, Labels, Metric, Network, Representation, Score
from unnoise.layout import Layout
from unnoise.masks import parse_mask
from unnoise.state import State


def read_points(path):
    """Points of a text file, ``x y`` a line."""
    return list(np.loadtxt(path, ndmin=2).astype(np.float32))


class Ring(Dataset):
    """``n`` points at distance ``radius``; the class is the half-plane."""

    def __init__(self, split: str, seed: int = 0, n: int = 200, radius: float = 2.0) -> None:
        rng = np.random.default_rng([seed, split == "test"])
        angle = rng.uniform(0, 2 * np.pi, n)
        self.points = (radius * np.stack([np.cos(angle), np.sin(angle)], 1)).astype(np.float32)

    def __len__(self):
        return len(self.points)

    def __getitem__(self, index):
        return self.points[index]

    def columns(self):
        return {"class": Labels((self.points[:, 1] > 0).astype(np.int64), ("lower", "upper"))}


class Plane(Representation):
    """Points divided by their standard deviation."""

    layout = Layout.tensor(2)
    example_mask = "x"

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))

    def fit(self, items):
        self.scale.fill_(float(np.std(np.stack(list(items)))))

    def settings(self):
        return {}

    def restore(self, settings):
        pass

    def encode(self, items):
        return State(self.layout, {"x": torch.from_numpy(np.stack(list(items))) / self.scale})

    def decode(self, state):
        return list((state.parts["x"] * self.scale).cpu().numpy())

    def kept(self, items, mask):
        word, _ = parse_mask(mask, {"x": (), "y": ()})
        return Kept(self.encode(items), {"x": torch.tensor([word == "y", word == "x"])[None]})

    def save(self, items, folder, settings):
        path = folder / "points.txt"
        np.savetxt(path, np.stack(items))
        return [path]

    def preview(self, items, path, labels=()):
        grid = np.full((64, 64), 255, np.uint8)
        for x, y in np.clip(np.stack(items) * 8 + 32, 0, 63).astype(int):
            grid[63 - y, x] = 0
        Image.fromarray(grid).save(path)


class MLP(Network):
    """Two hidden layers over coordinates, noise level and context."""

    def __init__(self, layout: Layout, context_dim: int, width: int = 32, activation: str = "silu") -> None:
        super().__init__()
        act = {"silu": nn.SiLU, "relu": nn.ReLU}[activation]
        self.net = nn.Sequential(
            nn.Linear(3 + context_dim, width), act(), nn.Linear(width, width), act(), nn.Linear(width, 2)
        )

    def forward(self, x, level, context, previous=None, residuals=None):
        inputs = [x.parts["x"], level.c_noise["x"][:, None]]
        return {"x": self.net(torch.cat(inputs if context is None else [*inputs, context.vector], 1))}


class Wide(MLP):
    """An MLP of another default."""

    def __init__(self, layout: Layout, context_dim: int, width: int = 64) -> None:
        super().__init__(layout, context_dim, width)


class Radius(Metric):
    """How far from the origin the points are."""

    def __call__(self, evidence):
        def mean(items):
            return float(np.mean([np.linalg.norm(item) for item in items]))

        test = [evidence.test[i] for i in range(len(evidence.test))]
        ceiling = mean(evidence.noise) if len(evidence.noise) else None
        return [Score("radius", mean(evidence.generated), mean(test), ceiling, "near")]
