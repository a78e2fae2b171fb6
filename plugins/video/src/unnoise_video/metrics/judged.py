"""How good generated clips are in the eyes of networks, and whether they repeat the training data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from unnoise.contracts import Dataset, Evidence, Labels, Metric, Score
from unnoise.errors import UserError
from unnoise.metrics import feature_scores, frechet_distance, moments, nearest_distances, subset
from unnoise_video.clip import Clip
from unnoise_video.metrics.features import Watcher, frame_network, motion_network
from unnoise_video.metrics.views import View, frozen, shuffled

AGREEING = 0.9
"""A clip keeps its identity if at least this share of its frames are of the class of the clip as a whole."""


class ClassifierMetric(Metric):
    """Judged frame by frame by a small network that saw only the real training split. ``class_accuracy``: how often a
    clip made for a class is of that class, by the mean of its frames' log-probabilities. ``identity_kept``: how often
    at least 90 % of a clip's frames are of the clip's own class, whatever that is. ``frechet_frames``,
    ``kernel_frames``: distances of the features of single frames, one of each clip, to those of real test clips.

    Data without classes gets no score here.

    Args:
        column: which column of the data names the class.
        max_steps: bound on the network's training steps.
    """

    def __init__(self, column: str = "class", max_steps: int = 800) -> None:
        self.column, self.max_steps = column, max_steps

    def __call__(self, evidence: Evidence) -> list[Score]:
        train, test = evidence.train.columns().get(self.column), evidence.test.columns().get(self.column)
        if not isinstance(train, Labels) or not isinstance(test, Labels):
            return []
        view = View.of(evidence.train)
        net = frame_network(*_labelled(view, evidence.train, train), len(train.names), self.max_steps, evidence.cache)
        made, noise = (_frame_logits(net, view(items)) for items in (evidence.generated, evidence.noise))
        real, labels = _labelled(view, evidence.test, test)
        known_real = _frame_logits(net, real)
        wanted = torch.as_tensor(np.asarray(evidence.conditions.get(self.column, [])))
        known = torch.nonzero(wanted >= 0).flatten()
        scores = []
        if len(known):
            asked = wanted[known][torch.arange(len(noise)) % len(known)]
            scores.append(
                Score(
                    f"{self.column}_accuracy",
                    _accuracy(made[known], wanted[known]),
                    _accuracy(known_real, labels),
                    _accuracy(noise, asked) if len(noise) else None,
                    "higher",
                    f"N={len(known)}; floor: the network's own accuracy on {len(labels)} real test clips",
                )
            )
        scores.append(
            Score(
                "identity_kept",
                _kept(made),
                _kept(known_real),
                _kept(noise) if len(noise) else None,
                "higher",
                f"N={len(made)}; clips of whose frames {AGREEING:.0%} or more are of the clip's own class",
            )
        )

        def features(items: Sequence[Clip]) -> Tensor:
            clips = view(items)
            moment = torch.from_numpy(np.random.default_rng(evidence.seed).integers(view.frames, size=len(clips)))
            return net.watch(clips[torch.arange(len(clips)), moment])[0]

        return scores + feature_scores("frames", features, evidence)


class MotionFeatureMetric(Metric):
    """``frechet_clips``, ``kernel_clips``: distances of the spatio-temporal features of a small network of our own,
    trained on the real training split, to those of real test clips; they are no FVD. The ceiling is the lower one of
    what real test clips get whose frames are shuffled, and of what they get when they stand at their first frame.

    Args:
        column: which column of the data names the class, if any does.
        max_steps: bound on the network's training steps.
    """

    def __init__(self, column: str = "class", max_steps: int = 600) -> None:
        self.column, self.max_steps = column, max_steps

    def __call__(self, evidence: Evidence) -> list[Score]:
        view = View.of(evidence.train)
        if view.frames < 2:
            return []  # pictures
        column = evidence.train.columns().get(self.column)
        labels = torch.as_tensor(column.values) if isinstance(column, Labels) and (column.values >= 0).any() else None
        classes = len(column.names) if isinstance(column, Labels) else 0
        net = motion_network(view(evidence.train), labels, classes, self.max_steps, evidence.cache)
        found = feature_scores("clips", lambda items: net.watch(view(items))[0], evidence)
        if not found:
            return []
        n = min(len(evidence.generated), len(evidence.train), len(evidence.test))
        real = view([evidence.test[i] for i in subset(len(evidence.test), n, evidence.seed)])
        target = moments(net.watch(real)[0])
        worse = {"shuffled": shuffled(real, evidence.seed), "frozen": frozen(real)}
        distances = {name: frechet_distance(moments(net.watch(x)[0]), target) for name, x in worse.items()}
        told = ", ".join(f"{name} {distance:.4g}" for name, distance in distances.items())
        return [replace(found[0], ceiling=min(distances.values()), note=f"N={n}; real test clips: {told}"), *found[1:]]


class MemorisationMetric(Metric):
    """Median Euclidean distance of a clip to the nearest training clip, over the same for real test clips: well below 1
    means that the model repeats its training data. As many test clips as generated ones are looked at (or all there
    are), chosen by the seed.
    """

    def __call__(self, evidence: Evidence) -> list[Score]:
        view = View.of(evidence.train)
        reference = view(evidence.train).flatten(1).float()

        def median(items: Sequence[Clip]) -> float:
            clips = view(items).flatten(1).float()
            return float(nearest_distances(clips, reference).median()) / 255 / math.sqrt(reference.shape[1])

        chosen = subset(len(evidence.test), len(evidence.generated), evidence.seed)
        real = median([evidence.test[i] for i in chosen])
        if not real:
            return []  # test clips repeat training clips, so nothing can be said
        return [
            Score(
                "nearest_train_ratio",
                median(evidence.generated) / real,
                1.0,
                median(evidence.noise) / real if evidence.noise else None,
                "near",
                f"N={len(evidence.generated)}, real test {len(chosen)}, whose median is {real:.4f} (levels in [0, 1])",
            )
        ]


def _frame_logits(net: Watcher, clips: Tensor) -> Tensor:
    """Log-probabilities of the classes of every frame, ``(N, T, classes)``."""
    if not len(clips):
        return torch.zeros(0, clips.shape[1], net.head.out_features)
    logits = net.watch(clips.flatten(0, 1))[1].log_softmax(-1)
    return logits.reshape(*clips.shape[:2], -1)


def _accuracy(logits: Tensor, wanted: Tensor) -> float:
    return float((logits.mean(1).argmax(1) == wanted).double().mean())


def _kept(logits: Tensor) -> float:
    agreeing = (logits.argmax(2) == logits.mean(1).argmax(1)[:, None]).double().mean(1)
    return float((agreeing >= AGREEING).double().mean())


def _labelled(view: View, data: Dataset, labels: Labels) -> tuple[Tensor, Tensor]:
    """The clips of a data set whose class is known, and their classes.

    Raises:
        UserError: if none is.
    """
    known = np.flatnonzero(labels.values >= 0)
    if not len(known):
        raise UserError("no real clip has a class", "judge without it: metrics=[temporal]")
    return view([data[int(i)] for i in known]), torch.as_tensor(labels.values[known])
