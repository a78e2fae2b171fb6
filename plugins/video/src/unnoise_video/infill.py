"""Parts of a clip made anew: what comes next, what lies between, what is hidden, and clips of any length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from unnoise.errors import UserError
from unnoise.runs import Model
from unnoise.sampling import Known
from unnoise.state import State
from unnoise_video.clip import Clip, describe
from unnoise_video.masks import Mask, keeping, longer
from unnoise_video.representation import AXIS, VideoRepresentation

_WINDOW = 1 << 32
"""Distance between the seeds of the windows of a long clip, more than anybody's number of samples."""


def fill(
    model: Model, clips: Sequence[Clip], given: Mask, seed: int = 0, level: float | None = None, **options: Any
) -> list[Clip]:
    """Make what is not given of some clips; the rest is theirs, to the byte.

    Frames that are given as a whole are shown to the network without noise, if it was trained with levels of their own
    (``train.time_sampling.known``); else, and within frames, what is given is noised as the rest and put in.

    Args:
        model: of clips.
        clips: of one length; what is not given of them is not looked at.
        given: bool ``(frames,)``, or ``(frames, height, width)`` for a part of the picture.
        seed: clip i uses ``seed + i``.
        level: time at which given frames are shown; 0, clean, where the model was trained for it, if left out.
        options: of :meth:`unnoise.runs.Model.sample`.

    Raises:
        UserError: if the clips do not fit the model or the mask, or nothing is left to make.
    """
    representation = video(model)
    length = len(given)
    if not clips:
        raise UserError("there is no clip to fill", "give one at least")
    _check_shapes(representation, clips)
    for clip in clips:
        if len(clip.frames) != length:
            raise UserError(f"a clip of {len(clip.frames)} frames", f"'given' says {length}")
    if given.shape[1:] not in ((), representation.shape[:2]) or given.all():
        fix = f"bool (frames,) or (frames, {representation.shape[0]}, {representation.shape[1]}), some of it False"
        raise UserError(f"a mask of shape {given.shape}, {given.mean():.0%} of it given", fix)
    if length > representation.longest:
        fix = f"at most {representation.longest}; unnoise_video.infill.roll makes longer clips"
        raise UserError(f"a clip of {length} frames is longer than any training clip", fix)
    kept = keeping(representation, clips, given)
    known = Known(kept.state.to("cpu"), kept.masks, model.known_level if level is None else level)
    made = model.sample(len(clips), seed, known=known, **options).items
    return kept.splice(made)


def predict(model: Model, clip: Clip, frames: int, n: int = 1, seed: int = 0, **options: Any) -> list[Clip]:
    """Go on after a clip, or let a picture move, which is a clip of one frame.

    Args:
        model: of clips.
        clip: what is given.
        frames: of the result, which begins with those given.
        n: how many.
        seed: result i uses ``seed + i``.
        options: of :func:`fill`.

    Raises:
        UserError: as :func:`fill`.
    """
    given = np.arange(frames) < len(clip.frames)
    return fill(model, [longer(clip, frames)] * n, given, seed, **options)


def interpolate(
    model: Model, first: Clip, last: Clip, frames: int, n: int = 1, seed: int = 0, **options: Any
) -> list[Clip]:
    """Make what lies between two clips, or between two pictures.

    Args:
        model: of clips.
        first, last: how the result begins and ends.
        frames: of the result.
        n, seed, options: see :func:`predict`.

    Raises:
        UserError: as :func:`fill`, and if there is no frame between.
    """
    between = frames - len(first.frames) - len(last.frames)
    if between < 1 or first.shape != last.shape:
        raise UserError(
            f"{frames} frames, {len(first.frames)} of {describe(first.shape)} at the beginning, {len(last.frames)} of "
            f"{describe(last.shape)} at the end",
            "one shape, and at least one frame between",
        )
    gap = np.zeros((between, *first.shape), np.uint8)
    given = np.ones(frames, bool)
    given[len(first.frames) : len(first.frames) + between] = False
    whole = Clip(np.concatenate([first.frames, gap, last.frames]), first.fps)
    return fill(model, [whole] * n, given, seed, **options)


