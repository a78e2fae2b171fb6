"""What every condition is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unnoise.contracts import Column, Context, Curves, Labels, Maps, MapShape, Scalars, Texts
from unnoise.errors import UserError
from unnoise.level import align

Raw = Mapping[str, Tensor]
"""Condition name -> raw values ``(B,)``, of a curve or a text ``(B, K)``, of a map ``(B, *points, channels)``. A name
that is left out is absent for every sample.
"""

_CALLED: Mapping[type[Column], str] = {
    Labels: "a class",
    Scalars: "a number",
    Curves: "a curve",
    Maps: "a map",
    Texts: "a text",
}
"""How messages call what a column holds."""


def called(column: Column) -> str:
    """How messages call what a column, or one of a subclass, holds."""
    return next(words for kind, words in _CALLED.items() if isinstance(column, kind))


class Condition(nn.Module, ABC):
    """One condition. A subclass is registered under its ``kind``.

    Raw values are ``(B, *shape)``: one number a sample, unless a subclass says more.

    Args:
        name: how users call it.
        dim: width d of the embedding.
        tokens: whether :meth:`forward` also gives a token for cross-attention.
    """

    kind: ClassVar[str]
    map_shape: MapShape | None = None
    """Of the map that :meth:`forward` gives, which the network has to join to its input; None where it gives none."""

    def __init__(self, name: str, dim: int, tokens: bool = False) -> None:
        super().__init__()
        self.name, self.dim, self.tokens = name, dim, tokens
        self.null = nn.Parameter(torch.randn(dim) * dim**-0.5)
        self.token_of = nn.Linear(dim, dim) if tokens else None

    @classmethod
    @abstractmethod
    def from_column(cls, name: str, column: Column, dim: int, tokens: bool = False) -> Self:
        """The condition that can say everything a data set's column says. What a subclass takes beside these are its
        options, ``conditions.options.<name>`` of a config.
        """

    @abstractmethod
    def raw(self, column: Column) -> Tensor:
        """Raw values ``(N, *shape)`` of a data set's column."""

    @abstractmethod
    def parse_one(self, value: Any) -> Any:
        """The raw value of what a user wrote. Raises :class:`UserError` saying what would be right."""

    @abstractmethod
    def absent(self, n: int) -> Tensor:
        """Raw values ``(n, *shape)`` that say nothing."""

    @abstractmethod
    def is_absent(self, raw: Tensor) -> Tensor:
        """Where raw values say nothing: bool ``(B,)``."""

    @abstractmethod
    def embed(self, raw: Tensor) -> Tensor:
        """Embedding ``(B, *shape, d)`` of raw values; what it holds for an absent sample is not used."""

    def check(self, raw: Tensor) -> None:
        """Raise :class:`UserError` for raw values ``(B, *shape)`` that say what this condition cannot."""

    @abstractmethod
    def describe(self, raw: Tensor) -> list[Any]:
        """Raw values as JSON that :meth:`parse` understands; None where absent."""

    def values(self, raw: Tensor) -> NDArray[Any]:
        """Raw values as a data set's column holds them, for metrics."""
        made: NDArray[Any] = raw.cpu().numpy()
        return made

    def prepare(self, raw: Tensor, cache: Path | None) -> None:
        """Be told once, before training, of all raw values that it will show. What is computed of them may be kept in
        ``cache``, a folder that is there.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """JSON facts, the constructor's arguments beside ``name``, ``dim`` and ``tokens``."""

    def entries(self, value: Any) -> list[Any]:
        """What a user wrote as a list of what :meth:`parse_one` reads, or None, which is repeated to fill n samples."""
        return list(value) if isinstance(value, (list, tuple)) else [value]

    def parse(self, value: Any, n: int) -> Tensor:
        """Raw values ``(n, *shape)`` of what a user wrote: one value for all samples, or a list that is repeated to
        fill n.

        Raises:
            UserError: if a value is none of this condition's, or a list is empty.
        """
        values = self.entries(value.tolist() if isinstance(value, (np.ndarray, Tensor)) else value)
        if not values:
            raise UserError(f"condition {self.name!r} was given an empty list", "Give a value, or leave it out.")
        missing = self.absent(1)
        rows = [missing if v is None else torch.tensor([self.parse_one(v)], dtype=missing.dtype) for v in values]
        return torch.cat([rows[i % len(rows)] for i in range(n)]) if n else self.absent(0)

    def drop(self, raw: Tensor, mask: Tensor) -> Tensor:
        """Raw values with those under ``mask`` (bool ``(B,)``) made absent."""
        return torch.where(align(mask, raw), self.absent(len(raw)).to(raw.device), raw)

    def forward(self, raw: Tensor) -> Context:
        """Embed raw values: vector ``(B, d)`` and, where wanted, one token ``(B, 1, d)``."""
        vector = torch.where(self.is_absent(raw)[:, None], self.null, self.embed(raw))
        return Context(vector, self.token(vector))

    def token(self, vector: Tensor) -> Tensor | None:
        """The token ``(B, 1, d)`` of a vector ``(B, d)``, where tokens are wanted."""
        return None if self.token_of is None else self.token_of(vector)[:, None]

    def config(self) -> dict[str, Any]:
        """A JSON value from which :meth:`Conditions.from_config` builds the same condition."""
        return {"kind": self.kind, "tokens": self.tokens, **self.settings()}
