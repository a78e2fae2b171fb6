"""Curves of loudness and pitch: measured, asked for, followed and judged."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import unnoise
from unnoise.cli.main import main
from unnoise.conditions import Conditions
from unnoise.contracts import Curves, Evidence, MapShape
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.level import Level
from unnoise.runs import evaluate
from unnoise.runs.train import train
from unnoise.state import State
from unnoise.testing import run_checks
from unnoise_audio.curves import FLOOR, POINTS, loudness_curve, pitch_curve
from unnoise_audio.data import base
from unnoise_audio.data.folder import Folder
from unnoise_audio.data.notes import Notes
from unnoise_audio.metrics.curves import CurvesMetric
from unnoise_audio.networks import FrameTransformer, UNet
from unnoise_audio.sound import Sound, key_of
from unnoise_audio.wav import write_wav

RATE = 8000
SMALL = {"n": 40, "rate": RATE, "lowest": 57, "highest": 64, "shortest": 0.3, "longest": 0.4}


def sound(wave, rate=RATE):
    return Sound(np.atleast_2d(wave).astype(np.float32), rate)


def swelling(hertz, seconds, first, last, rate=RATE):
    """A tone whose level goes evenly from ``first`` to ``last`` decibels of full scale."""
    time = np.arange(round(seconds * rate)) / rate
    level = 10 ** (np.linspace(first, last, len(time)) / 20)
    return level * np.sqrt(2) * np.sin(2 * np.pi * hertz * time)


def test_a_loudness_curve_is_the_level_of_a_tone_that_swells():
    curve = loudness_curve(sound(swelling(440, 1.0, -45, -12)))
    assert curve.dtype == np.float32 and curve.shape == (POINTS,)
    np.testing.assert_allclose(curve[2:-2], np.linspace(-45, -12, POINTS)[2:-2], atol=0.25)
    assert abs(curve[0] + 45) < 1 and abs(curve[-1] + 12) < 1  # of half a window
    half = sound(np.stack([swelling(440, 1.0, -20, -20), np.zeros(RATE)]))
    np.testing.assert_allclose(loudness_curve(half), -20 - 10 * np.log10(2), atol=0.1)  # the mean of both channels
    assert (loudness_curve(sound(np.zeros(500))) == FLOOR).all() and (loudness_curve(sound([])) == FLOOR).all()


@pytest.mark.parametrize("at", [0.11, 4.03, 8.77])
def test_no_part_of_a_long_sound_lies_between_two_points(at):
    wave = np.zeros(9 * RATE)
    wave[round(at * RATE)] = 1.0
    curve = loudness_curve(sound(wave))
    assert curve.max() > -40 and abs(int(curve.argmax()) / (POINTS - 1) * 9 - at) < 9 / (POINTS - 1)


def test_a_pitch_curve_follows_a_glide_and_has_gaps_where_there_is_none():
    time = np.arange(RATE) / RATE
    hertz = 200 * 2**time  # an octave a second
    wave = 0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / RATE)
    wanted = np.linspace(0, 1, POINTS) * 12 + 69 + 12 * np.log2(200 / 440)
    np.testing.assert_allclose(pitch_curve(sound(wave))[2:-2], wanted[2:-2], atol=0.3)
    wave[RATE // 2 :] = 0.1 * np.random.default_rng(0).standard_normal(RATE // 2)
    heard = np.isfinite(pitch_curve(sound(wave)))
    assert heard[: POINTS // 2 - 3].all() and heard[POINTS // 2 + 3 :].mean() < 0.1
    for nothing in ([], np.zeros(RATE), wave[:100], np.full(RATE, np.nan)):
        assert np.isnan(pitch_curve(sound(nothing))).all()


def test_notes_have_the_pitch_they_are_named_after_throughout():
    columns = Notes("test", **{**SMALL, "n": 60}).columns()
    names, curves = columns["pitch"], columns["pitch_curve"]
    assert isinstance(curves, Curves) and curves.unit == "semitones"
    for row, index in zip(curves.values, names.values, strict=True):
        assert abs(np.nanmedian(row) - key_of(names.names[index])) < 0.15
        assert np.isfinite(row).mean() > 0.5


def test_columns_are_measured_when_they_are_asked_for(monkeypatch):
    data, heard = Notes("train", **SMALL), []
    monkeypatch.setitem(base._CURVES, "pitch_curve", (lambda item: heard.append(item) or pitch_curve(item), ""))
    columns = data.columns()
    assert {"instrument", "pitch", "duration", "loudness", "loudness_curve", "pitch_curve", "text"} == set(columns)
    assert columns["loudness"].values[3] == data[3].level and not heard and data.columns() is columns
    assert columns["pitch_curve"] is columns["pitch_curve"] and len(heard) == len(data)
    with pytest.raises(KeyError):
        columns["nothing"]


LAYOUT = Layout((Part("spectrum", "gaussian", ("frames", 16, 2)),))
NETWORKS = {
    "transformer": lambda **o: FrameTransformer(LAYOUT, 8, width=32, depth=2, head_dim=16, patch=3, **o),
    "unet": lambda **o: UNet(
        LAYOUT, 8, channels=(8, 12), attention=(False, True), head_dim=4, cond_dim=16, patch=(3, 4), **o
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_see_where_a_curve_changes_and_padding_changes_nothing(name):
    net = NETWORKS[name](maps=[MapShape((12,), 8)]).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    counts = torch.tensor([11, 4])
    x = State.zeros(LAYOUT, 2, {"frames": counts})
    x = x.replace({"spectrum": torch.randn_like(x.parts["spectrum"])}).project()
    at = {"spectrum": torch.tensor([0.3, 0.6])}
    conditions = Conditions.from_columns({"c": Curves(np.random.rand(3, 12).astype(np.float32))}, ["c"], 8)

    def out(x, values):
        with torch.no_grad():
            return net(x, Level(at, at, at), conditions({"c": values}, 2))["spectrum"]

    values = torch.rand(2, 12)
    plain, longer = out(x, values), out(x.resize({"frames": 17}), values)
    for i, count in enumerate(counts.tolist()):
        torch.testing.assert_close(longer[i, :count], plain[i, :count], atol=1e-4, rtol=1e-4)
    # Another order of the same points has the same mean, and is another curve.
    assert (out(x, values.flip(1)) - plain)[0].abs().max() > 1e-3
    other = values.clone()
    other[0, -1] += 1
    changed = (out(x, other) - plain).abs().amax((2, 3))
    assert changed[0, -1] > 1e-3 and not changed[1].any()
    assert not any("curves" in key for key in NETWORKS[name]().state_dict())


def test_the_contract_holds_with_curves():
    words = ["data.n=40", f"data.rate={RATE}", "data.shortest=0.1", "data.longest=0.2", "data.highest=60"]
    words += ["representation.n_fft=126", "representation.hop=32", "denoiser.width=32", "denoiser.depth=2"]
    words += ["conditions.use=[instrument,loudness_curve,pitch_curve]"]
    only = ["padding_changes_nothing", "conditions_matter", "seeds_hold", "save_and_load", "files_and_preview"]
    results = run_checks("audio", words=words, only=only)
    assert [result.status for result in results] == ["passed"] * len(only), results


def evidence(data, items, asked):
    return Evidence(items, asked, data, data)


def test_scores_say_how_far_from_the_curves():
    data = Notes("test", **{**SMALL, "n": 60})
    items, metric = [data[i] for i in range(len(data))], CurvesMetric()
    asked = {name: data.columns()[name].values for name in ("loudness_curve", "pitch_curve")}
    exact = {score.name: score for score in metric(evidence(data, items, asked))}
    assert {name: score.value for name, score in exact.items()} == {
        "loudness_curve_error_db": 0, "pitch_curve_error_cents": 0, "pitch_curve_within_50_cents": 1
    }  # fmt: skip
    asked = {"loudness_curve": asked["loudness_curve"] + 6, "pitch_curve": asked["pitch_curve"] + 0.6}
    off = {score.name: score for score in metric(evidence(data, items, asked))}
    assert off["loudness_curve_error_db"].value == pytest.approx(6, abs=1e-3)
    assert off["pitch_curve_error_cents"].value == pytest.approx(60, abs=0.1)
    assert off["pitch_curve_within_50_cents"].value == 0
    silence = [Sound(np.zeros_like(item.samples), item.rate) for item in items]
    hushed = {score.name: score.value for score in metric(evidence(data, silence, asked))}
    assert hushed["pitch_curve_error_cents"] == 1200 and hushed["loudness_curve_error_db"] > 30
    assert metric(evidence(data, items, {})) == []
    assert metric(evidence(data, items, {"loudness_curve": np.full((len(items), POINTS), np.nan)})) == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tones at two pitches that swell or fade between two levels."""
    root = tmp_path_factory.mktemp("data")
    ends = [(-30.0, -12.0), (-12.0, -30.0), (-30.0, -30.0), (-12.0, -12.0)]
    for i in range(32):
        hertz, (first, last) = (250.0, 500.0)[i % 2], ends[i // 2 % 4]
        write_wav(sound(swelling(hertz, 0.14, first, last)), root / f"{i}.wav", {}, "float")
    return root


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    config = {
        "modality": "audio",
        "data": {"name": "folder", "root": str(folder), "rate": RATE, "test_fraction": 0.2},
        "representation": {"name": "spectrum", "n_fft": 126, "hop": 32},
        "denoiser": {"name": "transformer", "width": 64, "depth": 2, "head_dim": 32, "patch": 1},
        "process": {"*": {"name": "gaussian", "schedule": {"name": "flow"}, "parametrization": {"name": "flow"}}},
        "conditions": {"use": ["loudness_curve", "pitch_curve"], "dim": 32},
        "train": {
            "batch": 16, "steps": 300, "lr": 3e-3, "warmup": 10, "ema": {"decay": 0.97}, "threads": 1,
            "precision": "fp32", "device": "cpu",
        },
        "sample": {"steps": 8, "n": 2},
    }  # fmt: skip
    return train(config, tmp_path_factory.mktemp("runs") / "a")


@pytest.fixture(scope="module")
def model(run):
    return unnoise.load(run.folder, device="cpu")


def test_a_tiny_run_follows_curves_it_is_asked_for(model):
    low, high = 59.3, 71.1
    asked = {"loudness_curve": [[-30, -12], [-12, -30]], "pitch_curve": [[low], [high]]}
    up, down = model.sample(2, seed=1, condition=asked, progress=False).items
    for item, ends, key in ((up, (-30, -12), low), (down, (-12, -30), high)):
        assert np.abs(loudness_curve(item) - np.linspace(*ends, POINTS))[8:-8].mean() < 4
        assert abs(np.nanmedian(pitch_curve(item)) - key) < 0.5


def test_any_of_the_curves_may_be_left_out_and_a_negative_one_changes_the_sample(model):
    only = {"loudness_curve": [-30, -14]}
    plain = model.sample(2, seed=1, condition=only, guidance_scale=2, progress=False)
    against = model.sample(2, seed=1, condition=only, guidance_scale=2, negative={"loudness_curve": -14},
                           progress=False)  # fmt: skip
    assert np.isfinite(plain.items[0].samples).all()
    assert np.abs(plain.items[0].samples - against.items[0].samples).max() > 1e-3
    assert against.record["negative"] == {"loudness_curve": [[-14.0] * POINTS]}
    again = model.sample(2, seed=1, condition=plain.record["condition"], guidance_scale=2, progress=False)
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(plain.items, again.items, strict=True))


