"""Training, and runs: what is saved, loaded and resumed."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pkgutil import resolve_name
from typing import Any
from unittest import mock

import torch

from unnoise.runs import load
from unnoise.testing.checking import check, expect
from unnoise.testing.checks.compare import same_state
from unnoise.testing.subject import STEPS, Subject
from unnoise.training.checkpoint import Checkpoint, checkpoints

OVERFIT_STEPS = 120
EXECUTING = ("pickle.load", "pickle.loads", "torch.load", "builtins.eval", "builtins.exec")
"""Functions that may run whatever a file says."""


@check
def overfits(subject: Subject) -> None:
    """Training on a few items lowers the loss on them clearly: everything is wired up."""
    folder, steps = subject.folder / "overfit", OVERFIT_STEPS
    trainer = subject.trainer(
        folder, steps, batch=4 * len(subject.items), lr=2e-3, warmup=0, decay=0.0, log_every=steps // 30
    )
    trainer.run()
    losses = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    # Most of a loss may be noise that nobody could foretell: it never gets near zero, and must be compared with what it
    # is before anything has been learned, not with the mean of a stretch in which much has.
    first, last = losses[0], sum(losses[-5:]) / 5
    cause = "the output does not depend on the input or on the weights: a detach(), a layer that is left out, x unused"
    fix = "use x.parts and level.c_noise of every part; keep numpy and .item() out of forward()"
    seen = f"the mean loss only went from {first:.4g} to {last:.4g} in {steps} steps"
    expect(last < 0.8 * first, seen, cause, fix)


@check
def save_and_load(subject: Subject) -> None:
    """A run folder gives back a model that makes the same samples, with the statistics that were measured."""
    first, second = (load(subject.run_folder, device="cpu") for _ in range(2))
    made = [model.sample(3, seed=1, steps=STEPS, progress=False) for model in (first, second)]
    cause = "something that is drawn when the network is built is neither a parameter nor a buffer"
    fix = "register_buffer for what is fixed, such as random frequencies"
    same_state(made[0].state, made[1].state, 0.0, "two loads of one run make different samples", cause, fix)
    loaded = first.representation.state_dict()
    for name, value in subject.representation.state_dict().items():
        cause, fix = "restore() gives the buffer another value after it was loaded", "allocate it in restore()"
        seen = f"statistic {name!r} is lost on loading"
        expect(name in loaded and torch.equal(loaded[name], value), seen, cause, fix)
    seen = "a loaded representation encodes differently"
    cause, fix = "a statistic is a plain attribute, or a buffer with persistent=False", "register_buffer(name, tensor)"
    same_state(subject.state, subject.encode(subject.items, first.representation), 0.0, seen, cause, fix)


@check
def resume_equals_uninterrupted(subject: Subject) -> None:
    """Four steps, and two steps, a checkpoint and two more, end with the same weights, averages and optimiser, bit for
    bit.
    """
    options: dict[str, Any] = {"batch": len(subject.items), "checkpoint_every": 2, "keep": 4, "log_every": 1}
    whole, resumed = (subject.trainer(subject.folder / name, 4, **options) for name in ("whole", "resumed"))
    whole.run()
    half, end = checkpoints(whole.checkpoints)
    resumed.resume(half)
    resumed.run()
    again = checkpoints(resumed.checkpoints)[-1]
    cause = "training changes something that is neither a parameter nor a buffer (a counter, a running mean), or draws "
    cause += "from numpy's or Python's global generator, which no checkpoint keeps"
    fix = "register_buffer for what changes; random numbers from Noise in augment(), from torch in a network"
    for kind in ("model", "ema", "optimizer"):
        differ = _differing(end, again, kind)
        seen = f"{len(differ)} tensors of {kind} differ, the first is {differ[0]}" if differ else ""
        expect(not differ, seen, cause, fix)


@check
def loads_without_code(subject: Subject) -> None:
    """Loading a run unpickles nothing and evaluates nothing: it may be somebody else's."""
    folder = subject.run_folder
    load(folder, device="cpu")  # whatever is imported on first use is imported now
    with _watched(subject.packages) as called, suppress(Exception):  # an eval that is watched sees other names
        load(folder, device="cpu")
    cause = "a file of the run is executed by the plugin, so that a run from somebody else could do anything"
    fix = "settings() holds JSON facts: names, which a table of your own turns into functions; tensors are buffers"
    expect(not called, f"loading calls {', '.join(sorted(called))}", cause, fix)


def _differing(one: Checkpoint, two: Checkpoint, kind: str) -> list[str]:
    ours, theirs = one.tensors(kind), two.tensors(kind)
    return [name for name in ours if name not in theirs or not torch.equal(ours[name], theirs[name])]


@contextmanager
def _watched(packages: frozenset[str]) -> Iterator[set[str]]:
    """Names of the :data:`EXECUTING` functions that are called from within some packages."""
    called: set[str] = set()

    def noting(name: str) -> Callable[..., Any]:
        original = resolve_name(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if _within(packages):
                called.add(name)
            return original(*args, **kwargs)

        return call

    with ExitStack() as stack:
        for name in EXECUTING:
            stack.enter_context(mock.patch(name, noting(name)))
        yield called


def _within(packages: frozenset[str]) -> bool:
    """Whether one of the callers is code of these packages."""
    frames = (frame for frame, _ in traceback.walk_stack(None))
    return any(str(frame.f_globals.get("__name__")).partition(".")[0] in packages for frame in frames)
