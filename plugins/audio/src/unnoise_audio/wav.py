"""WAV files: PCM of 8 to 32 bits and floats are read, PCM16, PCM24 and float are written, with text inside."""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from scipy.io import wavfile

from unnoise.errors import UserError
from unnoise.folders import UnreadableError
from unnoise_audio.sound import Samples, Sound

Encoding = Literal["pcm16", "pcm24", "float"]
ENCODINGS: tuple[str, ...] = get_args(Encoding)

_PCM, _FLOAT = 1, 3


def read_wav(path: Path) -> Sound:
    """The sound in a WAV file.

    Raises:
        UnreadableError: if it is none, is cut short, or has no rate or no samples.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Chunk", wavfile.WavFileWarning)  # of text and other chunks
            warnings.filterwarnings("error", "Reached EOF", wavfile.WavFileWarning)
            rate, data = wavfile.read(path)
    except wavfile.WavFileWarning:
        raise UnreadableError("it is cut short") from None
    except Exception as error:  # damaged headers make it raise almost anything
        raise UnreadableError(str(error).partition("\n")[0] or type(error).__name__) from error
    if rate <= 0:
        raise UnreadableError(f"its rate is {rate} Hz")
    if not data.size:
        raise UnreadableError("it holds no samples")
    samples = _full_scale(data)
    return Sound(np.ascontiguousarray(samples.reshape(len(samples), -1).T), rate)


def _full_scale(data: Any) -> Samples:
    if data.dtype.kind == "f":
        scaled = data
    elif data.dtype == np.uint8:
        scaled = (data.astype(np.float32) - 128) / 128
    elif data.dtype in (np.int16, np.int32):
        scaled = data / -float(np.iinfo(data.dtype).min)  # 24 bits are given as the upper ones of 32
    else:
        raise UnreadableError(f"its samples are of type {data.dtype}")
    return np.asarray(scaled, dtype=np.float32)


def write_wav(sound: Sound, path: Path, settings: Mapping[str, Any], encoding: Encoding = "pcm16") -> None:
    """Write a WAV file with ``settings`` as JSON in its comment (chunk LIST, INFO, ICMT). The same arguments give the
    same bytes. Integers clip what exceeds full scale; floats keep it.

    Raises:
        UserError: if the encoding does not exist.
    """
    if encoding not in ENCODINGS:
        raise UserError(f"there is no encoding {encoding!r}", f"choose one of {', '.join(ENCODINGS)}")
    interleaved = sound.samples.T
    if encoding == "float":
        data = interleaved.astype("<f4").tobytes()
    else:
        top = 2 ** (15 if encoding == "pcm16" else 23)
        levels = np.clip(np.round(interleaved.astype(np.float64) * top), -top, top - 1)
        if encoding == "pcm16":
            data = levels.astype("<i2").tobytes()
        else:
            data = levels.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    width = {"pcm16": 2, "pcm24": 3, "float": 4}[encoding]
    block = sound.channels * width
    kind = _FLOAT if encoding == "float" else _PCM
    form = struct.pack("<HHIIHH", kind, sound.channels, sound.rate, sound.rate * block, block, 8 * width)
    text = json.dumps(settings, sort_keys=True, default=str).encode("ascii") + b"\0"
    chunks = _chunk(b"fmt ", form) + _chunk(b"LIST", b"INFO" + _chunk(b"ICMT", text)) + _chunk(b"data", data)
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
