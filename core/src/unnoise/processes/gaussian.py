"""Gaussian noising of real values: ``x_t = alpha x_0 + sigma eps``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from unnoise.layout import Kind, Part
from unnoise.noise import Noise
from unnoise.processes.base import Process, coefficient, ordered, work_dtype
from unnoise.schedules import Array, Schedule, Times, from_config


@dataclass(frozen=True)
class Gaussian(Process):
    """The gaussian process of a schedule (Kingma et al. 2021, section 3.1 and appendix A)."""

    schedule: Schedule
    name: ClassVar[str] = "gaussian"
    kind: ClassVar[Kind] = "gaussian"

    def prior(self, part: Part, shape: Sequence[int], noise: Noise, draw: int = 0) -> Tensor:
        return noise.normal(part, shape, draw, "prior") * float(self.schedule.sigma(self.schedule.t_max))

    def corrupt(self, part: Part, x0: Tensor, t: Times, noise: Noise, draw: int = 0) -> Tensor:
        eps = self.eps(part, x0.shape[1:], noise, draw)
        return combine((self.schedule.alpha(t), x0), (self.schedule.sigma(t), eps))

    def eps(self, part: Part, shape: Sequence[int], noise: Noise, draw: int = 0) -> Tensor:
        """The standard normal noise that :meth:`corrupt` adds, float32 ``(B, *shape)``."""
        return noise.normal(part, shape, draw, "corrupt")

    def renoise(self, part: Part, x_s: Tensor, s: Times, t: Times, noise: Noise, draw: int = 0) -> Tensor:
        keep, spread = self.renoise_coefficients(s, t)
        return combine((keep, x_s), (spread, noise.normal(part, x_s.shape[1:], draw, "renoise")))

    def bridge(
        self, part: Part, x_t: Tensor, x0: Tensor, t: Times, s: Times, noise: Noise, draw: int = 0, eta: float = 1.0
    ) -> Tensor:
        """As in :class:`Process`; ``eta`` in [0, 1] is the share of fresh noise: 1 is the exact posterior (ancestral
        sampling), 0 is deterministic (Song et al. 2021, DDIM, eqs. 12 and 16).
        """
        on_x_t, on_x0, on_noise = self.bridge_coefficients(t, s, eta)
        return combine((on_x_t, x_t), (on_x0, x0), (on_noise, noise.normal(part, x_t.shape[1:], draw, "bridge")))

    def renoise_coefficients(self, s: Times, t: Times) -> tuple[Array, Array]:
        """``(keep, spread)`` with ``x_t = keep x_s + spread eps``: alpha_t / alpha_s and the standard deviation that
        makes the variances add up (Kingma et al. 2021, eq. 20).

        Raises:
            ValueError: if s > t anywhere.
        """
        s, t = ordered(s, t)
        alpha = self.schedule.alpha(s)
        same = s == t
        keep = self.schedule.alpha(t) / np.where(same, 1.0, alpha)
        return np.where(same, 1.0, keep), self.schedule.sigma(t) * np.sqrt(self._fresh(s, t))

    def bridge_coefficients(self, t: Times, s: Times, eta: float = 1.0) -> tuple[Array, Array, Array]:
        """``(on_x_t, on_x0, on_noise)``, the weights of ``x_t``, ``x_0`` and fresh noise in ``x_s``.

        The noise found in ``x_t`` is kept with weight ``sigma_s sqrt(1 - eta^2 fresh)`` and replaced with weight
        ``sigma_s eta sqrt(fresh)``, where ``fresh = 1 - snr_t / snr_s`` (Song et al. 2021, DDIM, eqs. 12 and 16, for
        any alpha and sigma).

        Raises:
            ValueError: if s > t anywhere, or eta lies outside [0, 1].
        """
        if not 0 <= eta <= 1:
            raise ValueError(f"eta lies in [0, 1], not {eta}")
        s, t = ordered(s, t)
        same = s == t
        fresh = self._fresh(s, t)
        sigma_s, sigma_t = self.schedule.sigma(s), self.schedule.sigma(t)
        found = sigma_s * np.sqrt(1 - eta**2 * fresh) / np.where(sigma_t > 0, sigma_t, 1.0)
        on_x_t = np.where(same, 1.0, found)
        on_x0 = np.where(same, 0.0, self.schedule.alpha(s) - self.schedule.alpha(t) * on_x_t)
        return on_x_t, on_x0, eta * sigma_s * np.sqrt(fresh)

    def _fresh(self, s: Array, t: Array) -> Array:
        """The share ``1 - snr_t / snr_s`` of the noise variance at t that is younger than s."""
        same = s == t
        gap = np.where(same, 0.0, self.schedule.log_snr(t)) - np.where(same, 0.0, self.schedule.log_snr(s))
        fresh: Array = -np.expm1(gap)
        return fresh

    def config(self) -> dict[str, Any]:
        return {"name": self.name, "schedule": self.schedule.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Gaussian:
        return cls(from_config(config["schedule"]))


def combine(*terms: tuple[Array, Tensor]) -> Tensor:
    """The sum of host-side coefficients times tensors, computed in at least float32, in the first tensor's dtype."""
    first = terms[0][1]
    dtype = work_dtype(first)
    total = sum(coefficient(weight, x, dtype) * x.to(dtype) for weight, x in terms)
    assert isinstance(total, Tensor)
    return total.to(first.dtype)
