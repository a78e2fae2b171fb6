"""Signals that end a run between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what job schedulers send before they kill."""


@dataclass
class Interruption:
    """Whether a run is asked to end.

    Args:
        signal: number of the signal that asked; None as long as there was none.
    """

    signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Note the first of :data:`SIGNALS` instead of being stopped by it, so that a step is never cut in two.

    A second one does what it did before. Only the main thread of a program is told of signals.
    """
    asked = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def handle(number: int, frame: FrameType | None) -> None:
        asked.signal = number
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    # A handler that was not set from Python reads as None and cannot be put back; the default takes its place.
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, handle)
    try:
        yield asked
    finally:
        restore()
