"""What a CPU gains by keeping freed memory (`unnoise.training.device.keep_memory`): `python allocator.py runs/digits`

Samples are made in processes of their own, in turns with memory kept and given back. Each process samples twice, and
the second time counts.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import torch

from unnoise import load

GIVEN_BACK = {"GLIBC_TUNABLES": ""}
"""Set, even to nothing: the allocator is left as it is."""


def sampled(run: str, n: int, steps: int, threads: int) -> dict[str, float]:
    """Seconds by the clock and in the system of one call, and peak memory of this process in GiB."""
    torch.set_num_threads(threads)
    model = load(run, device="cpu")
    for _ in range(2):
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        model.sample(n, steps=steps, batch=n, progress=False)
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": seconds, "system": after.ru_stime - before.ru_stime, "peak": after.ru_maxrss / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder")
    parser.add_argument("-n", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(sampled(options.run, options.n, options.steps, options.threads)))
        return
    ways: dict[str, dict[str, str]] = {"given back": GIVEN_BACK, "kept": {}}
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(options.repeats):
        for way, variables in ways.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--child"]
            ran = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
            found[way].append(json.loads(ran.stdout))
    best = {way: min(runs, key=lambda one: one["seconds"]) for way, runs in found.items()}
    for way, one in best.items():
        print(f"{way:10}  {one['seconds']:6.1f} s, {one['system']:5.1f} s of it in the system, {one['peak']:.2f} GiB")
    print(f"ratio       {best['given back']['seconds'] / best['kept']['seconds']:.2f}")


if __name__ == "__main__":
    main()
