"""What an edit makes anew of a sound: a stretch of time, what comes after its end, or what lies above a frequency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unnoise.contracts import Kept
from unnoise.errors import UserError
from unnoise.masks import parse_mask
from unnoise_audio.representation import AXIS, AudioRepresentation
from unnoise_audio.sound import Samples, Sound
from unnoise_audio.spectrum import ComplexSpectrum

FORMS = {
    "after": ("SECONDS",),
    "before": ("SECONDS",),
    "between": ("SECONDS", "SECONDS"),
    "extend": ("SECONDS",),
    "above": ("HERTZ",),
}
"""Words of a mask. ``extend`` goes on after the sound's end; ``above`` makes the frequencies above."""
FADE = 0.1
"""Seconds before a border over which what is kept leads over to what is made, at most: see :func:`fade_of`."""
ALIGNED = 0.025
"""Seconds by which what is made may be moved to meet the phase of what is kept: a period of the lowest notes."""


def keep(representation: AudioRepresentation, items: Sequence[Sound], mask: Any) -> Kept:
    """What an edit keeps of sounds of one length; see :meth:`unnoise.contracts.Representation.kept`. It keeps them to
    the sample, but for a cross-fade at each border (:func:`fade_of`). Bands and latents know no phase, so what is made
    is moved by up to :data:`ALIGNED` seconds to where it goes on as the kept sound does.

    Raises:
        UserError: for a mask that does not fit, or sounds of several lengths.
    """
    lengths = sorted({item.samples.shape[1] for item in items})
    if len(lengths) != 1:
        raise UserError("the sounds of the source differ in length", "edit those of one length together")
    word, numbers = parse_mask(mask, FORMS)
    if word == "above":
        return _below(representation, items, numbers[0])
    return _times(representation, items, _made(word, numbers, lengths[0], representation, str(mask)))


def fade_of(kept: int, rate: int) -> int:
    """Samples of a cross-fade, of ``kept`` samples: :data:`FADE` seconds, or a quarter of what is kept if that is less.
    In a shorter one a change of timbre is heard as a seam.
    """
    return max(min(round(FADE * rate), kept // 4), 1)


def _made(
    word: str, numbers: Sequence[float], length: int, representation: AudioRepresentation, text: str
) -> NDArray[np.bool_]:
    """Which samples are made anew, bool ``(samples of the result,)``."""
    rate = representation.rate
    at = [round(number * rate) for number in numbers]
    longest = representation.duration(len(representation.lengths) - 1)
    start, stop, total = {
        "after": (at[0], length, length),
        "before": (0, at[0], length),
        "between": (at[0], at[-1], length),
        "extend": (length, length + at[0], length + at[0]),
    }[word]
    if not (0 <= start < stop <= total) or stop - start == total:
        message = f"mask={text} does not fit sounds of {length / rate:.4g} s"
        raise UserError(message, "a stretch within, and not all of it")
    if total > longest:
        fix = f"up to {(longest - length) / rate:.4g} s more"
        raise UserError(f"mask={text}: {total / rate:.4g} s are more than any training sound has", fix)
    made = np.zeros(total, bool)
    made[start:stop] = True
    return made


def _times(representation: AudioRepresentation, items: Sequence[Sound], made: NDArray[np.bool_]) -> Kept:
    """Frames that see only what is kept are known."""
    blank = []
    for item in items:
        whole = np.zeros((item.channels, len(made)), np.float32)
        whole[:, : item.samples.shape[1]] = item.samples
        blank.append(Sound(np.where(made, 0, whole).astype(np.float32), item.rate))
    state = representation.encode(blank)
    before, after = representation.reach
    counted = np.concatenate([[0], np.cumsum(made)])
    middle = np.arange(state.masks[AXIS].shape[1]) * representation.hop
    seen = counted[np.clip(middle + after, 0, len(made))] - counted[np.clip(middle - before, 0, len(made))]
    known = torch.from_numpy((seen == 0) & (middle < len(made) + before))
    share = _share(made, fade_of(int((~made).sum()), representation.rate))

    def splice(results: list[Sound]) -> list[Sound]:
        pairs = (
            (old, _aligned(old, new.samples[:, : len(made)], made)) for new, old in zip(results, blank, strict=True)
        )
        return [Sound(_spliced(old.samples, new, share), old.rate) for old, new in pairs]

    (part,) = representation.layout
    return Kept(state, {part.name: known[None, :, None, None]}, splice)


def _share(made: NDArray[np.bool_], fade: int) -> Samples:
    """How much of every sample is what was kept: 0 where it is made anew, 1 from ``fade`` samples before a border."""
    position, far = np.arange(len(made)), len(made) + fade + 1
    places = np.flatnonzero(made)
    right = np.searchsorted(places, position)
    ahead = np.where(right < len(places), places[np.minimum(right, len(places) - 1)] - position, far)
    behind = np.where(right > 0, position - places[np.maximum(right - 1, 0)], far)
    away = np.where(made, 0, np.minimum(ahead, behind))
    return np.minimum(away / (fade + 1), 1).astype(np.float32)


def _aligned(kept: Sound, new: Samples, made: NDArray[np.bool_]) -> Samples:
    """``new``, moved in time to where it best correlates with what is kept beside the borders (Verhelst & Roelands
    1993, "An overlap-add technique based on waveform similarity"), as far as it has samples for all that is made.
    """
    reach = round(ALIGNED * kept.rate)
    places = np.flatnonzero(made)
    low, high = max(-reach, places[-1] - len(made) + 1), min(reach, places[0])
    lags = np.array(sorted(range(low, high + 1), key=abs))
    beside = np.flatnonzero(~made & (np.convolve(made, np.ones(2 * reach + 1), "same") > 0.5))
    padded = np.pad(new, ((0, 0), (reach, reach))).astype(np.float64)
    seen = padded[:, beside + reach - lags[:, None]]
    likeness = np.einsum("cn,cln->l", kept.samples[:, beside], seen) / np.sqrt(np.square(seen).sum((0, 2)) + 1e-12)
    start = reach - lags[np.argmax(likeness)]
    moved: Samples = padded[:, start : start + len(made)].astype(np.float32)
    return moved


def _spliced(kept: Samples, made: Samples, share: Samples) -> Samples:
    """Both, weighted; where nothing is made anew, what was kept, bit for bit."""
    return np.where(share == 1, kept, share * kept + (1 - share) * made).astype(np.float32)


def _below(representation: AudioRepresentation, items: Sequence[Sound], hertz: float) -> Kept:
    """Bins below a frequency are known."""
    if not isinstance(representation, ComplexSpectrum):
        raise UserError("mask=above needs a model of complex spectra", "train one: representation=spectrum")
    if not 0 < hertz < representation.rate / 2:
        raise UserError(f"mask=above:{hertz:g}", f"above 0 and below {representation.rate / 2:g} Hz")
    low = torch.linspace(0, representation.rate / 2, representation.stft.bins) <= hertz
    length = items[0].samples.shape[1]

    def splice(results: list[Sound]) -> list[Sound]:
        return [Sound(item.samples[:, :length], item.rate) for item in results]

    (part,) = representation.layout
    return Kept(representation.encode(items), {part.name: low[None, None, :, None]}, splice)
