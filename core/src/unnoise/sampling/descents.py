"""How a categorical part comes down a row: by the bridge, by jumps of a Markov chain, or in order of confidence.

What to do is an option of the plan, beside the sampler: the table says from which level to which, for parts of either
kind, so any way of coming down goes with any sampler.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from unnoise.errors import UserError, did_you_mean
from unnoise.layout import Part
from unnoise.noise import Noise
from unnoise.plugins.signature import check_options
from unnoise.processes import Categorical, Process, Product
from unnoise.processes.base import coefficient
from unnoise.processes.categorical import draw_classes, systematic
from unnoise.schedules import Times
from unnoise.state import upper


@dataclass(frozen=True)
class Move:
    """One categorical part, about to come down one row.

    Args:
        part: which.
        process: its process.
        x_t: int64 ``(B, *event shape)``, at level t.
        x0: log-probabilities of the clean classes, ``(B, *event shape, K)``.
        t, s: from where to where; as in :class:`unnoise.processes.base.Process`.
        mask: which elements are real, bool, broadcasts against ``x_t``; None if all are.
        noise, draw: where random numbers come from.
    """

    part: Part
    process: Process
    x_t: Tensor
    x0: Tensor
    t: Times
    s: Times
    mask: Tensor | None
    noise: Noise
    draw: int

    def uniform(self, purpose: str = "bridge") -> Tensor:
        """One number for each element, float64 ``(B, *event shape)``."""
        return self.noise.uniform(self.part, self.x_t.shape[1:], self.draw, purpose)

    @property
    def masked(self) -> Tensor:
        """Where the mask token stands."""
        return self.x_t == self.part.classes

    @property
    def distinct(self) -> Tensor:
        """Real elements, of symmetric pairs one each; bool ``(B, *event shape)``."""
        real = torch.ones_like(self.x_t, dtype=torch.bool) if self.mask is None else self.mask.expand_as(self.x_t)
        return real & upper(real) if self.part.symmetric else real


@dataclass(frozen=True)
class Descent(ABC):
    """A way for categorical parts to come down a row, given an estimate of clean data.

    Args:
        sharpness: power to which the estimate's probabilities are raised, at full noise and at none; in between it
            follows the survival. Above 1 likely classes become likelier, as at a low temperature; below 1 rare ones
            do. At ``(1, 1)`` samples follow what the network has learned.

    Raises:
        UserError: unless these are two positive numbers.
    """

    sharpness: Sequence[float] = field(default=(1.0, 1.0), kw_only=True)
    name: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sharpness", tuple(map(float, self.sharpness)))  # equal to that of a JSON list
        if len(self.sharpness) != 2 or not all(0 < power < np.inf for power in self.sharpness):
            message = f"{self.name}: sharpness is {list(self.sharpness)}"
            raise UserError(message, "give two positive numbers: at full noise and at none; [1, 1] is off")

    def check(self, part: Part, process: Process) -> None:
        """Raise UserError if a part with this process cannot come down this way."""
        if not isinstance(process, Categorical):
            message = f"{self.name} needs a process in closed form, and that of part {part.name!r} is {process.name!r}"
            raise UserError(message, f"take {Bridge.name}, which every process has")

    def __call__(self, move: Move) -> Tensor:
        """The part at level s, int64 ``(B, *event shape)``; it is projected afterwards."""
        if self.sharpness == (1.0, 1.0):
            return self.down(move)
        noise, data = self.sharpness
        survival = np.exp(-np.logaddexp(0.0, -move.process.schedule.log_snr(move.t)))
        power = coefficient(noise + (data - noise) * survival, move.x0)
        return self.down(replace(move, x0=(power * move.x0).log_softmax(-1)))

    @abstractmethod
    def down(self, move: Move) -> Tensor:
        """The part at level s, of an estimate that is as sharp as asked for."""

    def config(self) -> dict[str, Any]:
        """A JSON value from which :func:`descent` makes the same."""
        return {"name": self.name, **asdict(self), "sharpness": list(self.sharpness)}


@dataclass(frozen=True)
class Bridge(Descent):
    """Draw from ``q(x_s | x_t, x_0)``, averaged over the estimate (Austin et al. 2021)."""

    name: ClassVar[str] = "bridge"

    def check(self, part: Part, process: Process) -> None:
        """Every process has a bridge."""

    def down(self, move: Move) -> Tensor:
        return move.process.bridge(move.part, move.x_t, move.x0, move.t, move.s, move.noise, move.draw)


@dataclass(frozen=True)
class TauLeap(Descent):
    """Jumps of a continuous-time Markov chain, with the estimate held for the length of a row (tau-leaping).

    With b the rate at which elements are resampled on the way up, ``b = -d log(a) / dt``, the bridge over a short time
    jumps from x to y at rate ``b a / (1 - a) p(x_0 = y) + b P(resampled | x) m_y``. The second term is in detailed
    balance with ``q(x_t | x_0)``, so the first alone has the right marginals (Campbell et al. 2024: it is their R*, and
    the second a choice of their R^DB). Noise of strength eta, and as much more of the first, leaves them right too (the
    corrector of Campbell et al. 2022)::

        rate(x -> y) = (1 + eta) b a / (1 - a) p(x_0 = y) + eta b m_y

    A row first resamples as a stretch of eta times its own length would, then jumps to classes of the estimate so often
    that level s is reached: to first order these rates; and with exact posteriors elements that are independent have
    exact marginals after any number of rows. Joint distributions converge with the first order of the length of rows.

    Args:
        eta: 0 or more. At 0 an element changes to an estimated class or stays (an absorbing part: as the bridge); above
            0 even elements that were unmasked are masked again at times, so that mistakes can be mended.
    """

    eta: float = 0.0
    name: ClassVar[str] = "tau_leap"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_strength(self.name, "eta", self.eta)

    def down(self, move: Move) -> Tensor:
        part, process, x_t, u = move.part, move.process, move.x_t, move.uniform()
        assert isinstance(process, Categorical)  # checked when the plan was made
        if not process.absorbing:
            return draw_classes(process.leap_probabilities(part, x_t, move.x0, move.t, move.s, self.eta), u)
        jump, noised, _ = (coefficient(share, u) for share in process.leap(move.t, move.s, self.eta))
        chance = torch.where(move.masked, jump, noised).masked_fill(~move.distinct, 0.0)
        changed = systematic(part, chance, move.noise, move.draw, "reveal")
        target = torch.where(move.masked, draw_classes(move.x0.exp(), u), part.classes)
        return torch.where(changed, target, x_t)


@dataclass(frozen=True)
class Confidence(Descent):
    """Reveal the masked elements that the estimate is surest of (Chang et al. 2022, MaskGIT, section 3.2).

    Of the N elements of an item ``floor(N (1 - survival))`` stay masked, so the schedule settles how many come in a
    row. The sample does not follow the data's distribution exactly at any number of rows, since the order depends on
    what is estimated.

    Args:
        score: what counts as sure: "drawn", the probability of the class that was drawn for an element; "top", the
            largest probability; "margin", its lead over the second (Kim et al. 2025).
        temperature: 0 or more; Gumbel noise on the logarithm of the score, times the share that stays masked. 0 takes
            the surest always.
    """

    score: Literal["drawn", "top", "margin"] = "drawn"
    temperature: float = 1.0
    name: ClassVar[str] = "confidence"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_strength(self.name, "temperature", self.temperature)

    def check(self, part: Part, process: Process) -> None:
        super().check(part, process)
        if not process.absorbing:
            message = f"confidence orders masked elements, and part {part.name!r} has no mask"
            raise UserError(message, "train with kernel: absorbing, or take bridge or tau_leap")

    def down(self, move: Move) -> Tensor:
        assert isinstance(move.process, Categorical)  # checked when the plan was made
        u, p = move.uniform(), move.x0.exp()
        classes = draw_classes(p, u)
        share = coefficient(move.process.gone(move.s), u)
        score = self._log_score(p, classes)
        if self.temperature > 0:
            score = score - self.temperature * share * torch.log(-torch.log(move.uniform("confidence")))
        real = move.distinct
        hidden = real & move.masked
        # A sum's last digits depend on how much padding it runs over; they must not settle the rounding.
        staying = ((real * share).flatten(1).sum(1) + 1e-6).floor()
        count = hidden.flatten(1).sum(1) - staying
        score = score.clamp(min=torch.finfo(score.dtype).min).masked_fill(~hidden, -np.inf)
        order = score.flatten(1).argsort(dim=1, descending=True, stable=True)
        revealed = (order.argsort(dim=1) < count[:, None]).reshape(hidden.shape)
        return torch.where(revealed & hidden, classes, move.x_t)

    def _log_score(self, p: Tensor, classes: Tensor) -> Tensor:
        if self.score == "drawn":
            return p.gather(-1, classes[..., None])[..., 0].log()
        top = p.topk(min(2, p.shape[-1]), dim=-1).values
        lead = top[..., 0] - top[..., -1] if self.score == "margin" else top[..., 0]
        return lead.log()


DESCENTS: dict[str, type[Descent]] = {made.name: made for made in (Bridge, TauLeap, Confidence)}
"""The ways that a config may name."""


def descent(node: str | Mapping[str, Any] | None) -> Descent:
    """Make what a config node says: a name, or ``{"name": ..., **options}``; None is the bridge.

    Raises:
        UserError: for an unknown name or option, or a number out of range.
    """
    options = {"name": node} if isinstance(node, str) else {"name": Bridge.name, **(node or {})}
    name = options.pop("name")
    if name not in DESCENTS:
        hint = did_you_mean(str(name), list(DESCENTS))
        raise UserError(f"there is no categorical way {name!r}.{hint}", f"choose one of: {', '.join(DESCENTS)}")
    check_options(f"categorical way {name!r}", DESCENTS[name], options, ())
    return DESCENTS[name](**options)


def check_parts(way: Descent, product: Product | None) -> None:
    """Check that the categorical parts of a product can come down this way; None has no such parts.

    Raises:
        UserError: if a part cannot, or if there is none and something else than the bridge was asked for.
    """
    parts = [part for part in product.layout if part.kind == "categorical"] if product is not None else []
    if not parts and not isinstance(way, Bridge):
        raise UserError(f"{way.name} moves categorical parts, and there are none", "leave the option 'categorical' out")
    for part in parts:
        way.check(part, product.processes[part.name])  # type: ignore[union-attr]  # no parts without a product


def _check_strength(name: str, option: str, value: float) -> None:
    if not 0 <= value < np.inf:
        raise UserError(f"{name}: {option} is {value}", f"{option} is a number of 0 or more")
