"""Optimisers, the learning rate over a run, and their state as plain tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unnoise.errors import UserError
from unnoise.schema import TrainConfig
from unnoise.training.muon import Muon

_MOMENTS: dict[type, set[str]] = {Muon: {"momentum_buffer"}, torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"}}
"""What each optimiser keeps of a parameter."""
_NO_DECAY = (nn.Embedding, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class Optimizer:
    """AdamW (Loshchilov & Hutter 2019), or Muon on matrices and kernels of convolutions and AdamW on the rest.

    Weight decay applies to weights of two or more axes outside of norms and embeddings; biases, gains and single
    vectors are not decayed. Muon (:mod:`unnoise.training.muon`) takes steps of AdamW's size, so ``lr`` means the same.

    Args:
        module: whose parameters are trained.
        config: ``optimizer``, ``lr``, ``weight_decay``, ``betas``, ``clip``.

    Raises:
        UserError: as :func:`check_optimization`.
    """

    def __init__(self, module: nn.Module, config: TrainConfig) -> None:
        check_optimization(config)
        self.lr, self.clip = config.lr, config.clip
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        decayed = _decayed(module)
        matrices = decayed if config.optimizer == "muon" else set()
        self.optimizers: list[torch.optim.Optimizer] = []
        if matrices:
            groups = self._groups([(sorted(matrices), config.weight_decay)])
            self.optimizers.append(Muon(groups, lr=self.lr))
        rest = [n for n in self.parameters if n not in matrices]
        groups = self._groups(
            [([n for n in rest if n in decayed], config.weight_decay), ([n for n in rest if n not in decayed], 0.0)]
        )
        if groups:
            first, second = config.betas
            fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in self.parameters.values())
            self.optimizers.append(torch.optim.AdamW(groups, lr=self.lr, betas=(first, second), fused=fused))

    def _groups(self, groups: Iterable[tuple[list[str], float]]) -> list[dict[str, Any]]:
        return [
            {"params": [self.parameters[n] for n in names], "names": names, "weight_decay": decay}
            for names, decay in groups
            if names
        ]

    def step(self, factor: float) -> Tensor:
        """Clip the gradients, step at ``factor * lr``, forget the gradients. Returns the norm before clipping."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.clip if self.clip > 0 else math.inf)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.lr * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return norm

    def state_dict(self) -> dict[str, Tensor]:
        """Every moment as a tensor, named ``<parameter>//<moment>``."""
        state = {}
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for name, p in zip(group["names"], group["params"], strict=True):
                    for key, value in optimizer.state[p].items():
                        state[f"{name}//{key}"] = torch.as_tensor(value)
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of :meth:`state_dict`.

        Raises:
            UserError: if the state belongs to other parameters or another optimiser, or is not finite.
        """
        moments: dict[str, dict[str, Tensor]] = {}
        for key, value in state.items():
            name, _, moment = key.rpartition("//")
            moments.setdefault(name, {})[moment] = value
        unknown = [name for name in moments if name not in self.parameters]
        if unknown:
            message = f"the optimiser's state is for other weights, such as {unknown[0]!r}"
            raise UserError(message, "Resume with the run's own config.")
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for name, p in zip(group["names"], group["params"], strict=True):
                    _check_moments(name, p, moments.get(name, {}), _MOMENTS[type(optimizer)])
                    for moment, value in moments.get(name, {}).items():
                        # A step count is a CPU scalar; for fused steps on a GPU it lies beside its weights.
                        device = p.device if moment != "step" or group.get("fused") else torch.device("cpu")
                        optimizer.state[p][moment] = value.to(device, copy=True)  # not a view of the file


def _check_moments(name: str, p: Tensor, moments: Mapping[str, Tensor], known: set[str]) -> None:
    """Refuse moments that a parameter ``p`` cannot have; none at all is what it has before its first step."""
    shapes = {moment: torch.Size([]) if moment == "step" else p.shape for moment in known}
    fits = all(value.is_floating_point() and bool(value.isfinite().all()) for value in moments.values())
    if moments and not (fits and {moment: value.shape for moment, value in moments.items()} == shapes):
        fix = "Resume with the run's own train.optimizer, or remove this checkpoint to go on from the one before."
        raise UserError(f"the optimiser's state of {name!r} is damaged or another optimiser's", fix)


def check_optimization(config: TrainConfig) -> None:
    """Raise :class:`UserError` for an optimiser or a shape of decay that does not exist, and for impossible betas."""
    for key, known in {"optimizer": ("adamw", "muon"), "decay_shape": ("cosine", "linear")}.items():
        if getattr(config, key) not in known:
            raise UserError(f"train.{key} {getattr(config, key)!r} does not exist", f"There is: {', '.join(known)}")
    if len(config.betas) != 2 or not all(0 <= beta < 1 for beta in config.betas):
        raise UserError(f"train.betas is {config.betas}", "It must be two numbers of at least 0 and below 1.")


def _decayed(module: nn.Module) -> set[str]:
    """Names of the parameters that weight decay applies to."""
    names = set()
    for prefix, child in module.named_modules():
        if isinstance(child, _NO_DECAY):
            continue
        for name, p in child.named_parameters(prefix, recurse=False):
            if p.requires_grad and p.dim() >= 2:
                names.add(name)
    return names


def lr_factor(config: TrainConfig, step: int, progress: float) -> float:
    """What the learning rate is multiplied by in step ``step`` (from 0).

    Args:
        config: ``warmup``, ``decay``, ``decay_shape``.
        step: for the linear rise over the first ``warmup`` steps.
        progress: share of the run that is done, in [0, 1]; over the last ``decay`` of it the rate falls to 0.
    """
    rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    left = min(1.0, (1.0 - progress) / config.decay) if config.decay else 1.0
    return rise * (left if config.decay_shape == "linear" else 0.5 * (1.0 - math.cos(math.pi * left)))
