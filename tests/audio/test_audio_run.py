"""Whole runs through the public API and the command line: trained, loaded, sampled, judged, continued."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

import unnoise
from unnoise.errors import UserError
from unnoise.runs import evaluate, write_samples
from unnoise.runs.train import train
from unnoise.testing import modality_checks
from unnoise_audio.masks import fade_of
from unnoise_audio.pitch import pitch_of
from unnoise_audio.seams import seam
from unnoise_audio.sound import Sound, cents
from unnoise_audio.wav import read_wav, write_wav

SMALL = [
    "data.n=60", "data.rate=8000", "data.shortest=0.1", "data.longest=0.2", "data.highest=60",
    "representation.n_fft=126", "representation.hop=32", "denoiser.width=32", "denoiser.depth=2",
]  # fmt: skip
test_contract = modality_checks("audio", words=SMALL)

UNET = [
    "denoiser=unet",
    "denoiser.channels=[8,12]",
    "denoiser.attention=[false,true]",
    "denoiser.head_dim=4",
    "denoiser.patch=[4,8]",
]
test_contract_unet = modality_checks("audio", words=[word for word in SMALL if "denoiser" not in word] + UNET)

RATE, HERTZ = 8000, {"low": 250.0, "high": 1000.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes: a low and a high tone, at two lengths."""
    root = tmp_path_factory.mktemp("data")
    for name, hertz in HERTZ.items():
        (root / name).mkdir()
        for i in range(16):
            time = np.arange((800, 1120)[i % 2]) / RATE
            wave = (0.1 + 0.02 * (i % 8)) * np.sin(2 * np.pi * hertz * time)
            write_wav(Sound(wave[None].astype(np.float32), RATE), root / name / f"{i}.wav", {})
    return root


