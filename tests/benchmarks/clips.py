"""What a trained model of bouncing digits predicts, fills in and rolls on: `python clips.py runs/digits -n 100`

First, frames of real test clips are hidden and made (`unnoise_video.forecast.compare`). Then clips of four times the
length of training clips are rolled, window by window, from a class and a speed, which hold throughout, and a direction
of the first frame. They are judged in four quarters, as long as training clips, and as a whole; the floor is real clips
of that length.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unnoise import load
from unnoise.contracts import Evidence, Score
from unnoise.plugins.registry import get_registry
from unnoise.runs import Model
from unnoise.runs.build import build_splits
from unnoise_video.bouncing import DIRECTIONS
from unnoise_video.clip import Clip
from unnoise_video.data.digits import MovingDigits
from unnoise_video.forecast import compare
from unnoise_video.infill import roll
from unnoise_video.metrics.judged import ClassifierMetric
from unnoise_video.metrics.motion import PhysicsMetric, TemporalMetric

ALONG = 4
"""Lengths of a training clip in a rolled one."""


def hidden(model: Model, test: MovingDigits, n: int, told: list[str], steps: int | None) -> None:
    """Print the table of prediction, of a picture that moves, and of interpolation."""
    frames = np.arange(model.representation.longest)
    shown = {
        "4 first frames": frames < 4,
        "first frame": frames < 1,
        "first and last": np.isin(frames, frames[[0, -1]]),
    }
    print("| given | path error, pixels | held | blended | PSNR of the frames made |\n|---|---|---|---|---|")
    for name, given in shown.items():
        path, psnr = compare(model, test, given, n, told=told, steps=steps, progress=False)
        ways = dict(part.split() for part in path.note.split("; ")[1].split(", "))
        print(f"| {name} | {path.value:.2f} | {ways['held']} | {ways['blended']} | {psnr.value:.1f} dB |")


def rolled(model: Model, train: MovingDigits, n: int, **options: Any) -> list[Clip]:
    """Print the table of rolled clips, which are returned; options of :func:`unnoise_video.infill.roll`."""
    window = model.representation.longest
    long = MovingDigits("test", n=8 * max(n, 8), frames=ALONG * window)
    columns = long.columns()
    classes, directions, speeds = (columns[name].values[:n] for name in ("class", "direction", "speed"))
    holds = {"class": [str(kind) for kind in classes], "speed": speeds.tolist()}
    first = {"direction": [DIRECTIONS[k] for k in directions]}  # until it bounces
    made = roll(model, ALONG * window, n, condition=holds, first=first, progress=False, **options)
    metrics = (ClassifierMetric(), PhysicsMetric(), TemporalMetric())
    found: dict[str, list[Score]] = {}
    for place in (*range(ALONG), None):
        span = (0, ALONG * window) if place is None else (place * window, (place + 1) * window)
        clips = [clip.cut(*span) for clip in made]
        real = _Cut(long, *span)
        scores = [s for metric in metrics for s in metric(Evidence(clips, {"class": classes}, train, real))]
        levels = [np.mean([clip.frames.mean() for clip in some]) for some in (clips, [real[i] for i in range(n)])]
        scores.append(Score("brightness", float(levels[0]), float(levels[1]), None, "near", "mean grey level"))
        found["whole" if place is None else f"{span[0]} to {span[1] - 1}"] = scores
    names = ("class_accuracy", "identity_kept", "physics_kept", "path_residual", "flicker", "drift", "brightness")
    print("\n| frames | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
    for where, scores in found.items():
        by_name = {score.name: score for score in scores}
        print(f"| {where} | " + " | ".join(f"{by_name[k].value:.3g} ({by_name[k].floor:.3g})" for k in names) + " |")
    change = np.array([clip.frames[-window:].mean() - clip.frames[:window].mean() for clip in made])
    print(f"\nbrightness changes by {change.mean():.2f}, standard error {change.std() / n**0.5:.2f}")
    return made


class _Cut(MovingDigits):
    """Frames of every clip from ``begin`` to before ``end``."""

    def __init__(self, data: MovingDigits, begin: int, end: int) -> None:
        self.__dict__.update(data.__dict__)
        self._span = (begin, end)

    def __getitem__(self, index: int) -> Clip:
        return super().__getitem__(index).cut(*self._span)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder of a model of data=digits")
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument(
        "--told", nargs="*", default=["class"], help="conditions that the model is told of hidden frames"
    )
    parser.add_argument("--overlap", type=int, default=4, help="frames that each window of a rolled clip takes over")
    parser.add_argument(
        "--level", type=float, help="time at which a window is shown those frames; 0, clean, if left out"
    )
    parser.add_argument("--guidance-scale", type=float, help="of rolled clips; the run's own if left out")
    parser.add_argument("--seed", type=int, default=0, help="of the first rolled clip")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for the rolled clips and a picture of them")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    started, model = time.monotonic(), load(arguments.run)
    train, _ = build_splits(get_registry(), model.manifest.config)
    window = model.representation.longest
    hidden(
        model,
        MovingDigits("test", n=8 * max(arguments.n, 8), frames=window),
        arguments.n,
        arguments.told,
        arguments.steps,
    )
    names = ("seed", "steps", "overlap", "level", "guidance_scale")
    made = rolled(model, train, arguments.n, **{name: getattr(arguments, name) for name in names})
    print(f"\nin brackets: real clips; N = {arguments.n}, {time.monotonic() - started:.0f} s")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        model.representation.save(made, arguments.out, {})
        model.representation.preview(made[:16], arguments.out / "preview.png")


if __name__ == "__main__":
    main()
