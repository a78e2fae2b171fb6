"""Draws what `quality.py --out numbers.json` has measured: `python quality_picture.py numbers.json picture.png`

Needs matplotlib (the dependency group docs).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def main(numbers: Path, picture: Path) -> None:
    """One panel for each score, one line for each way to sample; the score of real data dotted."""
    found = json.loads(numbers.read_text())
    names = list(found["scores"])
    figure, panels = pyplot.subplots(1, len(names), figsize=(5.5 * len(names), 4), squeeze=False, layout="constrained")
    for axes, name in zip(panels[0], names, strict=True):
        for way, by_steps in found["values"].items():
            axes.plot([int(n) for n in by_steps], [scores[name] for scores in by_steps.values()], "-o", label=way)
        score = found["scores"][name]
        if score["floor"] is not None:
            axes.axhline(score["floor"], color="gray", linestyle=":", label="real against real")
        steps = sorted({int(n) for by_steps in found["values"].values() for n in by_steps})
        axes.set(xlabel="steps", ylabel=f"{name} ({score['better']} is better)", xscale="log")
        axes.set_xticks(steps, [str(n) for n in steps])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(picture, dpi=90)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
