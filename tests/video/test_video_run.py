"""Whole runs through the public API and the command line: trained, loaded, sampled, filled in, judged."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch

import unnoise
from unnoise.errors import UserError
from unnoise.runs import evaluate, write_samples
from unnoise.runs.train import train
from unnoise.testing import modality_checks
from unnoise_video.clip import Clip
from unnoise_video.data.folder import Folder
from unnoise_video.files import read_clip
from unnoise_video.forecast import compare
from unnoise_video.infill import close_loop, fill, interpolate, predict, roll
from unnoise_video.writing import write_clip

DATA = ["data.n=40", "data.frames=4", "data.shortest=2", "data.canvas=12", "data.sprite=6", "data.fastest=2"]
SMALL = [*DATA, "denoiser.width=32", "denoiser.depth=2", "denoiser.patch=4", "conditions.dim=16"]
test_contract = modality_checks("video", words=SMALL)

UNET = ["denoiser=unet", "denoiser.channels=[8,12]", "denoiser.head_dim=4", "denoiser.cond_dim=32"]
test_contract_unet = modality_checks("video", words=[*DATA, *UNET, "conditions.dim=16"])

STACKED = ["denoiser=stacked", "denoiser.frames=5", "denoiser.own=8", "denoiser.channels=[12,16]"]
test_contract_stacked = modality_checks("video", words=[*DATA, *STACKED, "denoiser.cond_dim=32", "conditions.dim=16"])

SIDE, FRAMES = 8, 6
LEVELS = {"dim": 90, "bright": 230}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes: a dim and a bright column that moves one pixel a frame, to the right, round the edge."""
    root = tmp_path_factory.mktemp("data")
    for name, grey in LEVELS.items():
        (root / name).mkdir()
        for i in range(24):
            frames = np.zeros((FRAMES, SIDE, SIDE, 1), np.uint8)
            for t in range(FRAMES):
                frames[t, :, [(i + t) % SIDE, (i + t + 1) % SIDE]] = grey
            write_clip(Clip(frames, 8.0), root / name / f"{i}.webp", {}, "webp")
    return root


