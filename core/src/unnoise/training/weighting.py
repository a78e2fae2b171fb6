"""How much an error at a noise level counts, as functions of log-SNR.

The error of a gaussian part is the squared error of the network's *raw output*, ``|F - F*|^2``; since the estimate is
``x0_hat = c_skip x_t + c_out F``, it equals ``|x0_hat - x0|^2 / c_out^2``. Published weightings are stated for some
target (x0, eps, v); here each is written once as w(log_snr) on ``|x0_hat - x0|^2`` and multiplied by ``c_out^2``, which
makes it right for every parametrization. The error of a categorical part is the cross-entropy in nats.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unnoise.errors import UserError, did_you_mean
from unnoise.layout import Part


class Weighting(nn.Module, ABC):
    """Weights of one part's errors. Built as ``cls(part, **options)``."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.part = part

    @abstractmethod
    def forward(self, log_snr: Tensor, c_out: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of an error e is ``factor * e + offset``.

        Args:
            log_snr: float32, any shape.
            c_out: of the parametrization at the same levels, same shape; 1 for categorical parts.

        Returns:
            factor and offset, of the same shape.
        """


class UniformWeighting(Weighting):
    """Every raw output counts the same: eps for eps-prediction (Ho et al. 2020), v for v-prediction, and so on."""

    def forward(self, log_snr: Tensor, c_out: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(log_snr), torch.zeros_like(log_snr)


class _X0Weighting(Weighting):
    """Weights stated for the squared error of the clean-data estimate; gaussian parts only."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        if part.kind != "gaussian":
            raise UserError(
                f"part {part.name!r} is categorical: this weighting is for squared errors, not for cross-entropy",
                f"Set train.weighting.{part.name}.name to uniform or learned.",
            )

    @abstractmethod
    def weight(self, log_snr: Tensor) -> Tensor:
        """w(log_snr) on ``|x0_hat - x0|^2``."""

    def forward(self, log_snr: Tensor, c_out: Tensor) -> tuple[Tensor, Tensor]:
        return self.weight(log_snr) * c_out.square(), torch.zeros_like(log_snr)


class MinSnrWeighting(_X0Weighting):
    """``min(SNR, gamma)`` (Hang et al. 2023, equation 8, which states it for x0).

    Args:
        part: the part.
        gamma: positive; the published value is 5.
    """

    def __init__(self, part: Part, gamma: float = 5.0) -> None:
        super().__init__(part)
        if not gamma > 0:
            raise UserError(f"weighting min_snr: gamma must be positive, not {gamma}")
        self.gamma = gamma

    def weight(self, log_snr: Tensor) -> Tensor:
        return log_snr.exp().clamp(max=self.gamma)


class EdmWeighting(_X0Weighting):
    """``(s^2 + d^2) / (s d)^2`` with s = sigma / alpha and d the deviation of data (Karras et al. 2022, table 1).

    Args:
        part: the part.
        data_std: d, positive.
    """

    def __init__(self, part: Part, data_std: float = 1.0) -> None:
        super().__init__(part)
        if not data_std > 0:
            raise UserError(f"weighting edm: data_std must be positive, not {data_std}")
        self.data_std = data_std

    def weight(self, log_snr: Tensor) -> Tensor:
        return self.data_std**-2 + log_snr.exp()


class LearnedWeighting(Weighting):
    """Errors divided by a learned estimate of their size at each level: ``e exp(-u) + u``.

    The optimum is ``u(log_snr) = log E[e]``, so that all levels contribute alike (Kendall et al. 2018, equation 7; over
    noise levels Karras et al. 2024, equation 21). u is a cosine series over log-SNR, 0 at first, which makes the
    weighting uniform at first.

    Args:
        part: the part.
        terms: terms of the series.
    """

    RANGE = 16.0
    """The series is on -16 <= log_snr <= 16; levels beyond count as its ends."""

    def __init__(self, part: Part, terms: int = 32) -> None:
        super().__init__(part)
        self.coefficients = nn.Parameter(torch.zeros(terms))

    def forward(self, log_snr: Tensor, c_out: Tensor) -> tuple[Tensor, Tensor]:
        place = (log_snr.clamp(-self.RANGE, self.RANGE) + self.RANGE) / (2 * self.RANGE)
        order = torch.arange(len(self.coefficients), device=log_snr.device)
        u = torch.cos(math.pi * place[..., None] * order) @ self.coefficients
        return (-u).exp(), u


WEIGHTINGS: dict[str, type[Weighting]] = {
    "uniform": UniformWeighting,
    "min_snr": MinSnrWeighting,
    "edm": EdmWeighting,
    "learned": LearnedWeighting,
}


def build_weighting(config: Mapping[str, Any], part: Part, data_std: float = 1.0) -> Weighting:
    """The weighting of a part from ``{name, **options}`` for all parts, or from ``{part or "*": {name, **options}}``.

    Args:
        config: as above.
        part: the part.
        data_std: its deviation, for weightings that take it and are not told otherwise.

    Raises:
        UserError: if a name or option does not exist, or does not fit the kind of the part.
    """
    options = dict(config if "name" in config else config.get(part.name, config.get("*", {"name": "uniform"})))
    name = options.pop("name", None)
    if name not in WEIGHTINGS:
        message = f"weighting {name!r} does not exist.{did_you_mean(str(name), WEIGHTINGS)}"
        raise UserError(message, f"There is: {', '.join(WEIGHTINGS)}")
    if WEIGHTINGS[name] is EdmWeighting:
        options.setdefault("data_std", data_std)
    try:
        return WEIGHTINGS[name](part, **options)
    except TypeError as error:
        raise UserError(f"train.weighting for part {part.name!r}: {error}") from error
