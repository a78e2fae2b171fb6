"""Whether what moves moves as it should: against known physics, and, for any clips, how steadily."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unnoise.contracts import Dataset, Evidence, Metric, Score
from unnoise.metrics import subset
from unnoise_video.bouncing import DIRECTIONS, sector
from unnoise_video.clip import Clip
from unnoise_video.data.digits import MovingDigits
from unnoise_video.metrics.tracks import Array, Bounces, fit, track

Mask = NDArray[np.bool_]


class PhysicsMetric(Metric):
    """For clips of bouncing digits (:class:`unnoise_video.data.digits.MovingDigits`; others get no score): the motion
    at constant speed, reflected at the walls, that explains each clip best. ``physics_kept``: how often it is at most
    ``tolerance`` away (root mean square), at a speed from half of the slowest training clip's to one and a half times
    the fastest's, so that what stands still does not count. ``path_residual``: how far away, in the median.
    ``speed_error`` and ``direction_accuracy``: what was asked for against what was fitted, among clips that keep the
    physics.

    Args:
        tolerance: pixels.
    """

    def __init__(self, tolerance: float = 1.0) -> None:
        self.tolerance = tolerance

    def __call__(self, evidence: Evidence) -> list[Score]:
        train, test = evidence.train, evidence.test
        if not isinstance(train, MovingDigits):
            return []
        slowest, fastest = 0.5 * float(train.speeds.min()), 1.5 * float(train.speeds.max())
        rows = subset(len(test), len(evidence.generated), evidence.seed)
        columns = {name: np.asarray(test.columns()[name].values[rows]) for name in _ASKED if name in test.columns()}
        noise = [evidence.noise[i] for i in range(len(evidence.noise))]
        sets = {"made": evidence.generated, "real": [test[i] for i in rows], "noise": noise}
        found = {name: fit([track(item) for item in items], train.world, fastest) for name, items in sets.items()}

        def kept(motions: Bounces) -> Mask:
            pace = np.linalg.norm(motions.velocity, axis=1)
            return np.asarray((motions.residual <= self.tolerance) & (pace >= slowest) & (pace <= fastest))

        def score(name: str, of: Callable[[Bounces], float], better: str) -> Score:
            note = f"N={len(evidence.generated)}; tolerance {self.tolerance:g} pixels"
            ceiling = of(found["noise"]) if noise else None
            return Score(name, of(found["made"]), of(found["real"]), ceiling, better, note)

        scores = [
            score("physics_kept", lambda motions: float(kept(motions).mean()), "higher"),
            score("path_residual", lambda motions: float(np.median(motions.residual)), "lower"),
        ]
        for name, (followed, better) in _ASKED.items():
            if name in evidence.conditions:
                asked = np.asarray(evidence.conditions[name])
                value, trivial, count = followed(found["made"], asked, kept(found["made"]))
                if count:
                    floor = followed(found["real"], columns[name], kept(found["real"]))[0] if name in columns else None
                    note = f"N={count}; ceiling: the same answer always"
                    scores.append(Score(followed.__name__, value, floor, trivial, better, note))
        return scores


def speed_error(motions: Bounces, asked: NDArray[Any], chosen: Mask) -> tuple[float, float, int]:
    """Mean error of the speed in pixels a frame, that of the median of what was asked, and of how many clips."""
    chosen = chosen & np.isfinite(asked)
    if not chosen.any():
        return np.nan, np.nan, 0
    wanted = asked[chosen]
    error = np.abs(np.linalg.norm(motions.velocity[chosen], axis=1) - wanted).mean()
    return float(error), float(np.abs(wanted - np.median(wanted)).mean()), len(wanted)


def direction_accuracy(motions: Bounces, asked: NDArray[Any], chosen: Mask) -> tuple[float, float, int]:
    """Share of clips that set out in the sector that was asked for, that by chance, and of how many clips."""
    chosen = chosen & (asked >= 0)
    if not chosen.any():
        return np.nan, np.nan, 0
    right = np.array([sector(velocity) for velocity in motions.velocity[chosen]]) == asked[chosen]
    return float(right.mean()), 1 / len(DIRECTIONS), len(right)


_ASKED: dict[str, tuple[Callable[[Bounces, NDArray[Any], Mask], tuple[float, float, int]], str]] = {
    "speed": (speed_error, "lower"),
    "direction": (direction_accuracy, "higher"),
}
"""Condition -> what is measured of it, and which way is better."""


class TemporalMetric(Metric):
    """How clips change from frame to frame, beside real ones; of clips of one frame nothing. ``motion``: mean
    difference of neighbouring frames. ``jerk``: mean second difference over the first; shuffled frames and flicker make
    it large. ``flicker``: mean change of a frame's mean level. ``drift``: change of the mean level from the first
    quarter of the frames to the last. All but ``jerk`` are in grey levels (of 255).
    """

    def __call__(self, evidence: Evidence) -> list[Score]:
        def measured(items: Sequence[Clip] | Dataset) -> Array:
            rows = subset(len(items), len(evidence.generated), evidence.seed)
            found = [changes(items[i]) for i in rows if len(items[i].frames) > 2]
            return np.mean(found, axis=0) if found else np.full(len(_CHANGES), np.nan)

        made, real, noise = (measured(x) for x in (evidence.generated, evidence.test, evidence.noise))
        if not (np.isfinite(made).all() and np.isfinite(real).all()):
            return []
        note = f"N={len(evidence.generated)}"
        return [
            Score(name, float(a), float(b), float(c) if np.isfinite(c) else None, "near", note)
            for name, a, b, c in zip(_CHANGES, made, real, noise, strict=True)
        ]


_CHANGES = ("motion", "jerk", "flicker", "drift")


def changes(clip: Clip) -> Array:
    """Motion, jerk, flicker and drift of a clip of at least 3 frames, ``(4,)``; see :class:`TemporalMetric`."""
    frames = clip.frames.astype(np.float64)
    first, second = (np.abs(np.diff(frames, n, axis=0)).mean() for n in (1, 2))
    level = frames.mean((1, 2, 3))
    quarter = max(len(level) // 4, 1)
    drift = abs(level[-quarter:].mean() - level[:quarter].mean())
    return np.array([first, second / max(first, 1e-9), np.abs(np.diff(level)).mean(), drift])
