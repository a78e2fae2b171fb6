"""One trainer in a run folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from unnoise.errors import UserError
from unnoise.writing import writing

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

FILE = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a run folder if need be, and keep other trainers out of it inside of the ``with`` block.

    The kernel forgets the lock when the process dies, however it dies. Where the system or the file system has no
    locks, nobody is kept out. A folder that was made here and is empty in the end is removed.

    Raises:
        UserError: naming the process that holds the folder, or saying why it cannot be written.
    """
    path, made = folder / FILE, not folder.exists()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = _acquire(path)
    try:
        yield
    finally:
        with suppress(OSError):  # a folder that has gone away
            if _same(file, path):
                path.unlink()  # while it is held, so that nobody can hold it yet
            if made and not any(folder.iterdir()):
                folder.rmdir()
        file.close()


def _acquire(path: Path) -> TextIO:
    """The lock file, open and locked."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another process"
            file.close()
            fix = "Wait for it or stop it, or name another folder by run=..."
            raise UserError(f"{path.parent} is in use: {holder} trains there", fix) from None
        except OSError:  # a file system without locks
            return file
        if _same(file, path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            return file
        file.close()  # its last holder has just deleted it


def _same(file: TextIO, path: Path) -> bool:
    """Whether ``path`` still is the open file."""
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())
