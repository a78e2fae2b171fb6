"""Averages of any length, chosen after training: power-function averages and mixtures of their snapshots.

The average of exponent ``gamma`` at step t weighs the weights of step tau by ``tau^gamma`` (Karras et al. 2024,
"Analyzing and Improving the Training Dynamics of Diffusion Models", section 3.1): it always spans the same share of the
run so far. As ``sum_(tau <= t) (tau^(gamma + 1) - (tau - 1)^(gamma + 1)) = t^(gamma + 1)``, it is kept up to date by

    average_t = beta_t average_(t-1) + (1 - beta_t) weights_t,    beta_t = (1 - 1 / t)^(gamma + 1),

whose weight of step tau is the profile ``p(u) = (gamma + 1) u^gamma / t^(gamma + 1)`` integrated over ``(tau - 1,
tau]``. A length is given as the profile's standard deviation over t,

    sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)).

A mixture of snapshots of such averages is the average whose profile is the mixture of theirs. So the average of a
length that was never tracked is, as well as can be, the mixture whose profile is the nearest in the least-squares sense
(section 3.2), and with ``m = min(t1, t2)``

    integral p1 p2 = (gamma1 + 1) (gamma2 + 1) m^(gamma1 + gamma2 + 1)
                     / ((gamma1 + gamma2 + 1) t1^(gamma1 + 1) t2^(gamma2 + 1)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unnoise.errors import UserError

SNAPSHOTS = "averages"
"""Folder of a run that holds snapshots of its power-function averages."""
LONGEST = 1 / math.sqrt(12)
"""The length of the plain mean of all steps, gamma = 0."""


def gamma_of(length: float) -> float:
    """The exponent of a length.

    Raises:
        UserError: if the length is not above 0 and at most :data:`LONGEST`.
    """
    if not 0 < length <= LONGEST:
        raise UserError(
            f"an average of length {length}", f"a share of the run: above 0 and at most {LONGEST:.4f}, its plain mean"
        )
    # (gamma + 2)^2 (gamma + 3) = (gamma + 1) / length^2, of which the largest root is meant.
    inverse = length**-2
    roots = np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse])
    return max(float(max(root.real for root in roots if abs(root.imag) < 1e-6)), 0.0)


def length_of(gamma: float) -> float:
    """The inverse of :func:`gamma_of`."""
    return math.sqrt(gamma + 1) / ((gamma + 2) * math.sqrt(gamma + 3))


class PowerAverages:
    """Averages of a module's trained parameters, of several lengths, by name, in float32.

    Args:
        module: what is averaged.
        lengths: of the averages; none at all costs nothing.

    Raises:
        UserError: for a length out of range.
    """

    def __init__(self, module: nn.Module, lengths: Sequence[float] = ()) -> None:
        self.lengths, self._gammas = tuple(lengths), [gamma_of(length) for length in lengths]
        self._weights = {name: p for name, p in module.named_parameters() if p.requires_grad} if lengths else {}
        self.averages = [{name: p.detach().float().clone() for name, p in self._weights.items()} for _ in lengths]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the module's weights of a step (from 1) into the averages."""
        if not self.averages:
            return
        weights = [p.detach().float() for p in self._weights.values()]
        for gamma, average in zip(self._gammas, self.averages, strict=True):
            torch._foreach_lerp_(list(average.values()), weights, 1 - (1 - 1 / step) ** (gamma + 1))

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """File name -> the averages of one length."""
        return {file_of(index): dict(average) for index, average in enumerate(self.averages)}

    def load(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Go on from saved averages. Raises :class:`UserError` if they are of other weights."""
        for index, average in enumerate(self.averages):
            saved = tensors[file_of(index)]
            if {name: value.shape for name, value in saved.items()} != {n: v.shape for n, v in average.items()}:
                raise UserError("the power-function averages of the checkpoint are of another model", "train anew")
            for name, value in average.items():
                value.copy_(saved[name])


def file_of(index: int) -> str:
    """What the averages of the length with this index are saved as."""
    return f"average_{index}"


@dataclass(frozen=True)
class Profile:
    """The profile of an average: ``gamma`` at a step."""

    gamma: float
    step: int


def overlap(a: Profile, b: Profile) -> float:
    """``integral p_a p_b``."""
    first = min(a.step, b.step)
    total = a.gamma + b.gamma + 1
    scale = (first / a.step) ** a.gamma * (first / b.step) ** b.gamma * first / (a.step * b.step)
    return float((a.gamma + 1) * (b.gamma + 1) / total * scale)


def mixture(snapshots: Sequence[Profile], wanted: Profile) -> tuple[NDArray[np.float64], float]:
    """The weights of snapshots that come nearest to a wanted average.

    Returns:
        weights ``(N,)``, and the norm of what is left of the wanted profile over its own norm.

    Raises:
        UserError: if there is no snapshot up to the wanted step.
    """
    if not any(profile.step <= wanted.step for profile in snapshots):
        raise UserError(f"there is no snapshot of an average up to step {wanted.step}", "train with train.ema.lengths")
    # Snapshots are scaled to norm 1, which the tiny ones of late, narrow profiles are not by themselves.
    norms = np.array([math.sqrt(overlap(profile, profile)) for profile in snapshots])
    gram = np.array([[overlap(a, b) for b in snapshots] for a in snapshots]) / np.outer(norms, norms)
    onto = np.array([overlap(profile, wanted) for profile in snapshots]) / norms
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-12 * values[-1]
    weights = vectors[:, kept] @ ((vectors[:, kept].T @ onto) / values[kept])
    own = overlap(wanted, wanted)
    left = max(own - 2 * weights @ onto + weights @ gram @ weights, 0.0)
    return weights / norms, math.sqrt(left / own)
