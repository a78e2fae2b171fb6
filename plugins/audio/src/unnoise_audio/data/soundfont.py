"""Notes rendered from a soundfont: thousands of real instruments' sounds, with pitch and instrument known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from unnoise.contracts import Column, Dataset, Labels
from unnoise.errors import UserError
from unnoise_audio.data.base import SoundColumns
from unnoise_audio.sound import Sound, note_name

FAMILIES = (
    "piano", "chromatic percussion", "organ", "guitar", "bass", "strings", "ensemble", "brass",
    "reed", "pipe", "synth lead", "synth pad",
)  # fmt: skip
"""The groups of eight programs of General MIDI, less the last four, which are effects and unpitched."""
VELOCITIES = (50, 80, 110)
FIX = "pip install 'unnoise-audio[soundfont]' && pip install --no-deps tinysoundfont"


class Soundfont(Dataset):
    """Notes of the first 96 programs of General MIDI. Columns: ``instrument`` (the family of the program), ``pitch``
    ("A4"), ``velocity``, and what is measured (:class:`unnoise_audio.data.base.SoundColumns`).

    One note for every program, key and velocity. A note belongs to the test split by its program *and* key, never by
    velocity alone, so that a test note has no twin in training: those with ``(7 * program + key) % 10 == 0``.

    Args:
        split: "train" or "test".
        seed: has no effect.
        path: of the soundfont (.sf2); empty for the one that the package pretty_midi brings.
        rate: samples per second.
        lowest, highest: MIDI keys.
        step: semitones from one key to the next.
        seconds: length of a note.
        held: seconds after which the key is released.

    Raises:
        UserError: if a package or the soundfont is missing, or an option is out of range.
    """

    def __init__(
        self,
        split: str,
        seed: int = 0,
        *,
        path: str = "",
        rate: int = 16000,
        lowest: int = 48,
        highest: int = 83,
        step: int = 1,
        seconds: float = 1.0,
        held: float = 0.75,
    ) -> None:
        if step < 1 or not 0 <= lowest <= highest <= 127 or rate < 1000 or not 0 < held <= seconds:
            message = f"data.rate={rate}, lowest={lowest}, highest={highest}, step={step}, {held} of {seconds} s"
            raise UserError(message, "keys lie from 0 to 127, step is at least 1, held is above 0 and at most seconds")
        synth, bank = _synthesiser(path, rate)
        keys = range(lowest, highest + 1, step)
        self._items, rows = [], []
        for program in range(8 * len(FAMILIES)):
            for number, key in enumerate(keys):
                if ((7 * program + key) % 10 == 0) != (split == "test"):
                    continue
                for velocity in VELOCITIES:
                    samples = _render(synth, bank, program, key, velocity, rate, seconds, held)
                    if np.abs(samples).max(initial=0) > 1e-4:  # not every program has every key
                        self._items.append(Sound(samples, rate))
                        rows.append((program // 8, number, velocity))
        if not rows:
            raise UserError("the soundfont gives no sound", "name another: data.path=<file.sf2>")
        table = np.array(rows, dtype=np.int64)
        given = {
            "instrument": Labels(table[:, 0], FAMILIES),
            "pitch": Labels(table[:, 1], tuple(map(note_name, keys))),
            "velocity": Labels(np.searchsorted(VELOCITIES, table[:, 2]), tuple(map(str, VELOCITIES))),
        }
        self._columns = SoundColumns(lambda: self._items, given)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Sound:
        return self._items[index]

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def notes(self) -> Sequence[str]:
        return [f"soundfont: {len(self)} notes; its licence holds for what is made of it (TimGM6mb: GPL-2)"]


def _synthesiser(path: str, rate: int) -> tuple[Any, int]:
    """tinysoundfont's synthesiser and the number of the soundfont in it."""
    if find_spec("tinysoundfont") is None:
        raise UserError("data 'soundfont' needs the package tinysoundfont", FIX)
    file = Path(path).expanduser()
    if not path:
        package = find_spec("pretty_midi")
        if package is None or package.origin is None:
            raise UserError("data 'soundfont' needs a soundfont", f"data.path=<file.sf2>, or {FIX}")
        file = Path(package.origin).parent / "TimGM6mb.sf2"
    if not file.is_file():
        raise UserError(f"{file} is missing", "name a soundfont: data.path=<file.sf2>")
    synth = import_module("tinysoundfont").Synth(samplerate=rate, gain=0)
    try:
        return synth, synth.sfload(str(file))
    except Exception as error:  # of its C library
        raise UserError(f"{file} is no soundfont: {error}", "name another: data.path=<file.sf2>") from error


def _render(
    synth: Any, bank: int, program: int, key: int, velocity: int, rate: int, seconds: float, held: float
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """One note, mono ``(1, n)``."""
    synth.program_select(0, bank, 0, program)
    synth.noteon(0, key, velocity)
    total, down = round(seconds * rate), round(held * rate)
    first = np.frombuffer(synth.generate(down), np.float32).reshape(-1, 2).mean(1)
    synth.noteoff(0, key)
    rest = np.frombuffer(synth.generate(total - down), np.float32).reshape(-1, 2).mean(1) if total > down else first[:0]
    synth.sounds_off(0)
    synth.generate(rate // 10)  # what is left of this note shall not sound in the next
    return np.concatenate([first, rest])[None].astype(np.float32)
