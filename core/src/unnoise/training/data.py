"""Encoded training data in memory, and the order in which a run sees it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from unnoise.contracts import Column, Dataset, Representation
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.state import State

_ORDER = Part("order", "gaussian", ())
_SHOWN = 3
"""Items that a note names."""


class Items(Sequence[Any]):
    """A data set as a lazy sequence.

    Args:
        data: the items.
        index: which of them, in this order; all if left out.
        reached: told how many items lie before the one that is asked for.
    """

    def __init__(
        self,
        data: Dataset,
        index: Sequence[int] | None = None,
        reached: Callable[[int], None] = lambda n: None,
    ) -> None:
        self._data, self._index = data, range(len(data)) if index is None else index
        self._reached = reached

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, i: int) -> Any: ...
    @overload
    def __getitem__(self, i: slice) -> Items: ...
    def __getitem__(self, i: int | slice) -> Any:
        self._reached((i.start or 0) if isinstance(i, slice) else i)
        return Items(self._data, self._index[i]) if isinstance(i, slice) else self._data[self._index[i]]


@dataclass(frozen=True)
class Selection:
    """Which items of a data set can be represented.

    Args:
        index: positions in the data set of the items that can.
        unfit: reason -> how many cannot.
        first: reason -> the first few of them, by name.
    """

    index: list[int]
    unfit: Mapping[str, int]
    first: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        data: Dataset,
        representation: Representation,
        chunk: int = 4096,
        advance: Callable[[int], None] = lambda n: None,
    ) -> Selection:
        """Ask the representation about every item, a chunk at a time; unless it takes all anyway.

        ``advance`` is told how many more items have been asked about.

        Raises:
            UserError: if nothing is left.
        """
        if type(representation).unfit is Representation.unfit and len(data):
            return cls(list(range(len(data))), {})
        index: list[int] = []
        reasons: Counter[str] = Counter()
        first: dict[str, list[str]] = {}
        for start in range(0, len(data), chunk):
            items = [data[i] for i in range(start, min(start + chunk, len(data)))]
            unfit = representation.unfit(items)
            reasons.update(unfit.values())
            for i, reason in unfit.items():
                if len(first.setdefault(reason, [])) < _SHOWN:
                    first[reason].append(_name(items[i], start + i))
            index += [start + i for i in range(len(items)) if i not in unfit]
            advance(len(items))
        if not index:
            why = "; ".join(f"{reason} ({n})" for reason, n in reasons.most_common(3)) or "there are none"
            raise UserError(f"none of the {len(data)} training items can be represented: {why}")
        return cls(index, dict(reasons), first)

    def notes(self) -> list[str]:
        """A line for every reason."""
        total = len(self.index) + sum(self.unfit.values())
        return [f"left out {n} of {total} items: {why}: {self._examples(why, n)}" for why, n in self.unfit.items()]

    def _examples(self, reason: str, count: int) -> str:
        return ", ".join(self.first.get(reason, ())) + (", ..." if count > _SHOWN else "")


class EncodedData:
    """A data set, encoded once, with what is known of each item.

    Args:
        state: every item, on the CPU, padded to the largest; classes may lie in a small integer type.
        columns: raw conditions by name, ``(N,)``, ``(N, K)`` or ``(N, *points, channels)``.
    """

    def __init__(self, state: State, columns: Mapping[str, Tensor] | None = None) -> None:
        self.state, self.columns = state, dict(columns or {})
        self.maps = tuple(name for name, column in self.columns.items() if column.dim() > 2)

    @classmethod
    def encode(
        cls,
        items: Items,
        representation: Representation,
        columns: Mapping[str, Tensor] | None = None,
        chunk: int = 1024,
        advance: Callable[[int], None] = lambda n: None,
    ) -> EncodedData:
        """Encode items a chunk at a time.

        Args:
            items: what is encoded.
            representation: fitted.
            columns: raw conditions of these items.
            chunk: items encoded at once.
            advance: told how many more items are done.

        Raises:
            UserError: if the data is not finite, naming the part.
        """
        states = []
        with torch.no_grad():
            for start in range(0, len(items), chunk):
                part = list(items[start : start + chunk])
                state = representation.encode(part).to("cpu")
                _check_finite(state)
                states.append(_compact(state))
                advance(len(part))
        return cls(State.cat(states), columns)

    def __len__(self) -> int:
        return self.state.batch

    def marginals(self, part: str) -> Tensor:
        """Frequencies of the classes of a categorical part over real elements, float64 ``(K,)``."""
        x, mask = self.state.parts[part], self.state.mask(part)
        values = x.flatten() if mask is None else x[mask.expand_as(x)]
        counts = torch.zeros(self.state.layout[part].classes, dtype=torch.float64)
        for start in range(0, len(values), 1 << 24):
            counts += torch.bincount(values[start : start + (1 << 24)].long(), minlength=len(counts))
        return counts / counts.sum()

    def std(self, part: str) -> float:
        """Root mean square of a gaussian part over real elements."""
        total = self.state.parts[part].double().square().sum()  # padding holds 0
        return float((total / self.state.counts(part).double().sum()).sqrt())

    def batch(self, seed: int, index: Tensor, device: torch.device | str = "cpu") -> tuple[State, dict[str, Tensor]]:
        """The items that a run with this seed meets at global sample indices ``(B,)``, without needless padding.

        Args:
            seed: of the run.
            index: int64 ``(B,)``, on the CPU.
            device: where the batch goes.
        """
        rows = order(seed, index, len(self))
        state = self.state[rows].trim().map(lambda part, x: x.long() if part.kind == "categorical" else x)
        return state.to(device), {name: column[rows].to(device) for name, column in self.columns.items()}


class Unencoded(EncodedData):
    """Stands for data that are still to be encoded: one empty item, all classes equally frequent, deviations of 1.

    A model built on it tells whether a config makes a model at all.

    Args:
        layout: of clean states.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__(
            State.zeros(layout, 1, {axis: torch.ones(1, dtype=torch.int64) for axis in layout.variable_axes})
        )

    def marginals(self, part: str) -> Tensor:
        classes = self.state.layout[part].classes
        return torch.full((classes,), 1 / classes, dtype=torch.float64)

    def std(self, part: str) -> float:
        return 1.0


