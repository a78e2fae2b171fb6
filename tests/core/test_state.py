"""States: masks, projections, padding and joining."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.state import State

LAYOUT = Layout(
    (
        Part("atoms", "categorical", ("nodes",), classes=5),
        Part("bonds", "categorical", ("nodes", "nodes"), classes=4, symmetric=True),
        Part("forces", "gaussian", ("nodes", "nodes", 2), symmetric=True),
        Part("positions", "gaussian", ("nodes", 3), com_free=True),
        Part("words", "gaussian", ("length", 2)),
        Part("links", "categorical", ("nodes", "length"), classes=2),
        Part("energy", "gaussian", ()),
    )
)
sizes_of = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 4)), min_size=1, max_size=4)


def random_state(sizes: list[tuple[int, int]], seed: int = 0) -> State:
    """Random values everywhere, padding included: not a legal state."""
    nodes, length = (torch.tensor(column) for column in zip(*sizes, strict=True))
    empty = State.zeros(LAYOUT, len(sizes), {"nodes": nodes, "length": length})
    noise = Noise.of(seed, len(sizes))

    def fill(part: Part, x: torch.Tensor) -> torch.Tensor:
        plain = Part(part.name, part.kind, part.shape, part.classes)  # asymmetric draws
        if part.kind == "categorical":
            return (noise.uniform(plain, x.shape[1:]) * part.classes).long()
        return noise.normal(plain, x.shape[1:]) + 3

    return empty.map(fill)


def assert_same(a: State, b: State, tolerance: float = 0.0) -> None:
    assert a.layout == b.layout
    for name in a.parts:
        torch.testing.assert_close(a.parts[name], b.parts[name], rtol=0, atol=tolerance)
    for axis in a.masks:
        assert torch.equal(a.masks[axis], b.masks[axis])


@settings(max_examples=30, deadline=None)
@given(sizes_of)
def test_projection_gives_legal_states_and_leaves_them(sizes: list[tuple[int, int]]) -> None:
    state = random_state(sizes).project()
    assert_same(state.project(), state, tolerance=2e-6)
    for part in LAYOUT:
        x, mask = state.parts[part.name], state.mask(part.name)
        if mask is not None:
            assert bool((x.masked_select(~mask.expand_as(x)) == 0).all())
        if part.symmetric:
            assert torch.equal(x, x.transpose(1, 2))
            assert bool((x.diagonal(dim1=1, dim2=2) == 0).all())
    assert float(state.parts["positions"].sum(1).abs().max()) < 1e-4


def test_projection_is_the_nearest_state() -> None:
    state = random_state([(3, 2), (5, 1)])
    legal = state.project()
    positions, mask = state.parts["positions"], state.masks["nodes"]
    for b, size in enumerate((3, 5)):
        centred = positions[b, :size] - positions[b, :size].mean(0)
        torch.testing.assert_close(legal.parts["positions"][b, :size], centred)
    assert torch.equal(legal.parts["atoms"][mask], state.parts["atoms"][mask])
    assert torch.equal(legal.parts["bonds"][1].triu(1), state.parts["bonds"][1].triu(1))
    assert torch.equal(legal.parts["energy"], state.parts["energy"])


@settings(max_examples=20, deadline=None)
@given(sizes_of, st.integers(0, 4), st.integers(0, 4))
def test_padding_commutes_with_projection(sizes: list[tuple[int, int]], more: int, longer: int) -> None:
    state = random_state(sizes)
    wide = {"nodes": state.masks["nodes"].shape[1] + more, "length": state.masks["length"].shape[1] + longer}
    assert_same(state.project().resize(wide), state.resize(wide).project(), tolerance=1e-6)
    assert_same(state.resize(wide).trim(), state)


@settings(max_examples=20, deadline=None)
@given(sizes_of)
def test_joining_what_was_taken_apart(sizes: list[tuple[int, int]]) -> None:
    state = random_state(sizes).project()
    apart = [state[b : b + 1].trim() for b in range(state.batch)]
    assert [int(piece.masks["nodes"].shape[1]) for piece in apart] == [size[0] for size in sizes]
    assert_same(State.cat(apart), state)
    order = torch.arange(state.batch).flip(0)
    assert_same(state[order][order], state)


def test_masks_and_counts() -> None:
    state = random_state([(3, 2), (1, 0)])
    assert {axis: size.tolist() for axis, size in state.sizes.items()} == {"nodes": [3, 1], "length": [2, 0]}
    assert state.mask("energy") is None
    assert state.mask("positions").shape == (2, 3, 1)  # type: ignore[union-attr]
    assert state.mask("links").shape == (2, 3, 2)  # type: ignore[union-attr]
    assert not bool(state.mask("bonds")[0].diagonal().any())  # type: ignore[index]
    counts = {name: state.counts(name).tolist() for name in LAYOUT.names}
    # An item with none still counts as one, so that a mean over it is 0 and not NaN.
    assert counts == {
        "atoms": [3, 1],
        "bonds": [6, 1],
        "forces": [12, 1],
        "positions": [9, 3],
        "words": [4, 1],
        "links": [6, 1],
        "energy": [1, 1],
    }


def test_plain_tensor_and_moving() -> None:
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    state = State.of(x)
    assert state.batch == 2 and state.mask("x") is None and torch.equal(state.project().parts["x"], x)
    moved = random_state([(2, 1)]).to("cpu", torch.float64)
    assert moved.parts["positions"].dtype == torch.float64 and moved.parts["atoms"].dtype == torch.int64


def test_bad_input_is_named() -> None:
    state = random_state([(3, 2)])
    with pytest.raises(ValueError, match=r"state has parts \['x'\]"):
        State(Layout.tensor(2, name="y"), {"x": torch.zeros(1, 2)})
    with pytest.raises(ValueError, match=r"needs masks\['nodes'\]"):
        State(LAYOUT, state.parts, {})
    with pytest.raises(ValueError, match="part 'atoms' has shape"):
        state.replace({**state.parts, "atoms": torch.zeros(1, 9, dtype=torch.int64)})
    with pytest.raises(ValueError, match="more than 2 elements"):
        state.resize({"nodes": 2})
    with pytest.raises(ValueError, match="nothing to join"):
        State.cat([])
