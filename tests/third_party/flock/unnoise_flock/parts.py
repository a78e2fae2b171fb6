"""Everything the flock plugin registers. An item is ``(places, colours)``, float32 ``(n, 2)`` and int64 ``(n,)``."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import one_hot

from unnoise.contracts import Dataset, Network, Representation, Scalars
from unnoise.layout import Layout, Part
from unnoise.state import State

COLOURS = 3


class Flocks(Dataset):
    """``n`` flocks of two to five birds along a line; the colour says where on it a bird is."""

    def __init__(self, split: str, seed: int = 0, n: int = 60) -> None:
        rng = np.random.default_rng([seed, split == "test"])
        self.items = []
        for count in rng.integers(2, 6, n):
            along = rng.uniform(-3, 3, count)
            places = np.stack([along, 0.5 * along + rng.normal(0, 0.3, count)], 1).astype(np.float32)
            self.items.append((places, np.clip(along / 2 + 1.5, 0, COLOURS - 1).astype(np.int64)))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]

    def columns(self):
        return {"size": Scalars(np.array([np.ptp(places[:, 0]) for places, _ in self.items], np.float64))}


class Birds(Representation):
    """Places divided by their standard deviation, and colours; birds have no order."""

    layout = Layout(
        (Part("places", "gaussian", ("birds", 2)), Part("colours", "categorical", ("birds",), classes=COLOURS))
    )
    unordered = ("birds",)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("counts", torch.ones(6))

    def fit(self, items):
        items = list(items)
        self.scale.fill_(float(np.concatenate([places for places, _ in items]).std()))
        self.counts.copy_(torch.bincount(torch.tensor([len(colours) for _, colours in items]), minlength=6)[:6])

    def settings(self):
        return {}

    def restore(self, settings):
        pass

    def encode(self, items):
        state = State.zeros(self.layout, len(items), {"birds": torch.tensor([len(colours) for _, colours in items])})
        for i, (places, colours) in enumerate(items):
            state.parts["places"][i, : len(places)] = torch.from_numpy(places) / self.scale
            state.parts["colours"][i, : len(colours)] = torch.from_numpy(colours)
        return state

    def decode(self, state):
        places, colours = (state.parts["places"] * self.scale).cpu().numpy(), state.parts["colours"].cpu().numpy()
        sizes = state.sizes["birds"].tolist()
        return [(places[i, :size], colours[i, :size]) for i, size in enumerate(sizes)]

    def sizes(self, noise):
        share = (self.counts.cpu() / self.counts.sum().cpu()).cumsum(0)
        (part,) = Layout.tensor()
        return {"birds": torch.searchsorted(share, noise.uniform(part, (), purpose="sizes").cpu()).clamp(2, 5)}

    def save(self, items, folder, settings):
        path = folder / "flocks.txt"
        lines = (
            f"{i} {x:.6f} {y:.6f} {c}\n" for i, (p, cs) in enumerate(items) for (x, y), c in zip(p, cs, strict=True)
        )
        path.write_text("".join(lines))
        return [path]

    def preview(self, items, path, labels=()):
        grid = np.full((64, 64), 255, np.uint8)
        for places, _ in items:
            x, y = np.clip(places * 8 + 32, 0, 63).astype(int).T
            grid[63 - y, x] = 0
        Image.fromarray(grid).save(path)


class Sums(Network):
    """Every bird beside the mean of all that are real ("Deep Sets", Zaheer et al. 2017)."""

    def __init__(self, layout: Layout, context_dim: int, width: int = 24) -> None:
        super().__init__()
        self.tokens = layout["colours"].tokens
        self.bird = nn.Linear(2 + self.tokens + 2 + context_dim, width)
        self.both = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU())
        self.places, self.colours = nn.Linear(width, 2), nn.Linear(width, COLOURS)

    def pool(self, h, mask):
        """The mean over real birds, ``(B, 1, width)``."""
        return (h * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)

    def forward(self, x, level, context, previous=None, residuals=None):
        places, mask = x.parts["places"], x.masks["birds"][..., None]
        told = [level.c_noise["places"], level.c_noise["colours"]]
        told = torch.stack(told, 1) if context is None else torch.cat([torch.stack(told, 1), context.vector], 1)
        told = told[:, None].expand(-1, places.shape[1], -1)
        h = torch.tanh(self.bird(torch.cat([places, one_hot(x.parts["colours"], self.tokens), told], -1)))
        h = self.both(torch.cat([h, self.pool(h, mask).expand_as(h)], -1))
        return {"places": self.places(h), "colours": self.colours(h)}
