"""How well a model predicts and interpolates real clips, beside what needs no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unnoise.contracts import Dataset, Score
from unnoise.errors import UserError
from unnoise.metrics import subset
from unnoise.runs import Model
from unnoise.training.data import subset as rows_of
from unnoise_video.clip import Clip
from unnoise_video.infill import Mask, fill, video
from unnoise_video.metrics.tracks import track


def compare(
    model: Model, data: Dataset, given: Mask, n: int = 100, seed: int = 0, told: Sequence[str] = (), **options: Any
) -> list[Score]:
    """Hide frames of real clips, let a model make them, and compare. The ceiling is the better of two ways without a
    model: to hold the last frame that is given, and to blend linearly between the frames that are given.

    Args:
        model: of clips.
        data: real clips, best a test split; those of other lengths than ``given`` are left aside.
        given: bool ``(frames,)``, which frames the model sees.
        n: how many clips, at most.
        seed: which of them, and of what is made.
        told: conditions that the model is told besides, as the data has them.
        options: of :func:`unnoise_video.infill.fill`.

    Returns:
        ``path_error``: mean distance of the centre of light in the frames made from that in the real ones, in pixels,
        over the clips in which something can be followed; and ``psnr_db`` of the frames made.

    Raises:
        UserError: if no clip has that length, or no frame is given.
    """
    if not given.any() or given.all():
        raise UserError(f"{int(given.sum())} of {len(given)} frames are given", "at least one, and not all")
    fitting = [i for i in range(len(data)) if len(data[i].frames) == len(given)]
    if not fitting:
        raise UserError(f"no clip has {len(given)} frames", f"the model's longest has {video(model).longest}")
    rows = [fitting[i] for i in subset(len(fitting), min(n, len(fitting)), seed)]
    real = [data[i] for i in rows]
    columns, known = data.columns(), model.denoiser.conditions
    raw = {name: known[name].raw(rows_of(columns[name], rows)) for name in told}
    made = {
        "made": fill(model, real, given, seed, raw=raw, **options),
        "held": [held(clip, given) for clip in real],
        "blended": [blended(clip, given) for clip in real],
    }

    def score(name: str, measure: Callable[[Clip, Clip, Mask], float], better: str) -> Score:
        values = {
            way: float(np.nanmean([measure(x, y, given) for x, y in zip(clips, real, strict=True)]))
            for way, clips in made.items()
        }
        simple = (min if better == "lower" else max)(values["held"], values["blended"])
        note = f"N={len(real)}; held {values['held']:.4g}, blended {values['blended']:.4g}"
        return Score(name, values["made"], None, simple, better, note)

    return [score("path_error", path_error, "lower"), score("psnr_db", psnr, "higher")]


def held(clip: Clip, given: Mask) -> Clip:
    """Every hidden frame is the last one given before it; the first one given, where there is none before."""
    known = np.flatnonzero(given)
    place = np.searchsorted(known, np.arange(len(given)), side="right") - 1
    return Clip(clip.frames[known[place.clip(min=0)]], clip.fps)


def blended(clip: Clip, given: Mask) -> Clip:
    """Every hidden frame is a weighted mean of the two given ones around it; beyond the ends, the nearest."""
    known = np.flatnonzero(given)
    place = np.interp(np.arange(len(given)), known, np.arange(len(known)))
    before = np.floor(place).astype(int)
    after = np.minimum(before + 1, len(known) - 1)
    share = (place - before)[:, None, None, None]
    frames = (1 - share) * clip.frames[known[before]] + share * clip.frames[known[after]]
    return Clip(frames.round().astype(np.uint8), clip.fps)


def path_error(made: Clip, real: Clip, given: Mask) -> float:
    """Mean distance in pixels of the centres of light in hidden frames; of a dark frame the centre is the middle. NaN
    where the real one is dark.
    """
    middle = (np.array(real.shape[1::-1]) - 1) / 2
    found = track(made)
    found = np.where(np.isnan(found), middle, found)
    return float(np.linalg.norm(found - track(real), axis=1)[~given].mean())


def psnr(made: Clip, real: Clip, given: Mask) -> float:
    """Peak signal-to-noise ratio of hidden frames in decibels, at most 60."""
    error = np.square(made.frames[~given].astype(np.float64) - real.frames[~given]).mean()
    return float(min(20 * np.log10(255 / max(np.sqrt(error), 1e-9)), 60.0))
