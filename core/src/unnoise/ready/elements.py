"""What representations of arrays and of symbols share: items of one or of many lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unnoise.contracts import Kept, Representation
from unnoise.errors import UserError
from unnoise.layout import Part
from unnoise.masks import parse_mask, whole
from unnoise.noise import Noise
from unnoise.state import State

_SIZE = Part("size", "gaussian", ())
_SPANS = {"after": ("N",), "before": ("N",), "between": ("A", "B")}
_MOST = 1 << 20
"""Elements by which an item may be extended."""


class Elements(Representation):
    """Items that are a number of elements, one after the other.

    Args:
        axis: name of their axis where items differ in length; empty where all are of one shape.
        longest: longer items are left out; 0 takes all.

    Raises:
        UserError: if ``longest`` is below 0.
    """

    counts: Tensor
    """Training items by length: int64 ``(longest seen + 1,)``; of one shape, none are counted."""

    def __init__(self, axis: str = "", longest: int = 0) -> None:
        super().__init__()
        if longest < 0:
            raise UserError(f"representation.longest={longest}", "a number of elements, or 0 for any")
        self.axis, self.longest = axis, longest

    def count(self, lengths: Sequence[int]) -> None:
        """Note how long training items are."""
        self.reserve(max(lengths) if self.axis else 0)
        if self.axis:
            self.counts.copy_(torch.bincount(torch.tensor(lengths), minlength=len(self.counts)))

    def reserve(self, longest: int) -> None:
        """Make room for lengths up to ``longest``."""
        self.register_buffer("counts", torch.zeros(longest + 1, dtype=torch.int64))

    def sizes(self, noise: Noise) -> dict[str, Tensor]:
        """Lengths distributed as those of training items."""
        if not self.axis:
            return {}
        cdf = self.counts.double().cumsum(0).cpu()
        u = noise.uniform(_SIZE, (), purpose="sizes").cpu() * cdf[-1]
        return {self.axis: torch.searchsorted(cdf, u, right=True).clamp(max=len(cdf) - 1)}

    def kept(self, items: Sequence[Any], mask: Any) -> Kept:
        """As :func:`keep`."""
        return keep(self.encode(items), mask, self.axis)


def keep(state: State, mask: Any, axis: str = "") -> Kept:
    """What an edit keeps of items whose parts all begin with one axis.

    Args:
        state: the items, encoded.
        mask: what is made anew: ``after:N``, ``before:N`` or ``between:A,B`` in elements (the first is 0), ``extend:N``
            for N further elements of items that differ in length; or an array ``(n, ...)`` of the shape of an item, or
            of its leading axes, that is True there.
        axis: name of the first axis; empty where its size is fixed.

    Raises:
        UserError: for a mask that does not fit.
    """
    size = next(iter(state.parts.values())).shape[1]
    if not isinstance(mask, str):
        return Kept(state, _by_array(state, mask, axis))
    word, numbers = parse_mask(mask, {**_SPANS, **({"extend": ("N",)} if axis else {})}, "an array in Python")
    count = len(numbers)
    first, *last = whole(mask, numbers, [0] * count, [_MOST if word == "extend" else size] * count)
    if word == "extend":
        before = state.sizes[axis][:, None]
        state = _longer(state, axis, first)
        made = torch.arange(size + first, device=state.device) >= before
    else:
        begin, end = {"after": (first, size), "before": (0, first), "between": (first, *last)}[word]
        place = torch.arange(size, device=state.device)
        made = ((begin <= place) & (place < end))[None]
    return Kept(state, {name: _along(~made, x) for name, x in state.parts.items()})


def _along(mask: Tensor, x: Tensor) -> Tensor:
    """A mask of elements ``(B or 1, n)`` so that it broadcasts against a part."""
    return mask.reshape(*mask.shape, *(1 for _ in x.shape[2:]))


def _by_array(state: State, mask: Any, axis: str) -> dict[str, Tensor]:
    made = torch.as_tensor(np.asarray(mask), device=state.device)
    shapes = {name: tuple(x.shape[1:]) for name, x in state.parts.items()}
    alike = all(tuple(made.shape) == shape[: made.dim()] for shape in shapes.values())
    if made.dtype != torch.bool or not made.dim() or not alike or (axis and not bool(state.masks[axis].all())):
        text = " or ".join(str(list(shape)) for shape in shapes.values())
        message = f"the mask is {made.dtype} of shape {list(made.shape)}, the items have {text}"
        raise UserError(message, "an array of booleans, True where an item is made anew, for items of one length")
    return {name: (~made).reshape(1, *made.shape, *(1 for _ in x.shape[1 + made.dim() :]))
            for name, x in state.parts.items()}  # fmt: skip


def _longer(state: State, axis: str, more: int) -> State:
    """Items with ``more`` further elements, zero."""
    longer = State.zeros(state.layout, state.batch, {axis: state.sizes[axis] + more}, state.device)
    width = longer.masks[axis].shape[1]
    return longer.replace(dict(state.resize({axis: width}).parts))
