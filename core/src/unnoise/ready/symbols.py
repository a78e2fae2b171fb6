"""Texts, and whatever else is one symbol after the other, as one categorical part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.ready.elements import Elements
from unnoise.state import State


class Symbols(Elements):
    """Texts <-> one categorical part ``symbols`` with a class for every symbol met in training, a character by default.

    A derived class whose items are no texts, or whose symbols are no characters, says how one becomes the other:
    :meth:`to_symbols` and :meth:`to_item`.

    Args:
        axis: name of the axis where items differ in length; empty where all have one.
        longest: longer items are left out; 0 takes all.

    Raises:
        UserError: if ``longest`` is below 0.
    """

    layout: Layout

    def __init__(self, axis: str = "places", longest: int = 0) -> None:
        super().__init__(axis, longest)
        self.vocabulary: tuple[str, ...] = ()

    def to_symbols(self, item: Any) -> Sequence[str]:
        """The symbols of an item."""
        return list(item)

    def to_item(self, symbols: Sequence[str]) -> Any:
        """The inverse of :meth:`to_symbols`."""
        return "".join(symbols)

    def fit(self, items: Sequence[Any]) -> None:
        """Measure which symbols there are, and how long items are.

        Raises:
            UserError: if no item can be represented, or there are fewer than two symbols.
        """
        found: set[str] = set()
        lengths: list[int] = []
        length: int | None = None
        for item in items:
            symbols = self.to_symbols(item)
            length = len(symbols) if length is None else length
            if not self._problem(symbols, length):
                found.update(symbols)
                lengths.append(len(symbols))
        if len(found) < 2:
            message = f"of the {len(items)} items, {len(lengths)} can be represented, with {len(found)} symbols"
            raise UserError(message, "look at the data, and at representation.longest")
        self._allocate(sorted(found), lengths[0])
        self.count(lengths)

    def settings(self) -> dict[str, Any]:
        shape = self.layout["symbols"].fixed_shape
        return {"vocabulary": list(self.vocabulary), "longest": len(self.counts) - 1, "length": [*shape, 0][0]}

    def restore(self, settings: Mapping[str, Any]) -> None:
        self._allocate([str(symbol) for symbol in settings["vocabulary"]], int(settings["length"]))
        self.reserve(int(settings["longest"]))

    def unfit(self, items: Sequence[Any]) -> Mapping[int, str]:
        """Items that are empty, too long or of another length, or that hold a symbol not met in training."""
        known, length = set(self.vocabulary), [*self.layout["symbols"].fixed_shape, 0][0]
        reasons = {}
        for i, item in enumerate(items):
            symbols = self.to_symbols(item)
            strange = sorted(set(symbols) - known)
            reason = self._problem(symbols, length) or (f"{strange[0]!r} is no known symbol" if strange else "")
            if reason:
                reasons[i] = reason
        return reasons

    def encode(self, items: Sequence[Any]) -> State:
        index = {symbol: k for k, symbol in enumerate(self.vocabulary)}
        rows = [torch.tensor([index[symbol] for symbol in self.to_symbols(item)], dtype=torch.int64) for item in items]
        device = self.counts.device
        if not self.axis:
            return State(self.layout, {"symbols": torch.stack(rows).to(device)})
        sizes = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        state = State.zeros(self.layout, len(rows), {self.axis: sizes}, device)
        for place, row in zip(state.parts["symbols"], rows, strict=True):
            place[: len(row)] = row
        return state

    def decode(self, state: State) -> list[Any]:
        rows = state.parts["symbols"].tolist()
        sizes = state.sizes[self.axis].tolist() if self.axis else [None] * len(rows)
        return [self.to_item([self.vocabulary[k] for k in row[:size]]) for row, size in zip(rows, sizes, strict=True)]

    def save(self, items: Sequence[Any], folder: Path, settings: Mapping[str, Any]) -> list[Path]:
        """``items.jsonl``, an item a line, which :func:`read_texts` reads."""
        path = folder / "items.jsonl"
        path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
        return [path]

    def preview(self, items: Sequence[Any], path: Path, labels: Sequence[str] = ()) -> None:
        """The first items as lines of text."""
        from unnoise.ready.pictures import lines

        texts = [repr(item) for item in items]
        told = [f"{label}: {text}" for label, text in zip(labels, texts, strict=True)] if labels else texts
        lines(told).save(path, format="PNG")

    def _allocate(self, vocabulary: Sequence[str], length: int) -> None:
        self.vocabulary = tuple(vocabulary)
        shape = (self.axis or length,)
        self.layout = Layout((Part("symbols", "categorical", shape, classes=len(vocabulary)),))

    def _problem(self, symbols: Sequence[str], length: int) -> str:
        """Why an item is left out; empty if it is not."""
        if not symbols:
            return "it is empty"
        if not self.axis and len(symbols) != length:
            return f"it has {len(symbols)} symbols, the first {length}"
        return f"it is longer than {self.longest}" if self.longest and len(symbols) > self.longest else ""


def read_texts(path: Path) -> list[Any]:
    """The items of a ``.jsonl`` file, or the lines of any other; of a folder, those of its ``items.jsonl``.

    Raises:
        UserError: if it cannot be read.
    """
    file = path / "items.jsonl" if path.is_dir() else path
    try:
        rows = [line for line in file.read_text(encoding="utf-8").split("\n") if line]
        return [json.loads(row) for row in rows] if file.suffix == ".jsonl" else rows
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read: {error}", "a text a line, or JSON lines as they are written"
        ) from error
