"""Which element of an item is noised by which element of its noise, where elements have no order.

A set and its noise may be listed in any order, so nothing decides which of the two go together. Pairing each element
with noise that lies near it leaves set and noise as they were, and makes the paths between them short, straight and
free of crossings: the denoiser has less to average over, and few steps follow the path well. This is the optimal
transport within an item of "Equivariant flow matching" (Klein et al. 2023), and for point sets of "Not-so-optimal
transport flows" (Hui et al. 2025).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unnoise.errors import UserError, did_you_mean
from unnoise.layout import Part
from unnoise.noise import Noise
from unnoise.processes import Gaussian, Product
from unnoise.state import State

NAMES = ("independent", "transport")


@dataclass(frozen=True)
class Pairing:
    """Orders the elements of clean items so that each lies near the noise that it will get.

    The pairing comes close to the optimal one and costs some sorts a batch, in place of an assignment problem an item:
    both sets are halved at the median of one coordinate after the other, as k-d trees are built (Bentley 1975), down to
    single elements, and equal places are paired; then two elements change places wherever that shortens the squared
    distances, in ``rounds`` rounds over all of them.

    A model trained so gives the velocity of straight paths, which every deterministic sampler follows. Noise added on
    the way (``ddpm``, ``eta`` above 0, churn) assumes independent pairs and is not exact.

    Args:
        name: "independent", which changes nothing, or "transport".
        rounds: of exchanges; each is one more pass over the elements.

    Raises:
        UserError: if there is no pairing of this name, or rounds are below 0.
    """

    name: str = "independent"
    rounds: int = 32

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            message = f"train.pairing {self.name!r} does not exist.{did_you_mean(self.name, NAMES)}"
            raise UserError(message, f"There is: {', '.join(NAMES)}")
        if self.rounds < 0:
            raise UserError(f"train.pairing.rounds is {self.rounds}", "It is at least 0.")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Pairing:
        """From ``{name, **options}``; raises :class:`UserError` for what does not exist."""
        try:
            return cls(**config)
        except TypeError as error:
            raise UserError(f"train.pairing: {error}", "Its options: name, rounds") from error

    def __bool__(self) -> bool:
        return self.name != "independent"

    def check(self, product: Product, unordered: Sequence[str]) -> None:
        """Raise :class:`UserError` unless there is something to pair: a gaussian part over an unordered axis."""
        if self and not any(_guides(product, axis) for axis in unordered):
            message = f"train.pairing={self.name}: no real-valued part of this representation is a set without order"
            raise UserError(message, "Leave it out: train.pairing.name=independent")

    def __call__(
        self,
        x0: State,
        product: Product,
        noise: Noise,
        unordered: Sequence[str],
        counted: Mapping[str, Tensor] | None = None,
    ) -> State:
        """The same items with the elements of unordered axes in another order.

        Args:
            x0: clean items.
            product: the processes, which say what noise each element will get.
            noise: of the items.
            unordered: variable axes whose elements have no order.
            counted: part -> which elements are noised, bool ``(B, n)``; the others keep their place.
        """
        if not self:
            return x0
        for axis in unordered:
            guides = _guides(product, axis)
            if guides:
                x0 = self._along(axis, x0, product, noise, guides, counted or {})
        return x0

    @torch.no_grad()
    def _along(
        self, axis: str, x0: State, product: Product, noise: Noise, guides: list[Part], counted: Mapping[str, Tensor]
    ) -> State:
        free = x0.masks[axis]
        for part in guides:
            free = free & counted[part.name] if part.name in counted else free
        clean, eps = [], []
        for part in guides:
            process = product.processes[part.name]
            assert isinstance(process, Gaussian)
            x = x0.parts[part.name]
            clean.append(x.flatten(2).float())
            eps.append(process.eps(part, x.shape[1:], noise).flatten(2).float())
        order = pair(torch.cat(clean, 2), torch.cat(eps, 2), free, self.rounds)
        return x0.map(lambda part, x: reordered(part, x, axis, order))


def _guides(product: Product, axis: str) -> list[Part]:
    """The gaussian parts with one row for each element of an axis: what distances are measured in."""
    return [p for p in product.layout if p.variable_axes == (axis,) and isinstance(product.processes[p.name], Gaussian)]


def pair(x: Tensor, eps: Tensor, free: Tensor, rounds: int) -> Tensor:
    """Which element of ``x`` goes with each element of ``eps``: int64 ``(B, n)``, a permutation of every row.

    Args:
        x, eps: ``(B, n, d)``.
        free: bool ``(B, n)``; the others go with the element in their own place.
        rounds: of exchanges.
    """
    of_x, of_eps = nested_order(x, free), nested_order(eps, free)
    of_x = _exchanged(of_x, _taken(x, of_x), _taken(eps, of_eps), free.sum(1), rounds)
    return torch.empty_like(of_x).scatter_(1, of_eps, of_x)


def nested_order(x: Tensor, free: Tensor) -> Tensor:
    """The free elements in the order of nested halves, then the others as they were: int64 ``(B, n)``.

    Two sets of equal size have halves of equal sizes at every depth, so that equal places lie in corresponding cells.
    """
    n, d = x.shape[1:]
    place = torch.arange(n, device=x.device)
    order = (~free).to(torch.int8).argsort(dim=1, stable=True)
    size = free.sum(1, keepdim=True)
    taken = place >= size
    x = x.masked_fill(~free[..., None], 0)
    for depth in range(max(n - 1, 0).bit_length()):
        # The cell of a place is its share of the set in binary; those that are not free stay behind all cells.
        cell = torch.where(taken, n, (place << depth) // size.clamp(min=1))
        along = x[..., depth % d].gather(1, order).masked_fill(taken, torch.inf)
        step = along.argsort(dim=1, stable=True)
        step = step.gather(1, cell.gather(1, step).argsort(dim=1, stable=True))
        order = order.gather(1, step)
    return order


def _exchanged(order: Tensor, x: Tensor, eps: Tensor, size: Tensor, rounds: int) -> Tensor:
    """Exchange elements in pairs wherever the sum of squared distances falls.

    Round k compares place i with place ``i XOR k``, so that a round is a set of disjoint pairs, and the first rounds
    are those within the smallest cells.
    """
    place = torch.arange(x.shape[1], device=x.device)
    for k in range(1, rounds + 1):
        other = place ^ k
        inside = (torch.maximum(place, other) < size[:, None]) & (other < x.shape[1])
        other = other.clamp(max=x.shape[1] - 1)
        gain = ((x - x[:, other]) * (eps - eps[:, other])).sum(2) < 0
        chosen = torch.where(gain & inside, other, place)
        order, x = order.gather(1, chosen), _taken(x, chosen)
    return order


def reordered(part: Part, x: Tensor, axis: str, order: Tensor) -> Tensor:
    """A part with the elements of an axis in another order ``(B, n)``; both ends of pairs."""
    for dim, name in enumerate(part.variable_axes, start=1):
        if name == axis:
            index = order.reshape(len(order), *(-1 if d == dim else 1 for d in range(1, x.dim())))
            x = x.gather(dim, index.expand(*(-1 if d == dim else size for d, size in enumerate(x.shape))))
    return x


def _taken(x: Tensor, order: Tensor) -> Tensor:
    """Rows ``order (B, n)`` of ``x (B, n, d)``."""
    return x.gather(1, order[..., None].expand(-1, -1, x.shape[2]))
