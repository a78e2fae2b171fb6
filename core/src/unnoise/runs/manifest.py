"""What a run is made of, as JSON: all that is needed to rebuild its model without its training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from unnoise.errors import UserError
from unnoise.training.checkpoint import read_json, write_json

FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """The config of a run and what was measured when it started.

    Args:
        config: the resolved config, as plain values; see :class:`unnoise.schema.RunConfig`.
        versions: distribution -> version, of unnoise, torch and the plugins whose components the run uses.
        settings: of the representation; of the codec in a codec run.
        codec: settings of the codec inside the representation, or None.
        layout: of clean states.
        processes: part -> config of its process, with measured marginals.
        parametrizations: gaussian part -> config, with measured deviations.
        conditions: config of the conditions, with class names and measured means.
        notes: what a user should know of the data, a line each.
        format: of this file.
    """

    config: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    codec: dict[str, Any] | None = None
    layout: list[dict[str, Any]] = field(default_factory=list)
    processes: dict[str, Any] = field(default_factory=dict)
    parametrizations: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=lambda: {"dim": 0, "items": {}})
    notes: list[str] = field(default_factory=list)
    format: int = FORMAT

    @property
    def modality(self) -> str:
        return str(self.config["modality"])

    @property
    def stage(self) -> str:
        """What was trained: "diffusion" or "codec"."""
        return str(self.config["stage"])

    def save(self, path: Path) -> None:
        """Write the file, complete or not at all."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read the file. Raises :class:`UserError` if it is missing, broken or of another format."""
        value: Mapping[str, Any] = read_json(path)
        if value.get("format") != FORMAT:
            raise UserError(
                f"{path} has format {value.get('format')}, this version reads format {FORMAT}",
                f"Use the unnoise it was made with: {value.get('versions', {}).get('unnoise', 'unknown')}",
            )
        names = {f.name for f in fields(cls)}
        return cls(**{name: entry for name, entry in value.items() if name in names})
