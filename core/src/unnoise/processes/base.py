"""Forward noising of one part, and its exact reversal given clean data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unnoise.layout import Kind, Part
from unnoise.level import align, on_device
from unnoise.noise import Noise
from unnoise.schedules import Array, Schedule, Times


class Process(ABC):
    """How one part is turned into noise, and back where clean data is known or estimated.

    Times are float64: a number, or an array that indexes the leading axes of the part (``(B,)`` per sample, ``(B, n)``
    per element). Tensors of the part are ``(B, *event shape)``. Every method draws from a purpose of ``noise`` of its
    own, at number ``draw``. Nothing is projected here; :class:`unnoise.processes.Product` does that.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]
    schedule: Schedule

    @property
    def absorbing(self) -> bool:
        """Whether noised elements may hold a mask token beside the part's classes."""
        return False

    def check(self, part: Part) -> None:
        """Raise ValueError if this process cannot noise ``part``."""
        if part.kind != self.kind:
            raise ValueError(f"part {part.name!r} is {part.kind}; a {self.name} process cannot noise it")

    @abstractmethod
    def prior(self, part: Part, shape: Sequence[int], noise: Noise, draw: int = 0) -> Tensor:
        """Pure noise ``(B, *shape)``, where sampling starts (the schedule's ``t_max``)."""

    @abstractmethod
    def corrupt(self, part: Part, x0: Tensor, t: Times, noise: Noise, draw: int = 0) -> Tensor:
        """Draw from ``q(x_t | x_0)``."""

    @abstractmethod
    def renoise(self, part: Part, x_s: Tensor, s: Times, t: Times, noise: Noise, draw: int = 0) -> Tensor:
        """Draw from ``q(x_t | x_s)``, up from s to t >= s.

        Raises:
            ValueError: if s > t anywhere.
        """

    @abstractmethod
    def bridge(self, part: Part, x_t: Tensor, x0: Tensor, t: Times, s: Times, noise: Noise, draw: int = 0) -> Tensor:
        """Draw from ``q(x_s | x_t, x_0)``, down from t to s <= t; s = 0 gives (a draw of) the estimate, exactly.

        Args:
            x0: gaussian part: clean data or its mean, same shape as the part; categorical part: log-probabilities
                of the K clean classes, ``(B, *event shape, K)``.

        Raises:
            ValueError: if s > t anywhere.
        """

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """A JSON value from which :meth:`from_config` builds the same process."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: Mapping[str, Any]) -> Process:
        """The inverse of :meth:`config`."""


def coefficient(value: Times, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A host-side coefficient as a tensor that broadcasts against ``like``; a number stays on the host."""
    if np.ndim(value):
        return align(on_device(value, like.device, dtype or like.dtype), like)
    return torch.as_tensor(np.asarray(value), dtype=dtype or like.dtype)


def ordered(s: Times, t: Times) -> tuple[Array, Array]:
    """Both times as arrays.

    Raises:
        ValueError: if s > t anywhere.
    """
    low, high = np.asarray(s, dtype=np.float64), np.asarray(t, dtype=np.float64)
    if (low > high).any():
        raise ValueError(f"s must not be above t: {s} > {t}")
    return low, high


def work_dtype(x: Tensor) -> torch.dtype:
    """The precision to compute in: that of ``x``, but at least float32."""
    return torch.promote_types(x.dtype, torch.float32)
