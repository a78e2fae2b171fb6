"""Blocks of neighbouring elements as channels or tokens, in any number of dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor


def space_to_depth(x: Tensor, patch: Sequence[int]) -> Tensor:
    """Move blocks of neighbours into channels: ``(B, C, *S)`` -> ``(B, C * prod(patch), *S / patch)``.

    Raises:
        ValueError: if ``patch`` does not divide the spatial sizes.
    """
    sizes, n = tuple(x.shape[2:]), len(patch)
    if len(sizes) != n or any(size % p for size, p in zip(sizes, patch, strict=True)):
        raise ValueError(f"blocks of {tuple(patch)} do not tile {sizes}")
    split = [part for size, p in zip(sizes, patch, strict=True) for part in (size // p, p)]
    x = x.reshape(*x.shape[:2], *split)
    x = x.permute(0, 1, *range(3, 3 + 2 * n, 2), *range(2, 2 + 2 * n, 2))
    return x.flatten(1, 1 + n)


def depth_to_space(x: Tensor, patch: Sequence[int]) -> Tensor:
    """The inverse of :func:`space_to_depth`.

    Raises:
        ValueError: if the channels are not a multiple of ``prod(patch)``.
    """
    n, volume = len(patch), math.prod(patch)
    if x.dim() != n + 2 or x.shape[1] % volume:
        raise ValueError(f"{tuple(x.shape)} does not hold blocks of {tuple(patch)}")
    sizes = x.shape[2:]
    x = x.reshape(x.shape[0], x.shape[1] // volume, *patch, *sizes)
    x = x.permute(0, 1, *(axis for i in range(n) for axis in (2 + n + i, 2 + i)))
    return x.reshape(*x.shape[:2], *(size * p for size, p in zip(sizes, patch, strict=True)))


def patchify(x: Tensor, patch: Sequence[int]) -> Tensor:
    """Tokens of blocks, row-major: ``(B, C, *S)`` -> ``(B, L, C * prod(patch))``; see :func:`space_to_depth`."""
    return space_to_depth(x, patch).flatten(2).transpose(1, 2)


def unpatchify(tokens: Tensor, patch: Sequence[int], grid: Sequence[int]) -> Tensor:
    """The inverse of :func:`patchify`; ``grid`` is the number of blocks along every axis."""
    return depth_to_space(tokens.transpose(1, 2).reshape(len(tokens), tokens.shape[2], *grid), patch)
