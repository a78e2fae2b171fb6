"""What a layout accepts, refuses and says of itself."""

from __future__ import annotations

import json

import pytest

from unnoise.layout import Layout, Part

GRAPH = Layout(
    (
        Part("atoms", "categorical", ("nodes",), classes=5),
        Part("bonds", "categorical", ("nodes", "nodes"), classes=4, symmetric=True),
        Part("positions", "gaussian", ("nodes", 3), com_free=True),
        Part("energy", "gaussian", ()),
    )
)


def test_axes() -> None:
    bonds, positions = GRAPH["bonds"], GRAPH["positions"]
    assert bonds.variable_axes == ("nodes", "nodes") and bonds.fixed_shape == () and bonds.fixed_size == 1
    assert positions.variable_axes == ("nodes",) and positions.fixed_shape == (3,) and positions.fixed_size == 3
    assert GRAPH.variable_axes == ("nodes",) and GRAPH.names == ("atoms", "bonds", "positions", "energy")
    assert Layout.tensor(3, 4, 5)["x"].fixed_size == 60 and not Layout.tensor(3).variable_axes


def test_absorbing_adds_a_token() -> None:
    noised = GRAPH.with_absorbing({"atoms"})
    assert (noised["atoms"].tokens, noised["atoms"].classes, noised["bonds"].tokens) == (6, 5, 4)
    assert noised.with_absorbing(set()) == GRAPH


def test_json_round_trip() -> None:
    layout = GRAPH.with_absorbing({"bonds"})
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


@pytest.mark.parametrize(
    "message, arguments",
    [
        ("kind must be", {"kind": "discrete", "shape": ()}),
        ("'classes' belongs to", {"kind": "gaussian", "shape": (), "classes": 3}),
        ("'classes' belongs to", {"kind": "categorical", "shape": ()}),
        ("only a categorical part", {"kind": "gaussian", "shape": (), "absorbing": True}),
        ("two equal leading axes", {"kind": "gaussian", "shape": ("n", "m"), "symmetric": True}),
        ("variable first axis", {"kind": "gaussian", "shape": (4, 3), "com_free": True}),
        ("variable axes must come first", {"kind": "gaussian", "shape": (3, "n")}),
        ("at most two", {"kind": "gaussian", "shape": ("n", "n", "n")}),
    ],
)
def test_contradictions_are_refused(message: str, arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"'p'.*{message}"):
        Part("p", **arguments)  # type: ignore[arg-type]


def test_names_must_be_distinct_and_known() -> None:
    part = Part("a", "gaussian", (2,))
    with pytest.raises(ValueError, match="distinct names"):
        Layout((part, part))
    with pytest.raises(ValueError, match="needs parts"):
        Layout(())
    with pytest.raises(KeyError, match="no part 'b'; this layout has a"):
        Layout((part,))["b"]


def test_the_sole_part():
    frames, labels = Part("x", "gaussian", ("frames", 3, 4)), Part("y", "categorical", ("frames",), 2)
    assert Layout((frames,)).sole(1, 2) is frames
    assert Layout((frames,)).sole(0, 3) is None and Layout((labels,)).sole(1, 0) is None
    assert Layout((frames, labels)).sole(1, 2) is None
