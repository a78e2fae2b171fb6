"""Molecules with wished-for properties: `python wishes.py RUN -n 500 --scales 1 2 3`

Asked for are the values of real test molecules, one property at a time. Printed is how far RDKit finds the properties
of valid samples from what was asked, their mean absolute error and correlation: without asking, and at every scale of
guidance. Then, the share of samples with so many rings, without and with that number as the negative condition.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unnoise import load
from unnoise.metrics import subset
from unnoise.plugins.registry import get_registry
from unnoise.runs import Model
from unnoise.runs.build import build_splits
from unnoise_molecules.properties import values

Array = NDArray[np.float64]


def compared(made: Array, asked: Array) -> str:
    """Mean absolute error and correlation of those that there are."""
    there = np.isfinite(made)
    correlation = np.corrcoef(made[there], asked[there])[0, 1]
    return f"{np.abs(made - asked)[there].mean():.3g} ({correlation:.2f})"


def valid(items: Sequence[str]) -> float:
    """Share of items that are molecules in one piece."""
    there = np.isfinite(values("rings", items))
    return float(np.mean(there & np.array(["." not in item for item in items])))


def wished(model: Model, names: Sequence[str], test: Sequence[str], scales: Sequence[float], **how: Any) -> None:
    """Print asked against measured."""
    free = model.sample(len(test), **how).items
    print(f"| mean absolute error (correlation) | not asked | {' | '.join(f'scale {s:g}' for s in scales)} |")
    print("|" + "---|" * (2 + len(scales)))
    whole: dict[float, list[float]] = {scale: [] for scale in scales}
    for name in names:
        asked = values(name, test)
        cells = [compared(values(name, free), asked)]
        for scale in scales:
            items = model.sample(len(test), condition={name: asked.tolist()}, guidance_scale=scale, **how).items
            cells.append(compared(values(name, items), asked))
            whole[scale].append(valid(items))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    shares = " | ".join(f"{100 * np.mean(share):.1f} %" for share in whole.values())
    print(f"| valid and in one piece | {100 * valid(free):.1f} % | {shares} |\n")


def avoided(model: Model, n: int, most: int, scale: float, **how: Any) -> None:
    """Print how often there are so many rings, and how often if that is what is to be avoided."""
    free = values("rings", model.sample(n, **how).items)
    print(f"| % of valid samples with rings: | {' | '.join(map(str, range(most + 1)))} |\n|{'---|' * (most + 2)}")
    shares = [100 * np.mean(free[np.isfinite(free)] == count) for count in range(most + 1)]
    print(f"| without | {' | '.join(f'{share:.1f}' for share in shares)} |")
    cells, whole = [], []
    for count in range(most + 1):
        items = model.sample(n, negative={"rings": float(count)}, guidance_scale=scale, **how).items
        found = values("rings", items)
        cells.append(f"{100 * np.mean(found[np.isfinite(found)] == count):.1f}")
        whole.append(valid(items))
    print(f"| with that negative, scale {scale:g} | {' | '.join(cells)} |")
    print(f"| of which valid and in one piece | {' | '.join(f'{100 * share:.0f}' for share in whole)} |\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("-n", type=int, default=500)
    parser.add_argument("--scales", nargs="+", type=float, default=[1, 2, 3, 5])
    parser.add_argument("--negative", type=float, default=3.0, help="scale of guidance away from a number of rings")
    parser.add_argument("--rings", type=int, default=4, help="the largest number of rings to avoid")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    started, model = time.monotonic(), load(asked.run)
    _, data = build_splits(get_registry(), model.manifest.config)
    test = [data[i] for i in subset(len(data), asked.n, asked.seed)]
    how = {"steps": asked.steps, "seed": asked.seed, "progress": False}
    names = [name for name in model.denoiser.conditions.names if name in data.columns()]
    wished(model, names, test, asked.scales, **how)
    if "rings" in names:
        avoided(model, asked.n, asked.rings, asked.negative, **how)
    print(f"N = {len(test)}, seed {asked.seed}, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
