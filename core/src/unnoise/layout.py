"""What one data item is made of: named parts, their kinds, shapes, masks and symmetries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

Kind = Literal["gaussian", "categorical"]
Axis = int | str


@dataclass(frozen=True)
class Part:
    """One named tensor of a data item.

    Args:
        name: how the part is addressed, e.g. ``"bonds"``.
        kind: ``"gaussian"`` (real values, float tensors) or ``"categorical"`` (classes, int64 tensors).
        shape: the event shape without the batch axis. An ``int`` is a fixed size; a ``str`` names an axis of
            variable size, which is padded and masked by ``State.masks[name]``. ``("nodes", 3)`` is a set of
            3-vectors; ``("nodes", "nodes")`` is a matrix of pairs, whose mask is derived from the nodes'.
        classes: number of clean classes K (categorical only).
        absorbing: whether a noised value may also be the mask token K (set by the process, not by a plugin).
        symmetric: a part over pairs: ``x[i, j] == x[j, i]``. A pair has two ends, so the diagonal is masked out.
        com_free: a gaussian part whose first axis is variable: the mean over the unmasked rows is zero.

    Raises:
        ValueError: if the fields contradict each other.
    """

    name: str
    kind: Kind
    shape: tuple[Axis, ...]
    classes: int = 0
    absorbing: bool = False
    symmetric: bool = False
    com_free: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        if self.kind not in ("gaussian", "categorical"):
            raise ValueError(f"part {self.name!r}: kind must be 'gaussian' or 'categorical', not {self.kind!r}")
        if (self.kind == "categorical") != (self.classes > 0):
            raise ValueError(f"part {self.name!r}: 'classes' belongs to categorical parts and must be positive there")
        if self.absorbing and self.kind != "categorical":
            raise ValueError(f"part {self.name!r}: only a categorical part can be absorbing")
        if self.symmetric and not (len(self.shape) >= 2 and self.shape[0] == self.shape[1]):
            raise ValueError(f"part {self.name!r}: a symmetric part needs two equal leading axes, not {self.shape}")
        if self.com_free and not (self.kind == "gaussian" and self.shape and isinstance(self.shape[0], str)):
            raise ValueError(f"part {self.name!r}: com_free needs a gaussian part with a variable first axis")
        variable = self.variable_axes
        if variable and self.shape[: len(variable)] != variable:
            raise ValueError(f"part {self.name!r}: variable axes must come first, not {self.shape}")
        if len(variable) > 2:
            raise ValueError(f"part {self.name!r}: at most two variable axes, not {self.shape}")

    @property
    def variable_axes(self) -> tuple[str, ...]:
        """The names of the variable axes, in order."""
        return tuple(axis for axis in self.shape if isinstance(axis, str))

    @property
    def element_axes(self) -> int:
        """How many leading axes tell elements apart: the variable ones (two for pairs), or else a fixed first one."""
        return max(len(self.variable_axes), min(len(self.shape), 1))

    @property
    def fixed_shape(self) -> tuple[int, ...]:
        """The sizes of the fixed axes, which follow the variable ones."""
        return tuple(axis for axis in self.shape if isinstance(axis, int))

    @property
    def fixed_size(self) -> int:
        """Number of elements under one position of the variable axes."""
        return math.prod(self.fixed_shape)

    @property
    def tokens(self) -> int:
        """Number of values a *noised* categorical element may take: K, or K + 1 with a mask token."""
        return self.classes + self.absorbing


@dataclass(frozen=True)
class Layout:
    """The parts of one data item. A plain tensor is the one-part case."""

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        names = [part.name for part in self.parts]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a layout needs parts with distinct names, not {names}")

    @classmethod
    def tensor(cls, *shape: int, name: str = "x") -> Layout:
        """A single gaussian part of fixed shape."""
        return cls((Part(name, "gaussian", shape),))

    def sole(self, variable: int, fixed: int) -> Part | None:
        """The only part, if it is the only one, gaussian, and has so many variable and fixed axes; else None."""
        part = self.parts[0]
        fits = part.kind == "gaussian" and (len(part.variable_axes), len(part.fixed_shape)) == (variable, fixed)
        return part if fits and len(self.parts) == 1 else None

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, name: str) -> Part:
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(f"no part {name!r}; this layout has {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts)

    @cached_property
    def variable_axes(self) -> tuple[str, ...]:
        """The names of all variable axes, each once, in order of first use."""
        return tuple(dict.fromkeys(axis for part in self.parts for axis in part.variable_axes))

    def with_absorbing(self, names: frozenset[str] | set[str]) -> Layout:
        """The layout whose parts ``names`` may also hold a mask token."""
        return Layout(tuple(replace(part, absorbing=part.name in names) for part in self.parts))

    def to_json(self) -> list[dict[str, Any]]:
        """A JSON value from which :meth:`from_json` builds the same layout."""
        return [asdict(part) for part in self.parts]

    @classmethod
    def from_json(cls, value: list[Mapping[str, Any]]) -> Layout:
        """The inverse of :meth:`to_json`."""
        return cls(tuple(Part(**{**entry, "shape": tuple(entry["shape"])}) for entry in value))
