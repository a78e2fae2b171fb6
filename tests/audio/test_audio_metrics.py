"""The metrics: the estimator of pitch against what is known, and real sounds against wrong ones and noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unnoise.contracts import Evidence
from unnoise_audio.data.notes import Notes
from unnoise_audio.metrics.health import HealthMetric, LoudnessMetric
from unnoise_audio.metrics.judged import ClassifierMetric, MemorisationMetric
from unnoise_audio.metrics.tuning import PitchMetric
from unnoise_audio.pitch import pitch_of
from unnoise_audio.sound import Sound, cents

OPTIONS = {"n": 160, "rate": 8000, "shortest": 0.25, "longest": 0.35, "lowest": 57, "highest": 66}


@pytest.mark.parametrize("hertz", [110.0, 233.08, 440.0, 1046.5])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_pitch_of_tones_with_partials(hertz, rate):
    time = np.arange(rate // 2) / rate
    wave = sum(np.sin(2 * np.pi * k * hertz * time + k) / k for k in range(1, 5) if k * hertz < rate / 2.5)
    assert abs(cents(pitch_of(Sound(0.2 * wave[None].astype(np.float32), rate)), hertz)) < 3


def test_a_missing_fundamental_is_heard():
    time = np.arange(8000) / 16000
    wave = sum(np.sin(2 * np.pi * k * 200 * time) for k in (2, 3, 4))
    assert abs(cents(pitch_of(Sound(wave[None].astype(np.float32), 16000)), 200)) < 3


def test_noise_silence_and_scraps_have_no_pitch():
    rng = np.random.default_rng(0)
    for wave in (rng.standard_normal(8000), np.zeros(8000), np.ones(20), np.full(8000, np.nan)):
        assert math.isnan(pitch_of(Sound(wave[None].astype(np.float32), 16000)))


@pytest.fixture(scope="module")
def sets():
    return Notes("train", **OPTIONS), Notes("test", **OPTIONS)


@pytest.fixture
def evidence(sets, tmp_path):
    train, test = sets
    rng = np.random.default_rng(0)
    noise = [Sound(0.1 * rng.standard_normal((1, 2400)).astype(np.float32), 8000) for _ in range(8)]
    columns = {name: column.values for name, column in test.columns().items()}

    def make(items, **changes):
        conditions = {**columns, **changes}
        return Evidence(items, conditions, train, test, noise, cache=tmp_path)

    return make


def scores(metric, evidence):
    return {score.name: score for score in metric(evidence)}


def test_pitch_scores(sets, evidence):
    items = [sets[1][i] for i in range(len(sets[1]))]
    real = scores(PitchMetric(), evidence(items))
    assert real["pitch_error_cents"].value == real["pitch_error_cents"].floor < 5
    assert real["pitch_within_50_cents"].value == 1.0 > real["pitch_within_50_cents"].ceiling
    pitches = sets[1].columns()["pitch"].values
    wrong = scores(PitchMetric(), evidence(items, pitch=(pitches + 1) % 10))
    assert wrong["pitch_error_cents"].value == pytest.approx(100, abs=5)
    assert wrong["pitch_within_50_cents"].value == 0.0
    assert PitchMetric()(evidence(items, pitch=np.full(len(items), -1))) == []


def test_classifier_and_distances(sets, evidence):
    items = [sets[1][i] for i in range(len(sets[1]))]
    metric = ClassifierMetric(max_steps=60)
    metric.recipe = type(metric.recipe)(min_steps=60, max_steps=60, batch=32)
    real = scores(metric, evidence(items))
    assert real["instrument_accuracy"].value == real["instrument_accuracy"].floor > 0.9
    assert real["frechet_classifier"].value == pytest.approx(0, abs=1e-3)
    assert 0 < real["frechet_classifier"].floor < real["frechet_classifier"].ceiling / 5
    labels = sets[1].columns()["instrument"].values
    wrong = scores(metric, evidence(items, instrument=(labels + 1) % 4))
    assert wrong["instrument_accuracy"].value < 0.1


def test_repeating_the_training_data_shows(sets, evidence):
    train, test = sets
    copied = scores(MemorisationMetric(), evidence([train[i] for i in range(32)]))
    fresh = scores(MemorisationMetric(), evidence([test[i] for i in range(32)]))
    assert copied["nearest_train_ratio"].value == 0.0
    assert fresh["nearest_train_ratio"].value == pytest.approx(1.0)


def test_health_and_level(sets, evidence):
    time = np.arange(2400) / 8000
    tone = 0.1 * np.sin(2 * np.pi * 400 * time)
    items = [Sound(x[None].astype(np.float32), 8000) for x in (tone, 0 * tone, 20 * tone, tone + 0.1)]
    found = scores(HealthMetric(), evidence(items))
    assert found["silent"].value == 0.25 and found["clipped"].value == 0.25
    assert found["silent"].floor == found["clipped"].floor == 0
    level = scores(LoudnessMetric(), evidence(items[:1] * 3, loudness=np.array([-20.0, -23.0, -26.0])))
    assert level["loudness_error_db"].value == pytest.approx(2.99, abs=0.02)  # errors of 3.01, 0.01 and 2.99
