"""Denoisers that are exact, because the data distribution is known in closed form: real values.

They estimate ``E[x0 | x_t]`` in float64, whatever the schedule, and can be passed to :func:`unnoise.sample` as they
are. What a sampler makes of them can be compared with the truth, which no trained network allows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unnoise.layout import Layout
from unnoise.level import align
from unnoise.noise import Noise
from unnoise.schedules import Schedule

Time = float | Tensor
Numbers = float | Sequence[Any] | Tensor


class GaussianDenoiser:
    """Data ``N(mean, covariance)``. The probability-flow equation has the closed-form :meth:`solution`.

    Args:
        mean: ``(*event shape)``.
        covariance: a number or a tensor of the mean's shape (variances), or ``(D, D)`` over the D flattened elements.
        schedule: of the noise.

    Raises:
        ValueError: if the covariance has another shape, or is not positive semi-definite.
    """

    def __init__(self, mean: Numbers, covariance: Numbers, schedule: Schedule) -> None:
        self.mean, self.schedule = _double(mean), schedule
        size, given = self.mean.numel(), _double(covariance)
        if given.dim() == 0 or given.shape == self.mean.shape:
            self.variances, self.axes = given.expand(self.mean.shape).flatten(), torch.eye(size, dtype=torch.float64)
        elif given.shape == (size, size):
            self.variances, self.axes = torch.linalg.eigh(given)
        else:
            raise ValueError(f"a covariance of {size} elements is not of shape {tuple(given.shape)}")
        if (self.variances < -1e-12).any():
            raise ValueError("the covariance has negative eigenvalues")

    def __call__(self, x_t: Tensor, t: Time) -> Tensor:
        """``E[x0 | x_t]``, in the dtype of ``x_t`` ``(B, *event shape)``; t is a scalar or ``(B,)``."""
        alpha, sigma = _levels(self.schedule, t)
        gain = alpha * self.variances / (alpha**2 * self.variances + sigma**2)
        return self._back(gain * self._principal(x_t, alpha), torch.ones_like(alpha)).to(x_t)

    def moments(self, t: Time) -> tuple[Tensor, Tensor]:
        """Mean ``(*event shape)`` and covariance ``(D, D)`` of x_t, for one time."""
        alpha, sigma = _levels(self.schedule, t)
        spread = alpha**2 * self.variances + sigma**2
        return alpha.item() * self.mean, (self.axes * spread) @ self.axes.T

    def solution(self, x_t: Tensor, t: Time, s: Time) -> Tensor:
        """Where the probability-flow equation takes ``x_t`` from t to s: along each principal axis the distance to the
        mean scales with the standard deviation.
        """
        (alpha_t, sigma_t), (alpha_s, sigma_s) = _levels(self.schedule, t), _levels(self.schedule, s)
        ratio = (alpha_s**2 * self.variances + sigma_s**2) / (alpha_t**2 * self.variances + sigma_t**2)
        return self._back(ratio.sqrt() * self._principal(x_t, alpha_t), alpha_s).to(x_t)

    def _principal(self, x: Tensor, alpha: Tensor) -> Tensor:
        return (x.double() - align(alpha, x) * self.mean).flatten(1) @ self.axes

    def _back(self, principal: Tensor, alpha: Tensor) -> Tensor:
        flat = principal @ self.axes.T + alpha * self.mean.flatten()
        return flat.reshape(-1, *self.mean.shape)


class MixtureDenoiser:
    """Data from a mixture of isotropic or axis-aligned gaussians.

    Args:
        weights: ``(K,)``, scaled to sum 1.
        means: ``(K, *event shape)``.
        variances: a number, ``(K,)``, or ``(K, *event shape)``; positive.
        schedule: of the noise.
        labels: the class of each component, ``(K,)``; what ``label`` of the calls below selects by.

    Raises:
        ValueError: if the shapes do not fit.
    """

    def __init__(
        self,
        weights: Numbers,
        means: Numbers,
        variances: Numbers,
        schedule: Schedule,
        labels: Sequence[int] | None = None,
    ) -> None:
        self.means, self.schedule = _double(means), schedule
        self.weights = _double(weights) / _double(weights).sum()
        given, shape = _double(variances), self.means.shape
        self.variances = (given if given.shape == shape else given.reshape(-1, *(1 for _ in shape[1:]))).expand(shape)
        self.labels = torch.arange(len(self.weights)) if labels is None else torch.tensor(labels)
        if not len(self.weights) == len(self.labels) == shape[0]:
            raise ValueError(f"{shape[0]} means, {len(self.weights)} weights, {len(self.labels)} labels")

    def __call__(self, x_t: Tensor, t: Time, label: int | Tensor | None = None) -> Tensor:
        """``E[x0 | x_t]``, in the dtype of ``x_t``; given the class ``label`` (a number or ``(B,)``), if any."""
        alpha, _ = self._levels(t)
        away, spread = self._away(x_t, t)
        responsibility = self._log_joint(x_t, t, label).softmax(1)
        means = self.means + alpha * self.variances / spread * away
        return (align(responsibility, means) * means).sum(1).to(x_t)

    def log_density(self, x_t: Tensor, t: Time, label: int | Tensor | None = None) -> Tensor:
        """Log-density of x_t, float64 ``(B,)``; given the class, if any."""
        return self._log_joint(x_t, t, label).logsumexp(1) - self._log_weights(label).logsumexp(-1)

    def score(self, x_t: Tensor, t: Time, label: int | Tensor | None = None) -> Tensor:
        """Gradient of :meth:`log_density`, float64, as a mixture of the components' scores."""
        away, spread = self._away(x_t, t)
        responsibility = self._log_joint(x_t, t, label).softmax(1)
        return (align(responsibility, away) * -away / spread).sum(1)

    def sample(self, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Exact clean data: values float64 ``(count, *event shape)`` and classes ``(count,)``."""
        noise, (part,) = Noise.of(seed, count), Layout.tensor(*self.means.shape[1:])
        (choice,) = Layout.tensor(name="component")
        component = torch.searchsorted(self.weights.cumsum(0), noise.uniform(choice, (), purpose="data"))
        component = component.clamp(max=len(self.weights) - 1)
        eps = noise.normal(part, self.means.shape[1:], purpose="data").double()
        return self.means[component] + self.variances[component].sqrt() * eps, self.labels[component]

    def _levels(self, t: Time) -> tuple[Tensor, Tensor]:
        """Alpha and sigma, shaped to broadcast against ``(B, K, *event shape)``."""
        alpha, sigma = _levels(self.schedule, t)
        shape = (-1, *(1 for _ in self.means.shape))
        return alpha.reshape(shape), sigma.reshape(shape)

    def _away(self, x_t: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """Distance from each component's mean and the components' variances at t."""
        alpha, sigma = self._levels(t)
        return x_t.double().unsqueeze(1) - alpha * self.means, alpha**2 * self.variances + sigma**2

    def _log_joint(self, x_t: Tensor, t: Time, label: int | Tensor | None) -> Tensor:
        """Log of weight times density, ``(B, K)``."""
        away, spread = self._away(x_t, t)
        log_density = -0.5 * (away**2 / spread + spread.log() + math.log(2 * math.pi))
        return log_density.flatten(2).sum(2) + self._log_weights(label)

    def _log_weights(self, label: int | Tensor | None) -> Tensor:
        if label is None:
            return self.weights.log()
        chosen = torch.as_tensor(label)[..., None] == self.labels
        return torch.where(chosen, self.weights.log(), -math.inf)


def _double(values: Numbers) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def _levels(schedule: Schedule, t: Time) -> tuple[Tensor, Tensor]:
    """Alpha and sigma as float64 columns ``(B, 1)``, or ``(1, 1)`` for one time."""
    times = np.asarray(t.detach().cpu() if isinstance(t, Tensor) else t, dtype=np.float64).reshape(-1, 1)
    return torch.from_numpy(schedule.alpha(times)), torch.from_numpy(schedule.sigma(times))
