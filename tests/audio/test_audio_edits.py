"""Masks of sounds, and edits of them by an untrained model: what is kept does not depend on what a model knows."""

import numpy as np
import pytest
import torch

import unnoise
from unnoise.errors import UserError
from unnoise.runs.train import train
from unnoise_audio.data.notes import Notes
from unnoise_audio.masks import fade_of, keep
from unnoise_audio.sound import Sound
from unnoise_audio.wav import write_wav

DATA = {"n": 30, "rate": 8000, "shortest": 0.3, "longest": 0.4, "highest": 60}
LENGTH = 2560


def config(**changes):
    return {
        "modality": "audio",
        "data": {"name": "notes", **DATA},
        "representation": {"name": "spectrum", "n_fft": 126, "hop": 32},
        "denoiser": {"name": "transformer", "width": 16, "depth": 1, "head_dim": 16, "patch": 1},
        "process": {"*": {"name": "gaussian", "schedule": {"name": "flow"}, "parametrization": {"name": "flow"}}},
        "conditions": {"use": ["instrument"], "dim": 16},
        "train": {"batch": 8, "steps": 1, "threads": 1, "precision": "fp32"},
        "sample": {"steps": 2},
        **changes,
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return unnoise.load(train(config(), tmp_path_factory.mktemp("a") / "run").folder, device="cpu")


@pytest.fixture
def notes():
    data = Notes("test", **DATA)
    return [Sound(data[i].samples[:, :LENGTH], data[i].rate) for i in range(2)]


STRETCHES = {
    "after:0.1": (800, LENGTH, LENGTH),
    "before:0.1": (0, 800, LENGTH),
    "between:0.1,0.2": (800, 1600, LENGTH),
    "extend:0.05": (LENGTH, LENGTH + 400, LENGTH + 400),
}


@pytest.mark.parametrize("mask", STRETCHES)
def test_what_is_kept_is_kept_to_the_sample(model, notes, mask):
    start, stop, total = STRETCHES[mask]
    made = model.edit("infill", notes, mask=mask, n=3, progress=False)
    fade = fade_of(total - (stop - start), 8000)
    kept = np.r_[0 : max(start - fade, 0), min(stop + fade, total) : total]
    for index, item in enumerate(made.items):
        assert item.samples.shape == (1, total)
        assert np.array_equal(item.samples[:, kept], notes[index % 2].samples[:, kept])
    inside = np.arange(start, min(stop, LENGTH))
    assert mask.startswith("extend") or np.abs(made.items[0].samples[:, inside] - notes[0].samples[:, inside]).max() > 0


@pytest.mark.parametrize("mask", STRETCHES)
@pytest.mark.parametrize("late", [0.0, 0.3, 0.7])
def test_what_is_made_goes_on_in_phase(model, mask, late):
    """Bands know no phase: a tone that is some of a period late in what a model made is moved back."""
    time = np.arange(LENGTH + 400) / 8000
    tone, made = (np.sin(2 * np.pi * (100 * time - shift))[None].astype(np.float32) for shift in (0, late))
    source = Sound(tone[:, :LENGTH], 8000)
    total = STRETCHES[mask][2]
    (joined,) = keep(model.representation, [source], mask).splice([Sound(made[:, :total], 8000)])
    inside = slice(200, total - 200)  # where a moved tone has samples on both sides
    np.testing.assert_allclose(joined.samples[:, inside], tone[:, inside], atol=0.05)


def test_known_frames_see_nothing_of_what_is_made(model, notes):
    """Whatever the source holds there: the known frames are those of the whole sound, and what is made is not read."""
    other = [Sound(np.where(np.arange(LENGTH) >= 800, 0.3, note.samples).astype(np.float32), 8000) for note in notes]
    a, b = (keep(model.representation, items, "after:0.1") for items in (notes, other))
    assert torch.equal(a.state.parts["spectrum"], b.state.parts["spectrum"])
    known = a.masks["spectrum"][0, :, 0, 0]
    whole = model.representation.encode(notes).parts["spectrum"]
    assert torch.equal(a.state.parts["spectrum"][:, known], whole[:, known])
    assert int(known.sum()) == len([f for f in range(len(known)) if f * 32 + 63 <= 800])


def test_high_frequencies_alone(model, notes):
    made = model.edit("infill", notes, mask="above:2000", progress=False)
    state, bins = model.representation.encode(notes), torch.linspace(0, 4000, 64) <= 2000
    got = made.state.parts["spectrum"]
    assert torch.equal(got[:, :, bins], state.parts["spectrum"][:, :, bins])
    assert not torch.equal(got[:, :, ~bins], state.parts["spectrum"][:, :, ~bins])


def test_mel_bands_are_put_back_to_the_sample(tmp_path, notes):
    made_of = config(representation={"name": "mel", "n_fft": 256, "hop": 64, "mels": 16, "iterations": 2})
    model = unnoise.load(train(made_of, tmp_path / "run").folder, device="cpu")
    made = model.edit("infill", notes, mask="between:0.1,0.2", progress=False)
    fade = fade_of(LENGTH - 800, 8000)
    assert all(
        np.array_equal(new.samples[:, : 800 - fade], old.samples[:, : 800 - fade])
        for new, old in zip(made.items, notes, strict=True)
    )
    with pytest.raises(UserError, match="complex spectra"):
        model.edit("infill", notes, mask="above:2000", progress=False)


def test_variations_and_their_ends(model, notes):
    none = model.edit("variation", notes, strength=0, progress=False)
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(none.items, notes, strict=True))
    anew = model.edit("variation", notes, strength=1, seed=5, progress=False)
    frames = model.representation.count(LENGTH)
    fresh = model.sample(2, 5, sizes=frames, progress=False)
    assert torch.equal(anew.state.parts["spectrum"], fresh.state.parts["spectrum"])


def test_a_file_is_a_source(model, notes, tmp_path):
    write_wav(notes[0], tmp_path / "one.wav", {}, "float")
    made = model.edit("infill", tmp_path / "one.wav", mask="after:0.1", n=2, progress=False)
    kept = 800 - fade_of(800, 8000)
    assert all(np.array_equal(item.samples[:, :kept], notes[0].samples[:, :kept]) for item in made.items)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("afer:1", "Did you mean 'after'"),
        ("after:1", "does not fit sounds of 0.32 s"),
        ("between:0.2,0.1", "does not fit"),
        ("before:0.32", "not all of it"),
        ("extend:9", "more than any training sound"),
        ("above:9000", "below 4000 Hz"),
    ],
)
def test_masks_that_do_not_fit(model, notes, mask, words):
    with pytest.raises(UserError, match=words):
        model.edit("infill", notes, mask=mask, progress=False)


def test_sources_that_do_not_fit(model, notes):
    with pytest.raises(UserError, match="differ in length"):
        model.edit("infill", [notes[0], Sound(notes[1].samples[:, :2000], 8000)], mask="after:0.1", progress=False)
    with pytest.raises(UserError, match="item 0 of the source does not fit the model: 16000 Hz"):
        model.edit("variation", [Sound(notes[0].samples, 16000)], progress=False)
