"""What every representation of pictures shares: files, the preview, flips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unnoise.contracts import Kept, Representation
from unnoise.errors import UserError
from unnoise_image.pictures import MODES, Picture, contact_sheet, write_png

Shape = tuple[int, int, int]


class ImageRepresentation(Representation):
    """Pictures of one shape ``(height, width, channels)``, which :meth:`fit` takes from the data."""

    example_mask = "right:3"
    shape: Shape

    def unfit(self, items: Sequence[Picture]) -> Mapping[int, str]:
        """Pictures of another shape than most."""
        return {
            i: f"shape {describe(item.shape)} where most have {describe(self.shape)}"
            for i, item in enumerate(items)
            if item.shape != self.shape
        }

    def kept(self, items: Sequence[Picture], mask: Any) -> Kept:
        """As :func:`unnoise_image.masks.keep`."""
        from unnoise_image.masks import keep

        return keep(self, items, mask)

    def save(self, items: Sequence[Picture], folder: Path, settings: Mapping[str, Any]) -> list[Path]:
        """One PNG file per picture, ``00000.png`` and so on."""
        paths = [folder / f"{i:05d}.png" for i in range(len(items))]
        for item, path in zip(items, paths, strict=True):
            write_png(item, path, settings)
        return paths

    def preview(self, items: Sequence[Picture], path: Path, labels: Sequence[str] = ()) -> None:
        contact_sheet(items, labels).save(path, format="PNG")


def common_shape(items: Sequence[Picture]) -> Shape:
    """The shape that most pictures have.

    Raises:
        UserError: if there are no pictures, or they are no uint8 arrays with 1, 3 or 4 channels.
    """
    if not len(items):
        raise UserError("there are no pictures to learn from", "name a data set that holds some: data.root=...")
    counts: Counter[tuple[int, ...]] = Counter()
    for item in items:
        if item.ndim != 3 or item.shape[2] not in MODES or item.dtype != "uint8":
            raise UserError(
                f"a picture has shape {item.shape} and type {item.dtype}",
                "a data set must give uint8 arrays (height, width, channels) with 1, 3 or 4 channels",
            )
        counts[item.shape] += 1
    height, width, channels = counts.most_common(1)[0][0]
    return height, width, channels


def describe(shape: Sequence[int]) -> str:
    """``"28x28x1"``."""
    return "x".join(map(str, shape))
