"""A progress bar on a terminal; a line now and then where the output goes to a file."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY = 15.0
"""Seconds between lines where there is no terminal."""


class Bar:
    """How far a job is.

    Args:
        title: what is being done.
        total: amount of work, in any unit.
        console: where to write; standard error if left out.

    Use as a context manager; on a terminal the bar shows elapsed and remaining time.
    """

    def __init__(self, title: str, total: float, console: Console | None = None) -> None:
        self.title, self.total, self.done, self.text = title, total, 0.0, ""
        self.console = console or Console(stderr=True)
        self._printed = self._started = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
                TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[text]}"), console=self.console,
            )  # fmt: skip
            self._task = self._bar.add_task(self.title, total=self.total, text="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None:
            self._line()

    def advance(self, amount: float) -> None:
        """So much more is done."""
        self.update(self.done + amount)

    def update(self, done: float, text: str | None = None) -> None:
        """So much is done in all; ``text`` stands beside the bar."""
        self.done = done
        self.text = self.text if text is None else text
        if self._bar is not None:
            self._bar.update(self._task, completed=done, text=self.text)
        elif time.monotonic() - self._printed > LINE_EVERY:
            self._line()

    def say(self, text: str) -> None:
        """A line of its own above the bar."""
        self.console.print(text, highlight=False, markup=False)

    def _line(self) -> None:
        self._printed = time.monotonic()
        elapsed = self._printed - self._started
        share = min(self.done / self.total, 1.0) if self.total else 1.0
        left = f", {elapsed * (1 - share) / share:.0f} s left" if 0 < share < 1 else ""
        line = f"{self.title}: {share:.0%} in {elapsed:.0f} s{left}  {self.text}"
        self.console.print(line, highlight=False, markup=False)
