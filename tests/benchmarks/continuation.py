"""Continuations of real recordings by a trained model: `python continuation.py runs/notes -n 100`

Test recordings are kept up to a moment, and continued from there on under their own conditions. Printed is the seam
statistic (`unnoise_audio.seams.seam`, the largest from one end of the cross-fade to the other) of the recordings as
they are, which is the floor; of the continuations; and of the same beginnings before another recording, cross-faded and
cut hard, which is the ceiling. Then, how many continuations repeat what was kept to the sample.
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

from unnoise import load
from unnoise.contracts import Dataset
from unnoise.errors import UserError
from unnoise.metrics import subset
from unnoise.plugins.registry import get_registry
from unnoise.runs import Model
from unnoise.runs.build import build_dataset
from unnoise.training.data import subset as rows
from unnoise_audio.masks import fade_of
from unnoise_audio.seams import seam
from unnoise_audio.sound import Sound

KINDS = ("uncut", "continued", "another, cross-faded", "another, cut")


@dataclass(frozen=True)
class Trial:
    """One recording: its continuation, the statistic of every kind, whether what was kept is there to the sample."""

    made: Sound
    seams: dict[str, float]
    exact: bool


def across(sound: Sound, keep: float, fade: float, frame: float = 0.016) -> float:
    """The largest seam statistic in a cross-fade that ends at ``keep``, one for every frame."""
    places = np.linspace(keep - fade, keep, round(fade / frame) + 2)
    return max(seam(sound, at, frame) for at in places)


def joined(first: Sound, second: Sound, keep: float, fade: float) -> Sound:
    """``first`` up to ``keep`` and ``second`` after it, with a cross-fade that ends there; of the shorter's length."""
    length = min(first.samples.shape[1], second.samples.shape[1])
    left = round(keep * first.rate) - np.arange(length)
    share = np.clip(left / max(round(fade * first.rate), 1), 0, 1)
    mixed = share * first.samples[:, :length] + (1 - share) * second.samples[:, :length]
    return Sound(mixed.astype(np.float32), first.rate)


def chosen(test: Dataset, n: int, share: float, seed: int) -> list[int]:
    """At most ``n`` recordings that are long enough to have a seam after this share of their length.

    Raises:
        UserError: if there are fewer than two.
    """
    found = []
    for i in subset(len(test), len(test), seed):
        sound = test[i]
        try:
            keep = share * sound.seconds
            across(sound, keep, fade_of(round(keep * sound.rate), sound.rate) / sound.rate)
        except UserError:
            continue
        found.append(i)
    if len(found) < 2:
        raise UserError("fewer than two test recordings are long enough to be continued", "use longer recordings")
    return [found[i] for i in subset(len(found), n, seed)]


def measure(model: Model, test: Dataset, n: int, share: float = 0.5, seed: int = 0, **options: Any) -> list[Trial]:
    """Continue ``n`` test recordings after a share of their length; ``options`` are those of ``Model.sample``."""
    indices, columns, known = chosen(test, n, share, seed), test.columns(), model.denoiser.conditions
    trials = []
    for place, i in enumerate(indices):
        sound = test[i]
        keep = round(share * sound.samples.shape[1]) / sound.rate
        raw = {name: known[name].raw(rows(columns[name], [i])) for name in known.names if name in columns}
        longest = model.representation.duration(len(model.representation.lengths) - 1) / sound.rate
        seconds = min(sound.seconds, longest)
        begun = Sound(sound.samples[:, : round(keep * sound.rate)], sound.rate)
        fading = fade_of(begun.samples.shape[1], sound.rate)
        fade = fading / sound.rate
        mask = f"extend:{seconds - keep}"
        (made,) = model.edit("infill", [begun], mask=mask, seed=seed + i, raw=raw, **options).items
        # The next recording that goes on for as long, if one does; the longest, if not.
        others = [test[j] for j in (*indices[place + 1 :], *indices[:place])]
        other = next((o for o in others if o.seconds >= seconds), max(others, key=lambda o: o.seconds))
        sounds = (sound, made, joined(sound, other, keep, fade), joined(sound, other, keep, 0))
        exact = begun.samples.shape[1] - fading
        trials.append(
            Trial(
                made,
                {kind: across(item, keep, fade) for kind, item in zip(KINDS, sounds, strict=True)},
                np.array_equal(made.samples[:, :exact], sound.samples[:, :exact]),
            )
        )
    return trials


def show(trials: Sequence[Trial]) -> None:
    """The table, in Markdown."""
    found = {kind: np.array([trial.seams[kind] for trial in trials]) for kind in KINDS}
    limit = float(np.quantile(found["uncut"], 0.95))
    print("| seam statistic | median | 90 % below | largest | within 95 % of uncut |\n|---|---|---|---|---|")
    for kind, values in found.items():
        numbers = (np.median(values), np.quantile(values, 0.9), values.max())
        cells = " | ".join(f"{number:.2f}" for number in numbers)
        print(f"| {kind} | {cells} | {100 * (values <= limit).mean():.0f} % |")
    print(f"kept to the sample: {sum(trial.exact for trial in trials)} of {len(trials)} continuations")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder; its representation is the spectrum")
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--keep", type=float, default=0.5, help="share of a recording that is kept")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--scale", type=float, help="of guidance; the run's own if left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for the continuations and a picture of them")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    started, model = time.monotonic(), load(arguments.run)
    test = build_dataset(get_registry(), model.manifest.config, "test")
    options = {"share": arguments.keep, "seed": arguments.seed, "steps": arguments.steps}
    options |= {} if arguments.scale is None else {"guidance_scale": arguments.scale}
    trials = measure(model, test, arguments.n, progress=False, **options)
    show(trials)
    print(f"N = {len(trials)}, keep {arguments.keep:g}, {time.monotonic() - started:.0f} s")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        made = [trial.made for trial in trials]
        model.representation.save(made, arguments.out, options)
        model.representation.preview(made[:16], arguments.out / "preview.png")


if __name__ == "__main__":
    main()
