"""Clouds made whole: what is missing of one, and more points of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unnoise.errors import UserError
from unnoise.runs import Model
from unnoise.sampling import Known
from unnoise_points.cloud import Cloud, Points, box
from unnoise_points.representation import ATTRIBUTES, PointSet

Box = tuple[Points, float]


def complete(
    model: Model,
    cloud: Cloud,
    points: int | None = None,
    n: int = 1,
    seed: int = 0,
    *,
    frame: Box | None = None,
    level: float | None = None,
    **options: Any,
) -> list[Cloud]:
    """Whole clouds of which some points are given; these come first in the result, as they were.

    Points that are given are shown to the network without noise, if it was trained with levels of their own
    (``train.time_sampling.known``); else they are noised as the rest and put in. The network was shown even samples of
    a surface: of a partial scan, give about as many points as that part would have among ``points``.

    Args:
        model: of clouds.
        cloud: what is given. Attributes that the model makes and that it lacks are made for its points too.
        points: of the result; as many as the model makes if left out.
        n: how many results.
        seed: result i uses ``seed + i``.
        frame: middle and half of the longest side of the whole shape's box, for a model of unit boxes; those of the
            points that are given if left out, which suits clouds that only lack points.
        level: time at which given points are shown; 0, clean, where the model was trained for it, if left out.
        options: of :meth:`unnoise.runs.Model.sample`.

    Raises:
        UserError: if the model makes no clouds, nothing is given, or nothing is left to make.
    """
    representation = _points(model)
    count = representation.points if points is None else points
    if not 0 < len(cloud) < count:
        fix = "give at least one, and ask for more than that: points=..."
        raise UserError(f"{len(cloud)} points are given of a cloud of {count}", fix)
    if not np.isfinite(cloud.points).all():
        raise UserError("some of the points that are given are not finite", "leave them out")
    centre, scale = _frame(representation, cloud, frame)
    placed = replace(cloud.upright(representation.up).moved(centre, scale), boxed=True)
    blank, missing = _blank(placed, count, representation)
    with torch.no_grad():
        state = representation.encode([blank] * n).to("cpu")
    mask = torch.zeros(1, count, state.parts["points"].shape[2], dtype=torch.bool)
    mask[:, : len(cloud)] = True
    for k in missing:
        mask[..., 3 * k : 3 * k + 3] = False
    known = Known(state, {representation.layout.names[0]: mask}, _level(model) if level is None else level)
    made = model.sample(n, seed, known=known, **options).items
    return [_joined(cloud, item.moved(-centre / scale, 1 / scale).upright(cloud.up)) for item in made]


def upsample(model: Model, cloud: Cloud, points: int, seed: int = 0, **options: Any) -> Cloud:
    """The same shape with more points; those that are given stay as they are.

    Args:
        model: of clouds.
        cloud: an even sample of a surface.
        points: of the result.
        seed: of what is made.
        options: of :func:`complete`.

    Raises:
        UserError: as :func:`complete`.
    """
    return complete(model, cloud, points, seed=seed, **options)[0]


def one_side(cloud: Cloud, direction: NDArray[Any], share: float = 0.5) -> NDArray[np.bool_]:
    """Which points lie on one side: the ``share`` of them that is farthest along a direction, bool ``(n,)``.

    Raises:
        UserError: unless some points lie on either side.
    """
    count = round(share * len(cloud))
    if not 0 < count < len(cloud):
        raise UserError(f"share={share:g} of {len(cloud)} points", "some, and not all: share lies between 0 and 1")
    chosen = np.zeros(len(cloud), bool)
    chosen[np.argsort(cloud.points @ np.asarray(direction, np.float32), kind="stable")[-count:]] = True
    return chosen


def _points(model: Model) -> PointSet:
    if not isinstance(model.representation, PointSet):
        raise UserError("this is no model of clouds", "train one: unnoise train modality=points")
    return model.representation


def _level(model: Model) -> float | None:
    """0 for a model that was trained with levels of points."""
    sampling = model.manifest.config["train"]["time_sampling"]
    return 0.0 if sampling.get("known") or sampling.get("independent") else None


def _frame(representation: PointSet, cloud: Cloud, frame: Box | None) -> tuple[Points, np.float32]:
    """What is taken off the coordinates of a cloud and what they are divided by, for a model of unit boxes."""
    if representation.normalise == "set" or cloud.boxed:
        return np.zeros(3, np.float32), np.float32(1)
    centre, half = box(cloud.points) if frame is None else frame
    middle = Cloud(np.asarray(centre, np.float32)[None], up=cloud.up).upright(representation.up)
    return middle.points[0], np.float32(half)


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
