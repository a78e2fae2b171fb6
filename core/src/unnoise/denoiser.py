"""A trained or trainable model of clean data: network, conditions, processes and parametrizations in one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.conditions import Conditions, Raw
from unnoise.contracts import Context, Network
from unnoise.layout import Layout, Part
from unnoise.level import Level, align, on_device
from unnoise.parametrization import Parametrization, Scalings
from unnoise.prediction import Prediction
from unnoise.processes import Product
from unnoise.schedules import Times
from unnoise.state import State, project

Residuals = Callable[[State, Level, Context | None, Mapping[str, Tensor] | None], Sequence[Tensor]]
"""What is added to a network's features, of what the network itself is given (:mod:`unnoise.control`)."""

_IMPOSSIBLE = -1e4
"""Log-probability of a class that cannot be: its probability is exactly 0, and differences of two stay finite."""


@dataclass(frozen=True)
class Estimate:
    """What one call of a denoiser gives.

    Args:
        prediction: of clean data.
        raw: gaussian part -> the network's output, legalised; the loss compares it with its target.
    """

    prediction: Prediction
    raw: Mapping[str, Tensor]


class Denoiser(nn.Module):
    """``denoiser(x_t, times, conditions) -> Estimate``.

    Args:
        network: a plugin's.
        conditions: what it may be told.
        product: the processes of the parts.
        parametrizations: one per gaussian part.
        self_conditioning: whether the network is shown its previous estimate (Chen et al. 2022); such a network gets
            zeros where there is none yet, and never None.
    """

    def __init__(
        self,
        network: Network,
        conditions: Conditions,
        product: Product,
        parametrizations: Mapping[str, Parametrization],
        self_conditioning: bool = False,
    ) -> None:
        super().__init__()
        gaussian = {part.name for part in product.layout if part.kind == "gaussian"}
        if set(parametrizations) != gaussian:
            raise ValueError(f"parametrizations for {sorted(parametrizations)}, but gaussian parts {sorted(gaussian)}")
        self.network, self.conditions = network, conditions
        self.product, self.parametrizations = product, dict(parametrizations)
        self.self_conditioning = self_conditioning and network.self_conditioning

    @property
    def layout(self) -> Layout:
        """Of noised states, with mask tokens."""
        return self.product.layout

    def forward(
        self,
        x_t: State,
        times: Mapping[str, Times],
        conditions: Raw | None = None,
        previous: Mapping[str, Tensor] | None = None,
        residuals: Residuals | None = None,
    ) -> Estimate:
        """Estimate clean data.

        Args:
            x_t: noised state of B items.
            times: part -> its own time, float64; a number, ``(B,)``, ``(B, n)`` per element, or ``(B, n, n)`` per pair.
            conditions: raw values; a name left out is absent.
            previous: an earlier estimate (gaussian: mean; categorical: probabilities).
            residuals: adds to the network's features.

        Raises:
            UserError: for a condition the model does not know.
        """
        batch, device = x_t.batch, x_t.device
        spread = {k: np.broadcast_to(t, (batch,)) if np.ndim(t) == 0 else np.asarray(t) for k, t in times.items()}
        log_snr = self.product.log_snr(spread)
        scalings = {name: p.scalings(spread[name]) for name, p in self.parametrizations.items()}
        level = Level(
            _tensors(spread, device),
            _tensors(log_snr, device),
            _tensors({k: scalings[k].c_noise if k in scalings else -v / 8 for k, v in log_snr.items()}, device),
        )
        x_in = x_t.map(lambda part, x: _scale(x, scalings.get(part.name)))
        if self.self_conditioning and previous is None:
            previous = self.nothing(x_t)
        context = self.conditions(conditions, batch, device)
        told = (x_in, level, context, previous if self.self_conditioning else None)
        outputs = self.network(*told) if residuals is None else self.network(*told, residuals(*told))

        raw, x0 = {}, {}
        for part in self.layout:
            name, x, mask = part.name, x_t.parts[part.name], x_t.mask(part.name)
            output = _legal(part, outputs[name].float(), mask)
            if part.kind == "gaussian":
                raw[name] = output
                x0[name] = project(part, self.parametrizations[name].clean(output, x.float(), spread[name]), mask)
            else:
                x0[name] = _log_probabilities(part, output, x)
        alpha, sigma = self.product.alpha(spread), self.product.sigma(spread)
        return Estimate(Prediction(x0, x_t, _tensors(alpha, device), _tensors(sigma, device)), raw)

    def predict(
        self,
        x_t: State,
        times: Mapping[str, Times],
        conditions: Sequence[Raw | None] = (None,),
        previous: Sequence[Prediction] | None = None,
        residuals: Residuals | None = None,
    ) -> list[Prediction]:
        """Predictions under several conditions, in one call of the network.

        Args:
            x_t: noised state of B items.
            times: part -> its own time, as for :meth:`forward`.
            conditions: raw values of each branch.
            previous: the branches' earlier predictions.
            residuals: adds to the network's features, of all branches side by side.

        Returns:
            one prediction per branch.
        """
        branches, batch = len(conditions), x_t.batch
        tiled = {name: np.concatenate([np.asarray(t)] * branches) if np.ndim(t) else t for name, t in times.items()}
        full = [self.conditions.complete(raw, batch, x_t.device) for raw in conditions]
        joined = {name: torch.cat([raw[name] for raw in full]) for name in self.conditions.names}
        earlier = None
        if self.self_conditioning and previous is not None:
            shown = [self.shown(p) for p in previous]
            earlier = {name: torch.cat([s[name] for s in shown]) for name in self.layout.names}
        whole = self(State.cat([x_t] * branches), tiled, joined, earlier, residuals).prediction
        return [_rows(whole, x_t, slice(i * batch, (i + 1) * batch)) for i in range(branches)]

    def shown(self, prediction: Prediction) -> dict[str, Tensor]:
        """A prediction as the network is shown it: means, and probabilities; without gradient."""
        x0 = {name: value.detach() for name, value in prediction.x0.items()}
        return {p.name: x0[p.name] if p.kind == "gaussian" else x0[p.name].exp() for p in self.layout}

    def nothing(self, x: State) -> dict[str, Tensor]:
        """What the network is shown where there is no earlier prediction: zeros."""
        shown = {}
        for part in self.layout:
            shape = x.parts[part.name].shape
            full = shape if part.kind == "gaussian" else (*shape, part.classes)
            shown[part.name] = torch.zeros(full, device=x.device)
        return shown


