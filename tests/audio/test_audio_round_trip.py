"""The benchmark of round trips."""

from __future__ import annotations

import numpy as np
import pytest
from round_trip import losses, representations

from unnoise_audio.autoencoder import MelAutoencoder
from unnoise_audio.bands import Mel
from unnoise_audio.sound import Sound
from unnoise_audio.spectrum import ComplexSpectrum
from unnoise_audio.vocoder import Vocoder


class Louder(ComplexSpectrum):
    """Decodes everything a tenth too loud."""

    def decode(self, state):
        return [Sound((1.1 * item.samples).astype(np.float32), item.rate) for item in super().decode(state)]


def test_losses_are_those_of_a_known_change(sine):
    items = [sine(440, 0.512), sine(523.25, 0.4)]
    mel = Mel(8000, 512, 128, 32, 40.0, 0.0, "slaney", 1e-12)
    exact, louder = (kind(126, 32) for kind in (ComplexSpectrum, Louder))
    for representation in (exact, louder):
        representation.fit(items)
    ratio, bands, moved = losses(exact, items, mel)
    assert ratio > 100 and bands < 0.01 and moved < 0.01  # bands far from a sine are all rounding
    ratio, bands, moved = losses(louder, items, mel)
    assert ratio == pytest.approx(20, abs=0.01)
    assert bands == pytest.approx(np.log(1.1), abs=0.01)
    assert moved < 0.01


def test_every_codec_has_a_row(sounds):
    bands = {"n_fft": 128, "hop": 32, "mels": 16}
    vocoder = Vocoder(**bands, width=16, depth=1)
    autoencoder = MelAutoencoder({**bands, "width": 16, "depth": 1}, channels=(16, 16))
    made = representations([vocoder, autoencoder])
    assert list(made) == ["spectrum", "mel, Griffin-Lim", "mel, vocoder", "latents"]
    assert made["mel, Griffin-Lim"].mels == 16 and made["mel, vocoder"].codec is vocoder
    assert list(representations([])) == ["spectrum", "mel, Griffin-Lim"]
