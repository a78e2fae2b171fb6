"""One picture of a sweep: previews of all its jobs, in columns and rows that say what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from unnoise.writing import writing

if TYPE_CHECKING:
    from PIL.Image import Image

    from unnoise.contracts import Representation, Samples

SHOWN = 4
"""Samples of a job that its cell shows."""
PICTURE = "grid.png"
_MOST, _GAP, _LINE = 320, 6, 14


@dataclass
class Grid:
    """Collects the jobs of a sweep; a single job is none."""

    jobs: list[tuple[dict[str, str], Path]] = field(default_factory=list)
    folder: Path | None = None

    def add(self, samples: Samples, representation: Representation, folder: Path) -> None:
        """Take in a job, whose cell is drawn by the plugin's own preview."""
        hydra = HydraConfig.get()
        if hydra.mode != RunMode.MULTIRUN or not samples.items:
            return
        pairs = (word.lstrip("+").split("=", 1) for word in hydra.overrides.task if "=" in word)
        cell = folder / "cell.png"
        with writing(cell):
            representation.preview(samples.items[:SHOWN], cell)
        self.jobs.append((dict(pairs), cell))
        self.folder = folder.parent

    def draw(self) -> Path | None:
        """Write the picture of all jobs, and return where; None for fewer than two."""
        if len(self.jobs) < 2 or self.folder is None:
            return None
        across, down = axes([settings for settings, _ in self.jobs])
        path = self.folder / PICTURE
        with writing(path):
            sheet([(settings, file) for settings, file in self.jobs], across, down).save(path, format="PNG")
            for _, cell in self.jobs:
                cell.unlink()
        return path


def axes(jobs: Sequence[Mapping[str, str]]) -> tuple[list[str], list[str]]:
    """The keys that differ among jobs: the last of them goes across, the others go down (of a single one, across)."""
    keys = [key for key in jobs[0] if len({settings.get(key) for settings in jobs}) > 1]
    return keys[-1:], keys[:-1]


def sheet(jobs: Sequence[tuple[Mapping[str, str], Path]], across: Sequence[str], down: Sequence[str]) -> Image:
    """The cells in their columns and rows, with labels; where a job failed, the cell is empty."""
    from PIL import Image, ImageDraw, ImageFont

    def places(keys: Sequence[str]) -> list[tuple[str, ...]]:
        columns = [list(dict.fromkeys(settings[key] for settings, _ in jobs)) for key in keys]
        found = {tuple(settings[key] for key in keys) for settings, _ in jobs}
        return [place for place in product(*columns) if place in found]

    columns, rows = places(across), places(down)
    cells = {}
    for settings, file in jobs:
        with Image.open(file) as opened:
            cell = opened.convert("RGB")
        cell.thumbnail((_MOST, _MOST))
        cells[tuple(settings[key] for key in across), tuple(settings[key] for key in down)] = cell
    font = ImageFont.load_default()
    titles = [", ".join(f"{k}={v}" for k, v in zip(down, row, strict=True)) for row in rows]
    margin = max(int(font.getlength(title)) for title in titles) + 2 * _GAP if down else _GAP
    width = max(cell.width for cell in cells.values()) + _GAP
    width = max(width, max(int(font.getlength(f"{across[0]}={c[0]}")) for c in columns) + _GAP)
    height = max(cell.height for cell in cells.values()) + _GAP
    made = Image.new("RGB", (margin + width * len(columns), _LINE + _GAP + height * len(rows)), "white")
    draw = ImageDraw.Draw(made)
    for x, column in enumerate(columns):
        label = ", ".join(f"{k}={v}" for k, v in zip(across, column, strict=True))
        draw.text((margin + x * width, _GAP // 2), label, fill="black", font=font)
        for y, row in enumerate(rows):
            if x == 0:
                draw.text((_GAP, _LINE + _GAP + y * height), titles[y], fill="black", font=font)
            if (column, row) in cells:
                made.paste(cells[column, row], (margin + x * width, _LINE + _GAP + y * height))
    return made
