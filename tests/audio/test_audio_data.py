"""Data sets: what they know of their sounds is true, splits share nothing, bad files are skipped, counted and named."""

from __future__ import annotations

import contextlib
import json
from importlib.util import find_spec

import numpy as np
import pytest
from scipy.io import wavfile

from unnoise.errors import UserError
from unnoise.folders import UnreadableError
from unnoise_audio.data.folder import Folder
from unnoise_audio.data.notes import Notes
from unnoise_audio.data.soundfont import FAMILIES, Soundfont
from unnoise_audio.files import read_sound, read_sounds
from unnoise_audio.pitch import pitch_of
from unnoise_audio.sound import cents, frequency, key_of
from unnoise_audio.wav import write_wav

SMALL = {"n": 60, "rate": 8000, "shortest": 0.3, "longest": 0.4, "lowest": 57, "highest": 60}


def test_notes_are_what_their_columns_say():
    data = Notes("train", **SMALL)
    columns = data.columns()
    pitches, instruments = columns["pitch"], columns["instrument"]
    assert pitches.names == ("A3", "A#3", "B3", "C4") and set(instruments.names) == {
        "plucked",
        "bowed",
        "blown",
        "struck",
    }
    together = {(int(a), int(b)) for a, b in zip(pitches.values, instruments.values, strict=True)}
    assert len(together) == 16  # every instrument plays every note
    for i in range(0, len(data), 3):
        item = data[i]
        heard = pitch_of(item)
        wanted = frequency(key_of(pitches.names[pitches.values[i]]))
        assert abs(cents(heard, wanted)) < 15, (instruments.names[instruments.values[i]], heard, wanted)
        assert item.seconds == columns["duration"].values[i]
        assert item.level == columns["loudness"].values[i]
        assert item.peak < 1 and abs(item.samples[0, -1]) < 1e-6
    assert len(data.captions()) == len(data) and "plucked A3" in data.captions()[0]


def test_instruments_sound_different():
    """By what tells them apart: how fast they begin, whether they last, and their even partials."""
    data = Notes("train", **SMALL)
    names = data.columns()["instrument"]
    found = {name: [] for name in names.names}
    for i in range(16):
        x = data[i].samples[0].astype(float)
        third = len(x) // 3
        first, last = np.square(x[:third]).mean(), np.square(x[-third:-240]).mean()
        found[names.names[names.values[i]]].append((np.square(x[:80]).mean() / first, last / first))
    begins = {name: np.median([value[0] for value in values]) for name, values in found.items()}
    lasts = {name: np.median([value[1] for value in values]) for name, values in found.items()}
    assert min(begins["plucked"], begins["struck"]) > 3 * max(begins["bowed"], begins["blown"])
    assert lasts["struck"] < lasts["plucked"] < 0.8 < min(lasts["bowed"], lasts["blown"])


def test_notes_repeat_and_splits_share_none():
    train, again, test = Notes("train", **SMALL), Notes("train", seed=9, **SMALL), Notes("test", **SMALL)
    assert len(test) == 12
    assert all(np.array_equal(train[i].samples, again[i].samples) for i in range(5))
    kept = {train[i].samples.tobytes() for i in range(len(train))}
    assert len(kept) == len(train) and not kept & {test[i].samples.tobytes() for i in range(len(test))}
    again.columns()["loudness"]  # keeps all notes
    assert np.array_equal(train[7].samples, again[7].samples)


def test_notes_that_cannot_be_are_refused():
    for options in ({"n": 0}, {"shortest": 0.5, "longest": 0.4}, {"lowest": 70, "highest": 60}, {"rate": 10}):
        with pytest.raises(UserError, match=r"data\.n="):
            Notes("train", **{**SMALL, **options})
    with pytest.raises(UserError, match="cannot be heard at 8000 Hz"):
        Notes("train", rate=8000, highest=110)


@pytest.fixture
def folder(tmp_path, sine):
    """Two classes of twelve sounds each at several rates."""
    for name, hertz in (("low", 200), ("high", 900)):
        (tmp_path / name).mkdir()
        for i in range(12):
            write_wav(
                sine(hertz + i, 0.2, rate=(8000, 11025)[i % 2], channels=1 + i % 2), tmp_path / f"{name}/{i}.wav", {}
            )
    return tmp_path


def test_a_folder_is_resampled_mixed_and_named_by_its_sub_folders(folder):
    train, test = (Folder(split, root=str(folder), rate=8000, test_fraction=0.3) for split in ("train", "test"))
    assert len(train) + len(test) == 24 and len(test) > 0
    for data in (train, test):
        classes = data.columns()["class"]
        assert classes.names == ("high", "low")
        for i in range(len(data)):
            item = data[i]
            assert (item.rate, item.channels) == (8000, 1)
            assert abs(item.samples.shape[1] - 1600) <= 1
            assert (pitch_of(item, fine=2) > 500) == (classes.names[classes.values[i]] == "high")


