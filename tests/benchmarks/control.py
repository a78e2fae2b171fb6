"""How a control of pictures learned to follow its map, and what it does.

`python control.py progress runs/edges [...] --plot edges.png` prints agreement with held-out maps against steps, and
draws it, which needs matplotlib (the dependency group docs). `python control.py sheet runs/model runs/edges
[runs/depth] --n 8 --out sheet.png` draws, for test pictures: each map, the real picture, the model's sample of that
seed without a control, with each control, and with all at once; with --negative, the last of these once more with it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unnoise.plugins.registry import get_registry
from unnoise.runs import Model, Run, load
from unnoise.runs.build import build_dataset
from unnoise.runs.controls import LoadedControl, load_control
from unnoise.runs.measured import columns_of
from unnoise.training.data import order, subset
from unnoise_image.pictures import Picture, contact_sheet


def agreement(run: Path) -> dict[str, dict[int, float]]:
    """Map -> step -> agreement, as a run has logged it."""
    found: dict[str, dict[int, float]] = {}
    for line in map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()):
        for key, value in line.items():
            if key.startswith("agreement/"):
                found.setdefault(key.removeprefix("agreement/"), {})[line["step"]] = value
    return found


def progress(runs: Sequence[Path], plot: Path | None) -> None:
    """Print the agreement of some runs, and draw it."""
    curves = {f"{run.name}: {name}": steps for run in runs for name, steps in agreement(run).items()}
    for title, steps in curves.items():
        print(f"\n| {title}, step | {' | '.join(map(str, steps))} |\n|{'---|' * (len(steps) + 1)}")
        print(f"| agreement | {' | '.join(f'{value:.3f}' for value in steps.values())} |")
    if plot is not None:
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(6, 3.5))
        for title, steps in curves.items():
            axes.plot(list(steps), list(steps.values()), marker=".", label=title)
        axes.set(xlabel="steps", ylabel="agreement with held-out maps", ylim=(0, 1))
        axes.legend()
        figure.savefig(plot, dpi=150, bbox_inches="tight")


def sheet(
    model: Model, controls: Sequence[LoadedControl], n: int, seed: int, told: dict[str, Any], negative: dict[str, Any]
) -> list[Picture]:
    """Pictures row by row, n in each."""
    registry, config = get_registry(), model.manifest.config
    test = build_dataset(registry, config, "test")
    rows = order(seed, torch.arange(n), len(test)).tolist()
    items = [test[i] for i in rows]
    asked = []
    for control in controls:
        columns = columns_of(registry, {**control.manifest.config, "data": config["data"]}, test)
        asked.append({"run": control, "map": control.control.condition.raw(subset(columns[control.name], rows))})
    drawn = [as_picture(one, items[0].shape[2]) for entry in asked for one in entry["map"].numpy()]
    acting: list[list[dict[str, Any]]] = [[], *([entry] for entry in asked), *([asked] if len(asked) > 1 else [])]
    wishes = [(one, {}) for one in acting] + ([(acting[-1], negative)] if negative else [])
    made = [
        model.sample(n, seed, control=one or None, negative=unwished or None, progress=False, **told).items
        for one, unwished in wishes
    ]
    return [*drawn, *items, *(item for row in made for item in row)]


def as_picture(values: NDArray[np.float32], channels: int) -> Picture:
    """A map of one number for each pixel in grey, from its least to its most."""
    low, high = np.nanmin(values), np.nanmax(values)
    levels = np.nan_to_num((values - low) / max(high - low, 1e-6)) * 255
    return levels.round().astype(np.uint8).repeat(channels, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    watched = verbs.add_parser("progress")
    watched.add_argument("runs", nargs="+", type=Path)
    watched.add_argument("--plot", type=Path)
    drawn = verbs.add_parser("sheet")
    drawn.add_argument("run", type=Path)
    drawn.add_argument("controls", nargs="+", type=Path)
    drawn.add_argument("--n", type=int, default=8)
    drawn.add_argument("--seed", type=int, default=0)
    drawn.add_argument("--steps", type=int)
    drawn.add_argument("--condition", type=json.loads, help="as JSON")
    drawn.add_argument("--negative", type=json.loads, default={}, help="as JSON")
    drawn.add_argument("--scale", type=float, help="of guidance")
    drawn.add_argument("--out", type=Path, default=Path("sheet.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.verb == "progress":
        progress([Run.open(run).folder for run in arguments.runs], arguments.plot)
        return
    model = load(arguments.run)
    told = {"condition": arguments.condition, "guidance_scale": arguments.scale, "steps": arguments.steps}
    controls = [load_control(folder, model) for folder in arguments.controls]
    pictures = sheet(model, controls, arguments.n, arguments.seed, told, arguments.negative)
    contact_sheet(pictures, columns=arguments.n).save(arguments.out)
    print(f"look at {arguments.out}")


if __name__ == "__main__":
    main()
