"""Addressed noise: the published test vectors, invariances, and distributions."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unnoise.layout import Part
from unnoise.noise import Noise, philox

PARTS = [
    Part("x", "gaussian", (3, 5)),
    Part("points", "gaussian", ("n", 3)),
    Part("scalar", "gaussian", ()),
    Part("bonds", "categorical", ("n", "n"), classes=4, symmetric=True),
    Part("pairs", "gaussian", ("n", "n", 2)),
    Part("distances", "gaussian", ("n", "n", 3), symmetric=True),
    Part("fixed", "gaussian", (4, 4, 2), symmetric=True),
]
seeds = st.integers(-(2**63), 2**63 - 1)


def shape_of(part: Part, n: int) -> tuple[int, ...]:
    return tuple(n if isinstance(axis, str) else axis for axis in part.shape)


def draws(noise: Noise, part: Part, n: int, draw: int = 0, purpose: str = "sample") -> list[torch.Tensor]:
    shape = shape_of(part, n)
    return [noise.uniform(part, shape, draw, purpose), noise.normal(part, shape, draw, purpose)]


@pytest.mark.parametrize(
    "counter, key, expected",
    [
        # The known-answer vectors that come with Random123 (Salmon et al. 2011) for philox4x32-10.
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_known_answers(counter: list[int], key: list[int], expected: str) -> None:
    words = philox([torch.tensor(c) for c in counter], [torch.tensor(k) for k in key])
    assert " ".join(f"{int(word):08x}" for word in words) == expected


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 7), st.integers(0, 9), st.sampled_from(PARTS), st.integers(0, 2**32 - 1))
def test_batch_position_and_padding_change_nothing(seed: int, n: int, pad: int, part: Part, draw: int) -> None:
    alone = draws(Noise(torch.tensor([seed])), part, n, draw)
    others = torch.tensor([5, -3, seed, seed ^ 1, 0])
    together = draws(Noise(others), part, n + pad, draw)
    inner = tuple(slice(0, n) for _ in part.variable_axes)
    for one, many in zip(alone, together, strict=True):
        assert torch.equal(one[0], many[2][inner])
        assert not torch.equal(one[0], many[3][inner])


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from(PARTS))
def test_draw_purpose_part_and_seed_are_part_of_the_address(seed: int, part: Part) -> None:
    noise, other = Noise(torch.tensor([seed])), replace(part, name="other")
    all_draws = [
        draws(noise, part, 4),
        draws(noise, part, 4, draw=1),
        draws(noise, part, 4, purpose="bridge"),
        draws(noise, other, 4),
        draws(Noise(torch.tensor([seed ^ 1])), part, 4),
        draws(Noise(torch.tensor([seed ^ (1 << 62)])), part, 4),
    ]
    for of_kind in zip(*all_draws, strict=True):
        assert len({tuple(x.flatten().tolist()) for x in of_kind}) == len(all_draws)
    for again, first in zip(draws(noise, part, 4), all_draws[0], strict=True):
        assert torch.equal(again, first)


def test_pairs_are_symmetric_where_asked_and_else_not() -> None:
    noise = Noise.of(0, 3)
    for x in draws(noise, PARTS[3], 6):
        assert torch.equal(x, x.transpose(1, 2))
        upper = x[0][torch.triu_indices(6, 6).unbind()]
        assert len(set(upper.tolist())) == 21
    for part, n in ((PARTS[5], 6), (PARTS[6], 4)):
        for x in draws(noise, part, n):
            assert torch.equal(x, x.transpose(1, 2))
            assert len(set(x[0].flatten().tolist())) == n * (n + 1) // 2 * x.shape[-1]
    for x in draws(noise, PARTS[4], 6):
        assert len(set(x[0].flatten().tolist())) == 72


def test_shapes_types_and_ranges() -> None:
    noise = Noise.of([4, 2], 2)
    for part in PARTS:
        uniform, normal = draws(noise, part, 5)
        assert uniform.shape == normal.shape == (2, *shape_of(part, 5))
        assert uniform.is_contiguous() and normal.is_contiguous()
        assert uniform.dtype == torch.float64 and normal.dtype == torch.float32
        assert bool(((uniform > 0) & (uniform < 1)).all()) and bool(normal.isfinite().all())
    assert draws(noise, PARTS[1], 0)[1].shape == (2, 0, 3)


def test_every_word_of_a_block_is_used_once() -> None:
    """The elements of an item are the words of consecutive blocks: counter (block, row, draw, stream)."""
    noise, part, draw = Noise.of(11, 2), PARTS[3], 6
    x = noise.uniform(part, (7, 7), draw)
    pairs = [(i, j) for j in range(7) for i in range(j + 1)]  # 28 pairs, 7 blocks
    stream = int.from_bytes(hashlib.blake2b(b"bonds\0sample", digest_size=4).digest(), "little")
    words = philox(
        [torch.arange(7), torch.tensor(0), torch.tensor(draw), torch.tensor(stream)],
        [noise.seeds[:, None], torch.tensor(0)],
    )
    expected = (torch.stack(words, -1).flatten(1).double() + 0.5) / 2**32
    assert torch.equal(torch.stack([x[:, i, j] for i, j in pairs], 1), expected)


def _kolmogorov(values: torch.Tensor, cdf: torch.Tensor) -> float:
    """sqrt(n) times the largest distance between the empirical and the expected distribution."""
    n = len(values)
    expected = cdf[values.argsort()]
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    return float(torch.maximum((steps[1:] - expected).max(), (expected - steps[:-1]).max())) * math.sqrt(n)


@pytest.mark.parametrize("part, n", [(Part("x", "gaussian", (400,)), 0), (Part("p", "gaussian", ("n", "n")), 20)])
def test_distributions(part: Part, n: int) -> None:
    uniform, normal = (x.double() for x in draws(Noise.of(17, 500), part, n))
    count = uniform.numel()
    # 1.95 is the 0.1 % point of Kolmogorov's distribution.
    assert _kolmogorov(uniform.flatten(), uniform.flatten()) < 1.95
    assert _kolmogorov(normal.flatten(), torch.special.ndtr(normal.flatten())) < 1.95
    for power, expected, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert float((normal**power).mean()) == pytest.approx(expected, abs=4 * math.sqrt(spread / count))


def test_neighbours_are_uncorrelated() -> None:
    part, count = Part("x", "gaussian", (64,)), 4000
    noise = Noise.of(0, count)
    x = noise.normal(part, (64,)).double()
    elsewhere = [
        (x[:, :-1], x[:, 1:]),  # neighbouring elements
        (x[:-1], x[1:]),  # neighbouring seeds
        (x, noise.normal(part, (64,), draw=1).double()),
        (x, noise.normal(part, (64,), purpose="corrupt").double()),
        (x, noise.normal(Part("y", "gaussian", (64,)), (64,)).double()),
        (x**2, noise.normal(part, (64,), draw=1).double() ** 2),
    ]
    for a, b in elsewhere:
        correlation = float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])
        assert abs(correlation) < 4.5 / math.sqrt(a.numel())


def test_seeds() -> None:
    assert Noise.of(7, 3).seeds.tolist() == [7, 8, 9]
    assert Noise.of([3, 1, 3], 3).seeds.tolist() == [3, 1, 3]
    noise = Noise.of(7, 3)
    assert len(noise) == 3 and noise[1:].seeds.tolist() == [8, 9]
    with pytest.raises(ValueError, match="3 samples need 3 seeds"):
        Noise.of([1, 2], 3)
    index = torch.arange(5)
    run, other = Noise.training(0, index), Noise.training(1, index)
    assert torch.equal(run.seeds[3:], Noise.training(0, index[3:]).seeds)
    assert not set(run.seeds.tolist()) & set(other.seeds.tolist()) and not set(run.seeds.tolist()) & set(range(1000))
