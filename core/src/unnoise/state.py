"""A batch of data items, clean or noised: the tensors of a layout's parts and the masks beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unnoise.layout import Layout, Part


@dataclass(frozen=True)
class State:
    """A batch of B items.

    Args:
        layout: what the items are made of.
        parts: name -> tensor ``(B, *event shape)``; float for gaussian parts, int64 class indices for
            categorical ones. Padded elements hold 0.
        masks: variable axis -> bool ``(B, size)``, True where an element is real. Real elements come first.

    Raises:
        ValueError: if a part or mask is missing, or a shape does not fit the layout.
    """

    layout: Layout
    parts: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if set(self.parts) != set(self.layout.names):
            raise ValueError(f"state has parts {sorted(self.parts)}, its layout {sorted(self.layout.names)}")
        for axis in self.layout.variable_axes:
            if axis not in self.masks:
                raise ValueError(f"axis {axis!r} varies in size: the state needs masks[{axis!r}]")
        for part in self.layout:
            shape = tuple(self.parts[part.name].shape)
            expected = (self.batch, *(self.masks[a].shape[1] if isinstance(a, str) else a for a in part.shape))
            if shape != expected:
                raise ValueError(f"part {part.name!r} has shape {shape}, its layout says {expected}")

    @classmethod
    def of(cls, x: Tensor, name: str = "x") -> State:
        """Wrap a plain tensor ``(B, ...)`` as a one-part gaussian state."""
        return cls(Layout.tensor(*x.shape[1:], name=name), {name: x})

    @classmethod
    def zeros(
        cls, layout: Layout, batch: int, sizes: Mapping[str, Tensor], device: torch.device | None = None
    ) -> State:
        """A batch of zeros; ``sizes`` gives the number of real elements per item, ``(B,)`` per variable axis."""
        masks = {}
        for axis in layout.variable_axes:
            count = sizes[axis].to(device)
            masks[axis] = torch.arange(int(count.max()) if batch else 0, device=device) < count[:, None]
        parts = {}
        for part in layout:
            shape = [masks[a].shape[1] if isinstance(a, str) else a for a in part.shape]
            dtype = torch.int64 if part.kind == "categorical" else torch.float32
            parts[part.name] = torch.zeros(batch, *shape, dtype=dtype, device=device)
        return cls(layout, parts, masks)

    @property
    def batch(self) -> int:
        """Number of items B."""
        return next(iter(self.parts.values())).shape[0]

    @property
    def device(self) -> torch.device:
        return next(iter(self.parts.values())).device

    @property
    def sizes(self) -> dict[str, Tensor]:
        """Number of real elements per item and variable axis, int64 ``(B,)``."""
        return {axis: mask.sum(1) for axis, mask in self.masks.items()}

    def mask(self, name: str) -> Tensor | None:
        """Which elements of a part are real: bool, ``(B, n[, n])`` with trailing 1s so that it broadcasts against
        the part; None for a part of fixed shape. For pairs it is the product of the ends' masks, without the
        diagonal where the part is symmetric.
        """
        return part_mask(self.layout[name], self.masks)

    def counts(self, name: str) -> Tensor:
        """Number of real scalar elements of a part, per item, float32 ``(B,)``; at least 1."""
        part, mask = self.layout[name], self.mask(name)
        if mask is None:
            return torch.full((self.batch,), float(part.fixed_size), device=self.device)
        return (mask.flatten(1).sum(1) * part.fixed_size).clamp(min=1).float()

    def replace(self, parts: Mapping[str, Tensor]) -> State:
        """The same masks with other tensors."""
        return State(self.layout, parts, self.masks)

    def with_layout(self, layout: Layout) -> State:
        """The same tensors under another layout (one that adds a mask token, say)."""
        return State(layout, self.parts, self.masks)

    def map(self, fn: Callable[[Part, Tensor], Tensor]) -> State:
        """Apply ``fn(part, tensor)`` to every part."""
        return self.replace({part.name: fn(part, self.parts[part.name]) for part in self.layout})

    def project(self) -> State:
        """The nearest legal state: padding zeroed, pairs mirrored from their upper triangle, means removed.

        The engine calls it after every draw and every step; it changes nothing on a legal state (up to
        floating-point error of the mean for ``com_free`` parts).
        """
        return self.map(lambda part, x: project(part, x, part_mask(part, self.masks)))

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> State:
        """Move to a device; ``dtype`` applies to gaussian parts only."""

        def move(part: Part, x: Tensor) -> Tensor:
            return x.to(device, dtype if part.kind == "gaussian" else None)

        moved = {part.name: move(part, self.parts[part.name]) for part in self.layout}
        return State(self.layout, moved, {axis: mask.to(device) for axis, mask in self.masks.items()})

    def __getitem__(self, index: Tensor | slice) -> State:
        """Select items of the batch. Padding that no selected item needs is kept; see :meth:`trim`."""
        masks = {axis: mask[index] for axis, mask in self.masks.items()}
        return State(self.layout, {name: x[index] for name, x in self.parts.items()}, masks)

    def resize(self, sizes: Mapping[str, int]) -> State:
        """Pad with zeros, or cut padding off, so that variable axis ``a`` has ``sizes[a]`` rows.

        Raises:
            ValueError: if a cut would drop real elements.
        """
        masks = dict(self.masks)
        for axis, size in sizes.items():
            if bool(masks[axis][:, size:].any()):
                raise ValueError(f"axis {axis!r}: an item has more than {size} elements")
            masks[axis] = _fit(masks[axis], 1, size)

        def fit(part: Part, x: Tensor) -> Tensor:
            for dim, axis in enumerate(part.variable_axes, start=1):
                x = _fit(x, dim, sizes.get(axis, x.shape[dim]))
            return x

        return State(self.layout, {p.name: fit(p, self.parts[p.name]) for p in self.layout}, masks)

    def trim(self) -> State:
        """Cut off padding that no item needs."""
        return self.resize({axis: int(mask.sum(1).max()) for axis, mask in self.masks.items()} if self.batch else {})

    @staticmethod
    def cat(states: Sequence[State]) -> State:
        """Join batches along the batch axis, padding them to a common size."""
        if not states:
            raise ValueError("nothing to join")
        axes = states[0].masks
        if axes:
            sizes = {axis: max(state.masks[axis].shape[1] for state in states) for axis in axes}
            states = [state.resize(sizes) for state in states]
        parts = {name: torch.cat([state.parts[name] for state in states]) for name in states[0].parts}
        masks = {axis: torch.cat([state.masks[axis] for state in states]) for axis in axes}
        return State(states[0].layout, parts, masks)


def part_mask(part: Part, masks: Mapping[str, Tensor]) -> Tensor | None:
    """Which elements of ``part`` are real, as in :meth:`State.mask`."""
    axes = part.variable_axes
    if not axes:
        return None
    mask = masks[axes[0]]
    if len(axes) == 2:
        mask = mask[:, :, None] & masks[axes[1]][:, None, :]
        if part.symmetric:
            mask = mask & ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    return mask.reshape(*mask.shape, *(1 for _ in part.fixed_shape))


def project(part: Part, x: Tensor, mask: Tensor | None) -> Tensor:
    """The nearest legal tensor of one part, as in :meth:`State.project`."""
    if part.symmetric:
        x = mirror(x)
    if mask is not None:
        x = x.masked_fill(~mask, 0)
        if part.com_free:
            mean = x.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
            x = (x - mean).masked_fill(~mask, 0)
    return x


def mirror(x: Tensor) -> Tensor:
    """Copy the upper triangle of axes 1 and 2 onto the lower one, so that ``x[:, i, j] == x[:, j, i]``."""
    return torch.where(upper(x), x, x.transpose(1, 2))


def upper(x: Tensor) -> Tensor:
    """Where axes 1 and 2 are in their upper triangle, diagonal included; bool, broadcasts against ``x``."""
    n = x.shape[1]
    triangle = torch.ones(n, n, dtype=torch.bool, device=x.device).triu()
    return triangle.reshape(1, n, n, *(1 for _ in x.shape[3:]))


def _fit(x: Tensor, dim: int, size: int) -> Tensor:
    """Cut or zero-pad one axis to ``size``."""
    if x.shape[dim] >= size:
        return x.narrow(dim, 0, size)
    shape = list(x.shape)
    shape[dim] = size - x.shape[dim]
    return torch.cat([x, x.new_zeros(shape)], dim)