def close_loop(model: Model, clip: Clip, frames: int, overlap: int = 3, seed: int = 0, **options: Any) -> Clip:
    """A clip with frames added that lead from its end back to its beginning, so that it can be played round and round.

    Args:
        model: of clips.
        clip: at least ``overlap`` frames.
        frames: that are added.
        overlap: frames of the end and of the beginning that the model sees.
        seed: of what is made.
        options: of :func:`fill`.

    Raises:
        UserError: as :func:`interpolate`, and if the clip is too short.
    """
    if not 1 <= overlap <= len(clip.frames):
        raise UserError(f"overlap={overlap} of a clip of {len(clip.frames)} frames", "from 1 to what there is")
    end, begin = clip.cut(len(clip.frames) - overlap, len(clip.frames)), clip.cut(0, overlap)
    (made,) = interpolate(model, end, begin, frames + 2 * overlap, seed=seed, **options)
    return Clip(np.concatenate([clip.frames, made.frames[overlap : overlap + frames]]), clip.fps)


def roll(
    model: Model,
    frames: int,
    n: int = 1,
    seed: int = 0,
    *,
    overlap: int = 4,
    start: Sequence[Clip] = (),
    condition: Mapping[str, Any] | None = None,
    first: Mapping[str, Any] | None = None,
    level: float | None = None,
    **options: Any,
) -> list[Clip]:
    """Clips longer than any that the model was trained on, window by window: each begins with the last frames of the
    one before, as they were sampled, not as they were decoded.

    Args:
        model: of clips.
        frames: of the result.
        n: how many; as many as ``start`` has, if it is given.
        seed: clip i uses ``seed + i``.
        overlap: frames that a window takes over.
        start: clips of at least ``overlap`` frames to go on from; made anew if empty.
        condition: what holds throughout, as for :meth:`unnoise.runs.Model.sample`: a class, a speed.
        first: what holds for the first window alone, such as the direction of its first frame.
        level: time at which a window is shown the frames that it takes over, see :func:`fill`. A little above 0 is
            meant to hide small errors in them from a model that was trained for it
            (``train.time_sampling.known_level``); bouncing digits do not gain by it.
        options: of :meth:`unnoise.runs.Model.sample`.

    Raises:
        UserError: as :func:`fill`, and if a window has no room for new frames.
    """
    representation = video(model)
    window, given, shown = representation.longest, dict(condition or {}), model.known_level if level is None else level
    if not 1 <= overlap < window or any(len(clip.frames) < overlap for clip in start):
        raise UserError(
            f"overlap={overlap} for windows of {window} frames", "from 1 to less than that, and no more than start has"
        )
    if start:
        _check_shapes(representation, start)
        clips = list(start)
        ends = [longer(clip.cut(len(clip.frames) - overlap, len(clip.frames)), window) for clip in clips]
        held = keeping(representation, ends, np.arange(window) < overlap).state.to("cpu")
    else:
        begun = model.sample(n, seed, condition={**given, **(first or {})}, sizes={AXIS: window}, **options)
        clips, held = begun.items, _moved(begun.state, overlap)
    (part,) = representation.layout
    taken = {part.name: (torch.arange(window) < overlap).reshape(1, -1, *[1] * len(part.fixed_shape))}
    step = 0
    while min(len(clip.frames) for clip in clips) < frames:
        step += 1
        known = Known(held, taken, shown)
        made = model.sample(len(clips), seed + step * _WINDOW, known=known, condition=given, **options)
        held = _moved(made.state, overlap)
        clips = [
            Clip(np.concatenate([clip.frames, more.frames[overlap:]]), clip.fps)
            for clip, more in zip(clips, made.items, strict=True)
        ]
    return [clip.cut(0, frames) for clip in clips]


def _check_shapes(representation: VideoRepresentation, clips: Sequence[Clip]) -> None:
    """Raises a UserError unless the clips' frames are those of the representation."""
    for clip in clips:
        if clip.shape != representation.shape:
            fix = f"the model makes frames of {describe(representation.shape)}"
            raise UserError(f"a clip whose frames are {describe(clip.shape)}", fix)


def _moved(state: State, overlap: int) -> State:
    """Full windows with their last frames first."""
    return state.replace({name: value.roll(overlap, 1) for name, value in state.parts.items()}).to("cpu")


def video(model: Model) -> VideoRepresentation:
    """The representation of a model of clips.

    Raises:
        UserError: if it is another's.
    """
    if not isinstance(model.representation, VideoRepresentation):
        raise UserError("this is no model of clips", "train one: unnoise train modality=video")
    return model.representation