def config(root, **changes):
    return {
        "modality": "audio",
        "data": {"name": "folder", "root": str(root), "rate": RATE, "test_fraction": 0.2},
        "representation": {"name": "spectrum", "n_fft": 126, "hop": 32},
        "denoiser": {"name": "transformer", "width": 64, "depth": 2, "head_dim": 32, "patch": 1},
        "process": {"*": {"name": "gaussian", "schedule": {"name": "flow"}, "parametrization": {"name": "flow"}}},
        "conditions": {"use": ["class", "duration", "loudness"], "dim": 32},
        "train": {
            "batch": 16, "steps": 300, "lr": 3e-3, "warmup": 10, "ema": {"decay": 0.97}, "threads": 1,
            "precision": "fp32",
        },
        "sample": {"steps": 8, "n": 2},
        **changes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    return train(config(folder), tmp_path_factory.mktemp("runs") / "a")


@pytest.fixture(scope="module")
def model(run):
    return unnoise.load(run.folder, device="cpu")


def test_a_tiny_run_learns_pitch_and_length(model):
    for name, hertz in HERTZ.items():
        for item in model.sample(2, seed=3, condition={"class": name, "duration": 0.14}, progress=False).items:
            assert item.seconds == 0.14
            assert abs(cents(pitch_of(item, fine=2), hertz)) < 50, name


def test_files_repeat_to_the_byte_and_hold_their_settings(model, tmp_path):
    folders = []
    for name in ("a", "b"):
        samples = model.sample(2, seed=5, condition={"class": "low"}, progress=False)
        write_samples(samples, model.representation, tmp_path / name)
        folders.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert folders[0] == folders[1] and {"00000.wav", "00001.wav", "preview.png", "record.json"} == set(folders[0])
    assert json.dumps(samples.record["seed"]).encode() in folders[0]["00000.wav"]
    assert np.abs(read_wav(tmp_path / "a/00000.wav").samples - samples.items[0].samples).max() <= 2.0**-16 + 1e-7


@pytest.mark.parametrize("sampler", unnoise.samplers())
def test_every_sampler_runs(model, sampler):
    samples = model.sample(2, seed=1, sampler=sampler, steps=4, condition={"class": "high"}, progress=False)
    assert all(np.isfinite(item.samples).all() for item in samples.items)


def test_lengths_that_cannot_be_are_refused(model):
    for seconds, message in ((3.0, "longer than any training sound"), (0.001, "shorter than one frame")):
        with pytest.raises(UserError, match=message), pytest.warns(unnoise.errors.Caution):
            model.sample(1, condition={"duration": seconds}, progress=False)


def test_the_command_line_says_how_long_and_how_loud(run, tmp_path):
    words = ["sample", f"run={run.folder}", "n=2", "condition.class=low", "condition.duration=0.1", f"out={tmp_path}/s"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "UNNOISE_PLUGINS": "unnoise-audio"}
    done = subprocess.run([sys.executable, "-m", "unnoise", *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "0.20 s of sound, mean level -" in done.stdout and "dBFS, highest peak 0." in done.stdout


def test_scores_know_good_from_noise(model, run):
    _, scores = evaluate(model, 12, seed=0, metrics=["classifier", "health", "loudness", "memorisation"], steps=6)
    found = {score.name: score for score in scores}
    assert found["class_accuracy"].value > 0.9 and found["class_accuracy"].floor == 1.0
    for name in ("frechet_classifier", "loudness_error_db"):
        assert found[name].value < found[name].ceiling, found[name]
    assert found["silent"].value == 0


def test_a_continuation_keeps_the_recording_and_does_not_click(model, folder):
    sound = read_wav(folder / "low/1.wav")
    begun = Sound(sound.samples[:, : round(0.06 * RATE)], RATE)
    how = {"condition": {"class": "low"}, "progress": False}
    made = model.edit("infill", [begun], mask="extend:0.07", n=2, seed=4, **how).items
    exact = round(0.06 * RATE) - fade_of(round(0.06 * RATE), RATE)
    for item in made:
        assert item.samples.shape[1] == round(0.13 * RATE)
        assert np.array_equal(item.samples[:, :exact], sound.samples[:, :exact])
        steps = np.abs(np.diff(item.samples[0]))
        across = slice(exact - 1, round(0.06 * RATE) + 1)
        assert steps[across].max() < 1.5 * np.delete(steps, np.r_[across]).max()
    assert not np.array_equal(made[0].samples, made[1].samples)


def test_what_lies_below_a_cutoff_stays(model, folder):
    sound = read_wav(folder / "low/1.wav")
    how = {"condition": {"class": "low"}, "progress": False}
    (made,) = model.edit("infill", [sound], mask="above:2000", seed=2, **how).items
    assert made.samples.shape == sound.samples.shape
    kept, was = (np.fft.rfft(x.samples[0])[: int(1500 * sound.seconds)] for x in (made, sound))
    assert np.linalg.norm(kept - was) < 0.1 * np.linalg.norm(was)


def test_a_seam_is_heard_where_a_sound_was_cut():
    time = np.arange(8000) / RATE
    rng = np.random.default_rng(0)
    whole = 0.3 * np.sin(2 * np.pi * 440 * time) + 0.01 * rng.standard_normal(8000)
    cut = whole.copy()
    cut[4000:] = 0.3 * np.sin(2 * np.pi * 700 * time[4000:]) + 0.01 * rng.standard_normal(4000)
    sounds = [Sound(x[None].astype(np.float32), RATE) for x in (whole, cut)]
    assert abs(seam(sounds[0], 0.5)) < 2 < 8 < seam(sounds[1], 0.5)
    with pytest.raises(UserError, match="no seam to judge"):
        seam(sounds[0], 2.0)


def test_latents_and_vocoded_bands_train_their_codec_first(folder, tmp_path):
    vocoder = {"n_fft": 128, "hop": 32, "mels": 16, "width": 32, "depth": 2}
    codecs = {
        "latents": {"name": "autoencoder", "vocoder": vocoder, "channels": [32], "blocks": 1},
        "vocoded_mel": {"name": "vocoder", **vocoder},
    }
    for name, codec in codecs.items():
        options = {**config(folder)["train"], "steps": 3}
        node = {**codec, "train": {"steps": 30, "lr": 3e-3}}
        made = config(folder, representation={"name": name}, codec=node, train=options)
        run = train(made, tmp_path / name)
        quality = json.loads((run.folder / "codec" / "quality.json").read_text())
        assert math.isfinite(quality["mel_l1"])
        assert unnoise.load(run.folder, device="cpu").sample(1, seed=1, progress=False).items[0].seconds > 0.05
