"""Categorical noising of classes, in closed form for any pair of times.

Each element keeps its value until it is *resampled*, and is then drawn from a resting distribution m, whatever it was:
``Q(t | s) = r I + (1 - r) 1 m^T`` with ``r = a_t / a_s`` (Austin et al. 2021, D3PM, appendix A; Vignac et al. 2023,
DiGress, section 4.1). The survival ``a_t``, the probability of not having been resampled by time t, is
``sigmoid(log_snr(t))`` of any schedule. The kernels differ in m alone: uniform, the data's class frequencies, or all
mass on an extra mask token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from unnoise.errors import UserError
from unnoise.layout import Kind, Part
from unnoise.noise import Noise
from unnoise.processes.base import Process, coefficient, ordered, work_dtype
from unnoise.schedules import Array, Schedule, Times, from_config
from unnoise.state import upper

Kernel = Literal["marginal", "uniform", "absorbing"]
_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Categorical(Process):
    """The categorical process of a schedule.

    Args:
        schedule: its ``sigmoid(log_snr)`` is the survival (``alpha^2`` if variance preserving).
        kernel: where resampled elements go: "marginal", "uniform" or "absorbing" (the mask token, index K).
        marginal: class frequencies ``(K,)`` for the marginal kernel, scaled to sum 1; zeros are allowed.

    Raises:
        UserError: for an unknown kernel, or a marginal that is missing, unused, or no distribution.
    """

    schedule: Schedule
    kernel: Kernel = "marginal"
    marginal: tuple[float, ...] | None = None
    name: ClassVar[str] = "categorical"
    kind: ClassVar[Kind] = "categorical"

    def __post_init__(self) -> None:
        if self.kernel not in get_args(Kernel):
            raise UserError(f"there is no kernel {self.kernel!r}", f"choose one of: {', '.join(get_args(Kernel))}")
        if (self.kernel == "marginal") != (self.marginal is not None):
            fix = "kernel 'marginal' takes class frequencies, the others take none"
            raise UserError(f"kernel {self.kernel!r} with marginal={self.marginal}", fix)
        if self.marginal is not None:
            values = np.asarray(self.marginal, dtype=np.float64)
            if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any() or values.sum() <= 0:
                raise UserError(f"marginal={self.marginal} is no distribution", "give one frequency >= 0 per class")
            total = values.sum()
            # What sums to 1 already stays as it is, so that a saved config gives the same numbers again.
            object.__setattr__(self, "marginal", tuple((values / (1 if abs(total - 1) < 1e-12 else total)).tolist()))

    @property
    def absorbing(self) -> bool:
        return self.kernel == "absorbing"

    def check(self, part: Part) -> None:
        super().check(part)
        if self.marginal is not None and len(self.marginal) != part.classes:
            raise ValueError(f"part {part.name!r} has {part.classes} classes, its marginal {len(self.marginal)}")

    def survival(self, t: Times) -> Array:
        """The probability that an element has not been resampled by time t."""
        return np.exp(self._log_survival(t))

    def gone(self, t: Times) -> Array:
        """``1 - survival``, without cancellation."""
        return np.exp(-np.logaddexp(0.0, self.schedule.log_snr(t)))

    def resting(self, part: Part, device: torch.device | None = None) -> Tensor:
        """The distribution of resampled elements, float64 ``(tokens,)``: K classes, or K + 1 where absorbing."""
        if self.kernel == "absorbing":
            values = [0.0] * part.classes + [1.0]
        else:
            values = list(self.marginal or [1 / part.classes] * part.classes)
        return torch.tensor(values, dtype=torch.float64, device=device)

    def prior(self, part: Part, shape: Sequence[int], noise: Noise, draw: int = 0) -> Tensor:
        u = noise.uniform(part, shape, draw, "prior")
        return _draw_from(self.resting(part), u)

    def corrupt(self, part: Part, x0: Tensor, t: Times, noise: Noise, draw: int = 0) -> Tensor:
        return self._resample(part, x0, self.survival(t), noise.uniform(part, x0.shape[1:], draw, "corrupt"))

    def renoise(self, part: Part, x_s: Tensor, s: Times, t: Times, noise: Noise, draw: int = 0) -> Tensor:
        keep = np.exp(self._log_keep(*ordered(s, t)))
        return self._resample(part, x_s, keep, noise.uniform(part, x_s.shape[1:], draw, "renoise"))

    def bridge(self, part: Part, x_t: Tensor, x0: Tensor, t: Times, s: Times, noise: Noise, draw: int = 0) -> Tensor:
        """As :meth:`Process.bridge`. Classes are drawn for each element by itself; which masked elements the absorbing
        kernel reveals is drawn for all of an item together, see :func:`systematic`.
        """
        u = noise.uniform(part, x_t.shape[1:], draw, "bridge")
        if not self.absorbing:
            return draw_classes(self.bridge_probabilities(part, x_t, x0, t, s), u)
        chance = coefficient(self._shares(*ordered(s, t))[0], u)
        revealed = systematic(part, torch.where(x_t < part.classes, 0.0, chance), noise, draw, "reveal")
        return torch.where(revealed, draw_classes(x0.exp(), u), x_t)

    def bridge_probabilities(self, part: Part, x_t: Tensor, x0: Tensor, t: Times, s: Times) -> Tensor:
        """``q(x_s | x_t)`` under the estimate of clean data, ``sum_j p_j q(x_s | x_t, x_0 = j)``.

        An element either was never resampled by t (possible only where x_0 = x_t), or it was: after s only, before s
        only, or both. Given that it was, the three have fixed probabilities, and lead to x_0, to x_t and to a fresh
        draw from m. So no matrix is needed. A class i with ``m_i = 0`` can only be seen at t if it was never resampled:
        it stays (an unmasked element of the absorbing kernel, for one).

        Args:
            x_t: int64 ``(B, *event shape)``, values below ``part.tokens``.
            x0: log-probabilities of the K clean classes, ``(B, *event shape, K)``, normalised.

        Returns:
            probabilities ``(B, *event shape, tokens)``, in at least float32, summing to 1.

        Raises:
            ValueError: if s > t anywhere.
        """
        s, t = ordered(s, t)
        p, resting = self.clean_probabilities(part, x0), self.resting(part, x0.device).to(work_dtype(x0))
        m_seen = resting[x_t]
        shares = (self.survival(t), self.gone(t), *self._shares(s, t))
        survival, gone, after, before, both = (coefficient(c, m_seen) for c in shares)
        p_seen = torch.where(m_seen > 0, p.gather(-1, x_t[..., None])[..., 0], 1.0)
        after = torch.where(m_seen > 0, after, 0.0)
        untouched = p_seen * (1 - gone * m_seen / (survival + gone * m_seen).clamp(min=_TINY))
        resampled = (1 - p_seen).clamp(min=0) + (p_seen - untouched)
        return mixture(p, x_t, resting, after, untouched * (1 - after) + before * resampled, both * resampled)

    def leap_probabilities(self, part: Part, x_t: Tensor, x0: Tensor, t: Times, s: Times, eta: float) -> Tensor:
        """The law of an element after jumps from t to s; arguments and result as of :meth:`bridge_probabilities`."""
        p, rest = self.clean_probabilities(part, x0), self.resting(part, x0.device).to(work_dtype(x0))
        jump, noised, stay = (coefficient(share, x_t, p.dtype) for share in self.leap(t, s, eta))
        return mixture(p, x_t, rest, jump, stay, noised)

    def leap(self, t: Times, s: Times, eta: float) -> tuple[Array, Array, Array]:
        """How an element comes from t to s by jumps (:class:`unnoise.sampling.descents.TauLeap`): probabilities that it
        is drawn from the estimate, that it is drawn from the resting distribution, and that it stays. They sum to 1.

        First the survival falls to ``a = a_t (a_t / a_s)^eta``; then ``(a_s - a) / (1 - a)`` of all jump to the
        estimate, which brings the resampled share, ``1 - a``, to that of s.
        """
        s, t = ordered(s, t)
        log_keep = self._log_keep(s, t)
        lost = -np.expm1(eta * log_keep) if eta > 0 else np.zeros_like(log_keep)  # where log_keep is infinite, too
        gone = self.gone(t) + self.survival(t) * lost
        jump = -self.survival(s) * np.expm1((1 + eta) * log_keep) / np.where(gone > 0, gone, 1.0)
        return jump, (1 - jump) * lost, (1 - jump) * (1 - lost)

    def clean_probabilities(self, part: Part, x0: Tensor) -> Tensor:
        """The estimate of clean data as probabilities of tokens, ``(B, *event shape, tokens)``; the mask has none."""
        p = x0.to(work_dtype(x0)).exp()
        return torch.nn.functional.pad(p, (0, 1)) if self.absorbing else p

    def _shares(self, s: Array, t: Array) -> tuple[Array, Array, Array]:
        """Given that an element was resampled by t: the probabilities that it was so only after s, only before s, and
        both; they sum to 1.
        """
        log_keep, gone = self._log_keep(s, t), self.gone(t)
        still = (s == t) | (gone == 0)
        share = np.where(still, 0.0, 1 / np.where(still, 1.0, gone))
        after = -np.expm1(log_keep) * self.survival(s) * share
        before = np.where(still, 1.0, np.exp(log_keep) * self.gone(s) * share)
        return after, before, -np.expm1(log_keep) * self.gone(s) * share

    def _log_survival(self, t: Times) -> Array:
        return -np.logaddexp(0.0, -self.schedule.log_snr(t))

    def _log_keep(self, s: Array, t: Array) -> Array:
        """Log of the probability of not being resampled between s and t."""
        same = s == t
        return np.where(same, 0.0, self._log_survival(t)) - np.where(same, 0.0, self._log_survival(s))

    def _resample(self, part: Part, x: Tensor, keep: Array, u: Tensor) -> Tensor:
        """Keep each element with probability ``keep``, else draw from the resting distribution; one uniform serves
        both: below ``keep`` it says keep, and what lies above is uniform again once rescaled.
        """
        kept = coefficient(keep, u)
        fresh = _draw_from(self.resting(part), (u - kept) / (1 - kept).clamp(min=2.0**-53))
        return torch.where(u < kept, x, fresh)

    def config(self) -> dict[str, Any]:
        config = {"name": self.name, "schedule": self.schedule.config(), "kernel": self.kernel}
        return config if self.marginal is None else {**config, "marginal": list(self.marginal)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Categorical:
        marginal = config.get("marginal")
        kernel = config.get("kernel", cls.kernel)
        return cls(from_config(config["schedule"]), kernel, None if marginal is None else tuple(marginal))


def mixture(p: Tensor, x: Tensor, rest: Tensor, on_p: Tensor, on_x: Tensor, on_rest: Tensor) -> Tensor:
    """``on_p p + on_x (the class x) + on_rest rest``, probabilities ``(..., tokens)``.

    Args:
        p: ``(..., tokens)``.
        x: int64 ``(...)``.
        rest: ``(tokens,)``.
        on_p, on_x, on_rest: weights that broadcast against ``x``.
    """
    out = on_p[..., None] * p + on_rest[..., None] * rest
    return out.scatter_add_(-1, x[..., None], on_x.expand(x.shape)[..., None])


def systematic(part: Part, chance: Tensor, noise: Noise, draw: int, purpose: str) -> Tensor:
    """Choose elements, each with its own chance, by systematic sampling (Madow & Madow 1944).

    Elements that change together are drawn as if they were independent, which they are not: the fewer at a time, the
    better the sample. Independent choices vary in number; here it is the sum of the chances, rounded down or up. So
    where that sum stays below one, elements come one by one and nothing is lost by the length of the step.

    Args:
        part: of a symmetric one only the upper triangle is chosen from.
        chance: float64 ``(B, *event shape)``.

    Returns:
        bool ``(B, *event shape)``.
    """
    if part.symmetric:
        chance = torch.where(upper(chance), chance, 0.0)
    start = noise.uniform(Part(part.name, "gaussian", ()), (), draw, purpose)[:, None]
    count = (chance.flatten(1).cumsum(1) + start).floor()
    chosen = (count.diff(dim=1, prepend=torch.zeros_like(start)) > 0).reshape(chance.shape)
    return chosen & (chance > 0)  # a parallel sum may round a flat stretch upwards


def draw_classes(probabilities: Tensor, u: Tensor) -> Tensor:
    """Classes by inverse CDF, one uniform each.

    Args:
        probabilities: ``(..., K)``, non-negative; need not sum to exactly 1.
        u: uniform numbers in (0, 1), float64 ``(...)``.

    Returns:
        int64 ``(...)``; a class of probability 0 is never drawn, whatever the rounding.
    """
    cdf = probabilities.to(work_dtype(probabilities)).cumsum(-1)
    # The product is float64 and stays below the last sum; in float32 it might round up to it. A parallel sum may round
    # a flat stretch upwards, so ask for a positive probability as well.
    reached = (cdf > u[..., None] * cdf[..., -1:]) & (probabilities > 0)
    return reached.to(torch.uint8).argmax(-1)


def _draw_from(distribution: Tensor, u: Tensor) -> Tensor:
    """Classes of one distribution ``(K,)`` on the host for many uniforms, as :func:`draw_classes`."""
    cdf = distribution.cumsum(0)
    return torch.searchsorted((cdf / cdf[-1]).to(u.device), u.clamp(0, 1 - 2.0**-53).contiguous(), right=True)
