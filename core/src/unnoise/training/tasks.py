"""What the loop can train: a diffusion model, or a codec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from unnoise.contracts import Codec, Representation
from unnoise.denoiser import Denoiser, Residuals
from unnoise.errors import UserError, did_you_mean
from unnoise.noise import Noise
from unnoise.schema import ConditionsConfig, TrainConfig
from unnoise.training import elements
from unnoise.training.data import EncodedData, order
from unnoise.training.loss import losses
from unnoise.training.pairing import Pairing
from unnoise.training.times import TimeSampling
from unnoise.training.trainer import Task
from unnoise.training.weighting import Weighting, build_weighting

Steer = Callable[[dict[str, Tensor], Noise], tuple[dict[str, Tensor], Residuals]]
"""Raw conditions and noise of a batch -> those of them that the denoiser is told, and what is added to its features."""


class Diffusion(Task):
    """A denoiser on encoded data. The representation comes along, so that its statistics are in every checkpoint.

    Args:
        representation: fitted; not trained.
        denoiser: what is trained.
        data: encoded by ``representation``.
        train, conditions: the options.
        seed: of the run.
    """

    def __init__(
        self,
        representation: Representation,
        denoiser: Denoiser,
        data: EncodedData,
        train: TrainConfig,
        conditions: ConditionsConfig,
        seed: int,
    ) -> None:
        super().__init__()
        self.representation = representation.requires_grad_(False)
        self.denoiser = denoiser
        names = denoiser.layout.names
        for key in train.part_weights:
            if key not in names:
                message = f"train.part_weights: there is no part {key!r}.{did_you_mean(key, names)}"
                raise UserError(message, f"There is: {', '.join(names)}")
        std = {name: p.data_std for name, p in denoiser.parametrizations.items()}
        self.weightings = nn.ModuleDict(
            {p.name: build_weighting(train.weighting, p, std.get(p.name, 1.0)) for p in denoiser.layout}
        )
        within, rest = elements.split(train.time_sampling)
        self.times, self.elements = TimeSampling.from_config(rest), within
        self.pairing = Pairing.from_config(train.pairing)
        self.pairing.check(denoiser.product, representation.unordered)
        self._data, self._train, self._conditions, self._seed = data, train, conditions, seed

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.representation.eval()
        return self

    def loss(self, index: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.steered_loss(index)

    def steered_loss(self, index: Tensor, steer: Steer | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """As :meth:`loss`, of a network to whose features something is added."""
        device = next(self.denoiser.parameters()).device
        x0, raw = self._data.batch(self._seed, index, device)
        noise = Noise.training(self._seed, index).to(device)
        x0 = self.representation.augment(x0, noise)
        maps = {name: raw[name] for name in self._data.maps}
        raw |= self.representation.augment_maps(maps, noise)
        raw, residuals = (raw, None) if steer is None else steer(raw, noise)
        u = self.times(self.denoiser.product, self._seed, index, self._train.batch)
        times, counted = self.elements(u, self.times.sampler, self.denoiser.product, x0, noise)
        x0 = self.pairing(x0, self.denoiser.product, noise, self.representation.unordered, counted)
        weightings: Mapping[str, Weighting] = dict(self.weightings.items())  # type: ignore[arg-type]
        found = losses(
            self.denoiser,
            weightings,
            x0,
            raw,
            times,
            noise,
            self._conditions.dropout,
            self._train.self_conditioning,
            counted,
            residuals,
        )
        shares = [self._train.part_weights.get(name, 1.0) * value.mean() for name, value in found.weighted.items()]
        return torch.stack(shares).sum(), {f"error/{name}": value.mean() for name, value in found.error.items()}


class Coding(Task):
    """A codec on prepared items.

    Args:
        codec: what is trained.
        items: all training items as :meth:`Codec.prepare` gives them, on the CPU.
        seed: of the run.
    """

    def __init__(self, codec: Codec, items: Tensor, seed: int) -> None:
        super().__init__()
        self.codec = codec
        self._items, self._seed = items, seed

    def loss(self, index: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        device = next(self.codec.parameters()).device
        batch = self._items[order(self._seed, index, len(self._items))].to(device)
        logs: dict[str, Any] = self.codec.loss(batch, Noise.training(self._seed, index).to(device))
        return logs.pop("loss"), logs
