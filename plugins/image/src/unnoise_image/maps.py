"""Maps that can be made of pictures, and how well pictures follow them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter

from unnoise.contracts import Dataset, MapMaker, Maps
from unnoise.correlation import correlations
from unnoise.errors import UserError
from unnoise.folders import UnreadableError
from unnoise_image.files import picture_files, read_picture
from unnoise_image.pictures import Picture

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in a grey level (ITU-R BT.601)."""
Array = NDArray[np.float32]


class PictureMap(MapMaker):
    """A map of one number for each pixel."""

    def read(self, path: Path) -> Array:
        """Pictures of maps, white is 1 and black 0: ``(n, height, width, 1)``."""
        files = picture_files(path)[0] if path.is_dir() else [path]
        try:
            read = [read_picture(file, channels=1).astype(np.float32) / 255 for file in files]
        except UnreadableError as error:
            raise UserError(f"the map {path} cannot be read: {error}", "give a picture, white where it is 1") from error
        if not read or len({one.shape for one in read}) > 1:
            raise UserError(f"{path} holds {len(read)} pictures of one size", "give at least one, all of one size")
        return self.prepared(np.stack(read))

    def prepared(self, maps: Array) -> Array:
        """Maps that somebody drew, as this kind of map is."""
        return maps


class Edges(PictureMap):
    """Edges, 1 or 0. Pictures follow edges as far as their own agree with them: F1 of the pixels, where one that has a
    counterpart among its eight neighbours counts as found (:func:`edge_f1`).
    """

    def prepared(self, maps: Array) -> Array:
        return (maps >= 0.5).astype(np.float32)

    def agreement(
        self, wanted: Array, items: Sequence[Any], train: Dataset, cache: Path | None = None
    ) -> NDArray[np.float64]:
        found = self(items)
        return np.array([edge_f1(a[..., 0] > 0.5, b[..., 0] > 0.5) for a, b in zip(found, wanted, strict=True)])


class CannyEdges(Edges):
    """Edges by Canny's algorithm (1986), as scikit-image has it: one pixel wide.

    Args:
        sigma: of the Gaussian filter before, in pixels.
        low, high: thresholds of the gradient, of grey levels from 0 to 1.

    Raises:
        UserError: if scikit-image is not installed.
    """

    def __init__(self, sigma: float = 1.0, low: float = 0.1, high: float = 0.2) -> None:
        if sigma < 0 or not 0 <= low <= high:
            raise UserError(f"edges: sigma={sigma}, low={low}, high={high}", "sigma at least 0, low at most high")
        self._find, self.sigma, self.low, self.high = _skimage("feature", "canny"), sigma, low, high

    def __call__(self, items: Sequence[Picture]) -> Array:
        found = [self._find(grey(i), self.sigma, self.low, self.high, mode="nearest") for i in items]
        return np.stack(found)[..., None].astype(np.float32)


class SobelEdges(Edges):
    """Where the gradient by Sobel's operator is steep: broader than Canny's edges.

    Args:
        threshold: of the gradient, of grey levels from 0 to 1.

    Raises:
        UserError: if scikit-image is not installed.
    """

    def __init__(self, threshold: float = 0.15) -> None:
        if not threshold > 0:
            raise UserError(f"sobel: threshold={threshold}", "a number above 0")
        self._find, self.threshold = _skimage("filters", "sobel"), threshold

    def __call__(self, items: Sequence[Picture]) -> Array:
        return np.stack([self._find(grey(i)) > self.threshold for i in items])[..., None].astype(np.float32)


class Sketch(PictureMap):
    """A drawing with a pencil: lines where a finely blurred picture is darker than a coarsely blurred one, softened as
    in "XDoG" (Winnemöller et al. 2012, equations 5 and 7). 1 is a line, 0 is paper.

    Args:
        sigma: of the finer blur, in pixels; the coarser has 1.6 times as much.
        sharpness: how steeply lines set in.
        threshold: difference from which there is a line, of grey levels from 0 to 1.
    """

    def __init__(self, sigma: float = 0.7, sharpness: float = 40.0, threshold: float = 0.02) -> None:
        if not (sigma > 0 and sharpness > 0):
            raise UserError(f"sketch: sigma={sigma}, sharpness={sharpness}", "numbers above 0")
        self.sigma, self.sharpness, self.threshold = sigma, sharpness, threshold

    def __call__(self, items: Sequence[Picture]) -> Array:
        return np.stack([self._drawn(grey(item)) for item in items])[..., None]

    def _drawn(self, levels: NDArray[np.float64]) -> Array:
        fine, coarse = (gaussian_filter(levels, s, mode="nearest") for s in (self.sigma, 1.6 * self.sigma))
        line = np.tanh(self.sharpness * (coarse - fine - self.threshold))
        return np.clip(line, 0, 1).astype(np.float32)


class Depth(PictureMap):
    """How near things are: larger is nearer, 0 is the background. Pictures do not tell their depth; a data set has to
    (``data=rendered``), and for agreement a judge learns from it to see depth: the correlation over all pixels.

    Args:
        judge_steps: of the judge's training.
    """

    def __init__(self, judge_steps: int = 800) -> None:
        self.judge_steps = judge_steps

    def __call__(self, items: Sequence[Picture]) -> Array:
        message = "pictures do not tell their depth"
        raise UserError(message, "give the map itself, or data that knows it: data=rendered")

    def agreement(
        self, wanted: Array, items: Sequence[Any], train: Dataset, cache: Path | None = None
    ) -> NDArray[np.float64]:
        from unnoise_image.depth import seen_depth

        column = train.columns().get("depth")
        if not isinstance(column, Maps):
            raise UserError("the data does not know depth, so nobody can learn to judge it", "data=rendered")
        seen = seen_depth(items, train, column.values, self.judge_steps, cache)
        return correlations(seen, wanted)


def grey(item: Picture) -> NDArray[np.float64]:
    """Grey levels ``(height, width)`` from 0 to 1. Opacity is left out of account."""
    levels = item.astype(np.float64) / 255
    return np.asarray(levels[..., 0] if item.shape[2] == 1 else levels[..., :3] @ LUMA)


def edge_f1(found: NDArray[np.bool_], wanted: NDArray[np.bool_], distance: int = 1) -> float:
    """The harmonic mean of precision and recall of edges ``(height, width)``, where a pixel counts if the other map has
    one within ``distance`` along either axis. 1 if both are empty, 0 if one is.
    """
    if not found.any() or not wanted.any():
        return float(found.any() == wanted.any())
    near = np.ones((2 * distance + 1,) * 2, bool)
    precision = float(binary_dilation(wanted, near)[found].mean())
    recall = float(binary_dilation(found, near)[wanted].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _skimage(module: str, name: str) -> Callable[..., Any]:
    """A function of scikit-image, which is optional."""
    try:
        found: Callable[..., Any] = getattr(import_module(f"skimage.{module}"), name)
    except ImportError as error:
        message = "edges are found by scikit-image, which is not installed"
        raise UserError(message, "pip install 'unnoise-image[maps]'") from error
    return found
