"""A small synthesiser: notes of four kinds of instruments, each by a model of how it sounds.

All of them are sums of partials with envelopes of their own; what is drawn from ``rng`` is what a player varies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unnoise_audio.sound import Samples

Array = NDArray[np.float64]
Wave = NDArray[np.complex128]
RELEASE = 0.03
"""Seconds in which a note fades out at its end."""


@dataclass(frozen=True)
class Moment:
    """What an instrument plays.

    Args:
        hertz: fundamental.
        time: seconds since the onset, ``(n,)``.
        rate: samples per second.
        rng: for what varies.
    """

    hertz: float
    time: Array
    rate: int
    rng: np.random.Generator

    def partials(self, ratios: Array) -> Array:
        """Those of the ratios to the fundamental that lie below 90 % of half the rate."""
        return ratios[ratios * self.hertz < 0.45 * self.rate]

    @property
    def turn(self) -> Wave:
        """The fundamental as a rotation, ``exp(2 pi i f t)``."""
        return np.asarray(np.exp(2j * np.pi * self.hertz * self.time))


def series(first: Wave, ratio: Wave, amplitudes: Array) -> Array:
    """The imaginary part of ``sum_k a_k first ratio^k`` at every moment, by Horner's rule: all partials at once."""
    total, ratio = np.zeros(first.shape, np.complex64), ratio.astype(np.complex64)
    for amplitude in amplitudes[::-1].astype(np.float32):
        total = total * ratio + amplitude
    return np.asarray((total * first).imag)


def plucked(m: Moment) -> Array:
    """A string displaced at one point p (amplitudes ``sin(pi k p) / k^2``, heard as velocity); partials die the faster
    the higher they are.
    """
    k = m.partials(np.arange(1.0, 41.0))
    place, life = m.rng.uniform(0.12, 0.3), m.rng.uniform(0.5, 0.9)
    decay = (m.hertz / 220) ** 0.4 / life
    fading = np.exp(-decay * m.time)
    waves = series(m.turn * fading, m.turn * fading**0.25, np.sin(np.pi * k * place) / k)
    return waves * _rise(m.time, 0.002)


def bowed(m: Moment) -> Array:
    """A sawtooth (Helmholtz motion) through a gentle low-pass, slowly begun, with vibrato that sets in later."""
    k = m.partials(np.arange(1.0, 41.0))
    depth, speed = m.rng.uniform(2, 8), m.rng.uniform(4.5, 6.5)  # cents, Hertz
    vibrato = depth / 1200 * np.log(2) * np.clip(m.time / 0.3, 0, 1) * np.sin(2 * np.pi * speed * m.time)
    turn = np.exp(2j * np.pi * m.hertz * np.cumsum(1 + vibrato) / m.rate)
    bright = m.rng.uniform(1500, 3000)
    waves = series(turn, turn, 1 / k / (1 + (k * m.hertz / bright) ** 2))
    return waves * _rise(m.time, m.rng.uniform(0.05, 0.09))


def blown(m: Moment) -> Array:
    """A closed pipe: odd partials, a soft onset with the upper ones late, and breath."""
    k = m.partials(np.arange(1.0, 30.0, 2.0))
    attack = m.rng.uniform(0.03, 0.05)
    rise = 1 - np.exp(-m.time / attack)
    waves = series(m.turn * rise, m.turn**2 * rise**0.5, k ** -m.rng.uniform(1.3, 1.7))
    breath = np.convolve(m.rng.standard_normal(len(m.time)), np.hanning(9) / 5, "same")
    return waves + breath * m.rng.uniform(0.004, 0.012) * _rise(m.time, attack)


def struck(m: Moment) -> Array:
    """A tuned bar as of a marimba: modes near 1 : 4 : 10 (Fletcher & Rossing 1998, section 19.6) that die quickly, the
    higher the faster, and the knock of the mallet.
    """
    ratios = m.partials(np.array([1.0, 3.98, 9.6]))[:, None]
    hard, life = m.rng.uniform(0.25, 0.5), m.rng.uniform(0.25, 0.4)
    amplitude = hard ** np.arange(len(ratios))[:, None]
    decay = ratios**0.8 / life * (m.hertz / 220) ** 0.3
    waves = amplitude * np.exp(-decay * m.time) * np.sin(2 * np.pi * ratios * m.hertz * m.time)
    knock = m.rng.standard_normal(len(m.time)) * np.exp(-m.time / 0.004) * 0.05
    return np.asarray((waves.sum(0) + knock) * _rise(m.time, 0.001))


INSTRUMENTS: Mapping[str, Callable[[Moment], Array]] = {
    "plucked": plucked,
    "bowed": bowed,
    "blown": blown,
    "struck": struck,
}


def _rise(time: Array, seconds: float) -> Array:
    """From 0 to 1, smoothly."""
    return np.asarray(np.sin(np.pi / 2 * np.clip(time / seconds, 0, 1)) ** 2)


def note(instrument: str, hertz: float, seconds: float, level: float, rate: int, rng: np.random.Generator) -> Samples:
    """A note, ``(n,)``.

    Args:
        instrument: a name of :data:`INSTRUMENTS`.
        hertz: fundamental.
        seconds: length.
        level: root mean square of the whole note in decibels of full scale; softer, if the peak would reach it.
        rate: samples per second.
        rng: for what varies.
    """
    time = np.arange(max(round(seconds * rate), 1)) / rate
    wave = INSTRUMENTS[instrument](Moment(hertz, time, rate, rng))
    wave *= np.clip((time[-1] - time) / RELEASE, 0, 1)
    gain = 10 ** (level / 20) / max(float(np.sqrt(np.square(wave).mean())), 1e-9)
    return (wave * min(gain, 0.98 / max(float(np.abs(wave).max()), 1e-9))).astype(np.float32)