def config(root, **changes):
    return {
        "modality": "video",
        "data": {"name": "folder", "root": str(root), "size": SIDE, "channels": 1, "frames": FRAMES},
        "representation": {"name": "pixels"},
        "denoiser": {"name": "transformer", "width": 64, "depth": 4, "head_dim": 32, "patch": 8, "head": 8},
        "process": {"*": {"name": "gaussian", "schedule": {"name": "flow"}, "parametrization": {"name": "flow"}}},
        "conditions": {"use": ["class"], "dim": 32},
        "train": {
            "batch": 16, "steps": 450, "lr": 3e-3, "warmup": 10, "ema": {"decay": 0.97}, "threads": 1,
            "precision": "fp32", "time_sampling": {"name": "uniform", "known": 0.5, "independent": 0.1},
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


def column(frame):
    """Where the bright column begins, and how bright it is."""
    profile = frame[..., 0].astype(float).mean(0)
    pairs = profile + np.roll(profile, -1)
    return int(pairs.argmax()), pairs.max() / 2


def moves_on(clip, start=0):
    """Share of steps of one pixel to the right, from frame ``start``."""
    places = [column(frame)[0] for frame in clip.frames[start:]]
    return np.mean([(b - a) % SIDE == 1 for a, b in pairwise(places)])


def test_a_tiny_run_learns_brightness_and_motion(model):
    for name, grey in LEVELS.items():
        made = model.sample(6, seed=3, condition={"class": name}, progress=False).items
        assert all(len(clip.frames) == FRAMES and clip.fps == 8.0 for clip in made)
        assert abs(np.mean([column(clip.frames[2])[1] for clip in made]) - grey) < 40
        assert np.mean([moves_on(clip) for clip in made]) > 0.4, name  # by chance one in eight


def test_files_repeat_to_the_byte_and_hold_their_settings(model, tmp_path):
    folders = []
    for name in ("a", "b"):
        samples = model.sample(2, seed=5, condition={"class": "dim"}, progress=False)
        write_samples(samples, model.representation, tmp_path / name)
        folders.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    names = {"00000.webp", "00001.webp", "animation.webp", "preview.png", "record.json"}
    assert folders[0] == folders[1] and names == set(folders[0])
    assert b'"seed": 5' in folders[0]["00000.webp"]
    assert np.array_equal(read_clip(tmp_path / "a/00001.webp", channels=1).frames, samples.items[1].frames)


@pytest.mark.parametrize("sampler", unnoise.samplers())
def test_every_sampler_runs_and_keeps_given_frames(model, folder, sampler):
    clip = read_clip(folder / "dim/1.webp", channels=1)
    given = np.arange(FRAMES) < 2
    (made,) = fill(model, [clip], given, seed=1, sampler=sampler, steps=4, progress=False)
    assert np.array_equal(made.frames[:2], clip.frames[:2]) and len(made.frames) == FRAMES


def test_prediction_animation_and_interpolation_follow_what_is_given(model, folder):
    clip = read_clip(folder / "bright/3.webp", channels=1)
    for given, least in ((3, 0.8), (1, 0.45)):  # given one frame, the motion is known from the data alone
        made = predict(model, clip.cut(0, given), FRAMES, n=4, seed=2, progress=False)
        assert all(np.array_equal(item.frames[:given], clip.frames[:given]) for item in made)
        assert np.mean([moves_on(item, given - 1) for item in made]) >= least
        assert all(abs(column(item.frames[-1])[1] - LEVELS["bright"]) < 50 for item in made)
    made = interpolate(model, clip.cut(0, 1), clip.cut(5, 6), FRAMES, n=4, seed=2, progress=False)
    for item in made:
        assert np.array_equal(item.frames[[0, 5]], clip.frames[[0, 5]])
    assert np.mean([moves_on(item) for item in made]) >= 0.7


def test_what_a_mask_hides_is_made(model, folder):
    clip = read_clip(folder / "bright/0.webp", channels=1)
    given = np.ones((FRAMES, SIDE, SIDE), bool)
    given[2:5, 4:] = False
    (made,) = fill(model, [clip], given, seed=3, condition={"class": "bright"}, progress=False, steps=20)
    assert np.array_equal(made.frames[given], clip.frames[given])
    lower = made.frames[2:5, 4:].astype(float)
    assert np.abs(lower - clip.frames[2:5, 4:]).mean() < 40  # the columns go on downwards


def test_long_clips_go_on_window_by_window(model):
    made = roll(model, 17, n=3, seed=4, overlap=2, condition={"class": "bright"}, progress=False)
    assert [len(clip.frames) for clip in made] == [17] * 3
    assert np.mean([moves_on(clip) for clip in made]) > 0.4
    again = roll(model, 17, n=1, seed=5, overlap=2, condition={"class": "bright"}, progress=False)
    assert np.abs(again[0].frames.astype(int) - made[1].frames).max() <= 1  # a clip depends on its own seed
    noised = roll(model, 17, n=3, seed=4, overlap=2, condition={"class": "bright"}, level=0.05, progress=False)
    for one, other in zip(made, noised, strict=True):  # only what later windows are shown is another
        assert np.array_equal(one.frames[:6], other.frames[:6]) and not np.array_equal(one.frames, other.frames)
    assert np.mean([moves_on(clip) for clip in noised]) > 0.4
    longer = roll(model, 9, overlap=2, start=[clip.cut(0, 6) for clip in made], progress=False)
    assert all(np.array_equal(a.frames[:6], b.frames[:6]) for a, b in zip(longer, made, strict=True))


def test_a_loop_is_closed(model, folder):
    clip = read_clip(folder / "dim/2.webp", channels=1).cut(0, 6)
    looped = close_loop(model, clip, 2, overlap=2, seed=1, progress=False, condition={"class": "dim"})
    assert len(looped.frames) == 8 and np.array_equal(looped.frames[:6], clip.frames)
    round_and_on = Clip(np.concatenate([looped.frames[-3:], looped.frames[:1]]), 8.0)
    assert moves_on(round_and_on) >= 2 / 3  # eight frames are once round


def test_what_cannot_be_filled_is_refused(model, clips):
    (clip,) = clips(1, frames=FRAMES)
    all_given = np.ones(FRAMES, bool)
    for call, message in (
        (lambda: fill(model, [clip], all_given), "100% of it given"),
        (lambda: fill(model, [], all_given), "no clip to fill"),
        (lambda: fill(model, [clip], all_given[:3]), "a clip of 6 frames"),
        (lambda: fill(model, clips(1, frames=FRAMES, side=16), all_given), "16x16x1"),
        (lambda: fill(model, [clip], np.zeros((FRAMES, 3, 3), bool)), "a mask of shape"),
        (lambda: predict(model, clip, 40), "longer than any training clip"),
        (lambda: interpolate(model, clip, clip, 9), "at least one frame between"),
        (lambda: roll(model, 40, overlap=FRAMES), "overlap=6 for windows of 6"),
        (lambda: roll(model, 40, start=clips(1, frames=FRAMES, side=16)), "frames are 16x16x1"),
        (lambda: close_loop(model, clip, 2, overlap=9), "overlap=9"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_a_model_predicts_better_than_holding_and_blending(model, folder):
    data = Folder("train", root=str(folder), size=SIDE, channels=1, frames=FRAMES)
    found = {s.name: s for s in compare(model, data, np.arange(FRAMES) < 3, n=12, told=["class"], progress=False)}
    assert found["psnr_db"].value > found["psnr_db"].ceiling + 3
    assert "held" in found["psnr_db"].note
    for given, message in ((np.zeros(4, bool), "0 of 4"), (np.arange(9) < 2, "no clip has 9 frames")):
        with pytest.raises(UserError, match=message):
            compare(model, data, given)


def test_scores_know_good_from_noise(model):
    _, scores = evaluate(model, 4, seed=0, metrics=["temporal"], steps=6, progress=False)
    found = {score.name: score for score in scores}
    assert found["motion"].value < 0.9 * found["motion"].ceiling
    assert set(found) == {"motion", "jerk", "flicker", "drift"} and found["motion"].better == "near"


def test_the_command_line_makes_gifs(run, tmp_path):
    words = ["sample", f"run={run.folder}", "n=2", "condition.class=dim", f"out={tmp_path}/s", "steps=3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "UNNOISE_PLUGINS": "unnoise-video"}
    done = subprocess.run([sys.executable, "-m", "unnoise", *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "6 frames of 8x8x1, 8 a second" in done.stdout


def test_latents_train_their_codec_first_and_are_filled_and_rolled_too(folder, tmp_path, monkeypatch):
    node = {"name": "autoencoder", "channels": [16], "blocks": 1, "stem": 2, "temporal": 1}
    node["train"] = {"steps": 30, "lr": 3e-3}
    options = {**config(folder)["train"], "steps": 3}
    denoiser = {"name": "unet", "channels": [8, 8], "head_dim": 4, "cond_dim": 16, "patch": 1}
    made = config(folder, representation={"name": "latents"}, codec=node, train=options, denoiser=denoiser)
    run = train(made, tmp_path / "run")
    assert math.isfinite(json.loads((run.folder / "codec" / "quality.json").read_text())["psnr_db"])
    model = unnoise.load(run.folder, device="cpu")
    clip = read_clip(folder / "dim/1.webp", channels=1)
    (item,) = predict(model, clip.cut(0, 2), FRAMES, progress=False)
    assert np.array_equal(item.frames[:2], clip.frames[:2]) and len(item.frames) == FRAMES
    calls, sample = [], model.sample

    def watched(*words, known=None, **options):
        calls.append((known, sample(*words, known=known, **options)))
        return calls[-1][1]

    monkeypatch.setattr(model, "sample", watched)
    # Windows take over latents, which are not decoded in between.
    (rolled,) = roll(model, 12, overlap=2, progress=False)
    assert len(rolled.frames) == 12 and len(calls) == 3
    for (_, last), (known, _) in pairwise(calls):
        (name,) = known.masks
        assert torch.equal(known.clean.parts[name][:, :2], last.state.parts[name][:, -2:])
        assert known.masks[name].flatten().tolist() == [True] * 2 + [False] * 4
