"""Conditions that are numbers: one for an item, or one that changes over it."""

from __future__ import annotations

import math
import warnings
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unnoise.conditions.base import Condition, called
from unnoise.contracts import Column, Context, Curves, MapShape, Scalars
from unnoise.errors import Caution, UserError

_LARGEST = float(np.finfo(np.float32).max)
_MOST_POINTS = 1 << 16


class NumberCondition(Condition):
    """What numbers share. Raw: float32, NaN where absent.

    Standardised by the training data's mean and deviation, then embedded by a small MLP over the number itself and
    Fourier features of it (Tancik et al. 2020) with wavelengths from 16 standard deviations down to 1.

    Args:
        name, dim, tokens: see :class:`Condition`.
        mean, std, low, high: of the training data.
        unit: for people.
    """

    def __init__(
        self, name: str, dim: int, tokens: bool, mean: float, std: float, low: float, high: float, unit: str
    ) -> None:
        super().__init__(name, dim, tokens)
        if not (all(map(math.isfinite, (mean, std, low, high))) and std > 0 and low <= high):
            facts = f"mean {mean}, deviation {std}, range {low} to {high}"
            raise UserError(f"condition {name!r} has {facts}", "Look at the data's column.")
        self.mean, self.std, self.low, self.high, self.unit = mean, std, low, high, unit
        self.mlp = nn.Sequential(nn.Linear(11, dim), nn.SiLU(), nn.Linear(dim, dim))

    def parse(self, value: Any, n: int) -> Tensor:
        """As :meth:`Condition.parse`; warns of a number outside of the training data's range, which is allowed."""
        raw = super().parse(value, n)
        outside = raw[(raw < torch.tensor(self.low)) | (raw > torch.tensor(self.high))]
        if len(outside):
            farthest = float(outside[(outside - self.mean).abs().argmax()])
            warnings.warn(f"{self.name} {farthest:.4g} is a guess. {self._range}", Caution, stacklevel=2)
        return raw

    @property
    def _range(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"The training data went from {self.low:.4g} to {self.high:.4g}{unit}."

    def _number(self, value: Any) -> float:
        """A finite number, in the column's unit."""
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if abs(number) <= _LARGEST:
            return number
        raise UserError(f"{self.name} {str(value)[:80]!r} is not a finite number.", self._range)

    def _misfit(self, known: str, column: Column) -> UserError:
        """For a column of another type."""
        return UserError(f"condition {self.name!r} is {known} for the model, but {called(column)} in the data")

    def embed(self, raw: Tensor) -> Tensor:
        z = ((raw.nan_to_num(self.mean) - self.mean) / self.std)[..., None]
        phase = 2 * math.pi * z * 2.0 ** torch.arange(-4, 1, device=z.device)
        return torch.as_tensor(self.mlp(torch.cat([z, phase.sin(), phase.cos()], -1)))

    def settings(self) -> dict[str, Any]:
        return {"mean": self.mean, "std": self.std, "low": self.low, "high": self.high, "unit": self.unit}


class ScalarCondition(NumberCondition):
    """A finite number."""

    kind = "scalar"

    def __init__(
        self,
        name: str,
        dim: int,
        tokens: bool = False,
        *,
        mean: float,
        std: float,
        low: float,
        high: float,
        unit: str = "",
    ) -> None:
        super().__init__(name, dim, tokens, mean, std, low, high, unit)

    @classmethod
    def from_column(cls, name: str, column: Column, dim: int, tokens: bool = False) -> Self:
        assert isinstance(column, Scalars)
        return cls(name, dim, tokens, **_statistics(name, column.values), unit=column.unit)

    def raw(self, column: Column) -> Tensor:
        if not isinstance(column, Scalars):
            raise self._misfit("a number", column)
        return _finite(column.values)

    def parse_one(self, value: Any) -> float:
        """A finite number, in the column's unit."""
        return self._number(value)

    def absent(self, n: int) -> Tensor:
        return torch.full((n,), math.nan)

    def is_absent(self, raw: Tensor) -> Tensor:
        return raw.isnan()

    def describe(self, raw: Tensor) -> list[Any]:
        return [None if math.isnan(x) else x for x in raw.tolist()]


class CurveCondition(NumberCondition):
    """A number that changes over an item. Raw: ``(B, points)``, at equal distances from the item's beginning to its
    end.

    Where the whole curve is absent, it is the null at every point. A single absent point is another thing, as in the
    data it often means that there is nothing to measure, and has an embedding of its own. The network is given the
    embedded points; the vector is their mean.

    Args:
        points: numbers that make up a curve.
        name, dim, tokens, mean, std, low, high, unit: see :class:`NumberCondition`.
    """

    kind = "curve"

    def __init__(
        self,
        name: str,
        dim: int,
        tokens: bool = False,
        *,
        points: int,
        mean: float,
        std: float,
        low: float,
        high: float,
        unit: str = "",
    ) -> None:
        super().__init__(name, dim, tokens, mean, std, low, high, unit)
        if not 2 <= points <= _MOST_POINTS:
            fix = f"A curve has from 2 to {_MOST_POINTS}."
            raise UserError(f"condition {name!r} is a curve of {points} points", fix)
        self.points, self.map_shape = points, MapShape((points,), dim)
        self.gap = nn.Parameter(torch.randn(dim) * dim**-0.5)

    @classmethod
    def from_column(cls, name: str, column: Column, dim: int, tokens: bool = False) -> Self:
        assert isinstance(column, Curves)
        measured = _statistics(name, column.values)
        return cls(name, dim, tokens, points=column.values.shape[1], **measured, unit=column.unit)

    def raw(self, column: Column) -> Tensor:
        """Raw values ``(N, points)`` of a column, which may have another number of points."""
        if not isinstance(column, Curves):
            raise self._misfit("a curve", column)
        raw = _finite(column.values)
        if raw.shape[1] == self.points:
            return raw
        rows = [_at_points(row, self.points) for row in raw.numpy()]
        return torch.tensor(np.array(rows), dtype=torch.float32).reshape(-1, self.points)

    def entries(self, value: Any) -> list[Any]:
        """A list of lists is a curve each; a list of numbers is one curve, and so is a number."""
        if isinstance(value, (list, tuple)) and (not value or any(isinstance(v, (list, tuple)) for v in value)):
            return list(value)
        return [value]

    def parse_one(self, value: Any) -> list[float]:
        """Numbers from the beginning to the end, None or NaN where there is none. Fewer than ``points`` of them lie
        at equal distances, with straight lines between; a single one holds throughout.
        """
        given = value if isinstance(value, (list, tuple)) else [value]
        if not 0 < len(given) <= self.points:
            fix = f"Give from 1 to {self.points} numbers, at equal distances from the beginning to the end."
            raise UserError(f"{self.name} was given a curve of {len(given)} numbers", fix)
        numbers = [math.nan if v is None or _is_nan(v) else self._number(v) for v in given]
        return list(_at_points(np.array(numbers), self.points).tolist())

    def absent(self, n: int) -> Tensor:
        return torch.full((n, self.points), math.nan)

    def is_absent(self, raw: Tensor) -> Tensor:
        return raw.isnan().all(1)

    def embed(self, raw: Tensor) -> Tensor:
        return torch.where(raw.isnan()[..., None], self.gap, super().embed(raw))

    def forward(self, raw: Tensor) -> Context:
        """Embed raw values ``(B, points)``: the curve ``(B, points, d)``, its mean and, where wanted, a token of it."""
        curve = torch.where(self.is_absent(raw)[:, None, None], self.null, self.embed(raw))
        vector = curve.mean(1)
        return Context(vector, self.token(vector), maps=(curve,))

    def describe(self, raw: Tensor) -> list[Any]:
        absent = self.is_absent(raw).tolist()
        return [None if gone else [_short(x) for x in row] for gone, row in zip(absent, raw.tolist(), strict=True)]

    def settings(self) -> dict[str, Any]:
        return {"points": self.points, **super().settings()}


def _statistics(name: str, values: NDArray[Any]) -> dict[str, float]:
    """What a condition is told of a column's numbers; raises :class:`UserError` if none is known."""
    known = values[np.abs(values) <= _LARGEST].astype(np.float64)
    if not len(known):
        raise UserError(f"condition {name!r} is unknown for every item of the training data")
    mean, std, low, high = (float(f(known)) for f in (np.mean, np.std, np.min, np.max))
    return {"mean": mean, "std": std or 1.0, "low": low, "high": high}


def _finite(values: NDArray[Any]) -> Tensor:
    """Float32, NaN where unknown; infinity is as good as that."""
    return torch.as_tensor(np.where(np.abs(values) <= _LARGEST, values, np.nan), dtype=torch.float32)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _short(number: float) -> float | None:
    """With the fewest digits that give the same float32: many curves are many numbers. None for NaN."""
    return None if math.isnan(number) else float(str(np.float32(number)))


def _at_points(values: NDArray[Any], points: int) -> NDArray[Any]:
    """A curve ``(n,)`` at another number of points, with straight lines between the numbers it has. NaN, where it has
    none, reaches half-way to the neighbours.
    """
    if len(values) == points:
        return values
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return np.full(points, np.nan)
    place = np.linspace(0, len(values) - 1, points)
    gone = np.isnan(values)[np.rint(place).astype(int)]
    return np.where(gone, np.nan, np.interp(place, known, values[known]))
