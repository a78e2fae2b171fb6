"""At which noise levels a model is trained: quantile functions of the master time.

A time sampler maps a uniform number q in (0, 1) to a master time u in [0, 1]. Where q comes from is a separate matter:
one number per sample, or one stratum per sample of the batch (:func:`quantiles`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unnoise.errors import UserError, did_you_mean
from unnoise.layout import Part
from unnoise.noise import Noise
from unnoise.processes import Product
from unnoise.schedules import Array

_TIME = Part("time", "gaussian", ())


class TimeSampler(ABC):
    """A distribution of the master time, given by its quantile function."""

    @abstractmethod
    def __call__(self, q: Array, product: Product) -> Array:
        """Master times u in [0, 1], float64, of uniform numbers q in (0, 1) of the same shape."""


@dataclass(frozen=True)
class Uniform(TimeSampler):
    """Uniform over the times a network is ever asked about."""

    def __call__(self, q: Array, product: Product) -> Array:
        return _span(q, product)


@dataclass(frozen=True)
class LogitNormal(TimeSampler):
    """logit(u) is normal (Esser et al. 2024, equation 19): more training in the middle of the path.

    Args:
        mean: above 0 prefers noise, below 0 data.
        std: positive.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        _check_std(self.std, "logit_normal")

    def __call__(self, q: Array, product: Product) -> Array:
        return _span(_numpy(torch.sigmoid(self.mean + self.std * _normal_quantile(q))), product)


@dataclass(frozen=True)
class EdmLogNormal(TimeSampler):
    """log(sigma / alpha) is normal (Karras et al. 2022, table 1), cut off at the schedule's ends.

    Args:
        mean, std: of log(sigma / alpha); std is positive. The published -1.2 and 1.2 are for data of deviation 0.5.
        part: the part whose schedule is meant; may be left out where there is one only.
    """

    mean: float = -1.2
    std: float = 1.2
    part: str | None = None

    def __post_init__(self) -> None:
        _check_std(self.std, "edm")

    def __call__(self, q: Array, product: Product) -> Array:
        names = product.layout.names
        if self.part not in names and not (self.part is None and len(names) == 1):
            raise UserError(
                f"time_sampling edm needs the part whose schedule it means, not {self.part!r}",
                f"Set train.time_sampling.part to one of: {', '.join(names)}",
            )
        log_snr = -2 * _numpy(self.mean + self.std * _normal_quantile(q))
        return product.master(self.part or names[0], log_snr)


TIMES: dict[str, type[TimeSampler]] = {"uniform": Uniform, "logit_normal": LogitNormal, "edm": EdmLogNormal}


@dataclass(frozen=True)
class TimeSampling:
    """How training times are drawn.

    Args:
        sampler: their distribution.
        stratified: spread the times of one optimiser step evenly over it (Kingma et al. 2021, appendix I.1).
    """

    sampler: TimeSampler
    stratified: bool = True

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TimeSampling:
        """From ``{name, stratified, **options}``; raises :class:`UserError` for what does not exist."""
        options = dict(config)
        name, stratified = options.pop("name", "uniform"), options.pop("stratified", True)
        if name not in TIMES:
            message = f"time_sampling {name!r} does not exist.{did_you_mean(str(name), TIMES)}"
            raise UserError(message, f"There is: {', '.join(TIMES)}")
        try:
            return cls(TIMES[name](**options), stratified)
        except TypeError as error:
            raise UserError(f"train.time_sampling: {error}") from error

    def __call__(self, product: Product, seed: int, index: Tensor, batch: int) -> Array:
        """Master times of the samples with these global indices (int64 ``(B,)``), float64 ``(B,)``.

        Args:
            product: the processes, for samplers that mean a noise level.
            seed: of the run.
            index: global sample indices.
            batch: samples in one optimiser step, over which strata spread.
        """
        return self.sampler(quantiles(seed, index, batch if self.stratified else 0), product)


def quantiles(seed: int, index: Tensor, batch: int = 0) -> Array:
    """Uniform numbers in (0, 1) of global sample indices, float64 ``(B,)``.

    With ``batch`` > 0, sample i of an optimiser step gets ``(i + offset) / batch``, with one random offset per step;
    data come in random order, so no item prefers a stratum.
    """
    index = index.cpu()
    if not batch:
        return _numpy(Noise.training(seed, index).uniform(_TIME, (), purpose="time"))
    offset = Noise.training(seed, index // batch).uniform(_TIME, (), purpose="stratum")
    return _numpy((index % batch + offset) / batch)


def _check_std(std: float, name: str) -> None:
    if not std > 0:
        raise UserError(f"time_sampling {name}: std must be positive, not {std}")


def _normal_quantile(q: Array) -> Tensor:
    return torch.as_tensor(torch.special.ndtri(torch.from_numpy(q)))


def _numpy(x: Tensor) -> Array:
    return np.asarray(x.numpy(), dtype=np.float64)


def _span(share: Array, product: Product) -> Array:
    """From [0, 1] to the times at which a network is ever asked."""
    return product.u_min + (product.u_max - product.u_min) * share
