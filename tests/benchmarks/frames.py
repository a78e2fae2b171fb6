"""Time and memory of a training step of the video denoisers against the number of frames: `python frames.py`

Every row is a process of its own, as peak memory never falls; its steps are taken one after the other, and the fastest
counts. Weights are random, which costs the same as trained ones.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch

from unnoise.contracts import Context
from unnoise.layout import Layout, Part
from unnoise.level import Level
from unnoise.state import State
from unnoise_video.networks import SpaceTimeTransformer
from unnoise_video.stacked import StackedUNet
from unnoise_video.unet import UNet

LAYOUT = Layout((Part("pixels", "gaussian", ("frames", 1, 32, 32)),))
NETWORKS = {
    "transformer": lambda frames: SpaceTimeTransformer(LAYOUT, 0, 192, 8),
    "unet": lambda frames: UNet(LAYOUT, 0, (32, 64, 128), 1, (False, False, True), patch=2),
    "unet, span 16": lambda frames: UNet(LAYOUT, 0, (32, 64, 128), 1, (False, False, True), patch=2, span=16),
    "stacked": lambda frames: StackedUNet(LAYOUT, 0, frames),  # the one that is built for a longest clip
}


def measure(name: str, frames: int, batch: int, repeats: int) -> tuple[float, float]:
    """Seconds of a step forwards and backwards, and by how many MiB memory grew at most."""
    net = NETWORKS[name](frames)
    x = State.zeros(LAYOUT, batch, {"frames": torch.full((batch,), frames)})
    x = x.replace({"pixels": torch.randn(batch, frames, 1, 32, 32)})
    times = {"pixels": torch.full((batch,), 0.5)}
    level, seconds, before = Level(times, times, times), float("inf"), _peak()
    for _ in range(repeats):
        started = time.perf_counter()
        net(x, level, Context(None))["pixels"].square().mean().backward()
        seconds = min(seconds, time.perf_counter() - started)
    return seconds, _peak() - before


def _peak() -> float:
    """MiB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="*", default=[8, 16, 32, 64])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs=2, metavar=("NETWORK", "FRAMES"), help="one row, as numbers: for this program")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.only:
        print(*measure(arguments.only[0], int(arguments.only[1]), arguments.batch, arguments.repeats))
        return
    print(f"a step of {arguments.batch} clips, of one of {arguments.frames[0]} frames in brackets\n")
    print("| denoiser | " + " | ".join(f"{n} frames" for n in arguments.frames) + " |")
    print("|---|" + "---|" * len(arguments.frames))
    for name in NETWORKS:
        rows = [_row(name, frames, arguments) for frames in arguments.frames]
        for unit, column in (("s", 0), ("MiB", 1)):
            cells = [f"{row[column]:.3g} ({row[column] / rows[0][column]:.2f})" for row in rows]
            print(f"| {name}, {unit} | " + " | ".join(cells) + " |", flush=True)


def _row(name: str, frames: int, arguments: argparse.Namespace) -> tuple[float, float]:
    words = [f"--{key}={getattr(arguments, key)}" for key in ("batch", "repeats", "threads")]
    command = [sys.executable, __file__, *words, "--only", name, str(frames)]
    seconds, memory = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(memory)


if __name__ == "__main__":
    main()
