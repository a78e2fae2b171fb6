"""The one training loop. What is trained is a :class:`Task`; what a step sees is a pure function of seed and step."""

from __future__ import annotations

import hashlib
import json
import math
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn

from unnoise.errors import UserError
from unnoise.progress import Bar
from unnoise.schema import TrainConfig
from unnoise.training.checkpoint import Checkpoint, load_weights, prune, save_checkpoint, write_text
from unnoise.training.ema import Ema
from unnoise.training.optim import Optimizer, lr_factor


class Task(nn.Module, ABC):
    """What is trained. Its state dict is all that has to be kept: weights, statistics, whatever else it needs."""

    @abstractmethod
    def loss(self, index: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss over the samples with these global indices (int64 ``(B,)`` on the CPU), and scalars to log.

        Must draw from addressed noise only, so that it depends on the weights, the run's seed and ``index`` alone.
        """


@dataclass
class TrainState:
    """Where a run is.

    Args:
        step: optimiser steps done.
        seconds: time spent, over all sittings.
    """

    step: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Events:
    """Whom the loop tells what it does; each is called between steps."""

    train_step: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None
    saved: Callable[[Path, int], None] = lambda path, step: None
    preview: Callable[[int], None] = lambda step: None


@dataclass
class Trainer:
    """Trains a task in a folder.

    Args:
        task: on its device already.
        config: the options.
        seed: of the run.
        folder: holds ``checkpoints/`` and ``metrics.jsonl``.
        events: see :class:`Events`.
        title: of the progress bar.
        started: ``time.monotonic()`` when the clock of ``config.minutes`` began; now if left out.
    """

    task: Task
    config: TrainConfig
    seed: int
    folder: Path
    events: Events = field(default_factory=Events)
    title: str = "training"
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        config = self.config
        _check_numbers(config)
        if config.batch % config.accumulate:
            message = f"train.batch={config.batch} cannot be computed in {config.accumulate} equal pieces"
            raise UserError(message, "Choose train.accumulate so that it divides train.batch.")
        self.device = next(self.task.parameters()).device
        self.autocast = uses_bfloat16(config.precision, self.device)
        self.optimizer = Optimizer(self.task, config)
        self.ema = Ema(self.task, config.ema.decay, config.ema.warmup)
        self.state = TrainState()
        self._earlier = 0.0
        self._since, self._last = self.started, 0  # when and where the last line was logged
        self._pending: list[dict[str, Tensor]] = []

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints live."""
        return self.folder / "checkpoints"

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on exactly where a checkpoint was made. Raises :class:`UserError` if it does not fit."""
        load_weights(self.task, checkpoint.tensors("model"), f"checkpoint {checkpoint.path}")
        self.ema.load_state_dict(checkpoint.tensors("ema"), checkpoint.state["ema_updates"])
        self.optimizer.load_state_dict(checkpoint.tensors("optimizer"))
        self.state = TrainState(checkpoint.step, checkpoint.state["seconds"])
        self._earlier = self.state.seconds

    def run(self) -> None:
        """Train to the end of the budget.

        Raises:
            KeyboardInterrupt: after Ctrl-C; a checkpoint of the last whole step is saved first.
            UserError: if a loss is not finite, naming step and part.
        """
        self.task.train()
        _truncate(self.folder / "metrics.jsonl", self.state.step)
        with interruption() as interrupted, Bar(self.title, 1.0) as bar:
            self._since, self._last = time.monotonic(), self.state.step
            while self.progress() < 1 and not interrupted.is_set():
                self._step()
                step = self.state.step
                if step % self.config.log_every == 0:
                    self._log(bar)
                else:
                    bar.update(self.progress())
                if self.config.checkpoint_every and step % self.config.checkpoint_every == 0:
                    self.save()
                if self.config.preview_every and step % self.config.preview_every == 0:
                    self._preview()
            if self._pending:
                self._log(bar)
            self.save()
            if interrupted.is_set():
                bar.say(f"interrupted: saved step {self.state.step}")
                raise KeyboardInterrupt
            bar.update(1.0)
        if not self.config.preview_every or self.state.step % self.config.preview_every:
            self._preview()

    def progress(self) -> float:
        """Share of the budget that is used up, of steps or of time, whichever is more."""
        self.state.seconds = self._earlier + time.monotonic() - self.started
        share = self.state.step / self.config.steps if self.config.steps else 1.0
        if self.config.minutes is not None:
            share = max(share, self.state.seconds / (60 * self.config.minutes) if self.config.minutes else 1.0)
        return min(share, 1.0)

    def save(self) -> None:
        """Write a checkpoint of the present step and forget the oldest. Raises UserError instead of saving NaN."""
        self._check()
        saved = save_checkpoint(
            self.checkpoints,
            self.state.step,
            {"model": self.task.state_dict(), "ema": self.ema.state_dict(), "optimizer": self.optimizer.state_dict()},
            {"seconds": self.state.seconds, "ema_updates": self.ema.updates, "seed": self.seed},
        )
        prune(self.checkpoints, self.config.keep)
        self.events.saved(saved.path, saved.step)

    def _step(self) -> None:
        """One optimiser step."""
        config, step = self.config, self.state.step
        # Dropout and the like draw from torch's own generator.
        torch.manual_seed(_hash(self.seed, step))
        factor = lr_factor(config, step, self.progress())
        logs: dict[str, Tensor] = {}
        for index in torch.arange(step * config.batch, (step + 1) * config.batch).chunk(config.accumulate):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                loss, parts = self.task.loss(index)
            (loss / config.accumulate).backward()  # type: ignore[no-untyped-call]
            for name, value in {"loss": loss, **parts}.items():
                logs[name] = logs.get(name, 0) + value.detach() / config.accumulate
        logs["grad_norm"] = self.optimizer.step(factor)
        logs["lr"] = torch.full((), self.config.lr * factor, device=self.device)
        self.ema.update()
        self.state.step += 1
        self._pending.append(logs)

    def _check(self) -> list[dict[str, float]]:
        """The values logged by the steps since the last line; raises UserError at the first that is not finite.

        They are looked at only here, so that a GPU need not be waited for in every step.
        """
        first = self.state.step - len(self._pending)
        rows = [dict(zip(logs, torch.stack(list(logs.values())).tolist(), strict=True)) for logs in self._pending]
        for step, row in enumerate(rows, start=first):
            bad = [name for name, value in row.items() if not math.isfinite(value)]
            if bad:
                raise UserError(
                    f"{', '.join(bad)} of step {step + 1} is not finite",
                    "Lower train.lr, lengthen train.warmup or set train.precision=fp32, and go on with resume=true.",
                )
        return rows

    def _log(self, bar: Bar) -> None:
        """Append the means since the last line to ``metrics.jsonl``, and tell who wants to know."""
        rows = self._check()
        self._pending.clear()
        step, now = self.state.step, time.monotonic()
        rate = (step - self._last) * self.config.batch / (now - self._since)
        self._since, self._last = now, step
        means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        metrics = {**means, "samples_per_second": rate, "seconds": self.state.seconds}
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")
        bar.update(self.progress(), f"step {step}  loss {metrics['loss']:.4f}  {rate:.0f} samples/s")
        self.events.train_step(step, metrics)

    def _preview(self) -> None:
        """Let somebody look at the averaged model."""
        self.task.eval()
        with self.ema.applied():
            self.events.preview(self.state.step)
        self.task.train()


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" prefers a GPU. Raises UserError if it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        message = f"device {name!r} cannot be used: {str(error).splitlines()[0]}"
        raise UserError(message, "Set device to cpu, cuda, mps or auto.") from error
    return device


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether a network runs in bfloat16 under ``precision``; weights stay in float32 anyway."""
    if precision not in ("auto", "fp32", "bf16"):
        raise UserError(f"train.precision {precision!r} does not exist", "There is: auto, fp32, bf16")
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bf16"


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that a step is never cut in two; a second Ctrl-C stops at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def handle(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _check_numbers(config: TrainConfig) -> None:
    """Refuse what no run can be made with."""
    for name, least in {"batch": 1, "accumulate": 1, "log_every": 1, "steps": 0, "lr": 0, "weight_decay": 0}.items():
        if not getattr(config, name) >= least:
            raise UserError(f"train.{name} is {getattr(config, name)}", f"It must be at least {least}.")
    if not 0 <= config.ema.decay < 1:
        raise UserError(f"train.ema.decay is {config.ema.decay}", "It must be at least 0 and below 1.")


def _hash(seed: int, step: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"step/{seed}/{step}".encode(), digest_size=8).digest(), "little") >> 1


def _truncate(path: Path, step: int) -> None:
    """Drop the lines of steps after ``step``, which are about to be repeated, and a last one that a crash cut short."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        write_text(path, "".join(kept))
