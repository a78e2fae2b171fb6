"""Families of shapes with known parameters: chairs, tables, lamps, mugs and planes, put together from primitives.

Lengths are in one unit for all families; y is up, and the middle of every shape's box lies at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray

from unnoise_points.cloud import box as box_around
from unnoise_points.surfaces import box, cylinder, handle, joined, lathe

Parameters = Mapping[str, float]
Pieces = list[trimesh.Trimesh]

STRIPES = 40
"""The range of a family's first parameter is divided into so many stripes, every fifth of which belongs to the test
split: no training shape has the parameters of a test shape."""
SIGNS = tuple((x, z) for x in (-1, 1) for z in (-1, 1))


@dataclass(frozen=True)
class Family:
    """A kind of shape.

    Args:
        ranges: parameter -> lowest and highest value, drawn evenly in between.
        choices: parameter -> the values it may have.
        pieces: parameters -> the primitives.
    """

    ranges: Mapping[str, tuple[float, float]]
    choices: Mapping[str, Sequence[float]]
    pieces: Callable[[Parameters], Pieces]

    def draw(self, rng: np.random.Generator, test: bool) -> dict[str, float]:
        """Parameters of a shape of one of the two splits."""
        shares = rng.random(len(self.ranges))
        stripe = rng.integers(STRIPES // 5) * 5 + (4 if test else rng.integers(4))
        shares[0] = (stripe + shares[0]) / STRIPES
        drawn = {n: low + (high - low) * u for (n, (low, high)), u in zip(self.ranges.items(), shares, strict=True)}
        return drawn | {name: float(rng.choice(values)) for name, values in self.choices.items()}

    def mesh(self, parameters: Parameters) -> trimesh.Trimesh:
        """The surface; where primitives overlap it goes on inside."""
        made = joined(self.pieces(parameters))
        made.vertices -= box_around(made.vertices)[0]
        return made


def _legs(width: float, depth: float, height: float, side: float) -> Pieces:
    """Four square legs within a rectangle, on the ground."""
    return [box((side, height, side), (x * (width - side) / 2, height / 2, z * (depth - side) / 2)) for x, z in SIGNS]


def chair(p: Parameters) -> Pieces:
    """Seat, four legs, a leaning back that is solid or has upright bars, and maybe arms."""
    width, depth, seat, thick = p["width"], p["depth"], p["seat"], p["thickness"]
    made = [box((width, thick, depth), (0, seat - thick / 2, 0)), *_legs(width, depth, seat - thick, p["leg"])]
    lean = trimesh.transformations.rotation_matrix(-p["lean"], (1, 0, 0), (0, seat, -depth / 2))
    middle, rear = seat + p["back"] / 2, -depth / 2 + thick / 2
    if p["bars"]:
        made.append(box((width, thick, thick), (0, seat + p["back"] - thick / 2, rear), lean))
        places = np.linspace(-(width - thick) / 2, (width - thick) / 2, int(p["bars"]))
        made += [box((thick, p["back"] - thick, thick), (x, middle - thick / 2, rear), lean) for x in places]
    else:
        made.append(box((width, p["back"], thick), (0, middle, rear), lean))
    if p["arms"]:
        rise = 0.4 * p["back"]
        for side in (-1, 1):
            x = side * (width - p["leg"]) / 2
            made.append(box((p["leg"], p["leg"], depth), (x, seat + rise, 0)))
            made.append(box((p["leg"], rise, p["leg"]), (x, seat + rise / 2, (depth - p["leg"]) / 2)))
    return made


def table(p: Parameters) -> Pieces:
    """A rectangular top on four legs, or an elliptic one on a column with a foot."""
    width, depth, height, thick, leg = p["width"], p["depth"], p["height"], p["thickness"], p["leg"]
    if not p["round"]:
        return [box((width, thick, depth), (0, height - thick / 2, 0)), *_legs(width, depth, height - thick, leg)]
    return [
        cylinder(width / 2, thick, (0, height - thick / 2, 0), depth=depth / 2),
        cylinder(leg, height - thick, (0, (height - thick) / 2, 0)),
        cylinder(width / 4, thick / 2, (0, thick / 4, 0), depth=depth / 4),
    ]


def lamp(p: Parameters) -> Pieces:
    """A foot, a pole and an open shade."""
    height, foot = p["height"], 0.06
    return [
        cylinder(p["foot"], foot, (0, foot / 2, 0)),
        cylinder(p["pole"], height - p["shade"] / 2, (0, (height - p["shade"] / 2) / 2, 0)),
        lathe([(p["lower"], height - p["shade"]), (p["upper"] * p["lower"], height)]),
    ]


def mug(p: Parameters) -> Pieces:
    """A cup with a wall, wider or narrower at its rim, and a handle."""
    radius, height, wall = p["radius"], p["height"], p["wall"]
    rim = radius * p["flare"]
    profile = [(0, 0), (radius, 0), (rim, height), (rim - wall, height), (radius - wall, wall), (0, wall)]
    middle = (radius + rim) / 2
    return [lathe(profile), handle(p["handle"] * height, p["grip"], (middle, height / 2, 0), middle - wall / 2)]


def plane(p: Parameters) -> Pieces:
    """A body along x, swept wings with engines, and a tail."""
    length, radius, span = p["length"], p["radius"], p["span"]
    outline = [(0, -0.5), (0.55, -0.42), (1, -0.25), (1, 0.2), (0.6, 0.42), (0.2, 0.5), (0, 0.5)]
    body = lathe([(radius * r, length * h) for r, h in outline])
    body.vertices = np.asarray(body.vertices)[:, [1, 0, 2]] * (-1, 1, 1)  # its axis from y to x, its nose to the right
    wing = _swept((p["chord"], 0.05, span), p["sweep"])
    wing.vertices += (p["place"] * length, -radius / 2, 0)
    tail = _swept((0.6 * p["chord"], 0.04, p["tail"] * span), p["sweep"])
    tail.vertices += (-0.44 * length, 0.3 * radius, 0)
    fin = box((0.5 * p["chord"], p["fin"], 0.04), (-0.44 * length, radius / 2 + p["fin"] / 2, 0))
    made = [body, wing, tail, fin]
    turn = trimesh.transformations.rotation_matrix(np.pi / 2, (0, 0, 1))
    for k in range(int(p["engines"]) // 2):
        z = (0.2 + 0.12 * k) * span
        place = np.array([p["place"] * length - 2 * p["sweep"] * z + 0.3 * p["chord"], -radius / 2 - 0.09, 0])
        for side in (-1, 1):
            engine = cylinder(0.07, 0.3, (0, 0, 0), turn)
            engine.vertices += place + np.array([0, 0, side * z])
            made.append(engine)
    return made


def _swept(size: Sequence[float], sweep: float) -> trimesh.Trimesh:
    """A flat box around 0 whose halves lean back: x falls by ``2 sweep`` for each unit of |z|."""
    halves: Pieces = []
    for side in (-1, 1):
        half = box((size[0], size[1], size[2] / 2), (0, 0, side * size[2] / 4))
        vertices: NDArray[np.float64] = np.array(half.vertices)
        vertices[:, 0] -= 2 * sweep * np.abs(vertices[:, 2])
        half.vertices = vertices
        halves.append(half)
    return joined(halves)


FAMILIES: Mapping[str, Family] = {
    "chair": Family(
        {
            "seat": (0.7, 1.1), "width": (0.7, 1.1), "depth": (0.7, 1.1), "back": (0.6, 1.1), "lean": (0.0, 0.3),
            "thickness": (0.05, 0.12), "leg": (0.06, 0.14),
        },
        {"bars": (0, 0, 3, 4, 5), "arms": (0, 1)},
        chair,
    ),
    "table": Family(
        {
            "height": (0.7, 1.2), "width": (1.2, 2.0), "depth": (0.8, 1.5), "thickness": (0.05, 0.14),
            "leg": (0.06, 0.16),
        },
        {"round": (0, 1)},
        table,
    ),
    "lamp": Family(
        {
            "height": (1.4, 2.1), "shade": (0.35, 0.7), "lower": (0.35, 0.65), "upper": (0.35, 1.0),
            "foot": (0.25, 0.5), "pole": (0.03, 0.07),
        },
        {},
        lamp,
    ),
    "mug": Family(
        {
            "height": (0.8, 1.3), "radius": (0.35, 0.6), "flare": (0.85, 1.2), "wall": (0.05, 0.1),
            "handle": (0.22, 0.38), "grip": (0.04, 0.08),
        },
        {},
        mug,
    ),
    "plane": Family(
        {
            "span": (1.4, 2.2), "length": (1.6, 2.1), "radius": (0.1, 0.17), "chord": (0.25, 0.45),
            "sweep": (0.0, 0.35), "place": (-0.05, 0.12), "tail": (0.25, 0.45), "fin": (0.25, 0.45),
        },
        {"engines": (0, 2, 4)},
        plane,
    ),
}  # fmt: skip
"""Name -> family."""
