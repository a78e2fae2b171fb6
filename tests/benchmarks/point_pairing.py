"""Does pairing noise with points help? `python point_pairing.py --minutes 5 --seeds 0 1`

Trains an experiment with independent and with optimal-transport pairing (`train.pairing`), once for every seed and for
the same time, and prints 1-nearest-neighbour accuracy, coverage and minimum matching distance by Chamfer distance at a
few numbers of evaluations. Runs that are there already are gone on with, or used as they are.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from unnoise import load
from unnoise.cli.compose import compose
from unnoise.runs import evaluate
from unnoise.runs.train import train

PAIRINGS = ("independent", "transport")
SCORES = ("1nna_chamfer", "coverage_chamfer", "mmd_chamfer")


def trained(folder: Path, experiment: str, pairing: str, seed: int, minutes: float, words: list[str]) -> Path:
    """The folder of a finished run."""
    run = folder / f"{pairing}-{seed}"
    named = [f"experiment={experiment}", f"train.pairing.name={pairing}", f"seed={seed}", f"train.minutes={minutes}"]
    train(compose("train", [*named, "resume=true", *words]), run)
    return run


def measure(run: Path, n: int, steps: int, sampler: str) -> tuple[dict[str, float], dict[str, float]]:
    """Score -> value, and score -> floor."""
    _, scores = evaluate(load(run), n, metrics=["chamfer"], steps=steps, sampler=sampler, progress=False)
    found = {score.name: score for score in scores}
    return {name: found[name].value for name in SCORES}, {name: found[name].floor or np.nan for name in SCORES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", default="points/families")
    parser.add_argument("--folder", type=Path, default=Path("runs/pairing"))
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--evaluations", type=int, nargs="+", default=[8, 16, 50])
    parser.add_argument("--sampler", default="ddim", help="deterministic, with one evaluation a step")
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("words", nargs="*", help="further overrides of the training, key=value")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    rows = []
    floors: dict[str, list[float]] = defaultdict(list)
    for pairing in PAIRINGS:
        runs = [
            trained(arguments.folder, arguments.experiment, pairing, seed, arguments.minutes, arguments.words)
            for seed in arguments.seeds
        ]
        for steps in arguments.evaluations:
            found = [measure(run, arguments.n, steps, arguments.sampler) for run in runs]
            for _, floor in found:
                for name in SCORES:
                    floors[name].append(floor[name])
            cells = [" / ".join(f"{values[name]:.4g}" for values, _ in found) for name in SCORES]
            rows.append(f"| {pairing} | {steps} | {' | '.join(cells)} |")
    seeds = ", ".join(map(str, arguments.seeds))
    print(f"\n{arguments.minutes:g} minutes each, seeds {seeds}; N = {arguments.n}, sampler {arguments.sampler}\n")
    print(f"| pairing | evaluations | {' | '.join(SCORES)} |\n|---|---|{'---|' * len(SCORES)}")
    print("\n".join(rows))
    print(f"| floor | | {' | '.join(f'{np.mean(floors[name]):.4g}' for name in SCORES)} |")


if __name__ == "__main__":
    main()
