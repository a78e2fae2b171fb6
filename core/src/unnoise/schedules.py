"""Noise schedules: how much data and how much noise there is at time t.

A schedule maps t in [0, 1] to ``x_t = alpha(t) x_0 + sigma(t) eps``; 0 is data, exactly (alpha 1, sigma 0), and 1 is
noise. Everything is numpy float64, a number or an array in and the same out.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unnoise.errors import UserError

Array = NDArray[np.float64]
Times = float | Array

_LOG_SNR_BOUND = 2 * math.log(1000)
"""Working range of schedules without ends of their own: noise-to-signal ratios (standard deviations) 1e-3 to 1e3."""
_MOST_STEPS = 1_000_000


class Schedule(ABC):
    """``t in [0, 1] -> (alpha, sigma)`` with ``log_snr = log(alpha^2 / sigma^2)`` strictly decreasing in t.

    Methods raise ValueError where t lies outside [0, 1].
    """

    name: ClassVar[str]

    @abstractmethod
    def alpha(self, t: Times) -> Array:
        """Scale of the data at t; 1 at t = 0."""

    @abstractmethod
    def sigma(self, t: Times) -> Array:
        """Standard deviation of the noise at t; 0 at t = 0."""

    @abstractmethod
    def log_snr(self, t: Times) -> Array:
        """``log(alpha^2 / sigma^2)``; +inf at t = 0, and -inf at t = 1 where :attr:`zero_terminal_snr`."""

    @abstractmethod
    def t_of(self, log_snr: Times) -> Array:
        """The inverse of :meth:`log_snr`; levels beyond the schedule's last give 1."""

    @property
    def t_min(self) -> float:
        """Lowest level at which a network is ever asked; from there one exact jump leads to data."""
        return float(self.t_of(_LOG_SNR_BOUND))

    @property
    def t_max(self) -> float:
        """Highest level at which a network is ever asked, where sampling starts; its log-SNR is finite."""
        return float(self.t_of(-_LOG_SNR_BOUND))

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether nothing of the data is left at t = 1."""
        return bool(self.alpha(1.0) == 0)

    def config(self) -> dict[str, Any]:
        """A JSON value from which :func:`from_config` builds the same schedule."""
        return {"name": self.name, **{f.name: _plain(getattr(self, f.name)) for f in fields(self)}}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Cosine(Schedule):
    """What :func:`cosine` builds."""

    name: ClassVar[str] = "cosine"

    def alpha(self, t: Times) -> Array:
        return np.sin(0.5 * np.pi * (1 - _times(t)))  # cos(pi t / 2), but exactly 0 at t = 1

    def sigma(self, t: Times) -> Array:
        return np.sin(0.5 * np.pi * _times(t))

    def log_snr(self, t: Times) -> Array:
        return 2 * (_log(self.alpha(t)) - _log(self.sigma(t)))

    def t_of(self, log_snr: Times) -> Array:
        return np.arctan(_exp(-0.5 * np.asarray(log_snr))) / (0.5 * np.pi)


@dataclass(frozen=True)
class Flow(Schedule):
    """What :func:`flow` builds."""

    name: ClassVar[str] = "flow"

    def alpha(self, t: Times) -> Array:
        return 1 - _times(t)

    def sigma(self, t: Times) -> Array:
        return _times(t)

    def log_snr(self, t: Times) -> Array:
        return 2 * (_log(self.alpha(t)) - _log(self.sigma(t)))

    def t_of(self, log_snr: Times) -> Array:
        return sigmoid(-0.5 * np.asarray(log_snr))


@dataclass(frozen=True)
class LinearSurvival(Schedule):
    """What :func:`linear_survival` builds."""

    name: ClassVar[str] = "linear_survival"

    def alpha(self, t: Times) -> Array:
        return np.sqrt(1 - _times(t))

    def sigma(self, t: Times) -> Array:
        return np.sqrt(_times(t))

    def log_snr(self, t: Times) -> Array:
        t = _times(t)
        return _log(1 - t) - _log(t)

    def t_of(self, log_snr: Times) -> Array:
        return sigmoid(-np.asarray(log_snr))


@dataclass(frozen=True)
class Edm(Schedule):
    """What :func:`edm` builds."""

    sigma_min: float
    sigma_max: float
    rho: float
    name: ClassVar[str] = "edm"

    def __post_init__(self) -> None:
        if not (0 < self.sigma_min < self.sigma_max < math.inf and 0 < self.rho < math.inf):
            raise ValueError(f"edm needs 0 < sigma_min < sigma_max and rho > 0, not {self}")

    def alpha(self, t: Times) -> Array:
        return np.ones_like(_times(t))[()]

    def sigma(self, t: Times) -> Array:
        return self.sigma_max * _times(t) ** self.rho

    def log_snr(self, t: Times) -> Array:
        return -2 * (math.log(self.sigma_max) + self.rho * _log(_times(t)))

    def t_of(self, log_snr: Times) -> Array:
        log_sigma = -0.5 * np.asarray(log_snr)
        return np.minimum(_exp((log_sigma - math.log(self.sigma_max)) / self.rho), 1.0)

    @property
    def t_min(self) -> float:
        return float((self.sigma_min / self.sigma_max) ** (1 / self.rho))

    @property
    def t_max(self) -> float:
        return 1.0


@dataclass(frozen=True)
class Table(Schedule):
    """A variance-preserving schedule given by T discrete steps: step k = 0 .. T - 1 is t = (k + 1) / T, exactly.

    Between steps log-SNR is linear in t. Where an end is infinite the ratio of noise to data is linear instead:
    sigma / alpha falls to 0 between the first step and t = 0, and where the last step has zero SNR alpha / sigma
    falls to 0 between the last step but one and t = 1.
    """

    @abstractmethod
    def step_betas(self) -> Array:
        """Variance of the noise added by each step, ``(T,)``."""

    @cached_property
    def _knots(self) -> tuple[int, Array, Array]:
        """The number of steps T, and time and log-SNR of all steps with a finite log-SNR."""
        betas = self.step_betas()
        if betas.ndim != 1 or len(betas) < 2 or not ((betas > 0) & (betas <= 1)).all() or (betas[:-1] == 1).any():
            raise ValueError("betas must be two or more numbers in (0, 1); only the last may be 1")
        log_alpha2 = np.cumsum(_log(1 - betas))
        log_snr = log_alpha2 - np.log(-np.expm1(log_alpha2))
        finite = np.isfinite(log_snr)
        return len(betas), (np.arange(1, len(betas) + 1) / len(betas))[finite], log_snr[finite]

    def __len__(self) -> int:
        """The number of steps T."""
        return self._knots[0]

    def step_of(self, t: Times) -> NDArray[np.int64]:
        """The step nearest to t, in 0 .. T - 1: what a network trained on integers is given."""
        return np.maximum(np.rint(_times(t) * len(self)).astype(np.int64) - 1, 0)

    def t_of_step(self, step: int | NDArray[np.int64]) -> Array:
        """The time of a step: ``(step + 1) / T``."""
        return (np.asarray(step, dtype=np.float64) + 1) / len(self)

    def alpha(self, t: Times) -> Array:
        return np.sqrt(sigmoid(self.log_snr(t)))

    def sigma(self, t: Times) -> Array:
        return np.sqrt(sigmoid(-self.log_snr(t)))

    def log_snr(self, t: Times) -> Array:
        t = _times(t)
        steps, knots, levels = self._knots
        inner = np.interp(t, knots, levels)
        before = np.where(t < knots[0], -2 * _log(np.minimum(t / knots[0], 1.0)), 0.0)
        after = np.where(t > knots[-1], 2 * _log(np.minimum((1 - t) * steps, 1.0)), 0.0)
        return (inner + before + after)[()]

    def t_of(self, log_snr: Times) -> Array:
        level = np.asarray(log_snr, dtype=np.float64)
        steps, knots, levels = self._knots
        inner = np.interp(-level, -levels, knots)
        before = knots[0] * _exp(np.minimum(0.5 * (levels[0] - level), 0.0))
        after = 1 - _exp(np.minimum(0.5 * (level - levels[-1]), 0.0)) / steps
        t = np.where(level > levels[0], before, inner)
        return np.where(level < levels[-1], after if len(knots) < steps else 1.0, t)[()]

    @property
    def t_min(self) -> float:
        return 1 / len(self)

    @property
    def t_max(self) -> float:
        """The last step; where that has zero SNR, a thousandth of a step before it, so that log-SNR is finite."""
        return 1.0 if len(self._knots[1]) == len(self) else 1 - 1e-3 / len(self)


@dataclass(frozen=True)
class Tabulated(Table):
    """What :func:`tabulated` builds."""

    betas: tuple[float, ...]
    name: ClassVar[str] = "tabulated"

    def __post_init__(self) -> None:
        self._knots  # noqa: B018 - checks the table when it is built, not when it is first used

    def step_betas(self) -> Array:
        return np.array(self.betas, dtype=np.float64)


@dataclass(frozen=True)
class LinearBeta(Table):
    """What :func:`linear_beta` builds."""

    steps: int
    beta_first: float
    beta_last: float
    name: ClassVar[str] = "linear_beta"
    power: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not (2 <= self.steps <= _MOST_STEPS and 0 < self.beta_first <= 1 and 0 < self.beta_last <= 1):
            raise ValueError(f"a table has 2 to {_MOST_STEPS:,} steps with betas in (0, 1], not {self}")
        self._knots  # noqa: B018

    def step_betas(self) -> Array:
        first, last = self.beta_first ** (1 / self.power), self.beta_last ** (1 / self.power)
        return np.linspace(first, last, self.steps) ** self.power


@dataclass(frozen=True)
class ScaledLinear(LinearBeta):
    """What :func:`scaled_linear` builds."""

    name: ClassVar[str] = "scaled_linear"
    power: ClassVar[int] = 2


@dataclass(frozen=True)
class Shifted(Schedule):
    """What :func:`shift` builds."""

    schedule: Schedule
    factor: float
    name: ClassVar[str] = "shift"

    def __post_init__(self) -> None:
        if not 0 < self.factor < math.inf:
            raise ValueError(f"a schedule is shifted by a factor above 0, not {self.factor}")

    def warp(self, t: Times) -> Array:
        """The time of the inner schedule, ``f t / (1 + (f - 1) t)``, written so that the ends are exact."""
        t = _times(t)
        return self.factor * t / (self.factor * t + (1 - t))

    def alpha(self, t: Times) -> Array:
        return self.schedule.alpha(self.warp(t))

    def sigma(self, t: Times) -> Array:
        return self.schedule.sigma(self.warp(t))

    def log_snr(self, t: Times) -> Array:
        return self.schedule.log_snr(self.warp(t))

    def t_of(self, log_snr: Times) -> Array:
        return self._unwarp(self.schedule.t_of(log_snr))

    @property
    def t_min(self) -> float:
        return float(self._unwarp(self.schedule.t_min))

    @property
    def t_max(self) -> float:
        return float(self._unwarp(self.schedule.t_max))

    def _unwarp(self, t: Times) -> Array:
        t = _times(t)
        return t / (t + self.factor * (1 - t))


def cosine() -> Cosine:
    """``alpha = cos(pi t / 2)``, variance preserving (Nichol & Dhariwal 2021, eq. 17 without its offset; Salimans &
    Ho 2022).
    """
    return Cosine()


def flow() -> Flow:
    """The straight path ``alpha = 1 - t``, ``sigma = t`` (Lipman et al. 2023; Liu et al. 2023, rectified flow)."""
    return Flow()


def linear_survival() -> LinearSurvival:
    """``alpha^2 = 1 - t``: the share of untouched elements falls linearly, as in masked diffusion (Austin et al. 2021,
    section 3.1; Sahoo et al. 2024).
    """
    return LinearSurvival()


def edm(sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Edm:
    """Variance exploding: ``alpha = 1``, ``sigma = sigma_max t^rho``, working between sigma_min and sigma_max.

    Time is the coordinate in which the grid of Karras et al. 2022, eq. 5, is uniform (``sigma^(1/rho)``), scaled so
    that sigma is 0 at t = 0; so t_min is ``(sigma_min / sigma_max)^(1/rho)``, and t_max is 1.

    Raises:
        ValueError: unless 0 < sigma_min < sigma_max and rho > 0.
    """
    return Edm(sigma_min, sigma_max, rho)


def linear_beta(steps: int = 1000, beta_first: float = 1e-4, beta_last: float = 0.02) -> LinearBeta:
    """T steps with linearly rising betas (Ho et al. 2020, section 4): a :class:`Table`."""
    return LinearBeta(steps, beta_first, beta_last)


def scaled_linear(steps: int = 1000, beta_first: float = 0.00085, beta_last: float = 0.012) -> ScaledLinear:
    """T steps whose betas' square roots rise linearly (Rombach et al. 2022, released code): a :class:`Table`."""
    return ScaledLinear(steps, beta_first, beta_last)


