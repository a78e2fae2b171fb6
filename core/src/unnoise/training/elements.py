"""Training times that differ within an item, along the first axis of its parts: frames, tokens, points, nodes.

A network that has seen them can be shown some elements with less noise than others, and so continue, fill in and extend
what is given (:attr:`unnoise.sampling.Known.level`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unnoise.errors import UserError
from unnoise.layout import Part
from unnoise.level import on_device
from unnoise.noise import Noise
from unnoise.processes import Product
from unnoise.schedules import Array
from unnoise.state import State
from unnoise.training.times import TimeSampler

_CHOICE = Part("choice", "gaussian", (4,))
_LEVEL = Part("level", "gaussian", (2,))
_OWN = ("independent", "known", "known_level")


@dataclass(frozen=True)
class ElementTimes:
    """Times of elements. A pair of elements has the later of its ends' times, and is known if both ends are.

    Args:
        independent: share of items whose elements have times of their own, drawn independently ("Diffusion forcing",
            Chen et al. 2024, section 3.1).
        known: share of items of which one stretch of elements is noised, all to the same time; those before and after
            are at the schedule's ``t_min`` and do not count in the loss. Half of these stretches reach the item's end.
        known_level: of half of the items with known elements, these are noised a little too, to one time per item,
            drawn evenly up to this one; never more than the rest. This trains for a sampler that shows them at such a
            time (:attr:`unnoise.sampling.Known.level`), meant to hide small errors of what was made before ("Cascaded
            diffusion models", Ho et al. 2022, section 4.2, of what an upsampler is given).

    Raises:
        UserError: if these are no shares, or the level is no time.
    """

    independent: float = 0.0
    known: float = 0.0
    known_level: float = 0.0

    def __post_init__(self) -> None:
        if not (self.independent >= 0 and self.known >= 0 and self.independent + self.known <= 1):
            raise UserError(
                f"time_sampling: independent={self.independent} and known={self.known}",
                "They are shares of the training samples, of at least 0 and at most 1 together.",
            )
        if not 0 <= self.known_level <= 1:
            raise UserError(f"time_sampling: known_level={self.known_level}", "It is a time, from 0 to 1.")
        if self.known_level and not self.known:
            fix = "Set known too: the share of the training samples that have known elements."
            raise UserError(f"time_sampling: known_level={self.known_level}, but no sample has known elements", fix)

    def __bool__(self) -> bool:
        return self.independent + self.known > 0

    def __call__(
        self, u: Array, sampler: TimeSampler, product: Product, x0: State, noise: Noise
    ) -> tuple[dict[str, Array], dict[str, Tensor]]:
        """Times of every part, and which elements count.

        Args:
            u: master times of the B items, ``(B,)``.
            sampler: distribution of the independent ones.
            product: the processes.
            x0: clean data.
            noise: of the items.

        Returns:
            part -> its own times, float64 ``(B,)`` or, where elements differ, ``(B, n)``, of pairs ``(B, n, n)``; and
            part -> which count, bool of that shape on the device of ``x0``, for these.
        """
        times = product.times(u)
        if not self:
            return times, {}
        drawn = noise.uniform(_CHOICE, (4,), purpose="elements").cpu().numpy()
        kind = drawn[:, 0]
        independent = kind < self.independent
        known = np.logical_and(kind >= self.independent, kind < self.independent + self.known)
        level = np.zeros(len(drawn))
        if self.known_level:
            even, how = noise.uniform(_LEVEL, (2,), purpose="known level").cpu().numpy().T
            level = np.where(even < 0.5, self.known_level * how, 0.0)
        counted = {}
        for part in (part for part in product.layout if part.shape):
            n = x0.parts[part.name].shape[1]
            axis = part.shape[0]
            sizes = x0.sizes[axis].cpu().numpy() if isinstance(axis, str) else np.full(x0.batch, n)
            stretch = stretches(drawn[:, 1:], sizes, n)
            each = noise.uniform(Part(part.name, "gaussian", ("n",)), (n,), purpose="element times").cpu().numpy()
            apart = product.times(sampler(each, product))[part.name]
            shown = known[:, None] & ~stretch
            if part.element_axes == 2:
                apart = np.maximum(apart[:, :, None], apart[:, None, :])
                shown = shown[:, :, None] & shown[:, None, :]
            given = np.maximum(level, product.processes[part.name].schedule.t_min)
            whole, alone, given = (
                b.reshape(-1, *[1] * part.element_axes) for b in (times[part.name], independent, given)
            )
            times[part.name] = np.where(shown, np.minimum(given, whole), np.where(alone, apart, whole))
            counted[part.name] = on_device(~shown, x0.device, torch.bool)
        return times, counted


def stretches(drawn: Array, sizes: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """One stretch of elements per item, bool ``(B, n)``, with at least one real element.

    Args:
        drawn: uniform numbers in (0, 1), ``(B, 3)``. The square of the first is where it begins, as a share of the
            item: most of the beginning is often to be made. The second, below 1/2, lets it reach the end; else the
            third says where in between it ends.
        sizes: real elements per item, ``(B,)``.
        n: elements of the padded axis.
    """
    begin = np.floor(drawn[:, 0] ** 2 * sizes)
    room = sizes - begin
    length = np.where(drawn[:, 1] < 0.5, room, np.floor(drawn[:, 2] * room) + 1)
    place = np.arange(n)
    return np.asarray((place >= begin[:, None]) & (place < (begin + length)[:, None]))


def split(config: Mapping[str, Any]) -> tuple[ElementTimes, dict[str, Any]]:
    """What ``train.time_sampling`` says of elements, and the rest of it.

    Raises:
        UserError: if a value is no number, or one is out of its range.
    """
    own = {name: config[name] for name in _OWN if name in config}
    try:
        made = ElementTimes(**{name: float(value) for name, value in own.items()})
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{name}={value}" for name, value in own.items())
        raise UserError(f"time_sampling: {given}", "They are numbers from 0 to 1.") from error
    return made, {name: value for name, value in config.items() if name not in own}
