"""Reading pictures from files that anybody made."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from unnoise.errors import UserError
from unnoise.folders import UnreadableError, find_files, printable
from unnoise_image.pictures import MODES, Picture

SHEET = "preview.png"
"""What the engine calls the picture of all samples of a call."""

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP")
"""What is read. Of the rest that Pillow knows, some formats are programs (EPS is run by Ghostscript)."""

MAX_PIXELS = 100_000_000
"""Larger pictures are refused before they are decoded: a file of a few kilobytes may claim any size."""


def from_image(image: Image.Image, size: int | None = None, channels: int | None = None) -> Picture:
    """The item of a Pillow image, upright; of an animation its first picture.

    Args:
        image: what was opened.
        size: if given, the middle square, scaled to so many pixels a side.
        channels: 1, 3 or 4; as in the file (grey or colour) if left out. Transparency is laid on white where there are
            fewer than 4.

    Raises:
        UnreadableError: if the pixels are numbers without an agreed white.
    """
    image = _eight_bits(ImageOps.exif_transpose(image))
    if channels is None:
        channels = 1 if image.mode in ("1", "L") else 3
    if channels < 4 and image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert(MODES[channels])
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    array = np.asarray(image, dtype=np.uint8)
    return array[..., None] if channels == 1 else array


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits scaled to 8, which Pillow would clip; any other image as it is."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    levels = np.asarray(image)
    # Some versions of Pillow open 16 bits as "I", 32 of them.
    if image.mode == "F" or levels.min() < 0 or levels.max() > 65535:
        raise UnreadableError("its grey levels are not of 8 or 16 bits")
    return Image.fromarray((levels / 257).round().astype(np.uint8))


def read_picture(file: Path, size: int | None = None, channels: int | None = None) -> Picture:
    """The item in a file; see :func:`from_image`.

    Raises:
        UnreadableError: for whatever is wrong with it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, of sizes below the limit
            with Image.open(file, formats=_formats()) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnreadableError(f"{image.width} x {image.height} pixels are too many")
                return from_image(image, size, channels)
    except UnreadableError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableError("its pixels are too many") from None
    except UnidentifiedImageError:
        raise UnreadableError("it is empty" if not file.stat().st_size else "it is no picture") from None
    except Exception as error:  # Pillow's decoders raise almost anything on damaged data
        raise UnreadableError(str(error).partition("\n")[0] or type(error).__name__) from error


def _formats() -> list[str]:
    """Those of :data:`FORMATS` that this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def endings() -> set[str]:
    """What the names of pictures end in: ``{".png", ...}``."""
    formats = _formats()
    return {ending for ending, name in Image.registered_extensions().items() if name in formats}


def picture_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """All files below a folder whose ending says picture, and the sub-folders that cannot be read (see
    :func:`unnoise.folders.find_files`); no contact sheet, which lies beside samples.
    """
    known = endings()
    return find_files(folder, lambda path: path.suffix.lower() in known and path.name != SHEET)


def read_pictures(path: Path) -> list[Picture]:
    """The pictures in a folder (in order of their paths) or in one file. None is skipped: who judges a model's samples
    has to judge all of them.

    Raises:
        UserError: if there are none, or one cannot be read.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist", "name a folder of pictures, or one picture")
    items = []
    for file in picture_files(path)[0] if path.is_dir() else [path]:
        try:
            items.append(read_picture(file))
        except UnreadableError as error:
            raise UserError(
                f"{printable(file)} cannot be read: {error}", "remove it, or name another folder"
            ) from error
    if not items:
        raise UserError(f"{path} holds no pictures", f"pictures end in {', '.join(sorted(endings()))}")
    return items
