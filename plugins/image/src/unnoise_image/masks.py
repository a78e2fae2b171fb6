"""What an edit makes anew of a picture: a rectangle by name, a black and white picture, or an array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from unnoise.contracts import Kept
from unnoise.errors import UserError
from unnoise.folders import UnreadableError
from unnoise.masks import parse_mask, whole
from unnoise_image.files import read_picture
from unnoise_image.pictures import Picture
from unnoise_image.representation import ImageRepresentation

Mask = NDArray[np.bool_]
FORMS = {
    "left": ("PIXELS",),
    "right": ("PIXELS",),
    "top": ("PIXELS",),
    "bottom": ("PIXELS",),
    "border": ("PIXELS",),
    "box": ("LEFT", "TOP", "RIGHT", "BOTTOM"),
}
"""Words of a mask. A box includes its left and top, and not its right and bottom."""


def made_anew(mask: Any, height: int, width: int) -> Mask:
    """Bool ``(height, width)``, True where a picture is made anew.

    Args:
        mask: one of :data:`FORMS`, the path of a picture that is white there and black elsewhere, or a bool array.
        height, width: of the picture.

    Raises:
        UserError: for any other mask, or one of another size.
    """
    if isinstance(mask, (np.ndarray, Tensor)):
        given = np.asarray(mask)
        if given.shape != (height, width) or given.dtype != bool:
            fix = f"bool, ({height}, {width}), True where the picture is made anew"
            raise UserError(f"a mask of shape {given.shape} and type {given.dtype}", fix)
        return given
    if Path(str(mask)).is_file():
        return _picture(Path(str(mask)), height, width)
    word, numbers = parse_mask(mask, FORMS, "a picture, white where it is made anew")
    made = np.zeros((height, width), bool)
    if word == "box":
        left, top, right, bottom = whole(mask, numbers, [0, 0, numbers[0] + 1, numbers[1] + 1], [width, height] * 2)
        made[top:bottom, left:right] = True
        return made
    most = {"left": width, "right": width, "top": height, "bottom": height, "border": min(height, width) // 2}[word]
    (size,) = whole(mask, numbers, [1], [most])
    if word in ("left", "border"):
        made[:, :size] = True
    if word in ("right", "border"):
        made[:, width - size :] = True
    if word in ("top", "border"):
        made[:size] = True
    if word in ("bottom", "border"):
        made[height - size :] = True
    return made


def keep(representation: ImageRepresentation, items: Sequence[Picture], mask: Any) -> Kept:
    """What an edit keeps of pictures; see :meth:`unnoise.contracts.Representation.kept`. What is made anew is not
    looked at; a latent that sees any of it is made anew too, and the pixels beside it are put back afterwards.
    """
    height, width, _ = representation.shape
    made = made_anew(mask, height, width)
    (part,) = representation.layout
    rows, columns = part.fixed_shape[1:]
    known = torch.from_numpy(~made)
    if rows < height:
        blocks = known.reshape(rows, height // rows, columns, width // columns)
        known = F.max_pool2d((~blocks.all(3).all(1))[None].float(), 3, 1, 1)[0] == 0
    blank = [np.where(made[..., None], 0, item).astype(np.uint8) for item in items]

    def splice(results: list[Picture]) -> list[Picture]:
        return [np.where(made[..., None], new, old) for new, old in zip(results, items, strict=True)]

    return Kept(representation.encode(blank), {part.name: known[None, None]}, splice)


def _picture(path: Path, height: int, width: int) -> Mask:
    try:
        grey = read_picture(path, channels=1)[..., 0]
    except UnreadableError as error:
        raise UserError(f"mask={path} cannot be read: {error}", "a picture, white where it is made anew") from error
    if grey.shape != (height, width):
        raise UserError(
            f"mask={path} is {grey.shape[1]} wide and {grey.shape[0]} high", f"make it {width} wide and {height} high"
        )
    return np.asarray(grey >= 128)
