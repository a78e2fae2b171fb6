"""What a model may be told about the item it is to make: raw values -> tensors with a null -> embedded context.

A raw condition is a tensor that carries its own absence, so that dropout, guidance and unlabelled items need no second
mask. Its embedding has a learned null for what is absent.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from unnoise.contracts import Column, Context, Labels, Scalars
from unnoise.errors import Caution, UserError, did_you_mean
from unnoise.plugins import get_registry
from unnoise.plugins.signature import check_complete, check_options

_LARGEST = float(np.finfo(np.float32).max)

Raw = Mapping[str, Tensor]
"""Condition name -> raw values ``(B,)``. A name that is left out is absent for every sample."""


class Condition(nn.Module, ABC):
    """One condition. A subclass is registered under its ``kind``.

    Args:
        name: how users call it.
        dim: width d of the embedding.
        tokens: whether :meth:`forward` also gives a token for cross-attention.
    """

    kind: ClassVar[str]

    def __init__(self, name: str, dim: int, tokens: bool = False) -> None:
        super().__init__()
        self.name, self.dim, self.tokens = name, dim, tokens
        self.null = nn.Parameter(torch.randn(dim) * dim**-0.5)
        self.token_of = nn.Linear(dim, dim) if tokens else None

    @classmethod
    @abstractmethod
    def from_column(cls, name: str, column: Column, dim: int, tokens: bool = False) -> Self:
        """The condition that can say everything a data set's column says."""

    @abstractmethod
    def raw(self, column: Column) -> Tensor:
        """Raw values ``(N,)`` of a data set's column."""

    @abstractmethod
    def parse_one(self, value: Any) -> float:
        """The raw value of what a user wrote. Raises :class:`UserError` saying what would be right."""

    @abstractmethod
    def absent(self, n: int) -> Tensor:
        """Raw values ``(n,)`` that say nothing."""

    @abstractmethod
    def is_absent(self, raw: Tensor) -> Tensor:
        """Where raw values say nothing: bool ``(B,)``."""

    @abstractmethod
    def embed(self, raw: Tensor) -> Tensor:
        """Embedding ``(B, d)`` of raw values; what it holds where they are absent is not used."""

    def check(self, raw: Tensor) -> None:
        """Raise :class:`UserError` for raw values ``(B,)`` that say what this condition cannot."""

    @abstractmethod
    def describe(self, raw: Tensor) -> list[Any]:
        """Raw values as JSON that :meth:`parse` understands; None where absent."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """JSON facts, the constructor's arguments beside ``name``, ``dim`` and ``tokens``."""

    def parse(self, value: Any, n: int) -> Tensor:
        """Raw values ``(n,)`` of what a user wrote: one value for all samples, or a list that is repeated to fill n.

        Raises:
            UserError: if a value is none of this condition's, or a list is empty.
        """
        if isinstance(value, (np.ndarray, Tensor)):
            value = value.tolist()
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        if not values:
            raise UserError(f"condition {self.name!r} was given an empty list", "Give a value, or leave it out.")
        missing = self.absent(1)
        entries = [missing if v is None else torch.tensor([self.parse_one(v)], dtype=missing.dtype) for v in values]
        return torch.cat([entries[i % len(entries)] for i in range(n)]) if n else self.absent(0)

    def drop(self, raw: Tensor, mask: Tensor) -> Tensor:
        """Raw values with those under ``mask`` (bool ``(B,)``) made absent."""
        return torch.where(mask, self.absent(len(raw)).to(raw.device), raw)

    def forward(self, raw: Tensor) -> Context:
        """Embed raw values ``(B,)``: vector ``(B, d)`` and, where wanted, one token ``(B, 1, d)``."""
        vector = torch.where(self.is_absent(raw)[:, None], self.null, self.embed(raw))
        return Context(vector, None if self.token_of is None else self.token_of(vector)[:, None])

    def config(self) -> dict[str, Any]:
        """A JSON value from which :meth:`Conditions.from_config` builds the same condition."""
        return {"kind": self.kind, "tokens": self.tokens, **self.settings()}


