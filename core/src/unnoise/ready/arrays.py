"""Arrays of numbers as one gaussian part, with measured statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.ready.elements import Elements
from unnoise.state import State

Per = Literal["channel", "all"]


class Arrays(Elements):
    """Arrays ``(n, ...)`` of real numbers <-> one gaussian part ``x`` of mean 0 and deviation 1.

    A derived class whose items are no arrays says how they become some: :meth:`to_array` and :meth:`to_item`.

    Args:
        axis: name of the first axis where its length differs from item to item; empty where all are of one shape.
        longest: longer items are left out; 0 takes all.
        per: "channel" measures mean and deviation for every index of the last axis (for every entry of a vector), "all"
            one for all numbers.

    Raises:
        UserError: for an option out of range.
    """

    mean: Tensor
    scale: Tensor
    layout: Layout

    def __init__(self, axis: str = "", longest: int = 0, per: Per = "channel") -> None:
        super().__init__(axis, longest)
        if per not in get_args(Per):
            raise UserError(f"representation.per={per}", f"choose of {', '.join(get_args(Per))}")
        self.per = per

    def to_array(self, item: Any) -> NDArray[Any]:
        """An item as an array."""
        return np.asarray(item)

    def to_item(self, array: NDArray[np.float32]) -> Any:
        """The inverse of :meth:`to_array`."""
        return array

    def fit(self, items: Sequence[Any]) -> None:
        """Measure shape, lengths, means and deviations.

        Raises:
            UserError: if no item can be represented.
        """
        shape: tuple[int, ...] | None = None
        lengths = []
        total = squares = np.zeros(1)
        numbers = 0
        for item in items:
            array = self.to_array(item)
            fixed = array.shape[1:] if self.axis else array.shape
            shape = fixed if shape is None and array.size else shape
            if shape is None or self._problem(array, shape):
                continue
            rows = self._rows(array.astype(np.float64))
            total, squares, numbers = total + rows.sum(0), squares + np.square(rows).sum(0), numbers + len(rows)
            lengths.append(len(array))
        if shape is None or not numbers:
            raise UserError(f"none of the {len(items)} items can be represented", "look at the data")
        self._allocate(shape)
        self.count(lengths)
        mean = total / numbers
        variance = np.maximum(squares / numbers - np.square(mean), 0)
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(np.where(variance > 1e-12 * np.square(mean), np.sqrt(variance), 1.0)))

    def settings(self) -> dict[str, Any]:
        return {"shape": list(self.layout["x"].fixed_shape), "longest": len(self.counts) - 1}

    def restore(self, settings: Mapping[str, Any]) -> None:
        self._allocate(tuple(int(size) for size in settings["shape"]))
        self.reserve(int(settings["longest"]))

    def unfit(self, items: Sequence[Any]) -> Mapping[int, str]:
        """Arrays of another shape, too long, empty, or with numbers that are not finite."""
        shape = self.layout["x"].fixed_shape
        reasons = {i: self._problem(self.to_array(item), shape) for i, item in enumerate(items)}
        return {i: reason for i, reason in reasons.items() if reason}

    def encode(self, items: Sequence[Any]) -> State:
        arrays = [torch.from_numpy(np.ascontiguousarray(self.to_array(item), dtype=np.float32)) for item in items]
        if not self.axis:
            x = torch.stack(arrays).to(self.mean.device)
            return State(self.layout, {"x": (x - self.mean) / self.scale})
        sizes = torch.tensor([len(array) for array in arrays], dtype=torch.int64)
        state = State.zeros(self.layout, len(arrays), {self.axis: sizes}, self.mean.device)
        x = state.parts["x"]
        for row, array in zip(x, arrays, strict=True):
            row[: len(array)] = array
        return state.replace({"x": (x - self.mean) / self.scale}).project()

    def decode(self, state: State) -> list[Any]:
        arrays = (state.parts["x"].float() * self.scale + self.mean).cpu().numpy()
        sizes = state.sizes[self.axis].tolist() if self.axis else [None] * len(arrays)
        return [self.to_item(np.ascontiguousarray(array[:size])) for array, size in zip(arrays, sizes, strict=True)]

    def save(self, items: Sequence[Any], folder: Path, settings: Mapping[str, Any]) -> list[Path]:
        """A file per item: ``00000.npy`` and so on, which :func:`read_arrays` reads."""
        paths = [folder / f"{i:05d}.npy" for i in range(len(items))]
        for path, item in zip(paths, items, strict=True):
            np.save(path, self.to_array(item))
        return paths

    def preview(self, items: Sequence[Any], path: Path, labels: Sequence[str] = ()) -> None:
        """Vectors as dots in the plane of their first two entries; anything else as curves along the first axis."""
        from unnoise.ready.pictures import curves, scatter

        arrays = [self.to_array(item) for item in items]
        flat = not self.axis and arrays and arrays[0].ndim == 1
        picture = scatter(arrays) if flat else curves(arrays, labels)
        picture.save(path, format="PNG")

    def _allocate(self, shape: tuple[int, ...]) -> None:
        axes: tuple[int | str, ...] = (self.axis, *shape) if self.axis else shape
        self.layout = Layout((Part("x", "gaussian", axes),))
        channels = shape[-1] if shape and self.per == "channel" else 1
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def _rows(self, array: NDArray[Any]) -> NDArray[Any]:
        """Numbers by channel, ``(N, channels)``."""
        single = self.per == "all" or (self.axis and array.ndim == 1)
        return array.reshape(-1, 1 if single else array.shape[-1])

    def _problem(self, array: NDArray[Any], shape: tuple[int, ...]) -> str:
        """Why an array is left out; empty if it is not."""
        found = array.shape[1:] if self.axis else array.shape
        if found != shape:
            return f"its shape is {list(array.shape)}, most have {[self.axis] if self.axis else []}{list(shape)}"
        if not array.size:
            return "it is empty"
        if self.longest and self.axis and len(array) > self.longest:
            return f"it is longer than {self.longest}"
        return "" if np.isfinite(array).all() else "some of its numbers are not finite"


def read_arrays(path: Path) -> list[NDArray[Any]]:
    """The arrays of a ``.npy`` file, or of all that lie in a folder, in order of their names.

    Raises:
        UserError: if one cannot be read.
    """
    files = sorted(path.glob("*.npy")) if path.is_dir() else [path]
    arrays = []
    for file in files:
        try:
            arrays.append(np.load(file, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{file} cannot be read: {error}", "it should be an array that numpy.save wrote") from error
    return arrays
