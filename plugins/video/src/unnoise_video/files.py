"""Reading clips from files that anybody made."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from unnoise.errors import UserError
from unnoise.folders import UnreadableError, find_files, printable
from unnoise_video.clip import MODES, Clip, Frames
from unnoise_video.writing import SHEET

PREVIEW = "preview.png"
"""What the engine calls the picture of all samples of a call."""
ANIMATED = (".gif", ".webp", ".apng")
STILL = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""A .png may be animated too; then it is a clip."""
FILMS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
"""What the package av reads."""
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 100_000_000
"""Larger frames are refused before they are kept: a file of a few kilobytes may claim any size."""
MAX_BYTES = 1 << 30
"""Of all frames of a clip, as they are kept."""
DEFAULT_FPS = 10.0
"""Where a file does not say how long it shows its frames, as browsers have it; of folders of frames."""

Shown = tuple[Image.Image, float]
"""A frame, and for how many milliseconds it is shown (0 where nothing is said)."""


def read_clip(
    path: Path,
    size: int | None = None,
    channels: int | None = None,
    fps: float | None = None,
    most: int | None = None,
) -> Clip:
    """The clip in a file, or in a folder of frames.

    Args:
        path: an animated picture, a still one, a film, or a folder whose pictures are frames in order of their names.
        size: if given, the middle square, scaled to so many pixels a side.
        channels: 1, 3 or 4; grey where every frame is grey, else colour, if left out.
        fps: frames a second, to which frames are repeated or left out; the file's own if left out.
        most: frames after which no more need be read; all if left out.

    Raises:
        UnreadableError: for whatever is wrong with it.
    """

    def shrink(image: Image.Image) -> Frames:
        return _array(image, size, channels or 3)

    if path.is_dir():
        frames = _collected(_pictures(path), shrink, most, None, path)[0]
        return Clip(_stacked(frames, channels), fps or DEFAULT_FPS)
    shown = _film(path) if path.suffix.lower() in FILMS else _animation(path)
    frames, times = _collected(shown, shrink, most, fps, path)
    own, index = timeline(times, fps)
    return Clip(_stacked([frames[i] for i in index], channels), fps or own)


def timeline(times: Sequence[float], fps: float | None = None) -> tuple[float, list[int]]:
    """The rate of frames that are shown for ``times`` (milliseconds each), and which frame is shown at every tick of it
    (or of ``fps``, where that is given). A frame that is shown for twice the usual time comes twice.
    """
    shown = np.array([time if time > 0 else 1000 / DEFAULT_FPS for time in times])
    # Files round to 10 ms: small differences are none, and large ones are frames that stand.
    usual = float(np.mean(shown)) if np.ptp(shown) <= 10 else float(np.median(shown))
    own = round(1000 / usual, 2)
    ends = np.cumsum(shown)
    count = max(round(float(ends[-1]) * (fps or own) / 1000), 1)
    if len(times) == 1:
        return own, [0]
    middles = (np.arange(count) + 0.5) * 1000 / (fps or own)
    return own, np.searchsorted(ends, np.minimum(middles, ends[-1] - 1e-6), side="right").tolist()


def _animation(path: Path) -> Iterator[Shown]:
    with Image.open(path, formats=_formats()) as image:
        alone = getattr(image, "n_frames", 1) == 1
        for frame in ImageSequence.Iterator(image):
            frame.load()
            yield ImageOps.exif_transpose(frame) if alone else frame, float(frame.info.get("duration") or 0)


