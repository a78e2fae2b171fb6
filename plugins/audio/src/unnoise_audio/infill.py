"""Parts of a sound made anew: what comes after its beginning, and what lies above its highest frequency."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from unnoise.errors import UserError
from unnoise.runs import Model
from unnoise.sampling import Known
from unnoise_audio.representation import AXIS
from unnoise_audio.sound import Samples, Sound
from unnoise_audio.spectrum import ComplexSpectrum


def continue_sound(
    model: Model,
    sound: Sound,
    keep: float,
    seconds: float,
    n: int = 1,
    seed: int = 0,
    fade: float = 0.01,
    **options: Any,
) -> list[Sound]:
    """Go on after the beginning of a sound.

    Frames that see only what is kept are known to the sampler; the others it makes, so that they fit. The result is
    the recording itself, to the sample, up to ``keep - fade`` seconds; a cross-fade of ``fade`` seconds leads over.

    Args:
        model: of complex spectra.
        sound: at the model's rate and number of channels.
        keep: seconds of it that stay.
        seconds: length of the result.
        n: how many.
        seed: result i uses ``seed + i``.
        fade: seconds of the cross-fade, which ends where what is kept ends.
        options: of :meth:`unnoise.runs.Model.sample`.

    Raises:
        UserError: if the model has no complex spectra, the sound is of another format, or the times do not fit.
    """
    spectrum = _spectrum(model, sound)
    kept, total = round(keep * sound.rate), round(seconds * sound.rate)
    blend, longest = round(fade * sound.rate), spectrum.duration(len(spectrum.lengths) - 1)
    if not (spectrum.stft.n_fft // 2 <= kept <= sound.samples.shape[1] and 1 <= blend <= kept < total <= longest):
        least, most = spectrum.stft.n_fft / 2 / sound.rate, longest / sound.rate
        raise UserError(
            f"keep={keep:g} of {sound.seconds:.3g} s, seconds={seconds:g} and fade={fade:g} do not fit",
            f"keep at least {least:.3g} s, at most what there is; seconds above it, up to {most:.3g}; fade within keep",
        )
    begun = np.zeros((sound.channels, total), np.float32)
    begun[:, :kept] = sound.samples[:, :kept]
    state = spectrum.encode([Sound(begun, sound.rate)] * n)
    ends = torch.arange(state.masks[AXIS].shape[1]) * spectrum.hop + spectrum.stft.n_fft // 2
    known = Known(state, {spectrum.layout.names[0]: (ends <= kept)[None, :, None, None]})
    made = model.sample(n, seed, known=known, **options).items
    return [Sound(_spliced(begun[:, :kept], item.samples[:, :total], blend), sound.rate) for item in made]


def _spliced(kept: Samples, made: Samples, blend: int) -> Samples:
    """``kept``, and then ``made``, of the same beginning; the last ``blend`` kept samples lead over."""
    share = np.zeros(made.shape[1], np.float32)
    share[: kept.shape[1]] = 1
    # Neither end is a step: of n samples, the first counts n / (n + 1) and the last 1 / (n + 1).
    share[kept.shape[1] - blend : kept.shape[1]] = 1 - np.arange(1, blend + 1, dtype=np.float32) / (blend + 1)
    padded = np.pad(kept, ((0, 0), (0, made.shape[1] - kept.shape[1])))
    return np.where(share == 1, padded, share * padded + (1 - share) * made).astype(np.float32)


def extend_bandwidth(
    model: Model, sound: Sound, cutoff: float, seed: int = 0, n: int = 1, **options: Any
) -> list[Sound]:
    """Make what lies above a frequency; the bins below it are known, and stay as they are up to what the overlap of
    frames blurs.

    Args:
        model: of complex spectra.
        sound: at the model's rate and number of channels, such as a narrow-band recording that was resampled.
        cutoff: Hertz up to which the sound is good.
        seed: result i uses ``seed + i``.
        n: how many.
        options: of :meth:`unnoise.runs.Model.sample`.

    Raises:
        UserError: as :func:`continue_sound`.
    """
    spectrum = _spectrum(model, sound)
    longest = spectrum.duration(len(spectrum.lengths) - 1)
    if not 0 < cutoff < sound.rate / 2 or sound.samples.shape[1] > longest:
        raise UserError(
            f"cutoff={cutoff:g} Hz of a sound of {sound.seconds:.3g} s",
            f"above 0 and below {sound.rate / 2:g} Hz; at most {longest / sound.rate:.3g} s",
        )
    state = spectrum.encode([sound] * n)
    below = torch.linspace(0, sound.rate / 2, spectrum.stft.bins) <= cutoff
    known = Known(state, {spectrum.layout.names[0]: below[None, None, :, None]})
    made = model.sample(n, seed, known=known, **options).items
    return [Sound(item.samples[:, : sound.samples.shape[1]], sound.rate) for item in made]


def seam(sound: Sound, at: float, frame: float = 0.016) -> float:
    """How much the spectrum changes at a moment, in standard deviations from what it changes elsewhere in the sound:
    the flux of log magnitudes across ``at``, standardised by that between all other neighbouring frames. About 0 for a
    seam that cannot be heard; compare with uncut recordings.

    Args:
        sound: its channels are mixed.
        at: seconds.
        frame: seconds of the frames before and after.

    Raises:
        UserError: if the sound has too few frames to compare with.
    """
    size = max(round(frame * sound.rate), 8)
    start = round(at * sound.rate) % size
    frames = sound.mono()[start : start + (sound.samples.shape[1] - start) // size * size].reshape(-1, size)
    index = round(at * sound.rate) // size
    if len(frames) < 6 or not 1 <= index < len(frames):
        raise UserError(f"a sound of {sound.seconds:.3g} s has no seam to judge at {at:.3g} s", "take a longer one")
    levels = np.log10(np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) + 1e-4)
    flux = np.square(np.diff(levels, axis=0)).mean(1)
    others = np.delete(flux, index - 1)
    return float((flux[index - 1] - others.mean()) / max(float(others.std()), 1e-9))


def _spectrum(model: Model, sound: Sound) -> ComplexSpectrum:
    spectrum = model.representation
    if not isinstance(spectrum, ComplexSpectrum):
        raise UserError("this edit needs a model of complex spectra", "train one: representation=spectrum")
    if (sound.rate, sound.channels) != (spectrum.rate, spectrum.channels):
        raise UserError(
            f"the sound has {sound.rate} Hz and {sound.channels} channels, the model {spectrum.rate} and "
            f"{spectrum.channels}",
            "resample it first: unnoise_audio.sound.resampled",
        )
    return spectrum
