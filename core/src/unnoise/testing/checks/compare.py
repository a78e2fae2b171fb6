"""Two states, or two tensors, held against each other."""

from __future__ import annotations

from torch import Tensor, equal

from unnoise.layout import Part
from unnoise.state import State
from unnoise.testing.checking import expect

TOLERANCE = 1e-4
"""Largest difference that float32 arithmetic in another order may make to values of order 1."""
LEAST_SPREAD = 0.01
"""Values that differ by less count as equal when errors are held against their spread; encoded data has one near 1."""
ROUND_TRIP = 0.02
"""Largest error of decode(encode(item)), relative to the spread of the data."""


def same_state(one: State, two: State, tolerance: float, seen: str, cause: str, fix: str) -> None:
    """Expect two states to be alike, padding aside: bit for bit if ``tolerance`` is 0, else their classes, and their
    values within a root mean square error relative to their spread.
    """
    one, two = one.trim(), two.trim()
    for axis, mask in one.masks.items():
        expect(equal(mask, two.masks[axis]), f"{seen}: sizes of axis {axis!r}", cause, fix)
    for part in one.layout:
        same_part(part, one.parts[part.name], two.parts[part.name], tolerance, seen, cause, fix)


def same_part(part: Part, one: Tensor, two: Tensor, tolerance: float, seen: str, cause: str, fix: str) -> None:
    """As :func:`same_state`, of one part."""
    seen = f"{seen}: part {part.name!r}"
    expect(one.shape == two.shape, f"{seen}, shapes {tuple(one.shape)} and {tuple(two.shape)}", cause, fix)
    if part.kind == "categorical" or tolerance == 0:
        differ = float((one != two).double().mean()) if one.numel() else 0.0
        expect(differ == 0, f"{seen}, {differ:.0%} of its values", cause, fix)
        return
    spread = float(one.std()) if one.numel() > 1 else 0.0
    error = float((one - two).square().mean().sqrt()) / max(spread, LEAST_SPREAD) if one.numel() else 0.0
    expect(error <= tolerance, f"{seen}, relative error {error:.2g}", cause, fix)


def close(one: Tensor, two: Tensor, seen: str, cause: str, fix: str) -> None:
    """Expect two tensors to differ by no more than arithmetic in another order does."""
    scale = float(one.abs().max().clamp(min=1.0)) if one.numel() else 1.0
    difference = float((one - two).abs().max()) / scale if one.numel() else 0.0
    expect(difference <= TOLERANCE, f"{seen} by {difference:.2g}", cause, fix)