def order(seed: int, index: Tensor, n: int) -> Tensor:
    """Which of n items a run with this seed meets at global sample indices: int64 ``(B,)``.

    Sample g is item ``p[g % n]`` with p the permutation of epoch ``g // n``. So every epoch sees every item once, and
    what a step sees is a function of the seed and the step alone.
    """
    epochs = index // n
    rows = torch.empty_like(index)
    for epoch in sorted(set(epochs.tolist())):
        here = epochs == epoch
        rows[here] = permutation(seed, epoch, n)[index[here] % n]
    return rows


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, n: int) -> Tensor:
    """The order of n items in an epoch of the run with this seed: int64 ``(n,)``."""
    keys = Noise.training(seed, torch.arange(n)).uniform(_ORDER, (), draw=epoch, purpose="order")
    return keys.argsort(stable=True)


class Columns(Mapping[str, Column]):
    """A data set's columns for some of its items. Each is asked for when it is used: a plugin may compute it then.

    Args:
        columns: of all items.
        index: which items, in this order.
    """

    def __init__(self, columns: Mapping[str, Column], index: Sequence[int]) -> None:
        self._columns, self._index = columns, index

    def __getitem__(self, name: str) -> Column:
        return subset(self._columns[name], self._index)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __contains__(self, name: object) -> bool:
        return name in self._columns


def subset(column: Column, index: Sequence[int]) -> Column:
    """The rows ``index`` of a data set's column."""
    return replace(column, values=column.values[np.asarray(index)])


def _name(item: Any, index: int) -> str:
    """What an item is called: a short text is its own name."""
    return item[:60] if isinstance(item, str) else f"item {index}"


def _check_finite(state: State) -> None:
    for part in state.layout:
        if part.kind == "gaussian" and not bool(state.parts[part.name].isfinite().all()):
            count = int((~state.parts[part.name].isfinite()).flatten(1).any(1).sum())
            message = f"the data is not finite: part {part.name!r} of {count} items holds NaN or infinity"
            raise UserError(message, "Look at the data, or leave these items out.")


def _compact(state: State) -> State:
    """The same state with classes in the smallest integer type that holds them."""

    def shrink(part: Part, x: Tensor) -> Tensor:
        if part.kind == "gaussian":
            return x.float()
        return x.to(torch.uint8) if part.classes <= 256 else x.to(torch.int32)

    return state.map(shrink)
