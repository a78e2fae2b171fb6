"""Previews show what there is to hear."""

from __future__ import annotations

import numpy as np
import pytest

from unnoise.errors import UserError
from unnoise_audio.pictures import HEIGHT, LOWEST, WAVE, WIDTH, sheet, spectrogram, waveform
from unnoise_audio.sound import Sound


@pytest.mark.parametrize("hertz", [200.0, 800.0, 3000.0])
def test_the_brightest_row_is_the_frequency(sine, hertz):
    picture = spectrogram(sine(hertz, 0.5), 1.0)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    row = HEIGHT - 1 - int(picture[:, 20].astype(int).sum(1).argmax())
    shown = LOWEST * (4000 / LOWEST) ** (row / (HEIGHT - 1))
    assert abs(np.log2(shown / hertz)) < 0.1
    assert picture[:, WIDTH * 3 // 4].max() <= 4  # after its end there is nothing


def test_the_waveform_has_its_height(sine):
    drawn = (waveform(sine(440, 0.5, amplitude=0.5), 1.0) != 255).any(2)
    assert drawn[:, : WIDTH // 2 - 1].sum(0).mean() == pytest.approx(WAVE / 2, abs=2)
    assert not drawn[:, WIDTH // 2 + 1 :].any()


def test_sheets_have_a_cell_for_every_sound(sine):
    plain = sheet([sine()] * 5)
    named = sheet(
        [sine(), sine(rate=16000, channels=2), Sound(np.zeros((1, 1), np.float32), 8000)], ["instrument x, " * 9] * 3
    )
    assert plain.size == (4 + 3 * (WIDTH + 4), 4 + 2 * (HEIGHT + WAVE + 4))
    assert named.size[1] > 2 * (HEIGHT + WAVE)
    with pytest.raises(UserError, match="no sound to show"):
        sheet([])