class ClassCondition(Condition):
    """One of ``names``. Raw: int64 index, -1 where absent."""

    kind = "class"

    def __init__(self, name: str, dim: int, tokens: bool = False, *, names: Sequence[str]) -> None:
        super().__init__(name, dim, tokens)
        self.names = tuple(names)
        if not all(isinstance(entry, str) for entry in self.names) or not 0 < len(self.names) == len(set(self.names)):
            raise UserError(f"condition {name!r}: its classes need names, each its own", "Look at the data's column.")
        self.table = nn.Embedding(len(self.names), dim)
        nn.init.normal_(self.table.weight, std=dim**-0.5)

    @classmethod
    def from_column(cls, name: str, column: Column, dim: int, tokens: bool = False) -> Self:
        assert isinstance(column, Labels)
        return cls(name, dim, tokens, names=column.names)

    def raw(self, column: Column) -> Tensor:
        if not isinstance(column, Labels) or tuple(column.names) != self.names:
            known = ", ".join(self.names)
            raise UserError(f"condition {self.name!r} of the data does not have the model's classes, which are {known}")
        raw = torch.as_tensor(column.values, dtype=torch.int64)
        self.check(raw)
        return raw

    def parse_one(self, value: Any) -> float:
        """A class's name, or else its index. Names come first: ``7`` is the class called "7" where there is one."""
        text = str(value)
        if text in self.names:
            return self.names.index(text)
        if text.isdecimal() and len(text) < 10 and int(text) < len(self.names):
            return int(text)
        raise UserError(f"{self.name} {text[:80]!r} does not exist.{did_you_mean(text[:80], self.names)}", self._known)

    def check(self, raw: Tensor) -> None:
        if len(raw) and int(raw.max()) >= len(self.names):
            raise UserError(f"{self.name} {int(raw.max())} does not exist.", self._known)

    @property
    def _known(self) -> str:
        """What there is, as advice."""
        more = f", ... ({len(self.names)} in all)" if len(self.names) > 20 else ""
        return f"There is: {', '.join(self.names[:20])}{more}; or an index from 0 to {len(self.names) - 1}."

    def absent(self, n: int) -> Tensor:
        return torch.full((n,), -1, dtype=torch.int64)

    def is_absent(self, raw: Tensor) -> Tensor:
        return raw < 0

    def embed(self, raw: Tensor) -> Tensor:
        return torch.as_tensor(self.table(raw.clamp(min=0)))

    def describe(self, raw: Tensor) -> list[Any]:
        return [self.names[i] if i >= 0 else None for i in raw.tolist()]

    def settings(self) -> dict[str, Any]:
        return {"names": list(self.names)}


