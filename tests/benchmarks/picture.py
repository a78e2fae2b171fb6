"""Draws what ``solvers.py --out numbers.json`` has measured: `python picture.py numbers.json docs/pictures/solvers.png`

Needs matplotlib (the dependency group docs).
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

SHOWN = {
    "diffusers dpmpp_2m, karras": ("diffusers DPM++ 2M, Karras", "C0", "--"),
    "diffusers unipc order 2, linspace": ("diffusers UniPC", "C1", "--"),
    "diffusers ddim, trailing": ("diffusers DDIM, trailing", "C2", "--"),
    "diffusers dpmpp_2m, flow shift 1": ("diffusers DPM++ 2M", "C0", "--"),
    "diffusers unipc order 2, flow shift 1": ("diffusers UniPC", "C1", "--"),
    "diffusers flow euler,  shift 1": ("diffusers Euler", "C2", "--"),
}
"""Some peers as they are usually run; the first three for variance-preserving schedules, the others for flows."""
OURS = {
    "adams, quadratic": ("unnoise, the default (adams, quadratic)", "C3", "-o"),
    "adams order=4 scale=2.0, bounded": ("unnoise, adams order 4 scale 2, bounded", "C4", "-s"),
}


def curve(cells: dict[str, dict[str, float]], name: str | None) -> tuple[list[int], list[float]]:
    """Evaluations and errors (geometric mean over dimensions) of one solver; of the best of each cell if None."""
    found: dict[int, list[float]] = {}
    for cell, errors in cells.items():
        error = min(errors.values(), default=None) if name is None else errors.get(name)
        if error is not None:
            found.setdefault(int(cell.split("/")[1]), []).append(math.log(error))
    return list(found), [math.exp(sum(values) / len(values)) for values in found.values()]


def main(numbers: Path, picture: Path) -> None:
    """One panel for each schedule."""
    schedules = json.loads(numbers.read_text())
    _, axes = pyplot.subplots(1, len(schedules), figsize=(4 * len(schedules), 4.6), sharey=True, squeeze=False)
    for axis, (schedule, sides) in zip(axes[0], schedules.items(), strict=True):
        for name, (label, colour, dash) in SHOWN.items():
            if any(name in errors for errors in sides["peers"].values()):
                axis.plot(*curve(sides["peers"], name), dash, color=colour, label=label, linewidth=1)
        axis.plot(*curve(sides["peers"], None), "-", color="0.5", label="best of all peers, cell by cell", linewidth=3)
        for name, (label, colour, dash) in OURS.items():
            axis.plot(*curve(sides["ours"], name), dash, color=colour, label=label, markersize=4)
        axis.set(title=schedule, xlabel="evaluations", xscale="log", yscale="log")
        axis.set_xticks(ticks := [5, 8, 10, 15, 20, 30, 50], [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    axes[0][0].set_ylabel("error of the end-point, in data's deviations")
    pyplot.tight_layout()
    pyplot.savefig(picture, dpi=90)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