def tabulated(betas: Sequence[float] | Array) -> Tabulated:
    """A :class:`Table` of any betas, ``(T,)``; a last beta of 1 gives zero terminal SNR (Lin et al. 2024).

    Raises:
        ValueError: unless there are two or more betas, all in (0, 1); the last may be 1.
    """
    return Tabulated(tuple(float(beta) for beta in betas))


def shift(schedule: Schedule | Mapping[str, Any], factor: float) -> Shifted:
    """The timestep shift of Esser et al. 2024, eq. 23: time ``t`` has the levels that ``schedule`` has at
    ``f t / (1 + (f - 1) t)``. On :func:`flow` this lowers log-SNR by ``2 log f`` everywhere.

    Raises:
        ValueError: if the factor is not positive.
    """
    return Shifted(schedule if isinstance(schedule, Schedule) else from_config(schedule), factor)


def from_config(config: Mapping[str, Any]) -> Schedule:
    """Build a schedule from ``{"name": ..., **arguments of the builder}``, as written by :meth:`Schedule.config`.

    Names are those of the registry: core's, and what plugins bring.

    Raises:
        UserError: for an unknown name or argument, or a value the builder refuses.
    """
    from unnoise.plugins import get_registry

    if not isinstance(config, Mapping):
        raise UserError(f"{config!r} is no schedule", "write {name: cosine}, with its arguments beside the name")
    try:
        schedule: Schedule = get_registry().build("schedule", config)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UserError(f"schedule {config['name']!r}: {error}", "correct its arguments") from error
    return schedule


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))`` with full relative precision at both ends."""
    return np.exp(-np.logaddexp(0.0, -x))


def _times(t: Times) -> Array:
    values = np.asarray(t, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"times lie in [0, 1], not {t}")
    return values


def _log(x: Times) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(x)


def _exp(x: Times) -> Array:
    with np.errstate(over="ignore"):
        return np.exp(x)


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        return value.config()
    return list(value) if isinstance(value, tuple) else value
