"""Checkpoints: a folder of safetensors files and one JSON file, complete or not there at all. Nothing is pickled."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unnoise.errors import UserError
from unnoise.reading import Check, check_file, plain, read_json, record, table, text, whole
from unnoise.reading.files import reason
from unnoise.reading.shape import shown
from unnoise.writing import sha256, sync, write_json, writing

_PREFIX = "step_"
_STATE = "state.json"
_SHAPE: Check = record(
    {"step": whole(0), "sha256": table(text("[0-9a-f]{64}"), key=text(r"[\w-]+\.safetensors", what="a file in it"))},
    {"model": table(text())},
    rest=plain,
)
"""Of ``state.json``. Tensor files are named by plain names: none lies outside of the checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk."""

    path: Path

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return int(self.path.name.removeprefix(_PREFIX))

    @cached_property
    def state(self) -> dict[str, Any]:
        """What was saved as JSON, and under ``"sha256"`` the digest of every tensor file.

        Raises:
            UserError: if it cannot be read, or is another checkpoint's.
        """
        path = self.path / _STATE
        state: dict[str, Any] = read_json(path, self._fix)
        try:
            _SHAPE(state, str(path))
        except UserError as error:
            raise UserError(error.message, self._fix) from error
        if state["step"] != self.step:
            raise UserError(
                f"{path}: step: it is of step {state['step']}, in the folder of step {self.step}", self._fix
            )
        return state

    def tensors(self, name: str, device: str = "cpu") -> dict[str, Tensor]:
        """The tensors of ``<name>.safetensors``.

        Raises:
            UserError: if it cannot be read, or is not the file whose digest was noted when it was written.
        """
        path = self.path / f"{name}.safetensors"
        noted = self.state["sha256"].get(path.name)
        if noted is None:
            raise UserError(f"{self.path / _STATE}: sha256: there is no digest of {path.name}", self._fix)
        check_file(path, fix=self._fix)
        try:
            if sha256(path) == noted:
                return load_file(path, device=device)
        except (OSError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise UserError(f"{path} cannot be read: {reason(error)}", self._fix) from error
        raise UserError(f"{path} cannot be read: its SHA-256 is not the one in {_STATE}", self._fix)

    @property
    def _fix(self) -> str:
        """What to do where this checkpoint is damaged."""
        others = [found for found in checkpoints(self.path.parent) if found.path.name != self.path.name]
        if not others:
            return "The run has no other checkpoint: restore it from a copy, or train anew."
        return f"Name another one, run={others[-1].path}; or remove this one, and resume=true goes on from there."


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> Checkpoint:
    """Write the checkpoint of a step under ``folder``.

    It is written under a temporary name, flushed to disk and then renamed, so that a crash at any moment leaves either
    no checkpoint or a complete one.

    Args:
        folder: where checkpoints live; made if need be, but not its parent, which a run has made.
        step: optimiser steps done. The tensors of a checkpoint that is there already are kept, as they are the same.
        tensors: file name without ending -> tensors.
        state: JSON facts.

    Raises:
        UserError: if it cannot be written; what was written of it is removed.
    """
    target = folder / f"{_PREFIX}{step:08d}"
    if target.exists():
        write_json(target / _STATE, {**Checkpoint(target).state, **state})
        return Checkpoint(target)
    temporary = folder / f".{target.name}"
    with writing(target):
        folder.mkdir(exist_ok=True)
        sweep(folder)
        temporary.mkdir()
        try:
            digests = {
                f"{name}.safetensors": _save_tensors(temporary, name, values) for name, values in tensors.items()
            }
            write_json(temporary / _STATE, {**state, "step": step, "sha256": digests})
            sync(temporary)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)  # where it was the disk that is full, others need the room
            raise
        sync(folder)
    return Checkpoint(target)


def _save_tensors(folder: Path, name: str, values: Mapping[str, Tensor]) -> str:
    """Write ``<name>.safetensors`` to disk; returns its digest."""
    path = folder / f"{name}.safetensors"
    # Cloned, as safetensors refuses tensors that share memory (tied weights).
    save_file({key: value.detach().cpu().contiguous().clone() for key, value in values.items()}, path)
    sync(path)
    return sha256(path)


def checkpoints(folder: Path) -> list[Checkpoint]:
    """All complete checkpoints under ``folder``, by step; what else lies there is none of ours."""
    found = (path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdecimal())
    return sorted((Checkpoint(path) for path in found), key=lambda checkpoint: checkpoint.step)


def prune(folder: Path, keep: int, every: int = 0, best: str = "") -> None:
    """Delete the checkpoints that no rule keeps, and what a crash left behind.

    Args:
        folder: where checkpoints live.
        keep: the last so many stay; the last one always does.
        every: so do those of steps that it divides; 0 means none.
        best: so does the one with the lowest mean of this name in its state's ``log`` (the latest of equals).

    Raises:
        UserError: if something cannot be deleted.
    """
    found = checkpoints(folder)
    kept = found[-max(keep, 1) :] + [checkpoint for checkpoint in found if every and checkpoint.step % every == 0]
    if best:
        kept += sorted(found, key=lambda checkpoint: (_mean(checkpoint, best), -checkpoint.step))[:1]
    with writing(folder):
        for checkpoint in found:
            if checkpoint not in kept:
                # Renamed first: a checkpoint half deleted must not look complete.
                checkpoint.path.rename(folder / f".{checkpoint.path.name}")
        sweep(folder)


def _mean(checkpoint: Checkpoint, name: str) -> float:
    """What a checkpoint says of a metric; infinite where it says nothing, or cannot be read."""
    try:
        return float(checkpoint.state["log"]["means"][name])
    except (UserError, KeyError, TypeError, ValueError):
        return math.inf


def sweep(folder: Path) -> None:
    """Delete checkpoints that are half written or half deleted."""
    for leftover in folder.glob(f".{_PREFIX}*"):
        shutil.rmtree(leftover)


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """``module.load_state_dict`` that says what does not fit; raises :class:`UserError` as :func:`check_fit`."""
    check_fit(module.state_dict(), tensors, what)
    module.load_state_dict(dict(tensors))


def check_fit(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], what: str) -> None:
    """Hold tensors of a file against those they are to replace.

    Args:
        wanted: what is needed; only names, shapes and types count, so they may be on the device "meta".
        tensors: what there is.
        what: how messages call ``tensors``.

    Raises:
        UserError: naming tensors that are missing, unknown, of another shape or type, or not finite.
    """
    wrong = [f"{name} is missing" for name in wanted if name not in tensors]
    wrong += [f"{name if name.isprintable() else shown(name)} is unknown" for name in tensors if name not in wanted]
    pairs = {name: (tensors[name], value) for name, value in wanted.items() if name in tensors}
    for name, (found, needed) in pairs.items():
        if found.shape != needed.shape:
            wrong.append(f"{name} has shape {tuple(found.shape)} where {tuple(needed.shape)} is needed")
        elif found.dtype != needed.dtype:
            wrong.append(f"{name} has type {_type(found)} where {_type(needed)} is needed")
        elif found.is_floating_point() and not bool(found.isfinite().all()):
            wrong.append(f"{name} holds numbers that are not finite")
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        message = f"{what} does not fit the model: {'; '.join(text[:200] for text in wrong[:3])}{more}"
        raise UserError(message, "Use a checkpoint of this very run, with the manifest.json it was trained with.")


def _type(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
