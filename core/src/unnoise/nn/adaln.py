"""Normalisation whose scale and shift depend on a condition."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, addcmul, nn
from torch.nn import functional as F

Norm = Literal["layer", "rms"]


class RMSNorm(nn.RMSNorm):
    """As torch's, in the precision of its input also where that is bfloat16 and the gain is float32."""

    def forward(self, x: Tensor) -> Tensor:
        gain = None if self.weight is None else self.weight.to(x.dtype)
        return F.rms_norm(x, self.normalized_shape, gain, self.eps)


def make_norm(kind: Norm, dim: int, affine: bool = True) -> nn.Module:
    """Layer normalisation (Ba et al. 2016) or RMS normalisation (Zhang & Sennrich 2019) over the last axis.

    Raises:
        ValueError: if ``kind`` is neither "layer" nor "rms".
    """
    if kind == "layer":
        return nn.LayerNorm(dim, eps=1e-6, elementwise_affine=affine)
    if kind == "rms":
        return RMSNorm(dim, eps=1e-6, elementwise_affine=affine)
    raise ValueError(f"norm must be 'layer' or 'rms', not {kind!r}")


def zero_(module: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d) -> None:
    """Set weight and bias to zero, so that a residual branch that ends here starts as the identity."""
    nn.init.zeros_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


class AdaLN(nn.Module):
    """Adaptive layer normalisation with a gate, zero at the start (adaLN-Zero; Peebles & Xie 2023, section 3.2).

    A residual block is ``h, gate = norm(x, cond); x = x + gate * branch(h)``: the identity before training.

    Args:
        dim: size of the last axis of ``x``.
        cond_dim: size of the condition vector.
        norm: "layer" or "rms".
    """

    def __init__(self, dim: int, cond_dim: int, norm: Norm = "layer") -> None:
        super().__init__()
        self.norm = make_norm(norm, dim, affine=False)
        self.project = nn.Linear(cond_dim, 3 * dim)
        zero_(self.project)

    def forward(self, x: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise and modulate.

        Args:
            x: ``(B, ..., dim)``.
            cond: ``(B, cond_dim)``, or ``(B, n, cond_dim)`` for one condition per element of the first axis of ``x``.

        Returns:
            the modulated ``x`` and the gate, which broadcasts against it.
        """
        modulation = self.project(F.silu(cond))
        ones = x.dim() - cond.dim()
        modulation = modulation.reshape(*cond.shape[:-1], *(1 for _ in range(ones)), -1)
        shift, scale, gate = modulation.chunk(3, dim=-1)
        return addcmul(shift, self.norm(x), 1 + scale), gate
