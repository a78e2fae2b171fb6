"""A small masked world for tests of training: centred points with classes and symmetric pairs of both kinds."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from unnoise.conditions import ClassCondition, Conditions, ScalarCondition
from unnoise.contracts import Network
from unnoise.denoiser import Denoiser
from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.parametrization import Parametrization
from unnoise.processes import Product
from unnoise.state import State

LAYOUT = Layout(
    (
        Part("x", "gaussian", ("nodes", 3), com_free=True),
        Part("types", "categorical", ("nodes",), classes=4),
        Part("dist", "gaussian", ("nodes", "nodes", 1), symmetric=True),
        Part("bonds", "categorical", ("nodes", "nodes"), classes=3, symmetric=True),
    )
)
PROCESSES = {
    "parts": {
        "x": {"name": "gaussian", "schedule": {"name": "cosine"}},
        "types": {"name": "categorical", "schedule": {"name": "cosine"}, "kernel": "absorbing"},
        "dist": {"name": "gaussian", "schedule": {"name": "flow"}},
        "bonds": {"name": "categorical", "schedule": {"name": "cosine"}, "kernel": "uniform"},
    },
    "warps": {"bonds": {"name": "power", "exponent": 1.5}},
}


class Pooled(Network):
    """Nodes and pairs through linear layers and a masked mean; not symmetric by itself: the engine has to be."""

    self_conditioning = True

    def __init__(self, layout, context_dim, width=16, dropout=0.0):
        super().__init__()
        types, bonds = layout["types"], layout["bonds"]
        node = 3 + types.tokens + 3 + types.classes
        self.node = nn.Linear(node + 4, width)
        self.pair = nn.Linear(1 + bonds.tokens + 1 + bonds.classes, width)
        self.pool = nn.Linear(width, width)
        self.context = nn.Linear(max(context_dim, 1), width)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict(
            {
                "x": nn.Linear(width, 3),
                "types": nn.Linear(width, types.classes),
                "dist": nn.Linear(2 * width, 1),
                "bonds": nn.Linear(2 * width, bonds.classes),
            }
        )

    def forward(self, x, level, context, previous=None, residuals=None):
        p, mask = x.parts, x.masks["nodes"]
        both = (mask[:, :, None] & mask[:, None, :])[..., None]
        bonds = one_hot(p["bonds"], x.layout["bonds"].tokens).float()
        types = one_hot(p["types"], x.layout["types"].tokens).float()
        pair = self.pair(torch.cat([p["dist"], bonds, previous["dist"], previous["bonds"]], -1)) * both
        levels = torch.stack([level.c_noise[name] for name in ("x", "types", "dist", "bonds")], -1)
        levels = levels[:, None].expand(*mask.shape, 4)
        node = self.node(torch.cat([p["x"], types, previous["x"], previous["types"], levels], -1)) * mask[..., None]
        size = mask.sum(1)[:, None, None]
        h = node + pair.sum(2) / size + self.pool(node.sum(1, keepdim=True) / size)
        if context is not None:
            h = h + self.context(context.vector)[:, None]
        h = self.dropout(torch.tanh(h))
        ends = torch.cat([h[:, :, None].expand(-1, -1, h.shape[1], -1), h[:, None].expand(-1, h.shape[1], -1, -1)], -1)
        return {name: head(ends if name in ("dist", "bonds") else h) for name, head in self.heads.items()}


def make_state(sizes=(5, 3, 1), seed=0):
    sizes = torch.tensor(sizes)
    empty, noise = State.zeros(LAYOUT, len(sizes), {"nodes": sizes}), Noise.of(seed, len(sizes))

    def fill(part, x):
        if part.kind == "gaussian":
            return noise.normal(part, x.shape[1:], purpose="data")
        return (noise.uniform(part, x.shape[1:], purpose="data") * part.classes).long()

    return empty.map(fill).project()


def make_denoiser(seed=0, parametrization="v", dropout=0.0, self_conditioning=True):
    torch.manual_seed(seed)
    product = Product.from_config(LAYOUT, PROCESSES)
    conditions = Conditions(
        [
            ClassCondition("class", 8, names=("a", "b")),
            ScalarCondition("size", 8, mean=0.0, std=1.0, low=-1.0, high=1.0),
        ],
        8,
    )
    parametrizations = {
        name: Parametrization(parametrization, product.processes[name].schedule) for name in ("x", "dist")
    }
    return Denoiser(
        Pooled(product.layout, 8, dropout=dropout), conditions, product, parametrizations, self_conditioning
    )


@pytest.fixture
def mixed():
    torch.set_num_threads(1)
    return SimpleNamespace(layout=LAYOUT, state=make_state, denoiser=make_denoiser)
