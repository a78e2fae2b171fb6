"""Exact problems for solvers: gaussian mixtures, the noise to start from, and where the exact solution ends.

A set of problems is one state, the samples of all mixtures side by side in a tensor ``(1, N)``, and its denoiser: the
coefficients of the solvers compared here depend on no values, so that one run solves all problems of a schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from unnoise.sampling import prior
from unnoise.schedules import Schedule
from unnoise.testing import probability_flow

Family = Literal["development", "held_out"]
DIMENSIONS = (2, 4, 16, 64)
SEEDS: dict[Family, Sequence[int]] = {"development": range(10), "held_out": range(1000, 1010)}
"""What solvers may be chosen by, and what they are then judged by. A solver's author looks at no held-out problem."""
COMPONENTS: dict[Family, Sequence[int]] = {"development": (2, 4, 8, 16), "held_out": (3, 6, 12, 24)}
SPECTRA: dict[Family, Sequence[float]] = {"development": (0.0, 1.0), "held_out": (0.5, 1.5, 2.0)}
"""Variances of a component fall like ``k^-p`` over its axes, which are in an order of their own."""
WIDTHS: dict[Family, tuple[float, float]] = {"development": (0.05, 0.5), "held_out": (0.03, 0.7)}
"""Standard deviations of components, log-uniform, where their means have 1."""


def mixture(family: Family, dimension: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights ``(K,)``, means and variances ``(K, D)`` of one problem: data of mean 0 and of variance 1, over axes."""
    rng = np.random.default_rng([list(SEEDS).index(family), dimension, seed])
    count = int(rng.choice(COMPONENTS[family]))
    weights = rng.dirichlet(np.full(count, 2.0))
    widths = np.exp(rng.uniform(*np.log(WIDTHS[family]), size=(count, 1)))
    spectrum = np.arange(1, dimension + 1.0) ** -rng.choice(SPECTRA[family])
    spectra = np.stack([rng.permutation(spectrum) for _ in range(count)])
    variances = widths**2 * spectra / spectra.mean(axis=1, keepdims=True)
    means = rng.standard_normal((count, dimension))
    means -= weights @ means
    scale = np.sqrt((weights @ (means**2 + variances)).mean())
    return weights, means / scale, variances / scale**2


class Mixtures:
    """Exact denoisers of S mixtures in D dimensions: what :class:`unnoise.testing.MixtureDenoiser` computes, with
    matrix products and for all of them at once.
    """

    def __init__(self, family: Family, dimension: int, seeds: Sequence[int], schedule: Schedule, scale: float) -> None:
        made = [mixture(family, dimension, seed) for seed in seeds]
        most = max(len(weights) for weights, _, _ in made)
        self.schedule = schedule
        self.log_weights = torch.full((len(made), most), -math.inf, dtype=torch.float64)
        self.means = torch.zeros(len(made), most, dimension, dtype=torch.float64)
        self.variances = torch.ones_like(self.means)
        for k, (weights, means, variances) in enumerate(made):
            self.log_weights[k, : len(weights)] = torch.from_numpy(weights).log()
            self.means[k, : len(weights)] = scale * torch.from_numpy(means)
            self.variances[k, : len(weights)] = scale**2 * torch.from_numpy(variances)

    def __call__(self, x_t: Tensor, t: float | Tensor) -> Tensor:
        """``E[x0 | x_t]``, for ``(S, samples, D)`` and one time."""
        alpha, sigma = float(self.schedule.alpha(float(t))), float(self.schedule.sigma(float(t)))
        precision = 1 / (alpha**2 * self.variances + sigma**2)
        gain = alpha * self.variances * precision
        bias = self.log_weights + 0.5 * (precision.log() - alpha**2 * self.means**2 * precision).sum(2)
        logits = x_t @ (alpha * self.means * precision).mT - 0.5 * x_t**2 @ precision.mT + bias[:, None]
        share = logits.softmax(2)
        return share @ (self.means * (1 - alpha * gain)) + x_t * (share @ gain)


@dataclass(frozen=True, eq=False)
class Problems:
    """Mixtures of one family under one schedule.

    Args:
        schedule: of the noise; runs begin at its ``t_max``.
        family: which mixtures.
        dimensions: of the data; every seed is solved in each.
        samples: number of starting points of each mixture.
        seeds: of the mixtures; the family's if None.
        scale: standard deviation of the data, over axes.
    """

    schedule: Schedule
    family: Family = "development"
    dimensions: Sequence[int] = DIMENSIONS
    samples: int = 64
    seeds: Sequence[int] | None = None
    scale: float = 1.0

    @cached_property
    def mixtures(self) -> list[Mixtures]:
        """One set for each dimension."""
        seeds = SEEDS[self.family] if self.seeds is None else self.seeds
        return [Mixtures(self.family, size, seeds, self.schedule, self.scale) for size in self.dimensions]

    @cached_property
    def start(self) -> Tensor:
        """Noise at ``t_max``, float64 ``(1, N)``."""
        shape = (1, sum(len(of.means) * self.samples * of.means.shape[2] for of in self.mixtures))
        return prior(shape, self.schedule, seed=list(SEEDS).index(self.family), dtype=torch.float64)

    def denoise(self, x_t: Tensor, t: float | Tensor) -> Tensor:
        """``E[x0 | x_t]`` of every sample, ``(1, N)``."""
        return self._joined([of(x, t) for of, x in zip(self.mixtures, self._split(x_t), strict=True)])

    @cached_property
    def truth(self) -> Tensor:
        """Where the probability-flow equation takes ``start``, ``(1, N)``: its solution at t = 0.

        The noise-to-signal ratio goes down to 1e-5, from where the jump to the posterior mean misses by its square.
        """
        return self._solution(float(self.schedule.t_of(-2 * math.log(1e-5))))

    @cached_property
    def jumped(self) -> Tensor:
        """The same solution down to ``t_min``, where networks end, and the posterior mean there."""
        return self._solution(self.schedule.t_min)

    def _solution(self, last: float) -> Tensor:
        """By the classical Runge-Kutta method in log-SNR; 300 steps in place of 600 change the median by 1e-8."""
        blocks = []
        for of, x in zip(self.mixtures, self._split(self.start), strict=True):
            blocks.append(of(probability_flow(of, x, self.schedule.t_max, last, steps=600), last))
        return self._joined(blocks)

    def errors(self, x: Tensor, truth: Tensor | None = None) -> dict[int, float]:
        """Dimension -> error of an end-point ``(1, N)``.

        Of a sample it is the distance to the truth over the square root of the dimension and the scale of the data; of
        a mixture, the median over samples; of a dimension, the geometric mean over mixtures.
        """
        pairs = zip(self._split(x), self._split(self.truth if truth is None else truth), strict=True)
        away = [(one - other).square().mean(2).sqrt().median(1).values / self.scale for one, other in pairs]
        return {size: float(e.log().mean().exp()) for size, e in zip(self.dimensions, away, strict=True)}

    def _split(self, x: Tensor) -> list[Tensor]:
        """The samples of every set of mixtures, ``(S, samples, D)``."""
        shapes = [(len(of.means), self.samples, of.means.shape[2]) for of in self.mixtures]
        blocks = x.flatten().split([math.prod(shape) for shape in shapes])
        return [block.reshape(shape) for block, shape in zip(blocks, shapes, strict=True)]

    def _joined(self, blocks: Sequence[Tensor]) -> Tensor:
        return torch.cat([block.flatten() for block in blocks])[None]