def _tensors(values: Mapping[str, Times], device: torch.device) -> dict[str, Tensor]:
    return {name: on_device(value, device) for name, value in values.items()}


def _scale(x: Tensor, scalings: Scalings | None) -> Tensor:
    """A gaussian part as the network sees it; classes as they are."""
    return x if scalings is None else x.float() * align(on_device(scalings.c_in, x.device), x)


def _legal(part: Part, output: Tensor, mask: Tensor | None) -> Tensor:
    """A raw output with the symmetries of its part: pairs averaged over their two orders, padding and means removed."""
    if part.symmetric:
        output = 0.5 * (output + output.transpose(1, 2))
    if part.kind == "gaussian":
        return project(part, output, mask)
    return output if mask is None else output.masked_fill(~mask[..., None], 0)


def _log_probabilities(part: Part, logits: Tensor, x_t: Tensor) -> Tensor:
    """Log-probabilities of the clean classes.

    What an absorbing process has not masked is clean already, so it is known (Sahoo et al. 2024, section 3.2.3).
    """
    log_p = F.log_softmax(logits, -1)
    if not part.absorbing:
        return log_p
    visible = x_t < part.classes
    known = F.one_hot(x_t.clamp(max=part.classes - 1), part.classes)
    return torch.where(visible[..., None], (1 - known) * _IMPOSSIBLE, log_p)


def _rows(prediction: Prediction, x_t: State, rows: slice) -> Prediction:
    """Some rows of a prediction that was made for several branches at once."""
    x0, alpha, sigma = prediction.x0, prediction.alpha, prediction.sigma
    return Prediction(
        {name: value[rows] for name, value in x0.items()},
        x_t,
        {name: value[rows] for name, value in alpha.items()},
        {name: value[rows] for name, value in sigma.items()},
    )
