"""The condition that is one of several names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from unnoise.conditions.base import Condition
from unnoise.contracts import Column, Labels
from unnoise.errors import UserError, did_you_mean


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
