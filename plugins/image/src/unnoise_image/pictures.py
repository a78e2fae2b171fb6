"""Pictures as arrays, as PNG files and as contact sheets.

An item is a uint8 array ``(height, width, channels)`` with 1, 3 or 4 channels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from unnoise.errors import UserError

Picture = NDArray[np.uint8]

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Number of channels -> Pillow's name for it."""


def to_image(item: Picture) -> Image.Image:
    """The Pillow image of an item."""
    return Image.fromarray(item[..., 0] if item.shape[2] == 1 else item)


def stack(items: Sequence[Picture]) -> Tensor:
    """Items of one shape as uint8 ``(N, channels, height, width)``.

    Raises:
        UserError: if their shapes differ.
    """
    shapes = {item.shape for item in items}
    if len(shapes) != 1:
        raise UserError(
            f"pictures of different shapes: {sorted(shapes)}", "bring them to one size and number of channels"
        )
    return torch.from_numpy(np.stack(items)).permute(0, 3, 1, 2)


def unstack(pixels: Tensor) -> list[Picture]:
    """Items of numbers in [0, 1], ``(N, channels, height, width)``; what lies outside is clipped."""
    levels = (pixels.detach().clamp(0, 1) * 255).round().to(torch.uint8)
    return list(levels.permute(0, 2, 3, 1).cpu().numpy())


def write_png(item: Picture, path: Path, settings: Mapping[str, Any]) -> None:
    """Write a PNG file with ``settings`` as JSON in its text field "parameters"."""
    info = PngInfo()
    info.add_text("parameters", json.dumps(settings, sort_keys=True, default=str))
    to_image(item).save(path, format="PNG", pnginfo=info, optimize=False, compress_level=6)


def contact_sheet(items: Sequence[Picture], labels: Sequence[str] = (), columns: int | None = None) -> Image.Image:
    """All items in a grid, enlarged to at least 48 pixels a side where they are smaller.

    Args:
        items: of one shape.
        labels: a caption per item, or none at all.
        columns: of the grid; about a square if left out.

    Raises:
        UserError: if the shapes differ, or there is nothing to show.
    """
    if not items:
        raise UserError("there is no picture to show", "ask for at least one sample")
    height, width = stack(items).shape[2:]
    factor = -(-48 // min(height, width))
    gap, caption = 4, 14 if labels else 0
    columns = columns or int(np.ceil(np.sqrt(len(items))))
    rows = -(-len(items) // columns)
    cell = (width * factor + gap, height * factor + caption + gap)
    sheet = Image.new("RGB", (columns * cell[0] + gap, rows * cell[1] + gap), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for i, item in enumerate(items):
        x, y = gap + (i % columns) * cell[0], gap + (i // columns) * cell[1]
        image = to_image(item).resize((width * factor, height * factor), Image.Resampling.NEAREST)
        sheet.paste(image, (x, y), image if image.mode == "RGBA" else None)
        if labels:
            fitting = fitted(labels[i], font, cell[0] - gap)
            draw.text((x, y + height * factor), fitting, fill="black", font=font)
    return sheet


def fitted(text: str, font: Any, width: int) -> str:
    """A text, cut to so many pixels."""
    kept = next(n for n in range(len(text), -1, -1) if font.getlength(text[:n]) <= width)
    return text[:kept]