def test_scores_of_a_run_come_between_floor_and_ceiling(model):
    _, scores = evaluate(model, 12, seed=0, metrics=["curves"], steps=6)
    assert [score.name for score in scores] == [
        "loudness_curve_error_db", "pitch_curve_error_cents", "pitch_curve_within_50_cents"
    ]  # fmt: skip
    for score in scores:
        assert abs(score.value - score.floor) < abs(score.ceiling - score.floor), score


def cli(capsys, *words):
    code = main([*words, "device=cpu"])
    return code, capsys.readouterr()


def test_the_command_line_takes_curves(run, tmp_path, capsys):
    words = ["sample", f"run={run.folder}", "n=2", "steps=2", f"out={tmp_path}/s"]
    words += ["condition.loudness_curve=[[-20,-30,-40],[-14,null]]", "condition.pitch_curve=60"]
    code, said = cli(capsys, *words)
    assert code == 0, said.err
    record = json.loads((tmp_path / "s/record.json").read_text())["condition"]
    assert record["pitch_curve"] == [[60.0] * POINTS]
    first, second = record["loudness_curve"]
    np.testing.assert_allclose(first, np.linspace(-20, -40, POINTS), rtol=1e-5)
    assert second[: POINTS // 2] == [-14.0] * (POINTS // 2) and set(second[POINTS // 2 :]) == {None}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("condition.loudness_curve=[]", "was given an empty list"),
        ("condition.loudness_curve=[loud]", "loudness_curve 'loud' is not a finite number."),
        (f"condition.loudness_curve={list(range(-70, 0))}", f"curve of 70 numbers\n         Give from 1 to {POINTS}"),
        ("condition.loudness_kurve=3", "Did you mean 'loudness_curve'?"),
    ],
)
def test_what_is_no_curve_is_refused(run, capsys, word, said):
    code, heard = cli(capsys, "sample", f"run={run.folder}", word.replace(" ", ""))
    assert code == 2 and said in heard.err


def test_levels_that_no_sound_had_are_a_guess(model):
    with pytest.warns(unnoise.errors.Caution, match="loudness_curve 12 is a guess. The training data went from -"):
        model.denoiser.conditions.parse({"loudness_curve": [-20, 12]}, 1)


def test_data_without_any_pitch_says_so(folder):
    data = Folder("train", root=str(folder), rate=RATE)
    nothing = {"pitch_curve": Curves(np.full((len(data), POINTS), np.nan, np.float32))}
    with pytest.raises(UserError, match="'pitch_curve' is unknown for every item"):
        Conditions.from_columns(nothing, ["pitch_curve"], 8)
