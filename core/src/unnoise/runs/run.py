"""A run folder: ``config.yaml``, ``manifest.json``, ``metrics.jsonl``, ``checkpoints/``, ``previews/``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unnoise.errors import UserError
from unnoise.runs.manifest import Manifest
from unnoise.training.checkpoint import Checkpoint, checkpoints


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
        if path.parent.name == "checkpoints" and (path / "state.json").exists():
            return cls(path.parent.parent, Checkpoint(path).step)
        run = cls(path)
        if not run.manifest_path.exists():
            message = f"{path} is not a run folder: it holds no {run.manifest_path.name}"
            raise UserError(message, "Train one: unnoise train modality=...")
        return run

    @property
    def manifest_path(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def config_path(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def codec_folder(self) -> Path:
        """Where a codec is trained that this run needs and that was not trained before."""
        return self.folder / "codec"

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
            fix = "Go on training: unnoise train ... run=... resume=true"
            raise UserError(f"run {self.folder} has no such checkpoint", fix)
        return found[-1]
