"""Infill: sampling what is not known of a state, given the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from unnoise.layout import Part
from unnoise.level import align, on_device
from unnoise.noise import Noise
from unnoise.sampling.plan import Plan
from unnoise.sampling.rows import Coefficient
from unnoise.state import State


@dataclass(frozen=True)
class Known:
    """Clean values that the sample shall have.

    They replace the *estimate* of clean data on the known elements at every evaluation, so that the history of a
    multistep sampler stays that of one trajectory; the known elements of the first state are noised anew from them. The
    sample ends at the known values exactly (for a part without its mean, up to the shift that centres it).

    A network that was trained with a level per element (``train.time_sampling.known``) can be shown more: with
    ``level``, elements and pairs of elements that are known throughout are shown at that time, however noised the rest
    still is. The sampler's own state stays at one level, so that every sampler can be used.

    Args:
        state: clean data, of which only the known elements are read; a tensor for a plain tensor.
        mask: part -> bool, True where known, in a shape that broadcasts against the part; a part left out is unknown. A
            tensor for a plain tensor.
        level: the time at which elements that are known throughout are shown; 0 is clean (the schedule's ``t_min``), a
            little more forgives their errors (Chen et al. 2024, section 3.3). None: as noised as the rest.

    Raises:
        ValueError: if the level is no time.
    """

    state: State | Tensor
    mask: Mapping[str, Tensor] | Tensor
    level: float | None = None

    def __post_init__(self) -> None:
        if self.level is not None and not 0 <= self.level <= 1:
            raise ValueError(f"known elements are shown at a time from 0 to 1, not {self.level}")

    @cached_property
    def clean(self) -> State:
        """The clean data as a state."""
        return self.state if isinstance(self.state, State) else State.of(self.state)

    @cached_property
    def masks(self) -> dict[str, Tensor]:
        """Part -> bool mask that broadcasts against the part.

        Raises:
            ValueError: for a mask of a part that the state lacks, or one that is not boolean or of another shape.
        """
        masks = {"x": self.mask} if isinstance(self.mask, Tensor) else dict(self.mask)
        for name, mask in masks.items():
            self.clean.layout[name]
            if mask.dtype != torch.bool:
                raise ValueError(f"the mask of known elements of part {name!r} must be boolean, not {mask.dtype}")
            shape = tuple(self.clean.parts[name].shape)
            if not _broadcasts(tuple(mask.shape), shape):
                raise ValueError(f"part {name!r} has shape {shape}, its mask {tuple(mask.shape)}, which does not fit")
        return masks

    @cached_property
    def estimates(self) -> dict[str, Tensor]:
        """Part -> the known values as a prediction has them: themselves, or log-probabilities 0 and -inf."""
        return {name: self._estimate(self.clean.layout[name]) for name in self.masks}

    @cached_property
    def whole(self) -> dict[str, NDArray[np.bool_]]:
        """Part -> which elements are known throughout, bool ``(B, n)``, of pairs ``(B, n, n)``, on the host."""
        whole = {}
        for name, mask in self.masks.items():
            clean, axes = self.clean.parts[name], self.clean.layout[name].element_axes
            if axes:
                every = mask.expand_as(clean).reshape(*clean.shape[: 1 + axes], -1).all(-1)
                whole[name] = every.cpu().numpy()
        return whole

    def __getitem__(self, rows: slice) -> Known:
        """Of some of the items."""
        masks = {name: mask if len(mask) == 1 else mask[rows] for name, mask in self.masks.items()}
        return Known(self.clean[rows], masks, self.level)

    def to(self, device: torch.device) -> Known:
        """On another device."""
        return Known(self.clean.to(device), {name: mask.to(device) for name, mask in self.masks.items()}, self.level)

    def pin(self, x0: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """An estimate of clean data with the known elements put in."""
        pinned = dict(x0)
        for part in (self.clean.layout[name] for name in self.masks):
            mask = self.masks[part.name]
            mask = mask[..., None] if part.kind == "categorical" else mask
            pinned[part.name] = torch.where(mask, self.estimates[part.name].to(x0[part.name]), x0[part.name])
        return pinned

    def put_into(self, x: State) -> State:
        """Clean data with the known elements put in."""
        parts = dict(x.parts)
        for name, mask in self.masks.items():
            parts[name] = torch.where(mask, self.clean.parts[name].to(x.parts[name]), x.parts[name])
        return x.replace(parts).project()

    def noised_into(self, x: State, plan: Plan, noise: Noise) -> State:
        """The first state, with the known elements noised from the known values to the plan's first level."""
        parts = dict(x.parts)
        for name, mask in self.masks.items():
            part, clean = x.layout[name], self.clean.parts[name].to(x.parts[name])
            level = plan.table(name)[0].t
            parts[name] = torch.where(mask, plan.process(part).corrupt(part, clean, level, noise), x.parts[name])
        return x.replace(parts).project()

    def shown(
        self, x: State, times: Mapping[str, Coefficient], plan: Plan, noise: Noise
    ) -> tuple[State, dict[str, Coefficient]]:
        """What the network is shown of a noised state, and at which times: those of elements that are known throughout
        are at most ``level``, ``(B, n)`` then, of pairs ``(B, n, n)``.
        """
        parts, told = dict(x.parts), dict(times)
        if self.level is None:
            return x, told
        for name, whole in self.whole.items():
            part, clean = x.layout[name], self.clean.parts[name].to(x.parts[name])
            process = plan.process(part)
            now = np.asarray(times[name])
            now = np.broadcast_to(now if now.ndim > 1 else now.reshape(-1, *[1] * (whole.ndim - 1)), whole.shape)
            told[name] = np.where(whole, np.minimum(now, max(self.level, process.schedule.t_min)), now)
            revealed = process.corrupt(part, clean, told[name], noise)
            parts[name] = torch.where(align(on_device(whole, x.device, torch.bool), clean), revealed, x.parts[name])
        return x.replace(parts).project(), told

    def _estimate(self, part: Part) -> Tensor:
        value = self.clean.parts[part.name]
        return value if part.kind == "gaussian" else one_hot(value, part.classes).float().log()


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether a tensor of one shape can be expanded to another."""
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(shape[::-1], to[::-1], strict=False))
