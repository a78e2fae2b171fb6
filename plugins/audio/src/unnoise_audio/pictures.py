"""Sounds as pictures: the spectrogram above, the waveform below."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from unnoise.errors import UserError
from unnoise_audio.sound import Sound
from unnoise_audio.stft import Stft

WIDTH, HEIGHT, WAVE = 128, 96, 32
"""Pixels of a cell: its width, and the heights of spectrogram and waveform."""
RANGE = 80.0
"""Decibels from the lightest to the darkest."""
LOWEST = 50.0
"""Hertz at the bottom; the scale is logarithmic, so that octaves are equally high."""
_STOPS = ((0, 0, 4), (60, 15, 110), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191))


def _palette() -> NDArray[np.uint8]:
    """256 colours from dark to light through :data:`_STOPS`."""
    at = np.linspace(0, len(_STOPS) - 1, 256)
    channels = [np.interp(at, range(len(_STOPS)), channel) for channel in zip(*_STOPS, strict=True)]
    return np.stack(channels, -1).round().astype(np.uint8)


def spectrogram(sound: Sound, seconds: float) -> NDArray[np.uint8]:
    """Levels over time and log frequency, ``(HEIGHT, WIDTH, 3)``, low frequencies at the bottom.

    Args:
        sound: of any rate; its channels are mixed.
        seconds: what the width shows.
    """
    n_fft = 1 << max(int(np.log2(sound.rate * 0.05)), 4)
    stft = Stft(n_fft, n_fft // 4)
    mono = torch.from_numpy(sound.mono().astype(np.float32))
    mono = torch.nn.functional.pad(mono, (0, -len(mono) % stft.hop))
    power = stft(mono[None])[0].abs().square() / stft.window.square().sum()
    level = (10 * torch.log10(power.clamp(min=1e-12))).numpy()
    nyquist = sound.rate / 2
    hertz = np.geomspace(min(LOWEST, nyquist / 2), nyquist, HEIGHT)
    rows = np.clip(hertz / nyquist * (stft.bins - 1), 0, stft.bins - 1)
    columns = np.linspace(0, max(seconds * sound.rate / stft.hop, 1), WIDTH, endpoint=False).astype(int)
    shown = np.full((WIDTH, HEIGHT), -np.inf)
    inside = columns < len(level)
    for x in np.flatnonzero(inside):
        shown[x] = np.interp(rows, np.arange(stft.bins), level[columns[x]])
    shade = np.clip((shown - 10 + RANGE) / RANGE, 0, 1)
    return np.asarray(_palette()[(255 * shade).round().astype(int)].transpose(1, 0, 2)[::-1])


def waveform(sound: Sound, seconds: float) -> NDArray[np.uint8]:
    """Lowest and highest sample of every moment, ``(WAVE, WIDTH, 3)``; full scale fills the height."""
    edges = np.linspace(0, max(round(seconds * sound.rate), 1), WIDTH + 1).astype(int)
    picture = np.full((WAVE, WIDTH, 3), 255, np.uint8)
    mono = np.clip(np.nan_to_num(sound.mono()), -1, 1)
    for x in range(WIDTH):
        here = mono[edges[x] : max(edges[x + 1], edges[x] + 1)]
        if len(here):
            top, bottom = ((1 - value) / 2 * (WAVE - 1) for value in (here.max(), here.min()))
            picture[int(top) : int(bottom) + 1, x] = (31, 73, 125)
    return picture


def sheet(items: Sequence[Sound], labels: Sequence[str] = (), columns: int | None = None) -> Image.Image:
    """All sounds in a grid, on one scale of time.

    Args:
        items: the sounds.
        labels: a caption per item, or none at all.
        columns: of the grid; about as high as wide if left out.

    Raises:
        UserError: if there is nothing to show.
    """
    if not items:
        raise UserError("there is no sound to show", "ask for at least one sample")
    longest = max(item.seconds for item in items)
    texts = [textwrap.wrap(label, 22, max_lines=3, placeholder="…") for label in labels]
    gap, caption = 4, 13 * max(map(len, texts), default=0)
    columns = columns or int(np.ceil(np.sqrt(len(items))))
    rows = -(-len(items) // columns)
    cell = (WIDTH + gap, HEIGHT + WAVE + caption + gap)
    picture = Image.new("RGB", (columns * cell[0] + gap, rows * cell[1] + gap), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for i, item in enumerate(items):
        x, y = gap + (i % columns) * cell[0], gap + (i // columns) * cell[1]
        both = np.concatenate([spectrogram(item, longest), waveform(item, longest)])
        picture.paste(Image.fromarray(both), (x, y))
        if labels:
            draw.text((x, y + HEIGHT + WAVE), "\n".join(texts[i]), fill="black", font=font)
    return picture
