"""Plain pictures of arrays and texts, for previews."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

COLOURS = ((31, 90, 160), (200, 80, 40), (40, 140, 80), (150, 60, 150), (120, 120, 40), (60, 60, 60))
INK = (30, 30, 30)
SHOWN = 16
"""Items of a sheet."""
_CELL, _GAP, _LINE = (160, 90), 8, 14
_OUTER = 0.01
"""Share of dots at either side that do not decide the scale, so that a stray one does not shrink the rest."""


def scatter(vectors: Sequence[NDArray[Any]], side: int = 320) -> Image.Image:
    """Every vector as a dot: its first two entries, or a single one against its place."""
    points = np.array([v[:2] if len(v) > 1 else (i, v[0]) for i, v in enumerate(vectors)], dtype=np.float64)
    picture = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    if len(points):
        low, high = np.quantile(points, [_OUTER, 1 - _OUTER], axis=0)
        reach = np.maximum(high - low, 1e-9) * 0.6
        places = ((points - (low + high) / 2) / reach + 1) / 2 * (side - 1)
        for x, y in places:
            draw.ellipse((x - 2, side - y - 2, x + 2, side - y + 2), fill=COLOURS[0])
    return picture


def curves(arrays: Sequence[NDArray[Any]], labels: Sequence[str] = ()) -> Image.Image:
    """The first items, a cell each: a curve for every channel along the first axis, all on one scale."""
    shown = [array.reshape(len(array), -1) for array in arrays[:SHOWN]]
    across = max(1, int(np.ceil(np.sqrt(len(shown)))))
    width, height = _CELL[0] + _GAP, _CELL[1] + _GAP + (_LINE if labels else 0)
    down = -(-len(shown) // across)
    picture = Image.new("RGB", (across * width + _GAP, max(down, 1) * height + _GAP), "white")
    draw = ImageDraw.Draw(picture)
    numbers = np.concatenate([array.ravel() for array in shown]) if shown else np.zeros(1)
    low, high = (float(v) for v in np.quantile(numbers, [_OUTER, 1 - _OUTER])) if numbers.size else (0.0, 1.0)
    longest = max((len(array) for array in shown), default=1)
    for i, array in enumerate(shown):
        left, top = _GAP + i % across * width, _GAP + i // across * height
        if labels:
            draw.text((left, top), labels[i], fill=INK)
            top += _LINE
        x = left + np.arange(len(array)) / max(longest - 1, 1) * (_CELL[0] - 1)
        shares = np.clip((array - low) / max(high - low, 1e-9), 0, 1)
        draw.rectangle((left, top, left + _CELL[0], top + _CELL[1]), outline=(220, 220, 220))
        for channel in range(array.shape[1]):
            y = top + (1 - shares[:, channel]) * _CELL[1]
            draw.line([*zip(x.tolist(), y.tolist(), strict=True)], fill=COLOURS[channel % len(COLOURS)], width=1)
    return picture


def lines(texts: Sequence[str], most: int = 32) -> Image.Image:
    """The first texts, one below the other."""
    shown = [_printable(text) for text in texts[:most]]
    width = max((_width(text) for text in shown), default=0) + 2 * _GAP
    picture = Image.new("RGB", (max(width, 64), max(len(shown), 1) * _LINE + 2 * _GAP), "white")
    draw = ImageDraw.Draw(picture)
    for i, text in enumerate(shown):
        draw.text((_GAP, _GAP + i * _LINE), text, fill=INK)
    return picture


def table(names: Sequence[str], rows: Sequence[Sequence[str]], most: int = 24) -> Image.Image:
    """The first rows below the names of their columns."""
    cells = [[_printable(cell[:_LINE]) for cell in row] for row in [names, *rows[:most]]]
    widths = [max(_width(row[i]) for row in cells) + _GAP for i in range(len(names))]
    picture = Image.new("RGB", (sum(widths) + 2 * _GAP, len(cells) * _LINE + 2 * _GAP), "white")
    draw = ImageDraw.Draw(picture)
    for down, row in enumerate(cells):
        left = _GAP
        for cell, width in zip(row, widths, strict=True):
            draw.text((left, _GAP + down * _LINE), cell, fill=INK if down else COLOURS[0])
            left += width
    return picture


def _width(text: str) -> int:
    """Pixels that a line takes."""
    return int(ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength(text))


def _printable(text: str) -> str:
    """A text that any font can draw."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)
