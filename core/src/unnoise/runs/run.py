"""A run folder: ``config.yaml``, ``manifest.json``, ``metrics.jsonl``, ``checkpoints/``, ``previews/``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from unnoise.errors import UserError
from unnoise.runs.manifest import Manifest
from unnoise.training.checkpoint import Checkpoint, checkpoints
from unnoise.training.posthoc import SNAPSHOTS


@dataclass(frozen=True)
class Run:
    """A training run on disk.

    Args:
        folder: where it is.
        step: which checkpoint is meant; the last if None.
    """

    folder: Path
    step: int | None = None

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """The run in a folder, or the run and checkpoint of a checkpoint's folder.

        Raises:
            UserError: if there is no run.
        """
        path = Path(path)
        try:
            if path.parent.name == "checkpoints" and path in [found.path for found in checkpoints(path.parent)]:
                return cls(path.parent.parent, Checkpoint(path).step)
            run = cls(path)
            if not os.path.lexists(run.manifest_path):
                what = f"holds no {run.manifest_path.name}" if path.is_dir() else "does not exist"
                raise UserError(f"{path} is not a run folder: it {what}", runs_near(path))
        except OSError as error:
            raise UserError(f"{path} cannot be looked into: {error.strerror}", "name the folder of a run") from error
        return run

    @property
    def manifest_path(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def config_path(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def cache(self) -> Path | None:
        """Where what is computed once is kept, made if need be; None for a run that cannot be written, as somebody
        else's.
        """
        folder = self.folder / "cache"
        try:
            folder.mkdir(exist_ok=True)
        except OSError:
            return None
        return folder if os.access(folder, os.W_OK | os.X_OK) else None

    @property
    def codec_folder(self) -> Path:
        """Where a codec is trained that this run needs and that was not trained before."""
        return self.folder / "codec"

    @property
    def averages_folder(self) -> Path:
        """Where snapshots of power-function averages lie, if the run kept any."""
        return self.folder / SNAPSHOTS

    @property
    def manifest(self) -> Manifest:
        """As it is on disk now; raises :class:`UserError` if it cannot be read."""
        return Manifest.read(self.manifest_path)

    def checkpoints(self) -> list[Checkpoint]:
        """All complete ones, by step."""
        return checkpoints(self.folder / "checkpoints")

    def checkpoint(self) -> Checkpoint:
        """The one that is meant; raises :class:`UserError` if there is none."""
        found = [c for c in self.checkpoints() if self.step in (None, c.step)]
        if not found:
            lacks = "has no checkpoint yet" if self.step is None else f"has no checkpoint of step {self.step}"
            go_on = quote(f"run={self.folder}")
            raise UserError(f"run {self.folder} {lacks}", f"go on training: unnoise train {go_on} resume=true")
        return found[-1]


def runs_near(path: Path) -> str:
    """What to do about a wrong path: the run it lies in, or the runs in it or beside it, the newest first."""
    for folder in (path.parent, path.parent.parent):
        if path.exists() and (folder / "manifest.json").is_file():
            return "the run itself: " + quote(f"run={folder}")
    for folder in (path, path.parent):
        runs = sorted(folder.glob("*/manifest.json"), key=lambda file: file.stat().st_mtime, reverse=True)
        if runs:
            return "runs there: " + ", ".join(quote(f"run={file.parent}") for file in runs[:5])
    return "train one: unnoise train modality=..."
