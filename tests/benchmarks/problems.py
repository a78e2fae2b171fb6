"""Exact problems for solvers: gaussian mixtures, the noise to start from, and where the exact solution ends.

A set of problems is one state, the samples of all mixtures side by side in a tensor ``(1, N)``, and its denoiser: the
coefficients of the solvers compared here depend on no values, so that one run solves all problems of a schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from unnoise.sampling import prior
from unnoise.schedules import Schedule
from unnoise.testing import MixtureDenoiser, probability_flow

Family = Literal["development", "held_out"]
DIMENSIONS = (2, 4, 16, 64)
SEEDS: dict[Family, range] = {"development": range(10), "held_out": range(1000, 1010)}
"""What solvers may be chosen by, and what they are then judged by. A solver's author looks at no held-out problem."""
COMPONENTS: dict[Family, Sequence[int]] = {"development": (2, 4, 8, 16), "held_out": (3, 6, 12, 24)}
SPECTRA: dict[Family, Sequence[float]] = {"development": (0.0, 1.0), "held_out": (0.5, 1.5, 2.0)}
"""Components have variances that fall like ``axis^-p`` along axes in an order of their own."""
WIDTHS: dict[Family, tuple[float, float]] = {"development": (0.05, 0.5), "held_out": (0.03, 0.7)}
"""Standard deviations of components, log-uniform, before the data is scaled to variance 1."""


def mixture(family: Family, dimension: int, seed: int, schedule: Schedule) -> MixtureDenoiser:
    """One problem: data of variance 1 (the mean over axes), of mean 0, and its exact denoiser."""
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
    return MixtureDenoiser(weights, means / scale, variances / scale**2, schedule)


@dataclass(frozen=True, eq=False)
class Problems:
    """Mixtures of one family under one schedule.

    Args:
        schedule: of the noise; runs begin at its ``t_max``.
        family: which mixtures.
        dimensions: of the data; every seed is solved in each.
        seeds: of the mixtures.
        samples: number of starting points of each mixture.
    """

    schedule: Schedule
    family: Family = "development"
    dimensions: Sequence[int] = DIMENSIONS
    seeds: Sequence[int] | None = None
    samples: int = 64

    @cached_property
    def denoisers(self) -> list[MixtureDenoiser]:
        """One for each dimension and seed, in this order."""
        seeds = SEEDS[self.family] if self.seeds is None else self.seeds
        return [mixture(self.family, size, seed, self.schedule) for size in self.dimensions for seed in seeds]

    @cached_property
    def start(self) -> Tensor:
        """Noise at ``t_max``, float64 ``(1, N)``."""
        first = 1_000_000 * list(SEEDS).index(self.family)
        blocks = [
            prior((self.samples, *problem.means.shape[1:]), self.schedule, first + 1000 * k, torch.float64)
            for k, problem in enumerate(self.denoisers)
        ]
        return torch.cat([block.flatten() for block in blocks])[None]

    def denoise(self, x_t: Tensor, t: float | Tensor) -> Tensor:
        """``E[x0 | x_t]`` of every sample, ``(1, N)``."""
        made = [problem(x, t) for problem, x in zip(self.denoisers, self._split(x_t), strict=True)]
        return torch.cat([x0.flatten() for x0 in made])[None]

    @cached_property
    def truth(self) -> Tensor:
        """Where the probability-flow equation takes ``start``, ``(1, N)``.

        The classical Runge-Kutta method in log-SNR down to a noise-to-signal ratio of 1e-5, from where the jump to the
        posterior mean misses by its square. With half as many steps the median relative error is below 1e-7.
        """
        last = float(self.schedule.t_of(-2 * np.log(1e-5)))
        blocks = []
        for problem, x in zip(self.denoisers, self._split(self.start), strict=True):
            blocks.append(problem(probability_flow(problem, x, self.schedule.t_max, last, steps=800), last))
        return torch.cat([block.flatten() for block in blocks])[None]

    def errors(self, x: Tensor) -> dict[int, float]:
        """Dimension -> error of an end-point ``(1, N)``.

        Of a sample it is the distance to the truth over the square root of the dimension, so relative to data of
        variance 1; of a problem, the median over samples; of a dimension, the geometric mean over problems.
        """
        away = [
            ((one - other).square().mean(1).sqrt().median()).clamp(min=1e-12)
            for one, other in zip(self._split(x), self._split(self.truth), strict=True)
        ]
        grouped = torch.stack(away).reshape(len(self.dimensions), -1).log().mean(1).exp()
        return dict(zip(self.dimensions, grouped.tolist(), strict=True))

    def _split(self, x: Tensor) -> list[Tensor]:
        """The samples of every problem, ``(samples, dimension)``."""
        sizes = [problem.means.shape[1] for problem in self.denoisers]
        blocks = x.flatten().split([self.samples * size for size in sizes])
        return [block.reshape(self.samples, size) for block, size in zip(blocks, sizes, strict=True)]
