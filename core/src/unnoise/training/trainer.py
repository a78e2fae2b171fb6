"""The one training loop. What is trained is a :class:`Task`; what a step sees is a pure function of seed and step."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unnoise.errors import Interrupted, UserError, did_you_mean
from unnoise.progress import Bar
from unnoise.schema import TrainConfig, check_numbers
from unnoise.training.checkpoint import Checkpoint, check_fit, load_weights, prune, save_checkpoint
from unnoise.training.device import uses_bfloat16
from unnoise.training.ema import Ema
from unnoise.training.interruption import interruption
from unnoise.training.metrics_log import MetricsLog
from unnoise.training.optim import Optimizer, check_optimization, lr_factor
from unnoise.training.posthoc import SNAPSHOTS, PowerAverages, gamma_of

T = TypeVar("T")


class Task(nn.Module, ABC):
    """What is trained. Its state dict is all that has to be kept: weights, statistics, whatever else it needs."""

    @abstractmethod
    def loss(self, index: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss over the samples with these global indices (int64 ``(B,)`` on the CPU), and scalars to log.

        Must draw from addressed noise only, so that it depends on the weights, the run's seed and ``index`` alone.
        What a network draws from torch's own generator (dropout) depends on the seed, the step and the pieces before
        it in the same step: a resumed run repeats it, another ``train.accumulate`` does not.
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
    judged: Callable[[int], Mapping[str, float]] | None = None
    """What a line of the log is to say beside the means, of the averaged model."""


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
        facts: what every checkpoint's ``state.json`` is to say beside where the run is.
    """

    task: Task
    config: TrainConfig
    seed: int
    folder: Path
    events: Events = field(default_factory=Events)
    title: str = "training"
    started: float = field(default_factory=time.monotonic)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = self.config
        check_training(config)
        self.device = next(self.task.parameters()).device
        self.autocast = uses_bfloat16(config.precision, self.device)
        self.optimizer = Optimizer(self.task, config)
        self.ema = Ema(self.task, config.ema.decay, config.ema.warmup)
        self.averages = PowerAverages(self.task, config.ema.lengths)
        self.state = TrainState()
        self.log = MetricsLog(self.folder / "metrics.jsonl")
        self._earlier = 0.0
        self._since, self._last = self.started, 0  # when and where the last line was logged
        self._saved = False  # whether the last checkpoint says all there is to say

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints live."""
        return self.folder / "checkpoints"

    @property
    def snapshots(self) -> Path:
        """Where snapshots of power-function averages live."""
        return self.folder / SNAPSHOTS

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on exactly where a checkpoint was made. Raises :class:`UserError` if it does not fit."""
        state = checkpoint.state
        load_weights(self.task, checkpoint.tensors("model"), f"checkpoint {checkpoint.path}")
        average = checkpoint.tensors("ema")
        check_fit(self.ema.state_dict(), average, f"average in checkpoint {checkpoint.path}")
        self.ema.load_state_dict(average, state["ema_updates"])
        self.optimizer.load_state_dict(checkpoint.tensors("optimizer"))
        if self.averages.lengths:
            if tuple(state.get("ema_lengths", ())) != self.averages.lengths:
                message = f"train.ema.lengths is {list(self.averages.lengths)}, that of the checkpoint "
                raise UserError(f"{message}{state.get('ema_lengths', [])}", "A resumed run keeps its lengths.")
            self.averages.load({name: checkpoint.tensors(name) for name in self.averages.tensors()})
        if "log" in state:  # checkpoints of unnoise 0.1.0 lack it
            self.log.restore(state["log"])
            self._check_best()  # before the checkpoint that another metric has kept is deleted
        self.state = TrainState(checkpoint.step, state["seconds"])
        self._earlier, self._saved = self.state.seconds, True

    def run(self) -> None:
        """Train to the end of the budget.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM; a checkpoint of the last whole step is saved first.
            UserError: if a loss is not finite, naming step and part, or the folder cannot be written.
        """
        self.task.train()
        begun = self.state.step
        self.log.rewind(begun)
        self._prune()
        with interruption() as asked, Bar(self.title, 1.0, start=self.progress()) as bar:
            self._since, self._last = time.monotonic(), self.state.step
            if self.state.step and self.progress() == 1:
                bar.say(f"done already, at step {self.state.step}; a larger train.steps or train.minutes goes on")
            while self.progress() < 1 and not asked:
                self._step()
                if self._due(self.config.log_every):
                    self._log(bar)
                else:
                    bar.update(self.progress())
                if self._due(self.config.preview_every):
                    self._preview()
                # Last, so that a checkpoint of a step says that everything of this step is done.
                if self._due(self.config.ema.snapshot_every):
                    self._snapshot()
                if self._due(self.config.checkpoint_every) and self.progress() < 1:
                    self.save()
            if self.log.steps and not asked:
                self._log(bar)
            # A budget of time must not seem to have time left because the last checkpoint took the rest of it.
            if not self._saved or self.config.minutes is not None:
                self.save()
            if asked.signal is not None:
                bar.say(f"interrupted: step {self.state.step} is saved")
                raise Interrupted(asked.signal)
            if begun < self.state.step < self.config.steps:
                bar.say(self._out_of_time())
            bar.update(1.0)
        if not self._due(self.config.preview_every):
            self._preview()

    def progress(self) -> float:
        """Share of the budget that is used up, of steps or of time, whichever is more."""
        self.state.seconds = self._earlier + time.monotonic() - self.started
        share = self.state.step / self.config.steps if self.config.steps else 1.0
        if self.config.minutes is not None:
            share = max(share, self.state.seconds / (60 * self.config.minutes) if self.config.minutes else 1.0)
        return min(share, 1.0)

    def _out_of_time(self) -> str:
        """What to say of a run whose clock ended it."""
        config, step = self.config, self.state.step
        said = f"train.minutes={config.minutes:g} ended the training at step {step} of {config.steps}"
        if step > config.warmup:
            return said
        return f"{said}, in its warm-up of {config.warmup} steps: give it more minutes, or the machine to itself"

    def save(self) -> None:
        """Write a checkpoint of the present step and delete what need not be kept.

        Raises:
            UserError: if a loss is not finite, in place of saving it; or if the folder cannot be written.
        """
        self.log.gather(self.state.step)
        self.log.sync()
        if not self.config.ema.snapshot_every:
            self._snapshot()
        saved = save_checkpoint(
            self.checkpoints,
            self.state.step,
            {
                "model": self.task.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                **self.averages.tensors(),
            },
            {
                "seconds": self.state.seconds,
                "ema_updates": self.ema.updates,
                **({"ema_lengths": list(self.averages.lengths)} if self.averages.lengths else {}),
                "seed": self.seed,
                "log": self.log.state(),
                **self.facts,
            },
        )
        self._saved = True
        self._prune()
        self.events.saved(saved.path, saved.step)

    def _snapshot(self) -> None:
        """Keep the power-function averages of the present step for good."""
        if self.averages.lengths and self.state.step:
            facts = {"lengths": list(self.averages.lengths)}
            save_checkpoint(self.snapshots, self.state.step, self.averages.tensors(), facts)

    def _prune(self) -> None:
        prune(self.checkpoints, self.config.keep, self.config.keep_every, self.config.keep_best)

    def _due(self, every: int) -> bool:
        return every > 0 and self.state.step % every == 0

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
        self.averages.update(step + 1)
        self.state.step += 1
        self.log.add(logs)
        self._saved = False

    def _log(self, bar: Bar) -> None:
        """Append the means since the last line to ``metrics.jsonl``, and tell who wants to know."""
        step, now = self.state.step, time.monotonic()
        rate = (step - self._last) * self.config.batch / max(now - self._since, 1e-9)  # some clocks tick slowly
        self._since, self._last = now, step
        judged = self._looked_at(self.events.judged) if self.events.judged else {}
        metrics = self.log.write(step, {**judged, "samples_per_second": rate, "seconds": self.state.seconds})
        self._saved = False
        self._check_best()
        bar.update(self.progress(), f"step {step}  loss {metrics['loss']:.4f}  {rate:.0f} samples/s")
        self.events.train_step(step, metrics)

    def _check_best(self) -> None:
        """Refuse to choose checkpoints by a metric that the last line of the log, if there is one, lacks."""
        best, means = self.config.keep_best, self.log.means
        if best and means and best not in means:
            message = f"train.keep_best: there is no metric {best!r}.{did_you_mean(best, means)}"
            raise UserError(message, f"There is: {', '.join(means)}")

    def _preview(self) -> None:
        self._looked_at(self.events.preview)

    def _looked_at(self, look: Callable[[int], T]) -> T:
        """Let somebody look at the averaged model."""
        self.task.eval()
        try:
            with self.ema.applied():
                return look(self.state.step)
        finally:
            self.task.train()


def check_training(config: TrainConfig) -> None:
    """Refuse what no run can be made with. Raises :class:`UserError` naming the key."""
    check_numbers(config, "train.")
    for length in config.ema.lengths:
        gamma_of(length)
    if config.batch % config.accumulate:
        message = f"train.batch={config.batch} cannot be computed in {config.accumulate} equal pieces"
        raise UserError(message, "Choose train.accumulate so that it divides train.batch.")
    check_optimization(config)
    uses_bfloat16(config.precision, torch.device("cpu"))


def _hash(seed: int, step: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"step/{seed}/{step}".encode(), digest_size=8).digest(), "little") >> 1
