"""A progress bar on a terminal; a line now and then where the output goes to a file."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY = 15.0
"""Seconds between lines where there is no terminal."""
WORTH_A_LINE = 2.0
"""Seconds that a job must have taken to be mentioned there when it is done, unless it has something to say."""
REFRESH = 0.1
"""Seconds between changes of the bar on a terminal."""


class Bar:
    """How far a job is.

    Args:
        title: what is being done.
        total: amount of work, in any unit; None if nobody knows.
        start: how much of it was done before.
        console: where to write; standard error if left out.

    Use as a context manager; on a terminal the bar shows elapsed and remaining time.
    """

    def __init__(self, title: str, total: float | None, console: Console | None = None, start: float = 0.0) -> None:
        self.title, self.total, self.start, self.done, self.text = title, total, start, start, ""
        self.console = console or Console(stderr=True)
        self._printed = self._shown = self._started = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
                TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[text]}"), console=self.console,
            )  # fmt: skip
            self._task = self._bar.add_task(self.title, total=self.total, text="")
            self._bar.update(self._task, completed=self.start)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:  # done, whatever was counted last
            self.done = self.total or self.done
        if self._bar is not None:
            self._bar.update(self._task, total=self.total or self.done, completed=self.done)
            self._bar.stop()
        elif kind is None and (self.text or time.monotonic() - self._started > WORTH_A_LINE):
            self._line()

    def advance(self, amount: float) -> None:
        """So much more is done."""
        self.update(self.done + amount)

    def update(self, done: float, text: str | None = None) -> None:
        """So much is done in all; ``text`` stands beside the bar."""
        self.done = done
        self.text = self.text if text is None else text
        now = time.monotonic()
        if self._bar is None:
            if now - self._printed > LINE_EVERY:
                self._line()
        elif text is not None or done == self.total or now - self._shown > REFRESH:
            self._shown = now
            self._bar.update(self._task, completed=done, text=self.text)

    def say(self, text: str) -> None:
        """A line of its own above the bar."""
        self.console.print(text, highlight=False, markup=False)

    def _line(self) -> None:
        self._printed = time.monotonic()
        elapsed = self._printed - self._started
        share = min(self.done / self.total, 1.0) if self.total else 1.0
        left = ""
        if self.total and self.start < self.done < self.total:
            left = f", {_time(elapsed * (self.total - self.done) / (self.done - self.start))} left"
        line = f"{self.title}: {share:.0%} in {_time(elapsed)}{left}  {self.text}".rstrip()
        self.console.print(line, highlight=False, markup=False)


def _time(seconds: float) -> str:
    """``"42 s"``, ``"7 min"``, ``"3.4 h"``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
