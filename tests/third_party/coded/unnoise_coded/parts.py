"""Everything the plugin registers."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from unnoise.contracts import Codec, Representation
from unnoise.layout import Layout
from unnoise.state import State


class Turn(Codec):
    """Two linear maps of the plane; one is to become the inverse of the other. Hides some latents in training."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("scale", torch.ones(()))

    def fit(self, items):
        self.restore({})
        self.scale.fill_(float(np.std(np.stack(list(items)))))

    def settings(self):
        return {}

    def restore(self, settings):
        self.encoder, self.decoder = nn.Linear(2, 2), nn.Linear(2, 2)

    def prepare(self, items):
        return torch.from_numpy(np.stack(items)) / self.scale.cpu()

    def loss(self, batch, noise):
        return {"loss": (self.decoder(self.dropout(self.encoder(batch))) - batch).square().mean()}

    def quality(self, batch):
        return {"rmse": float((self.decoder(self.encoder(batch)) - batch).square().mean().sqrt())}


class Turned(Representation):
    """The codec's latents, standardised."""

    needs_codec = True
    layout = Layout.tensor(2)

    def __init__(self, codec: Turn) -> None:
        super().__init__()
        self.codec = codec
        self.register_buffer("std", torch.ones(()))

    def fit(self, items):
        self.std.fill_(self._latents(list(items)).std().item())

    def settings(self):
        return {}

    def restore(self, settings):
        pass

    def encode(self, items):
        return State(self.layout, {"x": self._latents(items) / self.std})

    def decode(self, state):
        return list((self.codec.decoder(state.parts["x"] * self.std) * self.codec.scale).numpy())

    def save(self, items, folder, settings):
        path = folder / "points.txt"
        np.savetxt(path, np.stack(items))
        return [path]

    def preview(self, items, path, labels=()):
        path.write_bytes(np.stack(items).tobytes())

    @torch.no_grad()
    def _latents(self, items):
        return self.codec.encoder(self.codec.prepare(items))
