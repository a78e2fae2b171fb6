"""Rows of a table, numbers and categories, as a product of parts."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unnoise.contracts import Kept, Representation
from unnoise.errors import UserError, did_you_mean
from unnoise.layout import Layout, Part
from unnoise.state import State

NUMBERS = "numbers"
"""The part of all columns of numbers."""
Scale = Literal["quantile", "standard"]
Row = Mapping[str, Any]
_DECIMALS = 6
"""A column that needs more decimals than these is not rounded."""


class Records(Representation):
    """Rows ``{column: number or text}`` <-> one gaussian part ``numbers`` of all columns of numbers, and a categorical
    part for every column of texts, called by the column.

    Every column of numbers is mapped to about a standard normal one by a piecewise linear function. On the way back a
    number is kept within the range of training and rounded to the decimals that training data has. A column that never
    varies is no part of the state.

    Args:
        scale: "quantile" maps by rank, which suits any distribution, also of many equal values (as Kotelnikov et al.
            2023 prepare tables); "standard" by mean and deviation.
        knots: of the function by rank, at most.

    Raises:
        UserError: for an option out of range.
    """

    layout: Layout
    values: Tensor
    """Knots of every column of numbers, float64 ``(columns, knots)``, the last one repeated."""
    scores: Tensor
    """What they are mapped to, likewise."""
    limits: Tensor
    """Least and greatest value of every column of numbers, float64 ``(columns, 2)``."""

    def __init__(self, scale: Scale = "quantile", knots: int = 256) -> None:
        super().__init__()
        if scale not in get_args(Scale) or knots < 2:
            message = f"representation.scale={scale}, knots={knots}"
            raise UserError(message, f"scale is one of {', '.join(get_args(Scale))}, knots at least 2")
        self.scale, self.knots = scale, knots
        self.columns: dict[str, dict[str, Any]] = {}

    def fit(self, items: Sequence[Row]) -> None:
        """Measure which columns there are, of which kind, and how they are distributed.

        Raises:
            UserError: if there are no rows, or a column holds both numbers and texts, or nothing varies.
        """
        rows = list(items)
        if not rows:
            raise UserError("there are no rows to learn from", "look at the data")
        self.columns, maps = {}, []
        for name in rows[0]:
            values = [row[name] for row in rows if row.get(name) is not None]
            texts = [isinstance(value, str) for value in values]
            if any(texts) and not all(texts):
                fix = "make all of them numbers, or all texts"
                raise UserError(f"column {name!r} holds both numbers and texts", fix)
            if texts and texts[0]:
                self.columns[name] = _categories(values)
            else:
                numbers = np.array([float(v) for v in values if math.isfinite(v)], dtype=np.float64)
                self.columns[name], points = self._measured(numbers)
                maps += [points] if points is not None else []
        if NUMBERS in self._texts:
            raise UserError(f"a column of texts cannot be called {NUMBERS!r}", "call it something else")
        if not self._numbers and not self._texts:
            raise UserError("no column of the table varies", "look at the data")
        self._allocate()
        for column, (values_at, scores_at, limits) in enumerate(maps):
            for buffer, points in ((self.values, values_at), (self.scores, scores_at)):
                buffer[column] = points[-1]
                buffer[column, : len(points)] = torch.from_numpy(points)
            self.limits[column] = torch.tensor(limits, dtype=torch.float64)

    def settings(self) -> dict[str, Any]:
        return {"columns": self.columns}

    def restore(self, settings: Mapping[str, Any]) -> None:
        self.columns = {str(name): dict(entry) for name, entry in settings["columns"].items()}
        self._allocate()

    def unfit(self, items: Sequence[Row]) -> Mapping[int, str]:
        """Rows that lack a value, or hold a text that training did not know."""
        reasons = {i: self._problem(row) for i, row in enumerate(items)}
        return {i: reason for i, reason in reasons.items() if reason}

    def encode(self, items: Sequence[Row]) -> State:
        parts: dict[str, Tensor] = {}
        device = self.values.device
        if self._numbers:
            found = np.stack([self._through(name, items, forth=True) for name in self._numbers], 1)
            parts[NUMBERS] = torch.from_numpy(found).float().to(device)
        for name in self._texts:
            index = {text: k for k, text in enumerate(self.columns[name]["texts"])}
            parts[name] = torch.tensor([index[str(row[name])] for row in items], dtype=torch.int64, device=device)
        return State(self.layout, parts)

    def decode(self, state: State) -> list[dict[str, Any]]:
        found: dict[str, Sequence[Any]] = {}
        if self._numbers:
            scores = state.parts[NUMBERS].double().cpu().numpy()
            found = {name: self._back(name, scores[:, k]) for k, name in enumerate(self._numbers)}
        for name in self._texts:
            texts = self.columns[name]["texts"]
            found[name] = [texts[k] for k in state.parts[name].tolist()]
        for name, entry in self.columns.items():
            if "always" in entry:
                found[name] = [entry["always"]] * state.batch
        return [{name: found[name][i] for name in self.columns} for i in range(state.batch)]

    def kept(self, items: Sequence[Row], mask: Any) -> Kept:
        """What an edit keeps: all columns but those that ``mask`` names, ``"age,sex"`` (or ``"age:sex"``, or a list).

        Raises:
            UserError: for a column that there is not, or that never varies.
        """
        names = str(mask).replace(":", ",").split(",") if isinstance(mask, str) else [str(name) for name in mask]
        known = [*self._numbers, *self._texts]
        for name in names:
            if name not in known:
                message = f"mask={mask}: there is no column {name!r} that varies.{did_you_mean(name, known)}"
                raise UserError(message, f"columns: {', '.join(known)}")
        masks = {name: torch.tensor([name not in names]) for name in self._texts}
        if self._numbers:
            masks[NUMBERS] = torch.tensor([[name not in names for name in self._numbers]])
        return Kept(self.encode(items), masks)

    def save(self, items: Sequence[Row], folder: Path, settings: Mapping[str, Any]) -> list[Path]:
        """``rows.csv``, which :func:`read_rows` reads."""
        path = folder / "rows.csv"
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self.columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(items)
        path.write_text(text.getvalue(), encoding="utf-8")
        return [path]

    def preview(self, items: Sequence[Row], path: Path, labels: Sequence[str] = ()) -> None:
        """The first rows as a table."""
        from unnoise.ready.pictures import table

        rows = [[str(row[name]) for name in self.columns] for row in items]
        if labels:
            rows = [[label, *row] for label, row in zip(labels, rows, strict=True)]
        table([*(["asked"] if labels else []), *self.columns], rows).save(path, format="PNG")

    @property
    def _numbers(self) -> list[str]:
        """Columns of numbers that vary."""
        return [name for name, entry in self.columns.items() if "knots" in entry]

    @property
    def _texts(self) -> list[str]:
        """Columns of texts that vary."""
        return [name for name, entry in self.columns.items() if "texts" in entry]

    def _measured(self, values: NDArray[np.float64]) -> tuple[dict[str, Any], Any]:
        """What is noted of a column of numbers, and its knots, scores and limits."""
        if not len(values) or values.min() == values.max():
            return {"always": float(values[0]) if len(values) else 0.0}, None
        decimals = next((d for d in range(_DECIMALS + 1) if np.allclose(np.round(values, d), values, 0, 1e-9)), None)
        if self.scale == "standard":
            points, scores = values.mean() + np.array([-1, 1]) * values.std(), np.array([-1.0, 1.0])
        else:
            points, scores = _by_rank(values, self.knots)
        return {"knots": len(points), "decimals": decimals}, (points, scores, (values.min(), values.max()))

    def _allocate(self) -> None:
        numbers, texts = self._numbers, self._texts
        parts = [Part(NUMBERS, "gaussian", (len(numbers),))] if numbers else []
        parts += [Part(name, "categorical", (), classes=len(self.columns[name]["texts"])) for name in texts]
        self.layout = Layout(tuple(parts))
        most = max((int(self.columns[name]["knots"]) for name in numbers), default=0)
        for name, size in (("values", most), ("scores", most), ("limits", 2)):
            self.register_buffer(name, torch.zeros(len(numbers), size, dtype=torch.float64))

    def _knots(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        column, count = self._numbers.index(name), int(self.columns[name]["knots"])
        return self.values[column, :count].cpu().numpy(), self.scores[column, :count].cpu().numpy()

    def _through(self, name: str, items: Sequence[Row], forth: bool) -> NDArray[np.float64]:
        values, scores = self._knots(name)
        return piecewise(np.array([float(row[name]) for row in items]), values, scores)

    def _back(self, name: str, scores: NDArray[np.float64]) -> list[float]:
        values, known = self._knots(name)
        low, high = self.limits[self._numbers.index(name)].tolist()
        found = np.clip(piecewise(scores, known, values), low, high)
        decimals = self.columns[name]["decimals"]
        rounded = found if decimals is None else np.round(found, decimals)
        return [int(value) if decimals == 0 else float(value) for value in rounded]

    def _problem(self, row: Row) -> str:
        """Why a row is left out; empty if it is not."""
        for name in (*self._numbers, *self._texts):
            value = row.get(name)
            if value is None:
                return f"it has no {name!r}"
            if name in self._texts and str(value) not in self.columns[name]["texts"]:
                return f"{name!r} is {value!r}, which training data never has"
            if name in self._numbers and not _is_number(value):
                return f"{name!r} is {value!r}, which is no finite number"
        return ""


def piecewise(x: NDArray[np.float64], at: NDArray[np.float64], to: NDArray[np.float64]) -> NDArray[np.float64]:
    """The piecewise linear function through increasing points ``(at, to)``, whose first and last piece go on."""
    left = np.clip(np.searchsorted(at, x, side="right") - 1, 0, len(at) - 2)
    slope = np.diff(to)[left] / np.diff(at)[left]
    return np.asarray(to[left] + (x - at[left]) * slope)


def _by_rank(values: NDArray[np.float64], most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distinct values, at most so many, and the standard normal quantiles of their middle ranks; both increasing."""
    distinct, counts = np.unique(values, return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2) / len(values)
    chosen = np.unique(np.linspace(0, len(distinct) - 1, min(most, len(distinct))).round().astype(int))
    normal = NormalDist()
    return distinct[chosen], np.array([normal.inv_cdf(rank) for rank in ranks[chosen]])


def _categories(values: Sequence[str]) -> dict[str, Any]:
    texts = sorted(set(values))
    return {"texts": texts} if len(texts) > 1 else {"always": texts[0]}


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a csv file with a header, as texts; of a folder, those of its ``rows.csv``.

    Raises:
        UserError: if it cannot be read.
    """
    file = path / "rows.csv" if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8-sig")
        return list(csv.DictReader(io.StringIO(text, newline="")))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{file} cannot be read: {error}", "it should be csv with a header") from error