def test_a_table_says_what_is_known(folder):
    rows = [{"file": f"low/{i}.wav", "mood": "calm" if i % 2 else "tense", "bpm": 60 + i} for i in range(12)]
    (folder / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    columns = Folder("train", root=str(folder), rate=8000).columns()
    assert set(columns) == {"duration", "loudness", "loudness_curve", "pitch_curve", "mood", "bpm"}
    assert columns["mood"].names == ("calm", "tense") and np.isnan(columns["bpm"].values).any()


def test_bad_files_are_skipped_counted_and_named(folder, sine, sounds):
    whole = (folder / "low/0.wav").read_bytes()
    (folder / "low/empty.wav").write_bytes(b"")
    (folder / "low/cut.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "low/text.wav").write_text("no sound")
    zero = bytearray(whole)
    at = whole.index(b"fmt ") + 12
    zero[at : at + 4] = bytes(4)
    (folder / "low/zero_hertz.wav").write_bytes(bytes(zero))
    data = np.full(100, np.nan, np.float32)
    wavfile.write(folder / "low/nan.wav", 8000, data)
    wavfile.write(folder / "low/nothing.wav", 8000, data[:0])
    wavfile.write(folder / "low/silent.wav", 8000, np.zeros(800, np.int16))
    write_wav(sine(300, 0.9), folder / "low/long.wav", {})
    made = Folder("train", root=str(folder), rate=8000, seconds=0.5, test_fraction=0.0)
    notes = "\n".join(made.notes())
    assert len(made) == 25
    assert "skipped 6 of 32 sounds" in notes and "left out 1 sounds below -70 dBFS: low/silent.wav" in notes
    assert "cut 1 sounds after 0.5 s: low/long.wav" in notes
    for name, reason in (("cut", "cut short"), ("nan", "not finite"), ("nothing", "no samples")):
        with pytest.raises(UserError, match=f"{name}.wav cannot be read: .*{reason}"):
            read_sounds(folder / f"low/{name}.wav")
    for name in ("empty", "text", "zero_hertz"):
        with pytest.raises(UserError, match=f"{name}.wav cannot be read: "):
            read_sounds(folder / f"low/{name}.wav")


def test_damaged_files_are_read_or_refused_but_nothing_else(tmp_path, sine):
    write_wav(sine(seconds=0.05), tmp_path / "a.wav", {"seed": 1}, "pcm24")
    whole, rng = (tmp_path / "a.wav").read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(whole[: int(rng.integers(0, len(whole)))] if rng.random() < 0.3 else whole)
        for _ in range(int(rng.integers(1, 4))):
            if broken:
                broken[int(rng.integers(0, min(len(broken), 80)))] = int(rng.integers(0, 256))
        (tmp_path / "b.wav").write_bytes(bytes(broken))
        with contextlib.suppress(UnreadableError):
            assert np.isfinite(read_sound(tmp_path / "b.wav").samples).all()


def test_folders_without_sounds_say_so(tmp_path, sine):
    with pytest.raises(UserError, match="is not a folder"):
        Folder("train", root=str(tmp_path / "no"))
    with pytest.raises(UserError, match="has no sound for the train split: found 0 sounds"):
        Folder("train", root=str(tmp_path))
    with pytest.raises(UserError, match="holds no sounds"):
        read_sounds(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        read_sounds(tmp_path / "no")
    with pytest.raises(UserError, match="channels=3"):
        Folder("train", root=str(tmp_path), channels=3)
    write_wav(sine(), tmp_path / "a.wav", {})
    assert read_sounds(tmp_path)[0].rate == 8000


@pytest.mark.skipif(find_spec("soundfile") is None, reason="extra soundfile")
@pytest.mark.parametrize("ending", ["flac", "ogg", "aiff"])
def test_other_formats_are_read(tmp_path, sine, ending):
    import soundfile

    soundfile.write(tmp_path / f"a.{ending}", sine(440, 0.5).samples.T, 8000)
    (sound,) = read_sounds(tmp_path)
    assert sound.rate == 8000 and abs(cents(pitch_of(sound), 440)) < 5
    (tmp_path / f"a.{ending}").write_bytes(b"junk")
    with pytest.raises(UserError, match="cannot be read"):
        read_sounds(tmp_path)


def test_without_soundfile_other_formats_are_skipped_by_name(folder, monkeypatch):
    (folder / "low/a.flac").write_bytes(b"fLaC")
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    notes = Folder("train", root=str(folder), rate=8000, test_fraction=0.0).notes()
    assert "low/a.flac (it needs the package soundfile" in notes[0]


@pytest.mark.skipif(not (find_spec("tinysoundfont") and find_spec("pretty_midi")), reason="extra soundfont")
def test_soundfont_notes_are_in_tune_and_test_notes_have_no_twin():
    options = {"lowest": 60, "highest": 72, "step": 6, "seconds": 0.5, "held": 0.4}
    train, test = Soundfont("train", **options), Soundfont("test", **options)
    columns = test.columns()
    assert columns["instrument"].names == FAMILIES and columns["pitch"].names == ("C4", "F#4", "C5")
    assert len(train) + len(test) == 96 * 3 * 3 and len(test) % 3 == 0 and 0.05 < len(test) / len(train) < 0.2
    pitch, family = columns["pitch"], columns["instrument"]
    errors = [
        abs(cents(pitch_of(test[i]), frequency(key_of(pitch.names[pitch.values[i]]))))
        for i in range(len(test))
        if FAMILIES[family.values[i]] in ("guitar", "pipe", "reed")
    ]
    assert len(errors) > 5 and np.median(errors) < 10


def test_a_missing_soundfont_is_named(monkeypatch, tmp_path):
    if find_spec("tinysoundfont"):
        with pytest.raises(UserError, match="is missing"):
            Soundfont("train", path=str(tmp_path / "no.sf2"))
        (tmp_path / "junk.sf2").write_bytes(b"junk")
        with pytest.raises(UserError, match="is no soundfont"):
            Soundfont("train", path=str(tmp_path / "junk.sf2"))
    monkeypatch.setattr("unnoise_audio.data.soundfont.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs the package tinysoundfont"):
        Soundfont("train")
