"""Unordered pairs of nodes: a symmetric matrix without its diagonal, stored once."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class Pairs(NamedTuple):
    """The ``P = n (n - 1) / 2`` pairs (i < j) of n nodes. Half the memory and arithmetic of a symmetric matrix.

    Args:
        n: number of nodes.
        first, second: the pairs' ends, int64 ``(P,)``.
        position: the pair of every cell of a matrix, int64 ``(n * n,)``; of the diagonal, pair 0.
        incidence: 1 where a pair has this end, float32 ``(n, P)``.
    """

    n: int
    first: Tensor
    second: Tensor
    position: Tensor
    incidence: Tensor

    def pick(self, matrix: Tensor) -> Tensor:
        """The upper triangle of ``(B, n, n, *rest)``: ``(B, P, *rest)``."""
        return matrix[:, self.first, self.second]

    def spread(self, pairs: Tensor) -> Tensor:
        """The symmetric matrix of pairs: ``(B, P, *rest)`` -> ``(B, n, n, *rest)``; its diagonal means nothing."""
        if not len(self.first):
            return pairs.new_zeros(pairs.shape[0], self.n, self.n, *pairs.shape[2:])
        cells = pairs.index_select(1, self.position)
        return cells.reshape(pairs.shape[0], self.n, self.n, *pairs.shape[2:])

    def ends(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """The values at both ends of every pair: ``(B, n, *rest)`` -> two of ``(B, P, *rest)``."""
        return nodes.index_select(1, self.first), nodes.index_select(1, self.second)

    def gather(self, pairs: Tensor) -> Tensor:
        """For every node, the sum over its pairs: ``(B, P, d)`` -> ``(B, n, d)``."""
        return self.incidence.to(pairs.dtype) @ pairs


@lru_cache(maxsize=64)
def pairs_of(n: int, device: torch.device) -> Pairs:
    """The pairs of n nodes."""
    first, second = torch.triu_indices(n, n, 1, device=device)
    position = torch.zeros(n, n, dtype=torch.int64, device=device)
    position[first, second] = position[second, first] = torch.arange(len(first), device=device)
    incidence = torch.zeros(n, len(first), device=device)
    each = torch.arange(len(first), device=device)
    incidence[first, each] = incidence[second, each] = 1.0
    return Pairs(n, first, second, position.flatten(), incidence)
