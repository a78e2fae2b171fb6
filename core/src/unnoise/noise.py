"""Noise with an address: every random number is a pure function of where it is used.

A number depends on (seed of its sample, part, draw, purpose, coordinate of the element) and on nothing else, so that
batch size, position in the batch, padding, device and the number of steps change nothing. The generator is Philox
4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): the seed is its key, the address its
counter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from unnoise.layout import Part

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox(counter: Sequence[Tensor], key: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox 4x32-10. Words are int64 tensors holding values in [0, 2^32); they broadcast against each other."""
    shape = np.broadcast_shapes(*(word.shape for word in (*counter, *key)))
    c0, c1, c2, c3 = (word.expand(shape) for word in counter)
    k0, k1 = key
    for _ in range(_ROUNDS):
        # The product of two 32-bit words fills 64 bits; int64 wraps, and the mask takes the sign extension off. What
        # stands above 32 bits in the low halves and in the keys goes with the same mask.
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = (product1 >> 32).bitwise_xor_(c1).bitwise_xor_(k0).bitwise_and_(_MASK)
        c2 = (product0 >> 32).bitwise_xor_(c3).bitwise_xor_(k1).bitwise_and_(_MASK)
        c1, c3 = product1, product0
        k0, k1 = k0 + _WEYL[0], k1 + _WEYL[1]
    return c0, c1.bitwise_and_(_MASK), c2, c3.bitwise_and_(_MASK)


class Noise:
    """Addressed noise for a batch.

    Args:
        seeds: int64 ``(B,)``, the seed of each sample.
    """

    def __init__(self, seeds: Tensor) -> None:
        self.seeds = seeds.to(torch.int64)

    @classmethod
    def of(cls, seed: int | Sequence[int] | Tensor, batch: int, device: torch.device | str | None = None) -> Noise:
        """Noise for ``batch`` samples. An integer seed s means s, s + 1, ... for the samples of a call.

        Raises:
            ValueError: if a sequence of seeds does not have one per sample.
        """
        if isinstance(seed, int):
            return cls(torch.arange(batch, dtype=torch.int64, device=device) + seed)
        seeds = torch.as_tensor(seed, dtype=torch.int64, device=device)
        if tuple(seeds.shape) != (batch,):
            raise ValueError(f"{batch} samples need {batch} seeds, not {tuple(seeds.shape)}; or give one integer")
        return cls(seeds)

    @classmethod
    def training(cls, seed: int, index: Tensor) -> Noise:
        """Noise for training: one stream per *global* sample index (int64 ``(B,)``) of the run with this seed."""
        offset = int.from_bytes(
            hashlib.blake2b(f"train/{seed}".encode(), digest_size=8).digest(), "little", signed=True
        )
        return cls(index.to(torch.int64) + offset)

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index: Tensor | slice) -> Noise:
        return Noise(self.seeds[index])

    def to(self, device: torch.device | str) -> Noise:
        return Noise(self.seeds.to(device))

    def uniform(self, part: Part, shape: Sequence[int], draw: int = 0, purpose: str = "sample") -> Tensor:
        """Uniform numbers in (0, 1), float64 ``(B, *shape)``.

        Args:
            part: names the stream and says which axes vary in size; symmetric parts get symmetric numbers.
            shape: the event shape, with sizes in place of the variable axes.
            draw: which draw of this purpose, 0 <= draw < 2^32.
            purpose: what it is for; different purposes are independent.
        """
        words = torch.stack(self._words(part, tuple(shape), draw, purpose), dim=-1)
        return _placed(_unit(words), part, tuple(shape))

    def normal(self, part: Part, shape: Sequence[int], draw: int = 0, purpose: str = "sample") -> Tensor:
        """Standard normal numbers, float32 ``(B, *shape)``; arguments as for :meth:`uniform`.

        Box & Muller (1958) in float64, so that devices agree after rounding to float32; |value| <= 6.76.
        """
        words = self._words(part, tuple(shape), draw, purpose)
        values = torch.empty(*words[0].shape, 4, device=words[0].device)
        for k in (0, 2):
            radius = _unit(words[k]).log_().mul_(-2).sqrt_()
            angle = _unit(words[k + 1]).mul_(2 * math.pi)
            torch.mul(radius, angle.cos(), out=values[..., k])
            torch.mul(radius, angle.sin_(), out=values[..., k + 1])
        return _placed(values, part, tuple(shape))

    def _words(self, part: Part, shape: tuple[int, ...], draw: int, purpose: str) -> tuple[Tensor, ...]:
        """The four words of every block, ``(B, rows, blocks)`` each (see :func:`_rows`)."""
        rows, length = _rows(part, shape)
        seeds = self.seeds[:, None, None]
        counter = (
            torch.arange(-(-length // 4), device=seeds.device),
            torch.arange(rows, device=seeds.device)[:, None],
            seeds.new_full((), draw),
            seeds.new_full((), _stream(part.name, purpose)),
        )
        return philox(counter, (seeds & _MASK, (seeds >> 32) & _MASK))


def _unit(words: Tensor) -> Tensor:
    """Words as numbers in (0, 1), float64."""
    return words.double().add_(0.5).mul_(2.0**-32)


def _rows(part: Part, shape: tuple[int, ...]) -> tuple[int, int]:
    """How many rows of how many distinct elements an item has; element e of a row is word e % 4 of block e // 4.

    More padding must not move an element, so what varies in size comes first. Pairs of two variable axes have a row for
    each first end; symmetric ones are stored once, ``i <= j`` as number ``j (j + 1) / 2 + i`` of a single row.
    """
    if part.symmetric:
        return 1, _pairs(shape) * math.prod(shape[2:])
    rows = shape[0] if len(part.variable_axes) == 2 else 1
    return rows, math.prod(shape) // max(rows, 1)


def _placed(values: Tensor, part: Part, shape: tuple[int, ...]) -> Tensor:
    """Numbers of every block, ``(B, rows, blocks, 4)``, as a tensor of the part, ``(B, *shape)``."""
    batch = len(values)
    values = values.flatten(2)[:, :, : _rows(part, shape)[1]]
    if part.symmetric:
        i = torch.arange(shape[0], device=values.device)
        low, high = torch.minimum(i, i[:, None]), torch.maximum(i, i[:, None])
        pair = (high * (high + 1) // 2 + low).flatten()
        values = values.reshape(batch, _pairs(shape), math.prod(shape[2:])).index_select(1, pair)
    return values.reshape(batch, *shape).contiguous()


def _pairs(shape: tuple[int, ...]) -> int:
    return shape[0] * (shape[0] + 1) // 2


@lru_cache(maxsize=1024)
def _stream(part: str, purpose: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{part}\0{purpose}".encode(), digest_size=4).digest(), "little")
