"""Small runs of the toy plugin, and ways to damage them."""

import json
import signal
import struct
from contextlib import contextmanager
from pathlib import Path

from unnoise.writing import sha256

CONFIG = {
    "modality": "toy",
    "data": {"name": "ring", "n": 60},
    "representation": {"name": "plane"},
    "denoiser": {"name": "mlp", "width": 8},
    "process": {"*": {"name": "gaussian", "schedule": {"name": "cosine"}, "parametrization": {"name": "v"}}},
    "conditions": {"use": ["class"], "dim": 4},
    "train": {"steps": 4, "batch": 8, "warmup": 1, "log_every": 2, "checkpoint_every": 2, "device": "cpu"},
    "sample": {"steps": 3, "n": 2},
}


class Late(BaseException):
    """A case took too long. No Exception, so that nothing turns it into an error message."""


@contextmanager
def within(seconds):
    """Raise :class:`Late` in whatever runs for longer."""

    def stop(number, frame):
        raise Late

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def checkpoint_of(folder):
    """The last checkpoint's folder."""
    return sorted((Path(folder) / "checkpoints").iterdir())[-1]


def edit_json(path, change):
    """Let ``change`` alter the value of a JSON file in place."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def put(path, keys, value):
    """Set one entry of a JSON file."""

    def change(node):
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value

    edit_json(path, change)


def note_digest(path):
    """Make ``state.json`` say that a tensor file is as it was written, as somebody who forges it would."""
    put(path.with_name("state.json"), ["sha256", path.name], sha256(path))


def split(data):
    """The header of a safetensors file, and its body."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header, body):
    """The inverse of :func:`split`; a header may also be given as text."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + body
