"""The loss of a denoiser: per part and per sample, masked, a pure function of its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unnoise.conditions import Conditions, Raw
from unnoise.denoiser import Denoiser, Estimate, Residuals
from unnoise.layout import Part
from unnoise.level import align, on_device
from unnoise.noise import Noise
from unnoise.schedules import Array
from unnoise.state import State
from unnoise.training.weighting import Weighting

_CHOICE = Part("choice", "gaussian", ())


@dataclass(frozen=True)
class Losses:
    """Means over the real elements of each part, float32 ``(B,)``.

    Args:
        error: part -> squared error of the raw output (gaussian) or cross-entropy in nats (categorical).
        weighted: part -> the same, weighted by noise level; what is minimised.
    """

    error: Mapping[str, Tensor]
    weighted: Mapping[str, Tensor]


def losses(
    denoiser: Denoiser,
    weightings: Mapping[str, Weighting],
    x0: State,
    conditions: Raw | None,
    times: Mapping[str, Array],
    noise: Noise,
    dropout: float = 0.0,
    self_conditioning: float = 0.0,
    counted: Mapping[str, Tensor] | None = None,
    residuals: Residuals | None = None,
) -> Losses:
    """Corrupt clean data and measure how well it is estimated.

    Args:
        denoiser: the model.
        weightings: part -> weighting.
        x0: clean data of B items.
        conditions: raw conditions of the items.
        times: part -> times, float64 ``(B,)`` or ``(B, n)``.
        noise: of the B items, on the same device.
        dropout: chance that an item's conditions are all hidden; see :func:`drop_conditions`.
        self_conditioning: chance that the network is shown its own earlier estimate of an item, made without one
            and without gradient (Chen et al. 2022).
        counted: part -> which elements of its first axis count, bool ``(B, n)``; all where left out.
        residuals: adds to the network's features; an earlier estimate is made without.
    """
    hidden = drop_conditions(denoiser.conditions, conditions or {}, noise, dropout)
    x_t = denoiser.product.corrupt(x0, times, noise)
    previous = None
    if denoiser.self_conditioning and self_conditioning > 0:
        previous = _previous(denoiser, x_t, times, hidden, chance(noise, "self-conditioning", self_conditioning))
    estimate = denoiser(x_t, times, hidden, previous, residuals)
    return weigh(denoiser, weightings, x0, times, estimate, counted)


def weigh(
    denoiser: Denoiser,
    weightings: Mapping[str, Weighting],
    x0: State,
    times: Mapping[str, Array],
    estimate: Estimate,
    counted: Mapping[str, Tensor] | None = None,
) -> Losses:
    """Compare an estimate with clean data; arguments as for :func:`losses`."""
    counted = counted or {}
    error, weighted = {}, {}
    log_snr = denoiser.product.log_snr(times)
    for part in denoiser.layout:
        name, clean, prediction = part.name, x0.parts[part.name], estimate.prediction
        level = on_device(log_snr[name], x0.device)
        if part.kind == "gaussian":
            parametrization = denoiser.parametrizations[name]
            alpha, sigma = (align(c[name], clean) for c in (prediction.alpha, prediction.sigma))
            eps = (prediction.x_t.parts[name].float() - alpha * clean.float()) / sigma
            raw = (estimate.raw[name] - parametrization.target(clean.float(), eps, times[name])).square()
            c_out = on_device(parametrization.scalings(times[name]).c_out, x0.device)
        else:
            raw = -prediction.x0[name].gather(-1, clean[..., None]).squeeze(-1)
            c_out = torch.ones_like(level)
        factor, offset = (align(w, raw) for w in weightings[name](level, c_out))
        error[name] = masked_mean(x0, name, raw.detach(), counted.get(name))
        weighted[name] = masked_mean(x0, name, factor * raw + offset, counted.get(name))
    return Losses(error, weighted)


def masked_mean(state: State, part: str, values: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean over the real elements of a part, ``(B,)``; 0 for an item without any. ``counted``, bool ``(B, n)``, says
    which elements of the first axis count, if not all.
    """
    mask = state.mask(part)
    if counted is not None:
        chosen = align(counted, values) if mask is None else align(counted, mask) & mask
        kept = values.masked_fill(~chosen, 0)
        each = values[0].numel() / max(chosen[0].numel(), 1)
        return kept.flatten(1).sum(1) / (chosen.flatten(1).sum(1) * each).clamp(min=1)
    kept = values if mask is None else values.masked_fill(~mask, 0)
    return kept.flatten(1).sum(1) / state.counts(part) if kept.dim() > 1 else kept


def drop_conditions(conditions: Conditions, raw: Raw, noise: Noise, dropout: float) -> dict[str, Tensor]:
    """Hide conditions at random, so that the model also learns to do without (Ho & Salimans 2022).

    All of an item's conditions are hidden together with chance ``dropout``; where there are several, each is also
    hidden alone with the same chance, so that any subset of them can be given later.
    """
    full = conditions.complete(raw, len(noise), noise.seeds.device)
    if not full or not dropout:
        return full
    together = chance(noise, "hide all", dropout)
    alone = {name: len(full) > 1 and chance(noise, f"hide {name}", dropout) for name in full}
    return {name: conditions[name].drop(value, together | alone[name]) for name, value in full.items()}


def chance(noise: Noise, purpose: str, probability: float) -> Tensor:
    """Whether something of this probability happens to each item: bool ``(B,)``."""
    return noise.uniform(_CHOICE, (), purpose=purpose) < probability


@torch.no_grad()
def _previous(
    denoiser: Denoiser, x_t: State, times: Mapping[str, Array], conditions: Raw, chosen: Tensor
) -> dict[str, Tensor]:
    """The model's own estimates of the chosen items; nothing for the others."""
    shown = denoiser.nothing(x_t)
    if bool(chosen.any()):
        host = chosen.cpu().numpy()
        raw = {name: value[chosen] for name, value in conditions.items()}
        estimate = denoiser(x_t[chosen], {name: t[host] for name, t in times.items()}, raw)
        for name, value in denoiser.shown(estimate.prediction).items():
            shown[name][chosen] = value.to(shown[name].dtype)
    return shown
