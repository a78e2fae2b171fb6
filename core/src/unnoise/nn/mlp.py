"""A residual MLP for data without any structure between its elements."""

from __future__ import annotations

from torch import Tensor, nn

from unnoise.nn.adaln import AdaLN, zero_


class ResidualMLP(nn.Module):
    """Linear in, ``depth`` adaLN-Zero blocks of linear, SiLU, linear, and linear out, which starts at zero.

    Args:
        inputs, outputs: sizes of the last axis.
        dim: width.
        depth: number of blocks.
        cond_dim: size of the condition vector.
    """

    def __init__(self, inputs: int, outputs: int, dim: int, depth: int, cond_dim: int) -> None:
        super().__init__()
        self.linear_in = nn.Linear(inputs, dim)
        self.norms = nn.ModuleList(AdaLN(dim, cond_dim) for _ in range(depth))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, dim)) for _ in range(depth)
        )
        self.norm_out = nn.LayerNorm(dim)
        self.linear_out = nn.Linear(dim, outputs)
        zero_(self.linear_out)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        """``x (B, ..., inputs)``, ``cond (B, cond_dim)`` or ``(B, n, cond_dim)`` -> ``(B, ..., outputs)``."""
        x = self.linear_in(x)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            h, gate = norm(x, cond)
            x = x + gate * block(h)
        out: Tensor = self.linear_out(self.norm_out(x))
        return out
