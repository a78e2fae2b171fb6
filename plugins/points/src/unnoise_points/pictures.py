"""Clouds as pictures: shaded by depth, from several sides, and turning round."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from unnoise.errors import UserError
from unnoise_points.cloud import Cloud, turn_about

SIDE = 112
"""Pixels of a view."""
VIEWS = (35.0, 125.0)
"""Degrees from which the sheet shows every cloud."""
ELEVATION = 20.0
FRAMES = 24
_NEAR, _FAR = np.array([20, 48, 100]), np.array([196, 212, 232])
_BEYOND = 0.05
"""Share of the outermost points that do not decide the scale, so that a stray point does not shrink the rest."""


def extent(items: Sequence[Cloud]) -> float:
    """Distance from the middle that a view shows: half of the longest side of the largest cloud, seen from anywhere."""
    reach = [np.quantile(np.linalg.norm(item.points - _middle(item), axis=1), 1 - _BEYOND) for item in items]
    return max(float(max(reach)) * 1.15, 1e-6)


def render(item: Cloud, azimuth: float, reach: float, side: int = SIDE) -> NDArray[np.uint8]:
    """A cloud seen from one side without perspective, near points dark: ``(side, side, 3)``.

    Args:
        item: the cloud.
        azimuth: degrees about the upward axis.
        reach: distance from the middle that is shown.
        side: pixels.
    """
    upright = item.upright("y")
    view = turn_about("x", np.radians(ELEVATION)) @ turn_about("y", np.radians(azimuth))
    x, y, z = ((upright.points - _middle(upright)) @ view.T.astype(np.float32)).T / reach
    order = np.argsort(z, kind="stable")
    share = np.clip((z + 1) / 2, 0, 1)[:, None]
    colours = share * _NEAR + (1 - share) * _FAR
    if item.colours is not None:
        colours = (0.45 + 0.55 * share) * item.colours
    radius = max(side // 64, 1)
    spread = np.arange(-radius, radius + 1)
    dots = np.array([(dx, dy) for dx in spread for dy in spread if dx * dx + dy * dy <= radius * radius + 1])
    columns = np.rint((x[order, None] + 1) / 2 * (side - 1) + dots[:, 0]).astype(int)
    rows = np.rint((1 - y[order, None]) / 2 * (side - 1) + dots[:, 1]).astype(int)
    inside = (columns >= 0) & (columns < side) & (rows >= 0) & (rows < side)
    picture = np.full((side, side, 3), 255, np.uint8)
    painted = np.repeat(colours[order, None].astype(np.uint8), len(dots), 1)
    picture[rows[inside], columns[inside]] = painted[inside]  # of several for one pixel the last stays, the nearest
    return picture


def sheet(items: Sequence[Cloud], labels: Sequence[str] = (), columns: int | None = None) -> Image.Image:
    """All clouds in a grid, each from two sides, on one scale.

    Args:
        items: the clouds.
        labels: a caption per item, or none at all.
        columns: of the grid; about as high as wide if left out.

    Raises:
        UserError: if there is nothing to show.
    """
    if not items:
        raise UserError("there is no cloud to show", "ask for at least one sample")
    reach = extent(items)
    views = [np.concatenate([render(item, angle, reach) for angle in VIEWS], 1) for item in items]
    return _grid(views, labels, columns)


def turntable(items: Sequence[Cloud], frames: int = FRAMES) -> list[Image.Image]:
    """Pictures of a full turn of all clouds side by side, on one scale."""
    reach = extent(items)
    angles = np.arange(frames) * 360 / frames
    return [_grid([render(item, VIEWS[0] + angle, reach) for item in items], (), None) for angle in angles]


def _grid(views: Sequence[NDArray[np.uint8]], labels: Sequence[str], columns: int | None) -> Image.Image:
    texts = [textwrap.wrap(label, 34, max_lines=2, placeholder="…") for label in labels]
    gap, caption = 4, 13 * max(map(len, texts), default=0)
    height, width = views[0].shape[:2]
    columns = columns or max(round(np.sqrt(len(views) * height / width)), 1)
    rows = -(-len(views) // columns)
    cell = (width + gap, height + caption + gap)
    picture = Image.new("RGB", (columns * cell[0] + gap, rows * cell[1] + gap), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for i, view in enumerate(views):
        x, y = gap + (i % columns) * cell[0], gap + (i // columns) * cell[1]
        picture.paste(Image.fromarray(view), (x, y))
        if labels:
            draw.text((x, y + height), "\n".join(texts[i]), fill="black", font=font)
    return picture


def _middle(item: Cloud) -> NDArray[np.float32]:
    """The middle of the box around all but the outermost points."""
    low, high = np.quantile(item.points, [_BEYOND / 2, 1 - _BEYOND / 2], axis=0)
    return np.asarray((low + high) / 2, np.float32)
