"""Metrics tell good clips from bad ones, and measure what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unnoise.contracts import Dataset, Evidence, Labels
from unnoise.errors import UserError
from unnoise_video.bouncing import World
from unnoise_video.clip import Clip
from unnoise_video.data.digits import MovingDigits
from unnoise_video.forecast import blended, held, path_error, psnr
from unnoise_video.metrics.judged import ClassifierMetric, MemorisationMetric, MotionFeatureMetric
from unnoise_video.metrics.motion import PhysicsMetric, TemporalMetric, changes
from unnoise_video.metrics.tracks import fit, track
from unnoise_video.metrics.views import View, frozen, shuffled, stuttering


class Data(Dataset):
    """Clips in memory."""

    def __init__(self, items, labels=None):
        self._items, self._labels = list(items), labels

    def __len__(self):
        return len(self._items)

    def __getitem__(self, index):
        return self._items[index]

    def columns(self):
        return {} if self._labels is None else {"class": Labels(np.asarray(self._labels), ("a", "b"))}


def scores_of(metric, **evidence):
    return {score.name: score for score in metric(Evidence(**{"conditions": {}, **evidence}))}


def test_the_track_follows_the_digit():
    data = MovingDigits("train", n=8)
    for i in range(8):
        places = track(data[i])
        moved = places - data.path(i)
        assert np.abs(moved - moved.mean(0)).max() < 0.5  # the centre of light stays in place on the digit
    assert np.isnan(track(Clip(np.zeros((2, 4, 4, 1), np.uint8), 8.0))).all()


def test_the_fit_finds_place_speed_and_direction():
    """Tracks of known motions, with the sprite's light off its middle, are explained to a hundredth of a pixel."""
    world, rng = World(32, 12), np.random.default_rng(0)
    tracks, velocities = [], []
    for _ in range(12):
        velocity = rng.uniform(-2.5, 2.5, 2)
        path = world.path(rng.uniform(0, world.room, 2), velocity, 16)
        tracks.append(path + (world.sprite - 1) / 2 + rng.uniform(-2, 2, 2))
        velocities.append(velocity)
    found = fit(tracks, world, fastest=4.5)
    assert found.residual.max() < 0.05
    np.testing.assert_allclose(found.velocity, velocities, atol=0.02)


def test_what_breaks_the_physics_is_not_explained():
    world, rng = World(32, 12), np.random.default_rng(1)
    path = world.path(np.array([2.0, 5.0]), np.array([2.0, 1.0]), 16) + 5.5
    speeding = np.cumsum(np.concatenate([[[8.0, 8.0]], np.linspace(0, 2, 15)[:, None] * [1, 0.5]]), 0)
    tracks = [path, path[rng.permutation(16)], speeding, np.full((16, 2), np.nan), path[:1]]
    residual = fit(tracks, world, fastest=4.5).residual
    assert residual[0] < 0.05 and residual[1] > 1 and residual[2] > 0.5 and np.isinf(residual[3:]).all()


def test_the_physics_metric_counts_what_bounces():
    train, test = MovingDigits("train", n=40), MovingDigits("test", n=80)
    rng = np.random.default_rng(0)
    good = [train[i] for i in range(20)]
    still = [Clip(np.repeat(clip.frames[:1], 16, 0), 8.0) for clip in good[:5]]
    mixed = [Clip(clip.frames[rng.permutation(16)], 8.0) for clip in good[5:10]]
    noise = [Clip(rng.integers(0, 255, (16, 32, 32, 1), dtype=np.uint8), 8.0) for _ in range(5)]
    columns = {name: train.columns()[name].values[:20] for name in ("speed", "direction")}
    found = scores_of(PhysicsMetric(), generated=good, train=train, test=test, noise=noise, conditions=columns)
    assert found["physics_kept"].value == found["physics_kept"].floor == 1.0 and found["physics_kept"].ceiling == 0
    assert found["speed_error"].value < 0.05 < found["speed_error"].ceiling
    assert found["direction_accuracy"].value > 0.9
    assert scores_of(PhysicsMetric(), generated=still + mixed, train=train, test=test)["physics_kept"].value == 0
    assert PhysicsMetric()(Evidence(good, {}, Data(good), Data(good))) == []


def test_changes_by_hand():
    frames = np.zeros((5, 2, 2, 1), np.uint8)
    frames[:, 0, 0, 0] = [0, 40, 80, 120, 160]  # evenly brighter in one of four pixels
    motion, jerk, flicker, drift = changes(Clip(frames, 8.0))
    assert (motion, jerk, flicker, drift) == (10.0, 0.0, 10.0, 40.0)


def test_real_and_shuffled_clips_differ_in_jerk(clips):
    data = MovingDigits("train", n=24)
    items = [data[i] for i in range(12)]
    rng = np.random.default_rng(0)
    mixed = [Clip(clip.frames[rng.permutation(16)], 8.0) for clip in items]
    found = scores_of(TemporalMetric(), generated=mixed, train=data, test=data)
    assert found["jerk"].value > 1.1 * found["jerk"].floor and found["flicker"].value < 0.5
    assert TemporalMetric()(Evidence(clips(2, frames=1), {}, data, data)) == []


