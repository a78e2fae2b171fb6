"""``metrics.jsonl``: a line of means every so many steps, the same lines however often a run was stopped."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unnoise.errors import UserError
from unnoise.reading import check_file
from unnoise.reading.files import reason
from unnoise.writing import sync, write_text, writing


class MetricsLog:
    """Means over the steps since the last line.

    What a line will be made of is part of every checkpoint (:meth:`state`), so that a line whose steps lie in two
    sittings is the same as if there had been one.

    Args:
        path: of the file; lines are appended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps = 0
        """Steps since the last line."""
        self.means: dict[str, float] = {}
        """Of the last line."""
        self._sums: dict[str, float] = {}
        self._pending: list[dict[str, Tensor]] = []  # of the last steps, not looked at yet

    def add(self, logs: Mapping[str, Tensor]) -> None:
        """Take in the scalars of one more step. They are not looked at, so that a GPU need not be waited for."""
        self._pending.append(dict(logs))
        self.steps += 1

    def gather(self, step: int) -> None:
        """Look at what was taken in, up to step ``step``.

        Raises:
            UserError: if a number is not finite, naming it and its step.
        """
        first = step - len(self._pending) + 1
        for number, logs in enumerate(self._pending, start=first):
            row = dict(zip(logs, torch.stack(list(logs.values())).tolist(), strict=True))
            bad = [name for name, value in row.items() if not math.isfinite(value)]
            if bad:
                raise UserError(
                    f"{', '.join(bad)} of step {number} is not finite",
                    "Lower train.lr, lengthen train.warmup or set train.precision=fp32, and go on with resume=true.",
                )
            for name, value in row.items():
                self._sums[name] = self._sums.get(name, 0.0) + value
        self._pending.clear()

    def write(self, step: int, clock: Mapping[str, float]) -> dict[str, float]:
        """Append the line of step ``step``, and begin the next one.

        Args:
            step: the last that was taken in.
            clock: numbers that are no means, such as the machine's speed; they come last in the line.

        Returns:
            the line, without its step.

        Raises:
            UserError: if a number is not finite, or the file cannot be written.
        """
        self.gather(step)
        means = {name: value / self.steps for name, value in self._sums.items()}
        with writing(self.path), self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps({"step": step, **means, **clock}) + "\n")
        self.means, self.steps = means, 0
        self._sums.clear()
        return {**means, **clock}

    def sync(self) -> None:
        """Flush the file to disk: a checkpoint must not outlive lines that it will not repeat."""
        if self.path.exists():
            with writing(self.path):
                sync(self.path)

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` takes, as JSON; only after :meth:`gather`."""
        return {"steps": self.steps, "sums": dict(self._sums), "means": self.means}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.steps, self._sums, self.means = int(state["steps"]), dict(state["sums"]), dict(state["means"])

    def rewind(self, step: int) -> None:
        """Drop the lines that a run at step ``step`` has not written yet, and a last one that a crash cut short.

        Raises:
            UserError: if another line is no JSON, or the file cannot be written.
        """
        if not os.path.lexists(self.path):
            return
        fix = "Remove it, or put a copy in its place."
        check_file(self.path, fix=fix)
        try:
            content = self.path.read_bytes().decode("utf-8", errors="replace")
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {reason(error)}", fix) from error
        kept = []
        for number, line in enumerate(content.splitlines(keepends=True), start=1):
            if not line.endswith("\n"):
                continue
            try:
                written = int(json.loads(line)["step"])
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                raise UserError(f"line {number} of {self.path} is damaged", "Delete that line.") from error
            if written <= step - self.steps:
                kept.append(line)
        write_text(self.path, "".join(kept))
