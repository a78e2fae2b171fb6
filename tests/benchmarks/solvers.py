"""Error against evaluations on exact problems: every deterministic sampler of ours beside every solver of the peers.

``python solvers.py`` compares; without diffusers and k-diffusion it shows ours alone. ``--family held_out`` takes
problems that no solver was chosen by.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peers import Solver, all_peers, endpoints, evaluations
from problems import DIMENSIONS, Problems
from torch import Tensor

import unnoise
from unnoise import schedules
from unnoise.sampling import SAMPLERS
from unnoise.sampling.grids import SPACINGS
from unnoise.schema import SampleConfig

COUNTS = (5, 8, 10, 15, 20, 30, 50)
SCHEDULES = {"scaled_linear": schedules.scaled_linear, "cosine": schedules.cosine, "flow": schedules.flow}
DEFAULT = f"{SampleConfig().sampler}, {SampleConfig().spacing}"
"""What ``unnoise sample`` takes where nothing is said."""
VARIANTS: dict[str, Sequence[dict[str, Any]]] = {
    "adams": [{}, {"order": 2}, {"order": 4}, {"order": 4, "scale": 2.0}],
    "unipc": [{"order": 1}, {"order": 2}, {"order": 3}, {"variant": "bh1"}],
    "lms": [{"order": 2}, {"order": 3}, {"order": 4}],
    "deis": [{"order": 2}, {"order": 3}, {"over": "time"}],
    "ipndm": [{"order": 3}, {"order": 4}],
    "sa": [{"tau": 0.0}],
    "dpmpp_2s_ancestral": [{"eta": 0.0}],
}
"""Options, where a sampler has some that matter or is deterministic with them only."""
Errors = dict[tuple[int, int], dict[str, float]]
"""(dimension, evaluations) -> solver -> error."""


def our_solvers() -> Iterator[Solver]:
    """Every deterministic sampler on every spacing."""

    def run(name: str, spacing: str, options: dict[str, Any], problems: Problems, steps: int) -> Tensor:
        plan = unnoise.plan(name, problems.schedule, steps, spacing, **options)
        return unnoise.sample(problems.denoise, problems.start, plan)

    for name, info in SAMPLERS.items():
        if info.order == 0 or (info.stochastic and name not in VARIANTS):
            continue
        for options in VARIANTS.get(name, [{}]):
            words = "".join(f" {key}={value}" for key, value in options.items())
            two, one = (unnoise.plan(name, schedules.flow(), steps, **options).nfe for steps in (2, 1))
            cost = partial(evaluations, two - one)
            for spacing in set(SPACINGS) - {"exponential"}:  # another name of log_snr
                yield Solver(f"{name}{words}, {spacing}", partial(run, name, spacing, options), cost)


def measured(
    problems: Problems, solvers: Sequence[Solver], target: Tensor, refused: Callable[[str, int], None]
) -> Errors:
    """The errors of all solvers at all counts; what fails, or is not finite, is named and left out."""
    errors: Errors = {(size, count): {} for size in problems.dimensions for count in COUNTS}
    for solver, count, end in endpoints(problems, solvers, COUNTS):
        if isinstance(end, Exception):
            refused(f"{solver.name}: {str(end)[:80]}", count)
            continue
        if not bool(end.isfinite().all()):
            refused(f"{solver.name}: not finite", count)
            continue
        for size, error in problems.errors(end, target).items():
            errors[size, count][solver.name] = error
    return errors


def best(errors: dict[str, float]) -> tuple[str, float]:
    """The solver with the least error."""
    return min(errors.items(), key=lambda item: item[1], default=("none", math.nan))


def mean(values: Sequence[float]) -> float:
    """Geometric."""
    return math.exp(sum(map(math.log, values)) / len(values))


def main() -> None:
    """Print one table per schedule, and what could not be computed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=("development", "held_out"), default="development")
    parser.add_argument("--schedules", nargs="+", choices=SCHEDULES, default=list(SCHEDULES))
    parser.add_argument("--target", choices=("truth", "jumped"), default="truth", help="see Problems")
    parser.add_argument("--scale", type=float, default=1.0, help="standard deviation of the data")
    parser.add_argument("--samples", type=int, default=64, help="starting points of each mixture")
    parser.add_argument("--only", choices=("ours", "peers"))
    parser.add_argument("--out", type=Path, help="also write every number there, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    refusals: dict[str, list[int]] = {}
    kept: dict[str, Any] = {}
    for name in args.schedules:
        schedule = SCHEDULES[name]()
        problems = Problems(schedule, args.family, samples=args.samples, scale=args.scale)
        target = getattr(problems, args.target)

        def refused(what: str, count: int, schedule: str = name) -> None:
            refusals.setdefault(f"{schedule}: {what}", []).append(count)

        theirs = measured(problems, [] if args.only == "ours" else peers_of(schedule), target, refused)
        ours = measured(problems, [] if args.only == "peers" else list(our_solvers()), target, refused)
        floor = problems.errors(problems.jumped, target)
        print(f"\n{name}, {args.family}; mean over dimensions {DIMENSIONS}, least and greatest ratio among them")
        print(f"an exact solution down to t_min, and a jump: {mean(list(floor.values())):.5f}")
        print("evaluations   peers    ours   ratio (least, greatest)   default  ratio   best of each at D = 16")
        for count in COUNTS:
            print(line(count, theirs, ours))
        kept[name] = {
            side: {f"{size}/{count}": cell for (size, count), cell in errors.items()}
            for side, errors in (("peers", theirs), ("ours", ours))
        }
    if refusals:
        print("\nleft out, with so many evaluations:")
    for what, counts in sorted(refusals.items()):
        print(f"  {', '.join(map(str, counts))}: {what}")
    if args.out:
        args.out.write_text(json.dumps(kept, indent=1))


def peers_of(schedule: schedules.Schedule) -> list[Solver]:
    """Those that are installed."""
    try:
        return list(all_peers(schedule))
    except ModuleNotFoundError as missing:
        print(f"ours alone: there is no {missing.name} (`make peers` installs it)")
        return []


def line(count: int, theirs: Errors, ours: Errors) -> str:
    """A row of the table."""
    peer = [best(theirs[size, count])[1] for size in DIMENSIONS]
    own = [best(ours[size, count])[1] for size in DIMENSIONS]
    plain = [ours[size, count].get(DEFAULT, math.nan) for size in DIMENSIONS]
    ratios = [a / b for a, b in zip(own, peer, strict=True)]
    spread = f"({min(ratios):.2f}, {max(ratios):.2f})"
    names = f"{best(theirs[16, count])[0]}; {best(ours[16, count])[0]}"
    return (
        f"{count:11d} {mean(peer):7.5f} {mean(own):7.5f} {mean(ratios):7.2f} {spread:18} {mean(plain):9.5f} "
        f"{mean(plain) / mean(peer):6.2f}   {names}"
    )


if __name__ == "__main__":
    main()
