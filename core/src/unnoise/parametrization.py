"""What a network's raw output means: the only place where its input is scaled and its output becomes clean data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from torch import Tensor

from unnoise.errors import UserError, did_you_mean
from unnoise.processes.gaussian import combine
from unnoise.schedules import Array, Schedule, Times

Name = Literal["eps", "x0", "v", "flow", "edm"]


class Scalings(NamedTuple):
    """``x0 = c_skip x_t + c_out network(c_in x_t, c_noise)``; float64, of the shape of t."""

    c_in: Array
    c_skip: Array
    c_out: Array
    c_noise: Array


@dataclass(frozen=True)
class Parametrization:
    """How a gaussian part's raw output relates to clean data, for any alpha and sigma.

    The network is told ``c_noise = log(sigma / alpha) / 4`` (Karras et al. 2022, table 1) and sees an input of unit
    variance, so the schedule may be exchanged after training.

    Args:
        name: what the raw output estimates.
            "eps": the noise (Ho et al. 2020, eq. 11).
            "x0": clean data.
            "v": ``alpha eps - sigma x0`` (Salimans & Ho 2022, section 4).
            "flow": ``eps - x0``, the velocity of the straight path (Lipman et al. 2023).
            "edm": the mixture of clean data and noise that has unit variance at every level (Karras et al. 2022,
            table 1, in the variable ``x / alpha`` with noise ``sigma / alpha``).
        schedule: the part's.
        data_std: standard deviation of clean data, positive; used by c_in and "edm".
        scale_input: whether c_in brings the input to unit variance; else it is 1.

    Raises:
        UserError: for an unknown name, a data_std that is not positive, or "eps" with a schedule of zero terminal SNR,
            where the noise does not determine the data.
    """

    name: Name
    schedule: Schedule
    data_std: float = 1.0
    scale_input: bool = True

    def __post_init__(self) -> None:
        names = get_args(Name)
        if self.name not in names:
            fix = f"choose one of: {', '.join(names)}"
            raise UserError(f"there is no parametrization {self.name!r}.{did_you_mean(self.name, names)}", fix)
        if not 0 < self.data_std < np.inf:
            raise UserError(f"data_std must be positive, not {self.data_std}", "measure it on encoded training data")
        if self.name == "eps" and self.schedule.zero_terminal_snr:
            raise UserError(
                f"parametrization 'eps' cannot be used with schedule {self.schedule.name!r}: at t = 1 its SNR is zero, "
                "where the noise says nothing about the data",
                "use 'v', 'x0', 'flow' or 'edm', or a schedule that ends above zero SNR (linear_beta, edm)",
            )

    def scalings(self, t: Times) -> Scalings:
        """The four scalings at t in (0, 1]."""
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        variance = alpha**2 * self.data_std**2 + sigma**2
        c_in = 1 / np.sqrt(variance) if self.scale_input else np.ones_like(variance)
        on_x0, on_eps = self._meaning(alpha, sigma)
        # raw = on_x0 x0 + on_eps eps and x_t = alpha x0 + sigma eps, solved for x0.
        determinant = alpha * on_eps - sigma * on_x0
        return Scalings(c_in, on_eps / determinant, -sigma / determinant, -self.schedule.log_snr(t) / 8)

    def clean(self, raw: Tensor, x_t: Tensor, t: Times) -> Tensor:
        """The estimate of clean data: ``c_skip x_t + c_out raw``, in the dtype of ``x_t``.

        Args:
            raw, x_t: ``(B, *event shape)``.
            t: a number, or an array that indexes the leading axes.
        """
        scalings = self.scalings(t)
        return combine((scalings.c_skip, x_t), (scalings.c_out, raw))

    def target(self, x0: Tensor, eps: Tensor, t: Times) -> Tensor:
        """The exact raw output: what :meth:`clean` turns into ``x0`` where ``x_t = alpha x0 + sigma eps``."""
        on_x0, on_eps = self._meaning(self.schedule.alpha(t), self.schedule.sigma(t))
        return combine((on_x0, x0), (on_eps, eps))

    def config(self) -> dict[str, Any]:
        """A JSON value with everything but the schedule."""
        return {"name": self.name, "data_std": self.data_std, "scale_input": self.scale_input}

    def _meaning(self, alpha: Array, sigma: Array) -> tuple[Array, Array]:
        """The weights of clean data and noise in the exact raw output."""
        zero, one = np.zeros_like(alpha), np.ones_like(alpha)
        if self.name == "eps":
            return zero, one
        if self.name == "x0":
            return one, zero
        if self.name == "v":
            return -sigma, alpha
        if self.name == "flow":
            return -one, one
        scale = np.sqrt(alpha**2 * self.data_std**2 + sigma**2)
        return sigma / (self.data_std * scale), -self.data_std * alpha / scale
