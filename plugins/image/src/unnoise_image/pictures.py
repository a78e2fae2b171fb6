"""Pictures as arrays and as files. An item is a uint8 array ``(height, width, channels)`` with 1, 3 or 4 channels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from unnoise.errors import UserError

Picture = NDArray[np.uint8]

SHEET = "preview.png"
"""What the engine calls the picture of all samples of a call."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def to_image(item: Picture) -> Image.Image:
    """The Pillow image of an item."""
    return Image.fromarray(item[..., 0] if item.shape[2] == 1 else item)


def from_image(image: Image.Image, size: int | None = None, channels: int | None = None) -> Picture:
    """The item of a Pillow image, upright.

    Args:
        image: what was opened.
        size: if given, the middle square, scaled to so many pixels a side.
        channels: 1, 3 or 4; as in the file (grey or colour) if left out. Transparency is laid on white where there are
            fewer than 4.
    """
    image = ImageOps.exif_transpose(image)
    if channels is None:
        channels = 1 if image.mode in ("1", "L", "I;16", "I", "F") else 3
    if channels < 4 and image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert(MODES[channels])
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    array = np.asarray(image, dtype=np.uint8)
    return array[..., None] if channels == 1 else array


def picture_files(folder: Path) -> list[Path]:
    """All files below a folder whose ending says picture, sorted; but no contact sheet, which lies beside samples."""
    endings = set(Image.registered_extensions())
    found = (p for p in folder.rglob("*") if p.suffix.lower() in endings and p.name != SHEET and p.is_file())
    return sorted(found)


def read_pictures(path: Path) -> list[Picture]:
    """The pictures in a folder (in order of their paths) or in one file.

    Raises:
        UserError: if there are none, or one cannot be read.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist", "name a folder of pictures, or one picture")
    items = []
    for file in picture_files(path) if path.is_dir() else [path]:
        try:
            with Image.open(file) as image:
                items.append(from_image(image))
        except (OSError, UnidentifiedImageError) as error:
            raise UserError(
                f"{file} cannot be read as a picture: {error}", "remove it, or name another folder"
            ) from error
    if not items:
        raise UserError(f"{path} holds no pictures", "name a folder of pictures, or one picture")
    return items


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
            draw.text((x, y + height * factor), labels[i], fill="black", font=font)
    return sheet
