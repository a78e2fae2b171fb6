"""The exceptions that are messages to the user and not bugs."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right.

    The command line prints it without a traceback and exits with code 2.

    Args:
        message: what is wrong, naming the thing.
        fix: what to do about it; something that can be pasted where possible.
    """

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}\n{self.fix}" if self.fix else self.message


class Caution(UserWarning):
    """Something that works and is probably not meant. The command line prints it as one line."""


class Interrupted(KeyboardInterrupt):
    """A signal has ended the work, and what was done is kept.

    The command line prints it without a traceback and exits with code 128 + ``number``, as shells do.

    Args:
        number: of the signal.
        fix: how to go on.
    """

    def __init__(self, number: int = signal.SIGINT, fix: str = "") -> None:
        self.number, self.message, self.fix = number, "interrupted", fix
        super().__init__(self.message)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name most like ``name``, or None where nothing is close."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """``" Did you mean 'x'?"``, or an empty string where nothing is close."""
    found = nearest(name, names)
    return f" Did you mean {found!r}?" if found else ""
