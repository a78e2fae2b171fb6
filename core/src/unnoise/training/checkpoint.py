"""Checkpoints: a folder of safetensors files and one JSON file, complete or not there at all. Nothing is pickled."""

from __future__ import annotations

import hashlib
import json
import os
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

_PREFIX = "step_"
_STATE = "state.json"


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
        """What was saved as JSON, and under ``"sha256"`` the digest of every tensor file."""
        state: dict[str, Any] = read_json(self.path / _STATE)
        return state

    def tensors(self, name: str, device: str = "cpu") -> dict[str, Tensor]:
        """The tensors of ``<name>.safetensors``; raises :class:`UserError` if it cannot be read."""
        path = self.path / f"{name}.safetensors"
        try:
            return load_file(path, device=device)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read: {error}", "Use another checkpoint of the run.") from error


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> Checkpoint:
    """Write the checkpoint of a step under ``folder``.

    It is written under a temporary name, flushed to disk and then renamed, so that a crash at any moment leaves either
    no checkpoint or a complete one. What an earlier crash left behind is removed.

    Args:
        folder: where checkpoints live; made if need be.
        step: optimiser steps done. The tensors of a checkpoint that is there already are kept, as they are the same.
        tensors: file name without ending -> tensors.
        state: JSON facts.
    """
    target = folder / f"{_PREFIX}{step:08d}"
    if target.exists():
        write_json(target / _STATE, {**Checkpoint(target).state, **state})
        return Checkpoint(target)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f".{_PREFIX}*"):
        shutil.rmtree(leftover)
    temporary = folder / f".{target.name}"
    temporary.mkdir()
    digests = {}
    for name, values in tensors.items():
        path = temporary / f"{name}.safetensors"
        # Cloned, as safetensors refuses tensors that share memory (tied weights).
        save_file({key: value.detach().cpu().contiguous().clone() for key, value in values.items()}, path)
        digests[path.name] = sha256(path)
        _sync(path)
    write_json(temporary / _STATE, {**state, "step": step, "sha256": digests})
    _sync(temporary)
    temporary.rename(target)
    _sync(folder)
    return Checkpoint(target)


def checkpoints(folder: Path) -> list[Checkpoint]:
    """All complete checkpoints under ``folder``, by step; what else lies there is none of ours."""
    found = (path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdecimal())
    return sorted((Checkpoint(path) for path in found), key=lambda checkpoint: checkpoint.step)


def prune(folder: Path, keep: int) -> None:
    """Delete all but the last ``keep`` checkpoints, and never the last."""
    for checkpoint in checkpoints(folder)[: -max(keep, 1)]:
        # Renamed first: a checkpoint half deleted must not look complete.
        doomed = checkpoint.path.rename(folder / f".{checkpoint.path.name}")
        shutil.rmtree(doomed)


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """``module.load_state_dict`` that says what does not fit.

    Raises:
        UserError: naming tensors that are missing, unknown or of another shape.
    """
    own = module.state_dict()
    wrong = [f"{name} is missing" for name in own if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in own]
    wrong += [
        f"{name} has shape {tuple(tensors[name].shape)} where {tuple(value.shape)} is needed"
        for name, value in own.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        text = f"{what} does not fit the model: {'; '.join(wrong[:3])}{more}"
        raise UserError(text, "Use the config it was trained with.")
    module.load_state_dict(dict(tensors))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file to disk, complete or not at all; readable, and the same bytes for the same value."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file to disk, complete or not at all."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    _sync(temporary)
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file; raises :class:`UserError` if there is none or it is broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Flush a file or a folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