class ScalarCondition(Condition):
    """A finite number. Raw: float32, NaN where absent.

    Standardised by the training data's mean and deviation, then embedded by a small MLP over the number itself and
    Fourier features of it (Tancik et al. 2020) with wavelengths from 16 standard deviations down to 1.
    """

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
        super().__init__(name, dim, tokens)
        if not (all(map(math.isfinite, (mean, std, low, high))) and std > 0 and low <= high):
            facts = f"mean {mean}, deviation {std}, range {low} to {high}"
            raise UserError(f"condition {name!r} has {facts}", "Look at the data's column.")
        self.mean, self.std, self.low, self.high, self.unit = mean, std, low, high, unit
        self.mlp = nn.Sequential(nn.Linear(11, dim), nn.SiLU(), nn.Linear(dim, dim))

    @classmethod
    def from_column(cls, name: str, column: Column, dim: int, tokens: bool = False) -> Self:
        assert isinstance(column, Scalars)
        known = column.values[np.abs(column.values) <= _LARGEST]
        if not len(known):
            raise UserError(f"condition {name!r} is unknown for every item of the training data")
        mean, std, low, high = (float(f(known)) for f in (np.mean, np.std, np.min, np.max))
        return cls(name, dim, tokens, mean=mean, std=std or 1.0, low=low, high=high, unit=column.unit)

    def raw(self, column: Column) -> Tensor:
        if not isinstance(column, Scalars):
            raise UserError(f"condition {self.name!r} is a number for the model, but a class in the data")
        values = np.where(np.abs(column.values) <= _LARGEST, column.values, np.nan)  # infinity is as good as unknown
        return torch.as_tensor(values, dtype=torch.float32)

    def parse(self, value: Any, n: int) -> Tensor:
        """As :meth:`Condition.parse`; warns of a number outside of the training data's range, which is allowed."""
        raw = super().parse(value, n)
        outside = raw[(raw < torch.tensor(self.low)) | (raw > torch.tensor(self.high))]
        if len(outside):
            warnings.warn(f"{self.name} {float(outside[0]):.4g} is a guess. {self._range}", Caution, stacklevel=2)
        return raw

    @property
    def _range(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"The training data went from {self.low:.4g} to {self.high:.4g}{unit}."

    def parse_one(self, value: Any) -> float:
        """A finite number, in the column's unit."""
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if abs(number) <= _LARGEST:
            return number
        raise UserError(f"{self.name} {str(value)[:80]!r} is not a finite number.", self._range)

    def absent(self, n: int) -> Tensor:
        return torch.full((n,), math.nan)

    def is_absent(self, raw: Tensor) -> Tensor:
        return raw.isnan()

    def embed(self, raw: Tensor) -> Tensor:
        z = ((raw.nan_to_num(self.mean) - self.mean) / self.std)[:, None]
        phase = 2 * math.pi * z * 2.0 ** torch.arange(-4, 1, device=z.device)
        return torch.as_tensor(self.mlp(torch.cat([z, phase.sin(), phase.cos()], 1)))

    def describe(self, raw: Tensor) -> list[Any]:
        return [None if math.isnan(x) else x for x in raw.tolist()]

    def settings(self) -> dict[str, Any]:
        return {"mean": self.mean, "std": self.std, "low": self.low, "high": self.high, "unit": self.unit}


def check_columns(columns: Mapping[str, Column], names: Sequence[str]) -> None:
    """Raise :class:`UserError` unless the data has columns ``names`` to condition on. No column is computed for it."""
    for name in names:
        if name not in columns:
            raise UserError(
                f"the data has no column {name!r} to condition on.{did_you_mean(name, columns)}",
                f"there is: {', '.join(columns) or 'nothing'}; train without a condition: conditions.use=[]",
            )


_OF_COLUMN: dict[type, type[Condition]] = {Labels: ClassCondition, Scalars: ScalarCondition}


class Conditions(nn.Module):
    """All that a model may be told, by name.

    Args:
        items: the conditions, all of width ``dim``. None at all makes an unconditional model.
        dim: width of the context.
    """

    def __init__(self, items: Sequence[Condition], dim: int) -> None:
        super().__init__()
        self.dim = dim if items else 0
        self.items = nn.ModuleDict()
        for item in items:
            if not item.name or "." in item.name or hasattr(self.items, item.name):
                raise UserError(f"a condition cannot be called {item.name!r}", "Call the data's column something else.")
            self.items[item.name] = item

    @classmethod
    def from_columns(
        cls, columns: Mapping[str, Column], names: Sequence[str], dim: int, tokens: bool = False
    ) -> Conditions:
        """Conditions on the data set's columns ``names``.

        Raises:
            UserError: if the data has no such column.
        """
        check_columns(columns, names)
        return cls([_OF_COLUMN[type(columns[n])].from_column(n, columns[n], dim, tokens) for n in names], dim)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Conditions:
        """The inverse of :meth:`config`, without the weights.

        Raises:
            UserError: for the unknown kind of a condition, or settings that it does not have.
        """
        items = []
        for name, entry in config["items"].items():
            settings = {key: value for key, value in entry.items() if key not in ("kind", "tokens")}
            kind, where = get_registry().load("condition", entry["kind"]), f"condition {name!r}"
            check_options(where, kind, settings, ("name", "dim", "tokens"))
            check_complete(where, kind, [*settings, "name", "dim", "tokens"])
            items.append(kind(name, config["dim"], entry["tokens"], **settings))
        return cls(items, config["dim"])

    def config(self) -> dict[str, Any]:
        """A JSON value."""
        return {"dim": self.dim, "items": {name: self[name].config() for name in self.names}}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, name: str) -> Condition:
        """The condition ``name``; raises :class:`UserError` naming what there is."""
        if name not in self.items:
            known = f"This model knows: {', '.join(self.names)}." if self.names else "This model is unconditional."
            raise UserError(f"the model has no condition {name!r}.{did_you_mean(name, self.names)}", known)
        item = self.items[name]
        assert isinstance(item, Condition)
        return item

    def parse(self, values: Any, n: int) -> dict[str, Tensor]:
        """Raw conditions of what a user wrote: ``{name: value or list}``, a bare value where the model knows only one
        condition, or None for nothing.

        Raises:
            UserError: if a name or value does not exist.
        """
        if values is None:
            return {}
        if not isinstance(values, Mapping):
            if not self.names:
                raise UserError(f"condition {values!r} tells the model nothing", "Leave it out: it is unconditional.")
            if len(self) != 1:
                fix = "Write condition.NAME=VALUE."
                raise UserError(f"which condition is {values!r}? The model knows: {', '.join(self.names)}", fix)
            values = {self.names[0]: values}
        return {name: self[name].parse(value, n) for name, value in values.items()}

    def checked(self, raw: Raw, n: int) -> dict[str, Tensor]:
        """Raw conditions of n samples that somebody else made, as they are.

        Raises:
            UserError: if a name does not exist, or its values are not n of those that do.
        """
        for name, value in raw.items():
            if value.shape != (n,):
                fix = f"Raw values of {n} samples have shape ({n},)."
                raise UserError(f"condition {name!r} has raw values of shape {tuple(value.shape)}", fix)
            self[name].check(value)
        return dict(raw)

    def complete(self, raw: Raw | None, n: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Raw values of every condition for n samples, absent where ``raw`` leaves a name out."""
        for name in raw or {}:
            self[name]
        given = raw or {}
        return {k: (given[k] if k in given else self[k].absent(n)).to(device) for k in self.names}

    def forward(self, raw: Raw | None, n: int, device: torch.device | str = "cpu") -> Context | None:
        """Embed the conditions of n samples: the sum of the vectors, the tokens side by side.

        Returns None for an unconditional model.
        """
        full = self.complete(raw, n, device)
        if not full:
            return None
        contexts = [self[name](value) for name, value in full.items()]
        tokens = [context.tokens for context in contexts if context.tokens is not None]
        vector = torch.stack([context.vector for context in contexts]).sum(0)
        return Context(vector, torch.cat(tokens, 1) if tokens else None)
