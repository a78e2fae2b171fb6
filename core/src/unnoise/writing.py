"""Files written so that a crash at any moment leaves them complete or as they were, with errors that say what to do."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from unnoise.errors import UserError

_NO_ROOM = "Make room (disk, quota, ulimit -f); a training run then goes on with resume=true."
_NO_RIGHT = "Make the folder writable, or name another one; a training run then goes on with resume=true."
_NO_FOLDER = "Was the folder moved or deleted? Put it back; a training run then goes on with resume=true."
_NO_IDEA = "Look at the disk; a training run then goes on with resume=true."
_FIXES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _NO_ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _NO_RIGHT),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ESTALE), _NO_FOLDER),
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while ``path`` is written into a :class:`UserError` that names it, the cause and a fix."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = error.errno if isinstance(error, OSError) else None
        if match := re.search(r"(?:os error|Os \{ code:) (\d+)", str(error)):  # of newer and older safetensors
            number = int(match[1])
        cause = str(error) if number is None else os.strerror(number)
        raise UserError(f"{path} cannot be written: {cause}", _FIXES.get(number or 0, _NO_IDEA)) from error


@contextmanager
def output_folder(path: Path, fresh: bool = False) -> Iterator[Path]:
    """A folder for what is about to be made, so that hours of work do not end at a folder that cannot be written.

    It is removed again if the work fails before anything is in it.

    Args:
        path: the folder; made with its parents if need be.
        fresh: whether it must be new; if it is there, a number is added to its name.

    Raises:
        UserError: if it cannot be made or written.
    """
    with writing(path):
        names = itertools.chain([path], (path.with_name(f"{path.name}-{k}") for k in itertools.count(2)))
        path = next(name for name in names if _made(name) or not fresh)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    try:
        yield path
    except BaseException:
        with suppress(OSError):
            path.rmdir()  # only if it is empty
        raise


def _made(folder: Path) -> bool:
    """Make a folder; whether it was not there before."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return False
    return True


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file to disk as :func:`write_text`; readable, and the same bytes for the same value."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file to disk, complete or not at all; raises :class:`UserError` if it cannot be written."""
    temporary = path.with_name(f".{path.name}")
    with writing(path):
        try:
            temporary.write_text(text, encoding="utf-8", newline="\n")
            sync(temporary)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file or a folder to disk. Windows flushes no folders, and no files that are open for reading only."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
