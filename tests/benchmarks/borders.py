"""How visible the border of what is made anew is: `python borders.py RUN -n 200`, for pictures, clips and clouds.

Half of each real test item is kept, the other half made anew under the item's own conditions: of pictures the lower
one, of clips the later one, of clouds the higher one. Printed is how much changes across the border, in real items,
which is the floor; in what each sampler makes; and where the other half is another test item's, which is the ceiling.
The change is, of pictures and clips, the mean difference of grey levels from the last row or frame that is kept to the
first new one; of clouds, the distance from the points that lie at the border to the nearest new one. Borders of sounds
are judged by `continuation.py`, those of molecules by `scaffolds.py`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unnoise import load
from unnoise.contracts import Dataset
from unnoise.metrics import subset
from unnoise.plugins.registry import get_registry
from unnoise.runs import Model
from unnoise.runs.build import build_splits
from unnoise.training.data import subset as rows

SAMPLERS: dict[str, dict[str, Any]] = {
    "the run's own": {},
    "ddpm": {"sampler": "ddpm"},
    "repaint": {"sampler": "repaint"},
    "repaint, repeats 4": {"sampler": "repaint", "sampler_options": {"repeats": 4}},
}
Array = NDArray[Any]


@dataclass(frozen=True)
class Border:
    """The border of one kind of data.

    Args:
        mask: what is made anew.
        unit: of the change.
        ready: an item -> the item as it is edited.
        array: an item -> an array, what is kept first along its first axis.
        change: of one array, at half of its first axis.
    """

    mask: Callable[[Any], str]
    unit: str
    ready: Callable[[Any, Model], Any]
    array: Callable[[Any], Array]
    change: Callable[[Array], float]


def step(values: Array) -> float:
    """Mean difference from the last kept row or frame to the first new one."""
    half = len(values) // 2
    return float(np.abs(values[half].astype(np.float64) - values[half - 1]).mean())


def gap(points: Array, share: float = 0.125) -> float:
    """From the highest of the points that are kept, mean distance to the nearest new one. They are sorted by height."""
    half = len(points) // 2
    border = points[half - round(share * half) : half]
    return float(np.linalg.norm(border[:, None] - points[None, half:], axis=-1).min(1).mean())


def cloud_ready(cloud: Any, model: Model) -> Any:
    """As many points as the model makes, from the lowest to the highest."""
    drawn = cloud.upright(model.representation.up).take(np.arange(model.representation.points))
    return drawn.take(np.argsort(drawn.points[:, "xyz".index(drawn.up)], kind="stable"))


def as_it_is(item: Any, model: Model) -> Any:
    """For kinds of data whose items are all of a shape."""
    return item


BORDERS = {
    "image": Border(lambda x: f"bottom:{len(x) - len(x) // 2}", "of 255 grey levels", as_it_is, np.asarray, step),
    "video": Border(lambda x: f"after:{len(x.frames) // 2}", "of 255 grey levels", as_it_is, lambda x: x.frames, step),
    "points": Border(lambda x: "above:0.5", "in the data's unit", cloud_ready, lambda x: x.points, gap),
}


def conditions(model: Model, test: Dataset, chosen: Sequence[int]) -> dict[str, Any]:
    """Raw conditions of test items, of which the model knows."""
    known, columns = model.denoiser.conditions, test.columns()
    return {name: known[name].raw(rows(columns[name], list(chosen))) for name in known.names if name in columns}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for a picture of the results of each sampler")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    started, model = time.monotonic(), load(asked.run)
    border = BORDERS[model.manifest.modality]
    _, test = build_splits(get_registry(), model.manifest.config)
    chosen = subset(len(test), asked.n, asked.seed)
    items = [border.ready(test[i], model) for i in chosen]
    real = [border.array(item) for item in items]
    pasted = [
        np.concatenate([a[: len(a) // 2], b[len(a) // 2 :]]) for a, b in zip(real, real[1:] + real[:1], strict=True)
    ]
    print(f"| other halves | change across the border, {border.unit} |\n|---|---|")

    def show(name: str, arrays: Sequence[Array]) -> None:
        changes = [border.change(values) for values in arrays]
        print(f"| {name} | {np.mean(changes):.3g} ± {np.std(changes) / len(changes) ** 0.5:.2g} |", flush=True)

    show("real", real)
    show("of another item", pasted)
    for name, sampler in SAMPLERS.items():
        how = {"steps": asked.steps, "seed": asked.seed, "progress": False, **sampler}
        made = model.edit("infill", items, mask=border.mask(items[0]), raw=conditions(model, test, chosen), **how).items
        show(name, [border.array(item) for item in made])
        if asked.out:
            asked.out.mkdir(parents=True, exist_ok=True)
            model.representation.preview(made[:16], asked.out / f"{name.replace(' ', '_')}.png")
    print(f"N = {len(items)}, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
