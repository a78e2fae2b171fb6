"""Many clips at a glance: as one picture, and as one clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unnoise.errors import UserError
from unnoise_video.clip import Clip, Frames

SHOWN = 8
"""Frames of a clip that a contact sheet shows, evenly spread from the first to the last."""
_SIDE = 40
"""Pixels that the shorter side of a frame is enlarged to, at least."""
_GAP, _CAPTION = 4, 13


def contact_sheet(items: Sequence[Clip], labels: Sequence[str] = (), columns: int | None = None) -> Image.Image:
    """A strip of frames for every clip, the strips in columns.

    Args:
        items: the clips.
        labels: a caption per clip, or none at all.
        columns: strips side by side; as many as make the sheet about square if left out.

    Raises:
        UserError: if there is nothing to show.
    """
    _check(items)
    shown = min(SHOWN, max(len(item.frames) for item in items))
    height, width, _ = items[0].shape
    factor = -(-_SIDE // min(height, width))
    caption = _CAPTION if labels else 0
    strip = (shown * (width * factor + 1) + _GAP, height * factor + caption + _GAP)
    columns = columns or max(round((len(items) * strip[1] / strip[0]) ** 0.5), 1)
    rows = -(-len(items) // columns)
    sheet = Image.new("RGB", (columns * strip[0] + _GAP, rows * strip[1] + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for i, item in enumerate(items):
        x, y = _GAP + (i % columns) * strip[0], _GAP + (i // columns) * strip[1]
        if labels:
            draw.text((x, y), labels[i], fill="black", font=font)
        chosen = np.linspace(0, len(item.frames) - 1, min(shown, len(item.frames))).round().astype(int)
        for k, frame in enumerate(in_colour(item.frames[chosen])):
            image = Image.fromarray(frame)
            image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
            sheet.paste(image, (x + k * (width * factor + 1), y + caption))
    return sheet


def moving_sheet(items: Sequence[Clip], columns: int | None = None) -> Clip:
    """All clips side by side in one, at the rate of the first; shorter ones hold their last frame.

    Raises:
        UserError: if there is nothing to show, or their shapes differ.
    """
    _check(items)
    if len({item.shape for item in items}) > 1:
        raise UserError("clips of different shapes", "show those of one shape")
    columns = columns or int(np.ceil(np.sqrt(len(items))))
    rows, length = -(-len(items) // columns), max(len(item.frames) for item in items)
    height, width, _ = items[0].shape
    sheet = np.full((length, rows * (height + 1) + 1, columns * (width + 1) + 1, 3), 255, np.uint8)
    for i, item in enumerate(items):
        y, x = 1 + (i // columns) * (height + 1), 1 + (i % columns) * (width + 1)
        held = np.minimum(np.arange(length), len(item.frames) - 1)
        sheet[:, y : y + height, x : x + width] = in_colour(item.frames[held])
    return Clip(sheet, items[0].fps)


def in_colour(frames: Frames) -> Frames:
    """Frames with three channels; transparency is laid on white."""
    if frames.shape[3] == 1:
        return np.repeat(frames, 3, 3)
    if frames.shape[3] == 3:
        return frames
    opacity = frames[..., 3:].astype(np.float32) / 255
    laid = frames[..., :3] * opacity + 255 * (1 - opacity)
    return laid.round().astype(np.uint8)


def _check(items: Sequence[Clip]) -> None:
    if not items or not all(len(item.frames) for item in items):
        raise UserError("there is no clip to show", "ask for at least one sample, of at least one frame")
