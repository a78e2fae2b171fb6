"""Reading sounds from files that anybody made."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from unnoise.errors import UserError
from unnoise.folders import UnreadableError, find_files, printable
from unnoise_audio.sound import Sound, resampled, with_channels
from unnoise_audio.wav import read_wav

WAV = (".wav", ".wave")
OTHERS = (".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".caf", ".au", ".w64")
"""What the package soundfile reads beside WAV."""


def read_sound(path: Path, rate: int | None = None, channels: int | None = None) -> Sound:
    """The sound in a file, at a rate and with a number of channels; as it is where they are left out.

    Raises:
        UnreadableError: for whatever is wrong with it.
    """
    sound = read_wav(path) if path.suffix.lower() in WAV else _read_other(path)
    if not sound.samples.size:
        raise UnreadableError("it holds no samples")
    if not np.isfinite(sound.samples).all():
        raise UnreadableError("some of its samples are not finite")
    try:
        sound = sound if channels is None else with_channels(sound, channels)
    except UserError as error:
        raise UnreadableError(f"it has {sound.channels} channels") from error
    return sound if rate is None else resampled(sound, rate)


def _read_other(path: Path) -> Sound:
    try:
        import soundfile  # type: ignore[import-untyped]
    except ImportError:
        raise UnreadableError("it needs the package soundfile: pip install 'unnoise-audio[soundfile]'") from None
    try:
        data, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except Exception as error:  # of libsndfile
        raise UnreadableError(str(error).rpartition(": ")[2] or type(error).__name__) from error
    return Sound(np.ascontiguousarray(data.T), rate)


def sound_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """All files below a folder whose ending says sound, and the sub-folders that cannot be read (see
    :func:`unnoise.folders.find_files`). Files that only soundfile reads are among them: without it, they are
    skipped by name rather than passed over in silence.
    """
    return find_files(folder, lambda path: path.suffix.lower() in WAV + OTHERS)


def endings() -> str:
    """What the names of sounds end in, for messages."""
    more = ", ".join(OTHERS)
    return f"{WAV[0]}, {more}" if find_spec("soundfile") else f"{WAV[0]}; with 'unnoise-audio[soundfile]' also {more}"


def read_sounds(path: Path) -> list[Sound]:
    """The sounds in a folder (in order of their paths) or in one file, at their own rates. None is skipped: who judges
    a model's samples has to judge all of them.

    Raises:
        UserError: if there are none, or one cannot be read.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist", "name a folder of sounds, or one sound")
    items = []
    for file in sound_files(path)[0] if path.is_dir() else [path]:
        try:
            items.append(read_sound(file))
        except UnreadableError as error:
            fix = "remove it, or name another folder"
            raise UserError(f"{printable(file)} cannot be read: {error}", fix) from error
    if not items:
        raise UserError(f"{path} holds no sounds", f"sounds end in {endings()}")
    return items
