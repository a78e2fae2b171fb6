"""What an edit makes anew of a clip: frames, a part of every frame, or frames after its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from unnoise.contracts import Kept
from unnoise.errors import UserError
from unnoise.masks import parse_mask, whole
from unnoise_video.clip import Clip
from unnoise_video.representation import VideoRepresentation

Mask = NDArray[np.bool_]
FORMS = {
    "after": ("FRAMES",),
    "before": ("FRAMES",),
    "between": ("FRAME", "FRAME"),
    "extend": ("FRAMES",),
    "box": ("LEFT", "TOP", "RIGHT", "BOTTOM"),
}
"""Words of a mask. ``after:4`` keeps the first four frames, ``extend:4`` adds four; a box is made in every frame."""


def keep(representation: VideoRepresentation, items: Sequence[Clip], mask: Any) -> Kept:
    """What an edit keeps of clips of one length; see :meth:`unnoise.contracts.Representation.kept`.

    Args:
        representation: of the model.
        items: clips.
        mask: one of :data:`FORMS`, or a bool array ``(frames,)`` or ``(frames, height, width)``, True where the clip is
            made anew.

    Raises:
        UserError: for any other mask, or clips of several lengths.
    """
    lengths = sorted({len(item.frames) for item in items})
    if len(lengths) != 1:
        raise UserError("the clips of the source differ in length", "edit those of one length together")
    if isinstance(mask, (np.ndarray, Tensor)):
        made = np.asarray(mask)
        shapes = ((lengths[0],), (lengths[0], *representation.shape[:2]))
        if made.shape not in shapes or made.dtype != bool:
            fix = f"bool, {shapes[0]} or {shapes[1]}, True where the clip is made anew"
            raise UserError(f"a mask of shape {made.shape} and type {made.dtype}", fix)
    else:
        made = _made(mask, lengths[0], representation)
    if len(made) > representation.longest:
        fix = f"at most {representation.longest}; unnoise_video.infill.roll makes longer clips"
        raise UserError(f"a clip of {len(made)} frames is longer than any training clip", fix)
    return keeping(representation, [longer(item, len(made)) for item in items], ~made)


def keeping(representation: VideoRepresentation, clips: Sequence[Clip], given: Mask) -> Kept:
    """What is given of clips, to the byte. What is not is not looked at; a latent that sees any of it is made anew too.

    Args:
        representation: of the model.
        clips: as long as ``given``.
        given: bool ``(frames,)`` or ``(frames, height, width)``.
    """
    whole_frames = given if given.ndim == 3 else given[:, None, None] & np.ones(representation.shape[:2], bool)
    (part,) = representation.layout
    rows, columns = part.fixed_shape[1:]
    length, height, width = whole_frames.shape
    blocks = whole_frames.reshape(length, rows, height // rows, columns, width // columns)
    mask = torch.from_numpy(np.ascontiguousarray(blocks.all((2, 4))))[:, None]
    if rows < height:  # a latent sees beyond its own square, so those beside what is hidden are made too
        mask = F.max_pool2d((~mask).float(), 3, 1, 1) == 0
    blank = [Clip(np.where(whole_frames[..., None], clip.frames, 0).astype(np.uint8), clip.fps) for clip in clips]

    def splice(results: list[Clip]) -> list[Clip]:
        pairs = zip(clips, results, strict=True)
        return [Clip(np.where(whole_frames[..., None], clip.frames, item.frames), clip.fps) for clip, item in pairs]

    with torch.no_grad():
        return Kept(representation.encode(blank), {part.name: mask[None]}, splice)


def _made(mask: Any, length: int, representation: VideoRepresentation) -> Mask:
    """What a mask's text says is made anew."""
    word, numbers = parse_mask(mask, FORMS, "a bool array in Python")
    if word == "box":
        height, width, _ = representation.shape
        low = [0, 0, numbers[0] + 1, numbers[1] + 1]
        left, top, right, bottom = whole(mask, numbers, low, [width, height] * 2)
        square = np.zeros((length, height, width), bool)
        square[:, top:bottom, left:right] = True
        return square
    if word == "between":
        first, last = whole(mask, numbers, [0, numbers[0] + 1], [length, length])
    elif word == "extend":
        (more,) = whole(mask, numbers, [1], [max(representation.longest, 1)])
        first, last, length = length, length + more, length + more
    else:
        (count,) = whole(mask, numbers, [1], [length - 1])
        first, last = (count, length) if word == "after" else (0, count)
    made = np.zeros(length, bool)
    made[first:last] = True
    return made


def longer(clip: Clip, frames: int) -> Clip:
    """A clip with blank frames added; one that is longer is left as it is."""
    blank = np.zeros((max(frames - len(clip.frames), 0), *clip.shape), np.uint8)
    return Clip(np.concatenate([clip.frames, blank]), clip.fps)
