"""Completions of real shapes by a trained model: `python point_completion.py runs/families -n 100`

Of every test shape, one side is given, or points from everywhere; the model makes the rest. Printed is the Chamfer
distance (squared, both ways added) of what was made to other points of the same surface, beside what two baselines get
that make the rest of the shape without a model: the training shape nearest to what is given, and the "mean shape", a
draw of points from training shapes of the class. The floor is a second draw from the surface itself. All get the given
points as they are, and the same number of points.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import KDTree

from unnoise import load
from unnoise.contracts import Dataset, Labels
from unnoise.metrics import subset
from unnoise.plugins.registry import get_registry
from unnoise.runs import Model
from unnoise.runs.build import build_splits
from unnoise.training.data import subset as rows
from unnoise_points.cloud import Cloud
from unnoise_points.infill import complete, one_side
from unnoise_points.metrics.distances import chamfer

KINDS = ("model", "nearest training shape", "mean shape", "the surface itself")


@dataclass(frozen=True)
class Trial:
    """One shape: the completion, the Chamfer distance of every kind, and whether what was given is there exactly."""

    made: Cloud
    distances: dict[str, float]
    exact: bool


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The Chamfer distance of two arrays of points."""
    pair = (torch.from_numpy(np.ascontiguousarray(points, np.float32))[None] for points in (one, other))
    return float(chamfer(*pair)[0, 0])


def part_of(cloud: Cloud, share: float, side: bool, rng: np.random.Generator) -> Cloud:
    """A share of a cloud, from one side or from everywhere."""
    if side:
        return cloud.take(one_side(cloud, rng.standard_normal(3), share))
    return cloud.take(rng.permutation(len(cloud))[: round(share * len(cloud))])


def nearest(given: Cloud, candidates: Sequence[Cloud]) -> Cloud:
    """The candidate that lies nearest to the points that are given, one way: what it has elsewhere costs nothing."""
    found = [np.square(KDTree(cloud.points).query(given.points)[0]).mean() for cloud in candidates]
    return candidates[int(np.argmin(found))]


def rest_of(other: np.ndarray, given: Cloud, count: int, rng: np.random.Generator) -> np.ndarray:
    """As many points of a baseline's shape as are missing, those that lie farthest from what is given first."""
    chosen = other[rng.permutation(len(other))[: count + len(given)]]
    far = np.argsort(-KDTree(given.points).query(chosen)[0], kind="stable")[:count]
    return np.concatenate([given.points, chosen[far]])


def measure(
    model: Model,
    train: Dataset,
    test: Dataset,
    n: int,
    share: float,
    side: bool,
    told: Sequence[str],
    seed: int = 0,
    **options: Any,
) -> list[Trial]:
    """Complete ``n`` test shapes. ``told``: conditions that the model is told; ``options``: of ``Model.sample``."""
    points, known, columns = model.representation.points, model.denoiser.conditions, test.columns()
    kinds = train.columns().get("class")
    trials = []
    for i in subset(len(test), n, seed):
        rng = np.random.default_rng([seed, i])
        whole = test[i].unit() if model.representation.normalise == "shape" else test[i]
        order = rng.permutation(len(whole))
        cloud, second, target = (whole.take(order[k * points : (k + 1) * points]) for k in range(3))
        given = part_of(cloud, share, side, rng)
        raw = {name: known[name].raw(rows(columns[name], [i])) for name in told}
        (made,) = complete(model, given, points, seed=seed + i, raw=raw, **options)
        same = range(len(train))
        if isinstance(kinds, Labels):
            same = np.flatnonzero(kinds.values == columns["class"].values[i])
        others = [train[int(j)].unit() if model.representation.normalise == "shape" else train[int(j)] for j in same]
        mean = np.concatenate([other.points[rng.integers(len(other), size=8)] for other in others])
        missing = points - len(given)
        results = {
            "model": made.points,
            "nearest training shape": rest_of(nearest(given, others).points, given, missing, rng),
            "mean shape": rest_of(mean, given, missing, rng),
            "the surface itself": second.points,
        }
        distances = {kind: distance(result, target.points) for kind, result in results.items()}
        trials.append(Trial(made, distances, np.array_equal(made.points[: len(given)], given.points)))
    return trials


def show(trials: Sequence[Trial]) -> None:
    """The table, in Markdown."""
    found = {kind: np.array([trial.distances[kind] for trial in trials]) for kind in KINDS}
    print("| Chamfer distance to the surface | mean | median | over the mean shape's mean |\n|---|---|---|---|")
    for kind, values in found.items():
        ratio = values.mean() / found["mean shape"].mean()
        print(f"| {kind} | {values.mean():.5f} | {np.median(values):.5f} | {ratio:.2f} |")
    print(f"given points exact: {sum(trial.exact for trial in trials)} of {len(trials)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder of a model of clouds")
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.5, help="share of the points that is given")
    parser.add_argument("--told", nargs="*", default=[], help="conditions that the model is told, such as class")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for pictures of the completions")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = load(arguments.run)
    train, test = build_splits(get_registry(), model.manifest.config)
    for side in (True, False):
        started = time.monotonic()
        trials = measure(
            model, train, test, arguments.n, arguments.share, side, arguments.told, arguments.seed,
            steps=arguments.steps, progress=False,
        )  # fmt: skip
        where = "from one side" if side else "from everywhere"
        print(f"\n{arguments.share:.0%} given {where}, N = {len(trials)}, {time.monotonic() - started:.0f} s\n")
        show(trials)
        if arguments.out:
            arguments.out.mkdir(parents=True, exist_ok=True)
            name = "side.png" if side else "everywhere.png"
            model.representation.preview([trial.made for trial in trials[:16]], arguments.out / name)


if __name__ == "__main__":
    main()
