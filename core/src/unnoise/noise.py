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

import torch
from torch import Tensor

from unnoise.layout import Part

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox(counter: Sequence[Tensor], key: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox 4x32-10. Words are int64 tensors holding values in [0, 2^32); they broadcast against each other."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # The product of two 32-bit words fills 64 bits; int64 wraps, and the mask takes the sign extension off.
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        high0, high1 = (product0 >> 32) & _MASK, (product1 >> 32) & _MASK
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, product1 & _MASK, high0 ^ c3 ^ k1, product0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


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
        return (self._words(part, tuple(shape), draw, purpose).double() + 0.5) * 2.0**-32

    def normal(self, part: Part, shape: Sequence[int], draw: int = 0, purpose: str = "sample") -> Tensor:
        """Standard normal numbers, float32 ``(B, *shape)``; arguments as for :meth:`uniform`.

        Box & Muller (1958) in float64, so that devices agree after rounding to float32; |value| <= 6.76.
        """
        u = (self._words(part, tuple(shape), draw, purpose, flat=False).double() + 0.5) * 2.0**-32
        radius, angle = torch.sqrt(-2.0 * torch.log(u[0::2])), 2.0 * math.pi * u[1::2]
        values = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1).flatten(0, 1)
        return _unblock(values, part, tuple(shape)).float()

    def _words(self, part: Part, shape: tuple[int, ...], draw: int, purpose: str, flat: bool = True) -> Tensor:
        """32-bit words: ``(B, *shape)`` if ``flat``, else the generator's own blocks ``(4, B, positions, blocks)``."""
        seeds = self.seeds[:, None, None]
        zero = torch.zeros_like(seeds)
        blocks = torch.arange(-(-part.fixed_size // 4), device=seeds.device)[None, None, :]
        counter = (blocks, _positions(part, shape, seeds.device), zero + draw, zero + _stream(part.name, purpose))
        words = torch.stack(philox(counter, (seeds & _MASK, (seeds >> 32) & _MASK)))
        return _unblock(words, part, shape) if flat else words


def _positions(part: Part, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """The variable coordinates of every position as one 32-bit word, ``(1, positions, 1)``."""
    sizes = shape[: len(part.variable_axes)]
    if not sizes:
        return torch.zeros(1, 1, 1, dtype=torch.int64, device=device)
    i = torch.arange(sizes[0], device=device)
    if len(sizes) == 1:
        return i[None, :, None]
    if max(sizes) > 0xFFFF:
        raise ValueError(f"part {part.name!r}: an axis of pairs may have at most 65,535 elements, not {max(sizes)}")
    j = torch.arange(sizes[1], device=device)
    low, high = i[:, None].expand(sizes), j[None, :].expand(sizes)
    if part.symmetric:
        low, high = torch.minimum(low, high), torch.maximum(low, high)
    return ((low << 16) | high).reshape(1, -1, 1)


def _unblock(words: Tensor, part: Part, shape: tuple[int, ...]) -> Tensor:
    """``(4, B, positions, blocks)`` -> ``(B, *shape)``: element e of a position is word e % 4 of block e // 4."""
    flat = words.permute(1, 2, 3, 0).flatten(2)[:, :, : part.fixed_size]
    return flat.reshape(words.shape[1], *shape)


@lru_cache(maxsize=1024)
def _stream(part: str, purpose: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{part}\0{purpose}".encode(), digest_size=4).digest(), "little")
