"""Samples, rates, names of notes, and WAV files as other programs see them."""

from __future__ import annotations

import io
import json
import wave

import numpy as np
import pytest
from scipy.io import wavfile

from unnoise.errors import UserError
from unnoise_audio.sound import SILENCE, Sound, cents, frequency, key_of, note_name, resampled, with_channels
from unnoise_audio.wav import read_wav, write_wav


def test_level_and_peak_of_a_sine(sine):
    sound = sine(amplitude=0.5, seconds=1.0)
    assert sound.level == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.01)
    assert sound.peak == pytest.approx(0.5, abs=1e-3) and sound.seconds == 1.0
    assert Sound(np.zeros((1, 10), np.float32), 8000).level == SILENCE


@pytest.mark.parametrize("rate", [11025, 16000, 44100])
def test_a_sine_stays_one_at_another_rate(sine, rate):
    there = resampled(sine(400, 0.5), rate)
    exact = sine(400, 0.5, rate=rate)
    assert there.rate == rate and abs(there.samples.shape[1] - exact.samples.shape[1]) <= 1
    inner = slice(rate // 20, rate // 4)  # away from the ends, where the filter sees silence
    np.testing.assert_allclose(there.samples[0, inner], exact.samples[0, inner], atol=2e-3)


def test_what_lies_above_half_the_new_rate_is_filtered_out(sine):
    there = resampled(sine(6000, 0.5, rate=16000), 8000)
    assert np.abs(there.samples[0, 200:-200]).max() < 1e-3  # away from the ends, where the sine itself breaks off


def test_channels_are_mixed_repeated_or_refused(sine):
    stereo = Sound(np.concatenate([sine().samples, -sine().samples]), 8000)
    assert with_channels(stereo, 1).peak == 0
    assert np.array_equal(with_channels(sine(), 2).samples, sine(channels=2).samples)
    with pytest.raises(UserError, match="has 2 channels, not 3"):
        with_channels(stereo, 3)


def test_names_of_notes():
    assert (note_name(69), note_name(60), note_name(61)) == ("A4", "C4", "C#4")
    assert all(key_of(note_name(key)) == key for key in range(12, 128))
    assert key_of("H4") is None and key_of("E#2") is None and key_of("piano") is None
    assert frequency(69) == 440 and frequency(60) == pytest.approx(261.6256, abs=1e-4)
    assert cents(frequency(70), 440) == pytest.approx(100)


STEPS = {"pcm16": 2.0**-15, "pcm24": 2.0**-23, "float": 0.0}


@pytest.mark.parametrize("encoding", STEPS)
def test_files_are_what_other_readers_read(sounds, tmp_path, encoding):
    sound = sounds(1, channels=2)[0]
    write_wav(sound, tmp_path / "a.wav", {"seed": 3}, encoding)
    rate, data = wavfile.read(tmp_path / "a.wav")
    scale = {"pcm16": 2.0**15, "pcm24": 2.0**31, "float": 1.0}[encoding]
    assert rate == sound.rate
    assert np.abs(data.T / scale - sound.samples).max() <= 0.5001 * STEPS[encoding]
    if encoding != "float":  # the standard library reads integers only
        with wave.open(str(tmp_path / "a.wav")) as file:
            assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 8000, sound.samples.shape[1])
            assert file.getsampwidth() == {"pcm16": 2, "pcm24": 3}[encoding]
    back = read_wav(tmp_path / "a.wav")
    assert back.rate == sound.rate and np.abs(back.samples - sound.samples).max() <= 0.5001 * STEPS[encoding]
    soundfile = pytest.importorskip("soundfile")
    np.testing.assert_allclose(soundfile.read(tmp_path / "a.wav", always_2d=True)[0].T, back.samples, atol=1e-7)
    assert json.loads(soundfile.SoundFile(tmp_path / "a.wav").copy_metadata()["comment"]) == {"seed": 3}


def test_full_scale_and_more(tmp_path):
    loud = Sound(np.array([[1.0, -1.0, 3.0, -3.0]], np.float32), 8000)
    write_wav(loud, tmp_path / "a.wav", {})
    assert wavfile.read(tmp_path / "a.wav")[1].tolist() == [32767, -32768, 32767, -32768]
    write_wav(loud, tmp_path / "b.wav", {}, "float")
    assert wavfile.read(tmp_path / "b.wav")[1].tolist() == [1, -1, 3, -3]
    with pytest.raises(UserError, match="no encoding 'mp3'"):
        write_wav(loud, tmp_path / "c.wav", {}, "mp3")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_every_width_is_read_at_its_level(dtype):
    values = np.array([0.5, -0.25, 0.0])
    if dtype is np.uint8:
        data = np.round(values * 128 + 128).astype(dtype)
    else:
        data = (values * (1 if np.dtype(dtype).kind == "f" else -float(np.iinfo(dtype).min))).astype(dtype)
    file = io.BytesIO()
    wavfile.write(file, 8000, data)
    file.seek(0)
    np.testing.assert_allclose(read_wav(file).samples[0], values, atol=1e-6)
