"""Notes by the built-in synthesiser, made when they are asked for: no download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from unnoise.contracts import Column, Dataset, Labels, Texts
from unnoise.errors import UserError
from unnoise_audio.data.base import SoundColumns
from unnoise_audio.sound import Sound, frequency, note_name
from unnoise_audio.synthesis import INSTRUMENTS, note

LEVELS = (-30.0, -14.0)
"""Loudness in decibels of full scale, drawn evenly."""


class Notes(Dataset):
    """Single notes of four instruments, plucked, bowed, blown and struck. Columns: ``instrument``, ``pitch`` ("A4"),
    ``text``, a sentence by template, and what is measured (:class:`unnoise_audio.data.base.SoundColumns`).

    Instruments and pitches follow each other evenly; loudness, duration and what a player varies are drawn for every
    note from the seed of its split, so that no test note is a training note. The notes never depend on the run's seed:
    runs with different seeds are judged on the same ones.

    Args:
        split: "train" or "test".
        seed: has no effect.
        n: training notes; the test split has a fifth of them.
        rate: samples per second.
        lowest, highest: MIDI keys (69 is A4, 440 Hz).
        shortest, longest: seconds.

    Raises:
        UserError: if there would be no note.
    """

    def __init__(
        self,
        split: str,
        seed: int = 0,
        *,
        n: int = 2000,
        rate: int = 16000,
        lowest: int = 48,
        highest: int = 83,
        shortest: float = 0.5,
        longest: float = 1.0,
    ) -> None:
        if n < 5 or not 12 <= lowest <= highest or rate < 1000 or not 0.05 <= shortest <= longest:
            message = f"data.n={n}, rate={rate}, lowest={lowest}, highest={highest}, {shortest} to {longest} s"
            raise UserError(message, "n is at least 5, rate 1000, lowest 12 and shortest 0.05; ranges are not empty")
        if frequency(highest) > 0.4 * rate:
            raise UserError(
                f"{note_name(highest)} cannot be heard at {rate} Hz", "lower data.highest, or raise data.rate"
            )
        self._test, self.rate = split == "test", rate
        self._names, self._keys = tuple(INSTRUMENTS), range(lowest, highest + 1)
        count = n // 5 if self._test else n
        index = np.arange(count)
        # Every instrument meets every key: a key comes again after as many notes as there are instruments.
        self._instruments = index % len(self._names)
        self._pitches = index // len(self._names) % len(self._keys)
        drawn = np.random.default_rng([int(self._test), 1]).random((2, count))
        self._seconds = np.round((shortest + (longest - shortest) * drawn[0]) * rate) / rate
        self._levels = LEVELS[0] + (LEVELS[1] - LEVELS[0]) * drawn[1]
        self._items: list[Sound] | None = None
        given = {
            "instrument": Labels(self._instruments.astype(np.int64), self._names),
            "pitch": Labels(self._pitches.astype(np.int64), tuple(map(note_name, self._keys))),
            "text": Texts(np.array(self.captions(), dtype=np.str_)),
        }
        self._columns = SoundColumns(self._all, given)

    def __len__(self) -> int:
        return len(self._levels)

    def __getitem__(self, index: int) -> Sound:
        if self._items is not None:
            return self._items[index]
        samples = note(
            self._names[self._instruments[index]],
            frequency(self._keys[self._pitches[index]]),
            float(self._seconds[index]),
            float(self._levels[index]),
            self.rate,
            np.random.default_rng([int(self._test), 2, index]),
        )
        return Sound(samples[None], self.rate)

    def _all(self) -> list[Sound]:
        """Every note, made once and kept."""
        if self._items is None:
            self._items = [self[i] for i in range(len(self))]
        return self._items

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def captions(self) -> list[str]:
        """A sentence per note, by template."""
        loud = np.digitize(self._levels, (-24.0, -19.0))
        words = ("soft", "medium", "loud")
        return [
            f"a {words[volume]} {self._names[instrument]} {note_name(self._keys[pitch])}, {seconds:.1f} seconds"
            for volume, instrument, pitch, seconds in zip(
                loud, self._instruments, self._pitches, self._seconds, strict=True
            )
        ]

    def notes(self) -> Sequence[str]:
        return [f"notes: {len(self)} by the built-in synthesiser, {self.rate} Hz"]