def test_views_pad_shrink_and_refuse(clips):
    items = clips(2, frames=4, side=8)
    view = View.of(Data([*items, items[0].cut(0, 2)]))
    seen = view([items[0].cut(0, 2)])
    assert seen.shape == (1, 4, 1, 8, 8) and torch.equal(seen[0, 1], seen[0, 3])
    large = clips(1, frames=2, side=80)
    small = View.of(Data(large))(large)
    assert small.shape == (1, 2, 1, 27, 27)
    np.testing.assert_allclose(small[0, 0, 0, 1, 1], large[0].frames[0, 3:6, 3:6].mean(), atol=0.5)
    with pytest.raises(UserError, match="scale them first"):
        view(large)
    clip = torch.arange(6).reshape(1, 6, 1, 1, 1)
    assert frozen(clip).flatten().tolist() == [0] * 6 and stuttering(clip).flatten().tolist() == [0, 0, 2, 2, 4, 4]
    assert sorted(shuffled(clip, 0).flatten().tolist()) == list(range(6)) and len(shuffled(clip[:0], 0)) == 0


@pytest.fixture(scope="module")
def blocks():
    """Two classes: a block that moves to the right, a bar that moves down; 8 frames of 16x16."""

    def make(n, seed):
        rng, items = np.random.default_rng(seed), []
        for i in range(n):
            frames = np.zeros((8, 16, 16, 1), np.uint8)
            x, y = rng.integers(0, 6, 2)
            for t in range(8):
                if i % 2:
                    frames[t, y + t : y + t + 2, x : x + 8] = 220
                else:
                    frames[t, y : y + 4, x + t : x + t + 4] = 220
            frames += rng.integers(0, 20, frames.shape, dtype=np.uint8)
            items.append(Clip(frames, 8.0))
        return Data(items, np.arange(n) % 2)

    return make(60, 0), make(40, 1)


def test_networks_judge_class_identity_and_motion(blocks):
    train, test = blocks
    real = [test[i] for i in range(40)]
    rng = np.random.default_rng(0)
    noise = [Clip(rng.integers(0, 255, (8, 16, 16, 1), dtype=np.uint8), 8.0) for _ in range(40)]
    wanted = {"class": np.arange(40) % 2}
    evidence = {"train": train, "test": test, "noise": noise, "conditions": wanted}
    found = scores_of(ClassifierMetric(max_steps=60), generated=real, **evidence)
    assert found["class_accuracy"].value == found["class_accuracy"].floor == 1.0
    assert found["class_accuracy"].ceiling == 0.5 and found["identity_kept"].value > 0.9
    assert found["frechet_frames"].value < 0.2 * found["frechet_frames"].ceiling
    # A clip that turns from one class into the other keeps no identity.
    turning = [Clip(np.concatenate([real[i].frames[:4], real[i - 1].frames[4:]]), 8.0) for i in range(40)]
    assert scores_of(ClassifierMetric(max_steps=60), generated=turning, **evidence)["identity_kept"].value < 0.1
    metric = MotionFeatureMetric(max_steps=60)
    good, bad = (
        scores_of(metric, generated=clips, **evidence)["frechet_clips"]
        for clips in (real, [Clip(clip.frames[rng.permutation(8)], 8.0) for clip in real])
    )
    assert good.value < 1e-3 and bad.value > 3 * max(good.floor, 1e-3) and "shuffled" in good.note
    assert good.floor < good.ceiling


def test_repeating_the_training_data_is_seen(blocks):
    train, test = blocks
    copies = [train[i] for i in range(20)]
    found = scores_of(MemorisationMetric(), generated=copies, train=train, test=test)
    assert found["nearest_train_ratio"].value == 0.0
    fresh = [test[i] for i in range(40)]
    assert scores_of(MemorisationMetric(), generated=fresh, train=train, test=test)["nearest_train_ratio"].value == 1.0


def test_predictions_without_a_model():
    frames = (np.arange(6, dtype=np.uint8) * 40).reshape(6, 1, 1, 1) * np.ones((1, 2, 2, 1), np.uint8)
    clip = Clip(frames, 8.0)
    given = np.array([True, True, False, False, False, True])
    assert held(clip, given).frames[:, 0, 0, 0].tolist() == [0, 40, 40, 40, 40, 200]
    assert blended(clip, given).frames[:, 0, 0, 0].tolist() == [0, 40, 80, 120, 160, 200]
    later = np.array([False, True, True, False, False, False])
    assert held(clip, later).frames[:, 0, 0, 0].tolist() == [40, 40, 80, 80, 80, 80]
    assert psnr(clip, clip, given) == 60.0
    off = Clip(np.where(given[:, None, None, None], frames, frames + 10).astype(np.uint8), 8.0)
    assert psnr(off, clip, given) == pytest.approx(20 * np.log10(25.5), abs=1e-6)
    data = MovingDigits("train", n=8)
    known = np.arange(16) < 4
    assert path_error(data[0], data[0], known) == 0.0
    apart = np.linalg.norm(data.path(0)[3] - data.path(0)[4:], axis=1).mean()
    assert path_error(held(data[0], known), data[0], known) == pytest.approx(apart, abs=0.3)
