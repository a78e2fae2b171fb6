"""The estimate of clean data that a denoiser makes: the currency of every sampler and every guide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from unnoise.level import align
from unnoise.state import State


@dataclass(frozen=True)
class Prediction:
    """Clean data as seen from the noised state ``x_t``.

    Args:
        x0: part -> for a gaussian part the mean of clean data, same shape as the part; for a categorical part
            the log-probabilities of the K clean classes, ``(B, *event shape, K)``, normalised.
        x_t: the noised state the estimate was made from.
        alpha: gaussian part -> alpha at its level; a tensor over leading axes (see :class:`unnoise.level.Level`).
        sigma: gaussian part -> sigma at its level, likewise, positive.
        branches: branch name -> x0 of that branch, where guidance combined several; used by methods that need
            more than the combined estimate.
        memory: what the guidance wants to be told at the next evaluation.

    The views relate to x0 through ``x_t = alpha x0 + sigma eps`` (Kingma et al. 2021; Salimans & Ho 2022, appendix D;
    Lipman et al. 2023).
    """

    x0: Mapping[str, Tensor]
    x_t: State
    alpha: Mapping[str, Tensor]
    sigma: Mapping[str, Tensor]
    branches: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    memory: Mapping[str, Tensor] = field(default_factory=dict)

    def eps(self, part: str) -> Tensor:
        """The noise: ``(x_t - alpha x0) / sigma``."""
        x_t, alpha, sigma = self._level(part)
        return (x_t - alpha * self.x0[part]) / sigma

    def v(self, part: str) -> Tensor:
        """Velocity in the angle of a variance-preserving path: ``alpha eps - sigma x0``."""
        _, alpha, sigma = self._level(part)
        return alpha * self.eps(part) - sigma * self.x0[part]

    def flow(self, part: str) -> Tensor:
        """Velocity of the straight path from data to noise: ``eps - x0``."""
        return self.eps(part) - self.x0[part]

    def score(self, part: str) -> Tensor:
        """Gradient of the log-density of ``x_t``: ``-eps / sigma``."""
        _, _, sigma = self._level(part)
        return -self.eps(part) / sigma

    def _level(self, part: str) -> tuple[Tensor, Tensor, Tensor]:
        if part not in self.alpha:
            raise ValueError(f"part {part!r} is categorical: it has log-probabilities, but no eps, v, flow or score")
        x_t = self.x_t.parts[part]
        return x_t, align(self.alpha[part], x_t), align(self.sigma[part], x_t)
