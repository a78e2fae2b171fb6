"""Quality of a trained model against steps, for several samplers: tables, and numbers for `quality_picture.py`.

`python quality.py runs/digits --score frechet_classifier adams/quadratic dpmpp_2m/log_snr ddim/linear`

A way to sample is written sampler[/spacing][,option=value...]; `categorical=tau_leap` is an option of it too. All have
the same seeds and conditions. Floor (real against real) and ceiling (decoded noise) stand below each table.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from unnoise import load
from unnoise.contracts import Score
from unnoise.runs import Model, evaluate

STEPS = (4, 6, 8, 12, 20, 50)
Scores = dict[str, Score]
Found = dict[str, dict[int, Scores]]
"""Way to sample -> steps -> name -> score."""


def parse(way: str) -> dict[str, Any]:
    """``"renoise/linear,depth=0.1"`` as arguments of ``evaluate``."""
    head, *words = way.split(",")
    sampler, _, spacing = head.partition("/")
    options: dict[str, Any] = dict(word.split("=", 1) for word in words)
    categorical = options.pop("categorical", None)
    numbers = {name: float(value) for name, value in options.items()}
    return {"sampler": sampler, "spacing": spacing or None, "sampler_options": numbers, "categorical": categorical}


def judged(model: Model, way: str, steps: int, arguments: argparse.Namespace) -> tuple[int, Scores]:
    """Evaluations that a sample takes, and the scores of so many samples."""
    options = {**parse(way), "steps": steps, "n": arguments.n, "seed": arguments.seed, "metrics": arguments.metric}
    with contextlib.redirect_stderr(io.StringIO()):
        samples, scores = evaluate(model, **options)
    return int(samples.record["nfe"]), {score.name: score for score in scores if score.name in arguments.score}


def show(name: str, found: Found) -> None:
    """One table, in Markdown."""
    columns = next(iter(found.values()))
    print(f"\n| {name} | {' | '.join(map(str, columns))} |\n|{'---|' * (len(columns) + 1)}")
    for way, by_steps in found.items():
        print(f"| `{way}` | {' | '.join(f'{scores[name].value:.3g}' for scores in by_steps.values())} |")
    score = next(iter(columns.values()))[name]
    limits = {"floor": score.floor, "ceiling": score.ceiling}
    print("; ".join(f"{what} {value:.3g}" for what, value in limits.items() if value is not None))


def numbers(found: Found) -> dict[str, Any]:
    """The scores as JSON: what they are, and way -> steps -> name -> value."""
    some = next(iter(next(iter(found.values())).values()))
    return {
        "scores": {name: {"better": s.better, "floor": s.floor, "ceiling": s.ceiling} for name, s in some.items()},
        "values": {
            way: {str(steps): {name: s.value for name, s in scores.items()} for steps, scores in by_steps.items()}
            for way, by_steps in found.items()
        },
    }


def main(words: Sequence[str] | None = None) -> None:
    """Print a line for every measurement as it is made, then a table for every score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder")
    parser.add_argument("ways", nargs="+", metavar="sampler[/spacing][,option=value...]")
    parser.add_argument("--score", nargs="+", required=True, help="names of scores, as `unnoise eval` prints them")
    parser.add_argument("--metric", nargs="+", default=[], help="metrics that have them; all are computed if left out")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write every number there, as JSON")
    arguments = parser.parse_args(words)
    torch.set_num_threads(arguments.threads)
    started, model = time.monotonic(), load(arguments.run)
    found: Found = {}
    for way in arguments.ways:
        found[way] = {}
        for steps in arguments.steps:
            nfe, found[way][steps] = judged(model, way, steps, arguments)
            values = ", ".join(f"{name} {score.value:.4g}" for name, score in found[way][steps].items())
            print(f"{way}, {steps} steps, {nfe} evaluations: {values}", flush=True)
    for name in arguments.score:
        show(name, found)
    print(f"N = {arguments.n}, seed {arguments.seed}, {time.monotonic() - started:.0f} s")
    if arguments.out:
        arguments.out.write_text(json.dumps(numbers(found), indent=1))


if __name__ == "__main__":
    main()
