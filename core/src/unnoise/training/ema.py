"""Exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """The average of a module's trained parameters, by name, in float32; buffers are copied, never averaged.

    After update n (1, 2, ...) the average keeps the share ``decay_n = min(decay, (1 + n) / (10 + n))`` of its old
    value: early weights are forgotten, and on a short run the average spans about a tenth of it.

    Args:
        module: what is averaged.
        decay: largest share, in [0, 1). 0 makes the average follow the weights.
        warmup: without it, ``decay_n = decay`` from the start.

    Raises:
        ValueError: if ``decay`` is outside of [0, 1).
    """

    def __init__(self, module: nn.Module, decay: float = 0.999, warmup: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of an average must lie in [0, 1), not {decay}")
        self.module, self.decay, self.warmup = module, decay, warmup
        self.updates = 0
        self._weights = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._first = {id(p): name for name, p in module.named_parameters()}  # a tied weight has several names
        self.average = {name: p.detach().float().clone() for name, p in self._weights.items()}

    def decay_at(self, update: int) -> float:
        """The share of the old average that update ``update`` (from 1) keeps."""
        return min(self.decay, (1 + update) / (10 + update)) if self.warmup else self.decay

    @torch.no_grad()
    def update(self) -> None:
        """Take the module's present weights into the average."""
        self.updates += 1
        weights = [p.detach().float() for p in self._weights.values()]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - self.decay_at(self.updates))

    def state_dict(self) -> dict[str, Tensor]:
        """What the module's state dict is with averaged parameters."""
        tied = {name: self._first[id(p)] for name, p in self.module.named_parameters(remove_duplicate=False)}
        state = self.module.state_dict()
        return {name: self.average.get(tied.get(name, name), value) for name, value in state.items()}

    def load_state_dict(self, state: Mapping[str, Tensor], updates: int) -> None:
        """Go on from a saved average after so many updates."""
        self.updates = updates
        for name, value in self.average.items():
            value.copy_(state[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module has the averaged weights inside of the ``with`` block."""
        kept = {name: p.detach().clone() for name, p in self._weights.items()}
        try:
            self._put(self.average)
            yield
        finally:
            self._put(kept)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, p in self._weights.items():
            p.copy_(values[name])
