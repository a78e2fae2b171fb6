"""Clips as files: animated pictures, folders of frames, films."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unnoise.errors import UserError
from unnoise_video.clip import Clip, Frames
from unnoise_video.sheets import in_colour, moving_sheet

Format = Literal["webp", "gif", "png", "frames", "mp4"]
SHEET = "animation.webp"
"""What the clip of all samples of a call is called."""
_DESCRIPTION = 0x010E
"""The EXIF field "ImageDescription"."""


def write_clips(items: Sequence[Clip], folder: Path, settings: Mapping[str, Any], format: Format) -> list[Path]:
    """A file (or folder of frames) per clip, and one clip of all of them where they have one shape. ``settings`` are
    embedded as JSON; the same clips and settings give the same bytes.

    Raises:
        UserError: for mp4 without the package that writes it.
    """
    paths = []
    for i, item in enumerate(items):
        name = f"{i:05d}" if format == "frames" else f"{i:05d}.{format}"
        paths += write_clip(item, folder / name, settings, format)
    if len({item.shape for item in items}) == 1:
        paths += write_clip(moving_sheet(items), folder / SHEET, settings, "webp")
    return paths


def write_clip(item: Clip, path: Path, settings: Mapping[str, Any], format: Format) -> list[Path]:
    """One clip; its paths. Grey and colour are exact but for gif (256 colours a frame) and mp4 (H.264)."""
    text = json.dumps(settings, sort_keys=True, default=str)
    if format == "frames":
        path.mkdir(exist_ok=True)
        names = [path / f"{k:05d}.png" for k in range(len(item.frames))]
        for name, image in zip(names, images(item.frames), strict=True):
            image.save(name, format="PNG", pnginfo=_png_text(text))
        return names
    if format == "mp4":
        _write_mp4(item, path, text)
        return [path]
    options: dict[str, Any]
    if format == "webp":
        exif = Image.Exif()
        exif[_DESCRIPTION] = text
        options = {"lossless": True, "exact": True, "quality": 80, "method": 4, "exif": exif.tobytes()}
    elif format == "gif":
        options = {"comment": text.encode(), "optimize": False}
    else:
        options = {"pnginfo": _png_text(text)}
    first, *rest = images(item.frames)
    times = durations(len(item.frames), item.fps, 10 if format == "gif" else 1)
    timing = {"duration": times if rest else times[0], "loop": 0} if rest or format != "png" else {}
    first.save(path, format=format.upper(), save_all=True, append_images=rest, **timing, **options)
    return [path]


def images(frames: Frames) -> list[Image.Image]:
    """The Pillow images of frames."""
    return [Image.fromarray(frame[..., 0] if frame.shape[2] == 1 else frame) for frame in frames]


def durations(count: int, fps: float, unit: int = 1) -> list[int]:
    """Milliseconds for which each frame is shown, in whole units; rounding does not add up."""
    edges = np.round(np.arange(count + 1) * 1000 / fps / unit).astype(int) * unit
    return [max(int(step), unit) for step in np.diff(edges)]


def _png_text(text: str) -> PngInfo:
    info = PngInfo()
    info.add_text("parameters", text)
    return info


def _write_mp4(item: Clip, path: Path, text: str) -> None:
    try:
        import av
    except ImportError:
        raise UserError("mp4 needs the package av", "pip install 'unnoise-video[av]'") from None
    frames = in_colour(item.frames)
    # H.264 halves the resolution of colour, so both sides are even.
    sides = [(0, side % 2) for side in frames.shape[1:3]]
    frames = np.pad(frames, ((0, 0), *sides, (0, 0)), mode="edge")
    with av.open(str(path), "w", format="mp4", options={"movflags": "use_metadata_tags"}) as film:
        film.metadata["comment"] = text
        stream: Any = film.add_stream("libx264", rate=Fraction(item.fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "12", "threads": "1"}
        for frame in frames:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        film.mux(stream.encode())
