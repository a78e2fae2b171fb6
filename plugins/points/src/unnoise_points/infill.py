"""Clouds made whole: what is missing of one, and more points of one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unnoise.errors import UserError
from unnoise.runs import Model
from unnoise.sampling import Known
from unnoise_points import masks
from unnoise_points.cloud import Cloud
from unnoise_points.representation import PointSet


def complete(
    model: Model,
    cloud: Cloud,
    points: int | None = None,
    n: int = 1,
    seed: int = 0,
    *,
    frame: masks.Box | None = None,
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
    asked = [masks.frame(representation, cloud, frame)] * n
    kept = masks.keep_points(representation, [cloud] * n, [count] * n, asked)
    known = Known(kept.state, kept.masks, model.known_level if level is None else level)
    return kept.splice(model.sample(n, seed, known=known, **options).items)


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
