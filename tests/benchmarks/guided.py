"""Quality of a trained model against the scale of guidance, for several methods: one table for every score.

`python guided.py runs/digits cfg "cfg interval=[-3,3]" "auto weak.ema=0.2" --scales 1 2 4 --score frechet_classifier`

A method is written as on the command line after `guidance.`: its name, then options and modifiers, with blanks between.
All have the same seeds, and the conditions of the same random training items. Floor (real against real) and ceiling
(decoded noise) stand below each table.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from typing import Any

import torch
from omegaconf import OmegaConf
from quality import Found, show

from unnoise import load
from unnoise.runs import Model, evaluate


def parse(method: str) -> dict[str, Any]:
    """``"cfg interval=[-3,3]"`` as a guidance's config."""
    name, *options = method.split()
    found = OmegaConf.to_container(OmegaConf.from_dotlist(options))
    assert isinstance(found, dict)
    return {"name": name, **found}


def judged(model: Model, method: str, scale: float, asked: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    """Evaluations that a sample takes, and the scores."""
    guidance = {**parse(method), "scale": scale} if scale != 1 else {"name": "cfg", "scale": 1.0}
    own = {"condition": dict(word.split("=") for word in asked.condition)} if asked.condition else {}
    options = {"n": asked.n, "seed": asked.seed, "steps": asked.steps, "metrics": asked.metric, **own}
    with contextlib.redirect_stderr(io.StringIO()):
        samples, scores = evaluate(model, guidance=guidance, **options)
    return int(samples.record["nfe"]), {score.name: score for score in scores if score.name in asked.score}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder")
    parser.add_argument("methods", nargs="+", metavar="'method option=value ...'")
    parser.add_argument("--scales", nargs="+", type=float, default=[1, 1.5, 2, 3, 5])
    parser.add_argument("--score", nargs="+", required=True, help="names of scores, as `unnoise eval` prints them")
    parser.add_argument("--metric", nargs="+", default=[], help="metrics that have them; all are computed if left out")
    parser.add_argument("--condition", nargs="+", default=[], metavar="name=value", help="the same for all samples")
    parser.add_argument("--steps", type=int)
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    started, model = time.monotonic(), load(asked.run)
    found: Found = {}
    off: tuple[int, dict[str, Any]] | None = None
    for method in asked.methods:
        found[method] = {}
        for scale in asked.scales:
            nfe, scores = off if scale == 1 and off else judged(model, method, scale, asked)
            off = (nfe, scores) if scale == 1 else off  # every method is off there
            found[method][scale] = scores
            values = ", ".join(f"{name} {score.value:.4g}" for name, score in scores.items())
            print(f"{method}, scale {scale:g}, {nfe} evaluations: {values}", flush=True)
    for name in asked.score:
        show(name, found)
    print(f"N = {asked.n}, seed {asked.seed}, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
