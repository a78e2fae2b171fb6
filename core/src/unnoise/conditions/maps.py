"""The condition that is a map: numbers all over an item, such as its edges or its depth."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unnoise.conditions.base import Condition, called
from unnoise.contracts import Column, Context, Maps, MapShape
from unnoise.errors import UserError

_MOST = 1 << 26
"""Numbers that one map may hold."""


class MapCondition(Condition):
    """Numbers at every point of a grid that spans the item. Raw: float32 ``(B, *points, channels)``, NaN where absent.

    The network is given the numbers, standardised and 0 where absent, and beside them one channel that is 1 where they
    are known; so the null, and a map that is known in part, need nothing else. The vector tells the two apart.

    Args:
        name, dim, tokens: see :class:`Condition`.
        points: along each axis.
        channels: numbers at each point.
        mean, std: of the training data.
        unit: for people.

    Raises:
        UserError: for sizes or statistics that cannot be.
    """

    kind = "map"

    def __init__(
        self,
        name: str,
        dim: int,
        tokens: bool = False,
        *,
        points: Sequence[int],
        channels: int,
        mean: float,
        std: float,
        unit: str = "",
    ) -> None:
        super().__init__(name, dim, tokens)
        sizes = [*points, channels]
        if not 2 <= len(sizes) <= 5 or not all(isinstance(n, int) and n > 0 for n in sizes) or math.prod(sizes) > _MOST:
            fix = f"A map has from 1 to 4 axes, and at most {_MOST:,} numbers."
            raise UserError(f"condition {name!r} is a map of {_by(sizes)} numbers", fix)
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise UserError(f"condition {name!r} has mean {mean}, deviation {std}", "Look at the data's column.")
        self.points, self.channels, self.mean, self.std, self.unit = tuple(points), channels, mean, std, unit
        self.map_shape = MapShape(self.points, channels + 1)
        self.known = nn.Parameter(torch.randn(dim) * dim**-0.5)

    @classmethod
    def from_column(cls, name: str, column: Column, dim: int, tokens: bool = False) -> Self:
        assert isinstance(column, Maps)
        known = column.values[np.isfinite(column.values)]
        if not len(known):
            raise UserError(f"condition {name!r} is unknown for every item of the training data")
        mean, std = float(known.mean(dtype=np.float64)), float(known.std(dtype=np.float64)) or 1.0
        points, channels = column.values.shape[1:-1], column.values.shape[-1]
        return cls(name, dim, tokens, points=points, channels=channels, mean=mean, std=std, unit=column.unit)

    def raw(self, column: Column) -> Tensor:
        if not isinstance(column, Maps):
            message = f"condition {self.name!r} is a map for the model, but {called(column)} in the data"
            raise UserError(message)
        self._check_size(column.values.shape[1:], "of the data")
        return _finite(column.values)

    def parse_one(self, value: Any) -> NDArray[np.float32]:
        """One map ``(*points, channels)`` of an array or of nested lists; of one channel, the last axis may be left
        out.
        """
        try:
            given = np.asarray(value, dtype=np.float32)
        except (TypeError, ValueError):
            fix = f"Give an array of {_by(self.points)} points, or a file of one."
            raise UserError(f"{self.name} {str(value)[:80]!r} is no map", fix) from None
        if self.channels == 1 and given.ndim == len(self.points):
            given = given[..., None]
        self._check_size(given.shape, "that was given")
        return given

    def entries(self, value: Any) -> list[Any]:
        """An array of one more axis than a map, or a list of arrays, is a map for each sample; all else is one map."""
        if isinstance(value, np.ndarray):
            return list(value) if value.ndim == len(self.points) + 2 else [value]
        if isinstance(value, (list, tuple)) and any(v is None or isinstance(v, (np.ndarray, Tensor)) for v in value):
            return list(value)
        return [value]

    def parse(self, value: Any, n: int) -> Tensor:
        """Raw values ``(n, *points, channels)``: one map for all samples, or several that are repeated to fill n.

        Raises:
            UserError: for a map of another size.
        """
        entries = self.entries(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)
        missing = self.absent(1)
        rows = [missing if v is None else _finite(self.parse_one(v))[None] for v in entries] or [missing]
        return torch.cat([rows[i % len(rows)] for i in range(n)]) if n else self.absent(0)

    def absent(self, n: int) -> Tensor:
        return torch.full((n, *self.points, self.channels), math.nan)

    def is_absent(self, raw: Tensor) -> Tensor:
        return raw.isnan().flatten(1).all(1)

    def embed(self, raw: Tensor) -> Tensor:
        """What the network is given: ``(B, *points, channels + 1)``."""
        here = ~raw.isnan()
        values = torch.where(here, (raw - self.mean) / self.std, 0)
        return torch.cat([values, here.any(-1, keepdim=True).to(values.dtype)], -1)

    def forward(self, raw: Tensor) -> Context:
        """Embed raw values ``(B, *points, channels)``: the map, and a vector that says whether there is one."""
        vector = torch.where(self.is_absent(raw)[:, None], self.null, self.known)
        return Context(vector, self.token(vector), maps=(self.embed(raw),))

    def describe(self, raw: Tensor) -> list[Any]:
        """A digest of each map in place of its numbers; None where absent."""
        absent = self.is_absent(raw).tolist()
        return [None if gone else {"map": digest(one)} for gone, one in zip(absent, raw, strict=True)]

    def settings(self) -> dict[str, Any]:
        numbers = {"channels": self.channels, "mean": self.mean, "std": self.std}
        return {"points": list(self.points), **numbers, "unit": self.unit}

    def _check_size(self, found: Sequence[int], whose: str) -> None:
        if tuple(found) != (*self.points, self.channels):
            own = f"{_by(self.points)} points with {self.channels} number{'s' if self.channels > 1 else ''} each"
            other = found[:-1] if found and found[-1] == self.channels else found
            message = f"the map {self.name!r} {whose} has size {_by(other)}, the model's has {own}"
            raise UserError(message, f"Bring it to {_by(self.points)} first.")


def digest(values: Tensor) -> str:
    """What tells one map from another: a digest of its float32 values."""
    return hashlib.sha256(values.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()[:16]


def is_digest(value: Any) -> bool:
    """Whether a described value is that of a map."""
    return isinstance(value, Mapping) and set(value) == {"map"}


def _finite(values: NDArray[Any]) -> Tensor:
    """Float32, NaN where unknown; infinity is as good as that."""
    return torch.as_tensor(np.where(np.isfinite(values), values, np.nan), dtype=torch.float32)


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes)) or "0"