def _formats() -> list[str]:
    """Those of :data:`FORMATS` that this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _film(path: Path) -> Iterator[Shown]:
    try:
        import av
    except ImportError:
        raise UnreadableError("it needs the package av: pip install 'unnoise-video[av]'") from None
    with av.open(str(path)) as film:
        if not film.streams.video:
            raise UnreadableError("it holds no pictures")
        time = 1000 / (float(film.streams.video[0].average_rate or 0) or DEFAULT_FPS)
        frames: Iterator[Any] = film.decode(video=0)
        for frame in frames:
            yield frame.to_image(), time


def _pictures(folder: Path) -> Iterator[Shown]:
    first: tuple[int, int] | None = None
    for path in natural(path for path in folder.iterdir() if path.suffix.lower() in STILL and path.name[0] != "."):
        image, _ = next(_animation(path))
        first = first or image.size
        if image.size != first:
            sides = [f"{width} x {height}" for width, height in (first, image.size)]
            raise UnreadableError(f"its frames have different sizes, {sides[0]} and {sides[1]} ({printable(path)})")
        yield image, 0.0


def _collected(
    shown: Iterator[Shown], shrink: Callable[[Image.Image], Frames], most: int | None, fps: float | None, path: Path
) -> tuple[list[Frames], list[float]]:
    """Frames, made small one by one, and their times, until there are enough; whatever goes wrong is an
    :class:`UnreadableError`.
    """
    frames: list[Frames] = []
    times: list[float] = []
    kept, enough = 0, math.inf if most is None else most
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            for image, time in shown:
                if image.width * image.height > MAX_PIXELS:
                    raise UnreadableError(f"{image.width} x {image.height} pixels are too many")
                frames.append(shrink(image))
                times.append(time)
                kept += frames[-1].size
                if kept > MAX_BYTES:
                    raise UnreadableError("its frames are too many")
                if (len(frames) if fps is None else sum(times) * fps / 1000) >= enough:
                    break
    except UnreadableError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableError("its pixels are too many") from None
    except UnidentifiedImageError:
        raise UnreadableError("it is empty" if not path.stat().st_size else "it is no picture") from None
    except Exception as error:  # decoders raise almost anything on damaged data
        raise UnreadableError(str(error).partition("\n")[0] or type(error).__name__) from error
    if not frames:
        raise UnreadableError("it holds no frames")
    return frames, times


def _stacked(frames: Sequence[Frames], channels: int | None) -> Frames:
    """Frames in one array; grey where all are grey and nothing else is asked for."""
    stacked = np.stack(frames)
    if channels is None and bool((stacked == stacked[..., :1]).all()):
        return np.ascontiguousarray(stacked[..., :1])
    return stacked


def _array(image: Image.Image, size: int | None, channels: int) -> Frames:
    if channels < 4 and image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert(MODES[channels])
    if size is not None and image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    array = np.asarray(image, dtype=np.uint8)
    return array[..., None] if channels == 1 else array


def natural(paths: Iterator[Path]) -> list[Path]:
    """Paths in order of their names, numbers by value: ``2.png`` comes before ``10.png``."""
    return sorted(paths, key=lambda path: [int(x) if x.isdecimal() else x for x in re.split(r"(\d+)", path.as_posix())])


def clip_files(folder: Path, stills: bool = False) -> tuple[list[Path], list[Path]]:
    """What below a folder is a clip: animated pictures, films and folders of stills (see
    :func:`unnoise.folders.find_files`), and the sub-folders that cannot be read. Films are among them also where the
    package that reads them is missing, so that they are skipped by name rather than passed over in silence.

    Args:
        folder: where to look.
        stills: whether every still picture is a clip of one frame; else those of one folder are the frames of one.
    """
    known = ANIMATED + STILL + FILMS
    files, closed = find_files(folder, lambda path: path.suffix.lower() in known and path.name not in (PREVIEW, SHEET))
    clips = []
    for path in files:
        alone = stills or path.suffix.lower() not in STILL or (path.suffix.lower() == ".png" and _moves(path))
        clips.append(path if alone else path.parent)
    return sorted(dict.fromkeys(clips)), closed


def _moves(path: Path) -> bool:
    """Whether a PNG file is animated; one that cannot be opened is not."""
    with suppress(Exception), warnings.catch_warnings():  # decoders raise almost anything on damaged data
        warnings.simplefilter("ignore")
        with Image.open(path, formats=["PNG"]) as image:
            return int(getattr(image, "n_frames", 1)) > 1
    return False


def endings() -> str:
    """What the names of clips end in, for messages."""
    films = ", ".join(FILMS)
    with_films = f", {films}" if find_spec("av") else f"; with 'unnoise-video[av]' also {films}"
    return ", ".join(ANIMATED) + ", or folders of frames" + with_films


def read_clips(path: Path) -> list[Clip]:
    """The clips in a folder (in order of their paths) or in one file, as they are. None is skipped: who judges a
    model's samples has to judge all of them.

    Raises:
        UserError: if there are none, or one cannot be read.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist", "name a folder of clips, or one clip")
    items = []
    for file in clip_files(path)[0] if path.is_dir() else [path]:
        try:
            items.append(read_clip(file))
        except UnreadableError as error:
            raise UserError(
                f"{printable(file)} cannot be read: {error}", "remove it, or name another folder"
            ) from error
    if not items:
        raise UserError(f"{path} holds no clips", f"clips end in {endings()}")
    return items


def windows(clip: Clip, frames: int, most: int = 1) -> list[Clip]:
    """The first ``most`` pieces of ``frames`` frames that follow each other in a clip; none of a shorter one."""
    starts = range(0, len(clip.frames) - frames + 1, frames)
    return [clip.cut(start, start + frames) for start in islice(starts, most)]
