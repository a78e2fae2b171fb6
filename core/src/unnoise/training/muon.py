"""Muon: momentum whose every step is orthogonalised, for weight matrices and the kernels of convolutions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

from unnoise.training.device import uses_bfloat16

_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of Jordan et al. 2024: five iterations bring every singular value into about [0.7, 1.2]."""


def orthogonalise(matrices: Tensor, iterations: int = 5, dtype: torch.dtype | None = None) -> Tensor:
    """About ``U V^T`` of each matrix ``U S V^T``, by a quintic Newton-Schulz iteration.

    Args:
        matrices: ``(n, rows, columns)``; the result has the same shape and dtype.
        iterations: of ``X <- a X + (b X X^T + c (X X^T)^2) X``.
        dtype: of the products. If left out it is bfloat16, enough for a direction, on devices that are quick at it
            (:func:`unnoise.training.device.uses_bfloat16`), and elsewhere the matrices' own.
    """
    if dtype is None:
        dtype = torch.bfloat16 if uses_bfloat16("auto", matrices.device) else matrices.dtype
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = (x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)).to(dtype)
    a, b, c = _QUINTIC
    for _ in range(iterations):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)  # sums rounded once
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) with Nesterov momentum and decoupled weight decay.

    A step has root mean square ``0.2 lr``, about AdamW's (Liu et al. 2025, "Muon is scalable for LLM training"), so
    one learning rate serves both. A convolution's kernel is a matrix of a row per output channel. Matrices of equal
    shape are orthogonalised together.

    ``torch.optim.Muon`` does the same in bfloat16 on every device, one matrix at a time; on a CPU it takes seconds a
    step where this takes milliseconds.

    Args:
        params: matrices and kernels, or groups of them.
        lr: learning rate.
        momentum: share of the old momentum kept at each step.
        weight_decay: share of the weight that ``lr`` times it takes off at each step.

    Raises:
        ValueError: if a parameter has fewer than two axes.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            for p in group["params"]:
                if p.dim() < 2:
                    raise ValueError(f"Muon trains matrices and kernels, not a parameter of shape {tuple(p.shape)}")

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step on the gradients at hand; ``closure`` may compute them first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[tuple[torch.Size, torch.device], list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    direction = self._direction(p, group["momentum"]).flatten(1)
                    alike.setdefault((direction.shape, p.device), []).append((p, direction))
            for (shape, _), pairs in alike.items():
                updates = orthogonalise(torch.stack([direction for _, direction in pairs]))
                scale = 0.2 * max(shape) ** 0.5
                for (p, _), update in zip(pairs, updates, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update.reshape(p.shape), alpha=-group["lr"] * scale)
        return loss

    def _direction(self, p: Tensor, momentum: float) -> Tensor:
        state = self.state[p]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(p)
        assert p.grad is not None
        buffer: Tensor = state["momentum_buffer"].lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(buffer, momentum)
