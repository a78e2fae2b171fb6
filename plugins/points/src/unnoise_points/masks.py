"""What an edit makes anew of a cloud: points that are added, those on top or at the bottom, or those of an array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unnoise.contracts import Kept
from unnoise.errors import UserError
from unnoise.masks import parse_mask, whole
from unnoise_points.cloud import AXES, Cloud, Points, box
from unnoise_points.representation import ATTRIBUTES, PointSet

FORMS = {"extend": ("POINTS",), "above": ("SHARE",), "below": ("SHARE",)}
"""Words of a mask. ``extend`` adds points; ``above`` and ``below`` take away a share of the points, the highest or the
lowest, and make as many anew."""
MOST = 1 << 20
"""Points that an edit adds, at most."""
Box = tuple[Points, float]


def keep(representation: PointSet, items: Sequence[Cloud], mask: Any) -> Kept:
    """What an edit keeps of clouds; see :meth:`unnoise.contracts.Representation.kept`. The points that are kept come
    first in the results, as they were.

    Args:
        representation: of the model.
        items: clouds.
        mask: text in the words of :data:`FORMS`, or bool ``(n,)``, True where a point of every cloud is made anew.

    Raises:
        UserError: for a mask that does not fit.
    """
    more, anew = _anew(items, mask)
    return keep_points(representation, [item.take(~chosen) for item, chosen in zip(items, anew, strict=True)],
                       [len(item) + more for item in items],
                       [frame(representation, item) for item in items])  # fmt: skip


def keep_points(representation: PointSet, given: Sequence[Cloud], counts: Sequence[int], frames: Sequence[Box]) -> Kept:
    """Clouds to which points are added. Attributes that the model makes and a cloud lacks are made for its points too.

    Args:
        representation: of the model.
        given: what is kept.
        counts: points of each result.
        frames: what is taken off the coordinates of each cloud and what they are then divided by; see :func:`frame`.
    """
    blanks, missing = [], []
    for cloud, count, (centre, scale) in zip(given, counts, frames, strict=True):
        placed = replace(cloud.upright(representation.up).moved(centre, scale), boxed=True)
        blank, lacks = _blank(placed, count, representation)
        blanks.append(blank)
        missing.append(lacks)
    state = representation.encode(blanks).to("cpu")
    known = torch.zeros(state.parts["points"].shape, dtype=torch.bool)
    for row, cloud, lacks in zip(known, given, missing, strict=True):
        row[: len(cloud)] = True
        for k in lacks:
            row[:, 3 * k : 3 * k + 3] = False

    def splice(made: list[Cloud]) -> list[Cloud]:
        return [
            _joined(cloud, item.moved(-centre / scale, 1 / scale).upright(cloud.up))
            for cloud, item, (centre, scale) in zip(given, made, frames, strict=True)
        ]

    return Kept(state, {"points": known}, splice)


def frame(representation: PointSet, cloud: Cloud, asked: Box | None = None) -> Box:
    """What is taken off the coordinates of a cloud and what they are divided by, for a model of unit boxes: middle and
    half of the longest side of its own box, or of one that is asked for.
    """
    if representation.normalise == "set" or cloud.boxed:
        return np.zeros(3, np.float32), np.float32(1)
    centre, half = box(cloud.points) if asked is None else asked
    middle = Cloud(np.asarray(centre, np.float32)[None], up=cloud.up).upright(representation.up)
    return middle.points[0], np.float32(half)


def _anew(items: Sequence[Cloud], mask: Any) -> tuple[int, list[NDArray[np.bool_]]]:
    """Points that are added, and which of each cloud are made anew."""
    if isinstance(mask, np.ndarray):
        if mask.dtype != bool or any(mask.shape != (len(item),) for item in items) or mask.all() or not mask.any():
            counts = sorted({len(item) for item in items})
            message = f"a mask of {mask.dtype} {mask.shape} does not fit clouds of {', '.join(map(str, counts))} points"
            raise UserError(message, "bool (n,), True where a point is made anew, some of them False")
        return 0, [mask] * len(items)
    word, numbers = parse_mask(mask, FORMS, "an array bool (n,)")
    if word == "extend":
        return whole(mask, numbers, [1], [MOST])[0], [np.zeros(len(item), bool) for item in items]
    return 0, [_end(item, numbers[0], word == "above", str(mask)) for item in items]


def _end(cloud: Cloud, share: float, top: bool, text: str) -> NDArray[np.bool_]:
    count = round(share * len(cloud))
    if not 0 < count < len(cloud):
        raise UserError(f"mask={text} of {len(cloud)} points", "a share above 0 and below 1: some points, and not all")
    order = np.argsort(cloud.points[:, AXES.index(cloud.up)], kind="stable")
    chosen = np.zeros(len(cloud), bool)
    chosen[order[-count:] if top else order[:count]] = True
    return chosen


def _blank(cloud: Cloud, count: int, representation: PointSet) -> tuple[Cloud, list[int]]:
    """The cloud with points to be made behind it, and which attributes are not given (their place among channels)."""
    rest = count - len(cloud)
    found: dict[str, Any] = {}
    missing = []
    for k, name in enumerate(representation.attributes, start=1):
        value, kind = getattr(cloud, name), np.uint8 if name == "colours" else np.float32
        if value is None:
            missing.append(k)
            value = np.zeros((len(cloud), 3), kind)
        found[name] = np.concatenate([value, np.zeros((rest, 3), kind)])
    points = np.concatenate([cloud.points, np.zeros((rest, 3), np.float32)])
    return Cloud(points, up=cloud.up, boxed=cloud.boxed, **found), missing


def _joined(given: Cloud, made: Cloud) -> Cloud:
    """What was made, with what is given in the place of its first points."""
    points = np.concatenate([given.points, made.points[len(given) :]])
    found: dict[str, Any] = {}
    for name in ATTRIBUTES:
        own, new = getattr(given, name), getattr(made, name)
        found[name] = new if own is None or new is None else np.concatenate([own, new[len(given) :]])
    return replace(made, points=points, boxed=given.boxed, **found)
