"""Data sets of clips: known physics, disjoint splits, folders and archives that anybody made."""

from __future__ import annotations

import json

import numpy as np
import pytest

from unnoise.errors import UserError
from unnoise_video.bouncing import DIRECTIONS, World, reflected, sector
from unnoise_video.clip import Clip
from unnoise_video.data.archive import Archive
from unnoise_video.data.digits import MovingDigits
from unnoise_video.data.folder import Folder
from unnoise_video.writing import write_clip


def test_reflection_is_that_of_many_small_steps():
    """Against a simulation that knows only: move a little, turn round at a wall."""
    rng = np.random.default_rng(0)
    for room in (5.0, 20.0):
        place, speed = rng.uniform(0, room), rng.uniform(-4, 4)
        closed = reflected(place + speed * np.arange(12), room)
        small, x, v, places = 20000, place, speed, [place]
        for _ in range(11):
            for _ in range(small // 100):
                x += v / (small // 100)
                if not 0 <= x <= room:
                    x, v = (-x if x < 0 else 2 * room - x), -v
            places.append(x)
        np.testing.assert_allclose(places, closed, atol=1e-9)


def test_drawing_keeps_light_and_place():
    world = World(32, 12)
    sprite = np.random.default_rng(0).random((12, 12))
    path = np.array([[0.0, 0.0], [3.25, 7.5], [20.0, 20.0]])
    frames = world.draw(sprite, path).astype(float)
    light = frames.sum((1, 2, 3)) / 255
    np.testing.assert_allclose(light, sprite.sum(), rtol=5e-3)
    rows = (frames.sum((2, 3)) * np.arange(32)).sum(1) / frames.sum((1, 2, 3))
    np.testing.assert_allclose(rows - rows[0], path[:, 1] - path[0, 1], atol=0.02)
    assert np.array_equal(frames[0, :12, :12, 0], np.round(255 * sprite))


def test_splits_share_no_digit_start_or_speed():
    train, test = (MovingDigits(split, n=400) for split in ("train", "test"))
    assert (len(train), len(test)) == (400, 50)
    assert not {s.tobytes() for s in train._sprites} & {s.tobytes() for s in test._sprites}
    for values in ("speeds", "starts"):
        mine, theirs = (getattr(data, values).reshape(len(data), -1)[:, 0] for data in (train, test))
        low, high = (1.0, 3.0) if values == "speeds" else (0.0, 20.0)
        bands = [set(np.floor((x - low) / (high - low) * 25).astype(int).tolist()) for x in (mine, theirs)]
        assert not bands[0] & bands[1] and len(bands[0]) == 20 and len(bands[1]) == 5
    again = MovingDigits("train", seed=5, n=400)
    assert np.array_equal(again[17].frames, train[17].frames)


def test_columns_say_what_moves_and_how():
    data = MovingDigits("train", n=40, frames=8, shortest=4)
    columns = data.columns()
    for i in (0, 13, 39):
        path = data.path(i)
        steps = np.linalg.norm(np.diff(path, axis=0), axis=1)  # a bounce only shortens a step
        assert steps.max() <= columns["speed"].values[i] + 1e-9
        assert len(data[i].frames) == len(path) == round(columns["duration"].values[i] * data[i].fps)
    assert sorted({len(data[i].frames) for i in range(40)}) == [4, 5, 6, 7, 8]
    names = columns["direction"].names
    assert names == DIRECTIONS and sector(np.array([1.0, 0.1])) == 0
    assert [names[sector(np.array(v))] for v in ((-1.0, 0.0), (0.0, 1.0), (-1.0, -1.0))] == ["left", "down", "up-left"]
    classes = columns["class"].values
    assert np.bincount(classes).tolist() == [4] * 10


def test_digits_that_cannot_be_are_refused():
    for options, message in (
        ({"n": 2}, "n=2"), ({"frames": 4, "shortest": 5}, "shortest=5"), ({"slowest": 3.0}, "speeds from 3"),
        ({"sprite": 40}, "sprite of 40"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            MovingDigits("train", **options)


@pytest.fixture
def folder(clips, tmp_path):
    """Two classes, each with clips of two lengths, and one broken file."""
    for k, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for i, clip in enumerate(clips(10, frames=6, seed=k)):
            write_clip(clip if i % 2 else clip.cut(0, 3), tmp_path / name / f"{i}.webp", {}, "webp")
    (tmp_path / "cat" / "broken.gif").write_bytes(b"GIF89a")
    return tmp_path


def test_a_folder_is_cut_split_and_counted(folder):
    train, test = (
        Folder(split, root=str(folder), size=8, channels=1, frames=4, test_fraction=0.4) for split in ("train", "test")
    )
    assert len(train) + len(test) == 10 and all(len(train[i].frames) == 4 for i in range(len(train)))
    notes = " ".join([*train.notes(), *test.notes()])
    assert "skipped 1 of" in notes and "broken.gif" in notes and "clips of fewer than 4 frames" in notes
    assert train.columns()["class"].names == ("cat", "dog") and set(train.columns()["fps"].values) == {8.0}
    pieces = Folder("train", root=str(folder), size=8, channels=1, frames=2, pieces=9, test_fraction=0.0)
    assert len(pieces) == 10 * 3 + 10 * 1
    whole = Folder("train", root=str(folder), size=4, frames=0, fps=4.0, test_fraction=0.0)
    assert whole[0].shape == (4, 4, 3) and {len(whole[i].frames) for i in range(len(whole))} == {2, 3}


def test_a_folder_without_clips_is_an_error(folder, tmp_path):
    for options, message in (
        ({"root": str(tmp_path / "nothing")}, "is not a folder"),
        ({"root": str(folder), "frames": 50}, "fewer than 50 frames"),
        ({"root": str(folder), "size": 0}, "data.size=0"),
        ({"root": str(folder), "table": "labels.csv"}, "is missing"),
    ):
        with pytest.raises(UserError, match=message):
            Folder("train", **options)
    (tmp_path / "void").mkdir()
    with pytest.raises(UserError, match="found 0 clips"):
        Folder("train", root=str(tmp_path / "void"))


def test_a_table_and_stills(folder, clips):
    for k, clip in enumerate(clips(3, frames=1)):
        write_clip(clip, folder / f"{k}.png", {}, "png")
    (folder / "labels.csv").write_text("file,mood,age\n0.png,glad,3\n1.png,sad,4\ncat/1.webp,glad,5\n")
    data = Folder("train", root=str(folder), size=8, channels=1, frames=6, stills=True, test_fraction=0.0)
    lengths = [len(data[i].frames) for i in range(len(data))]
    assert sorted(set(lengths)) == [1, 6] and lengths.count(1) == 3
    columns = data.columns()
    assert columns["mood"].names == ("glad", "sad") and np.nansum(columns["age"].values) == 12


@pytest.fixture
def archive(tmp_path):
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 255, (6, 4, 8, 8, 3), dtype=np.uint8)
    split, group = np.array(["train"] * 4 + ["test"] * 2), np.array([0, 1, 0, 1, 1, 0])
    file = tmp_path / "clips.npz"
    np.savez(file, clips=clips, split=split, group=group, group_names=np.array(["face", "food"]))
    file.with_suffix(".json").write_text(
        json.dumps([{"label": f"no. {i}", "loop_ms": 400 + 100 * i} for i in range(6)])
    )
    return file, clips


def test_an_archive_gives_clips_groups_rates_and_captions(archive):
    file, clips = archive
    data = Archive("train", path=str(file))
    assert len(data) == 4 and np.array_equal(data[1].frames, clips[1]) and data[1].fps == 8.0
    assert data.columns()["class"].names == ("face", "food") and data.captions()[2] == "no. 2"
    small = Archive("test", path=str(file), size=4, groups=["food"])
    assert len(small) == 1
    np.testing.assert_allclose(small[0].frames[0, 0, 0], clips[4, 0, :2, :2].mean((0, 1)), atol=0.5)
    file.with_suffix(".json").unlink()
    assert Archive("train", path=str(file), fps=5.0)[0].fps == 5.0


def test_archives_that_are_none_are_refused(archive, tmp_path):
    file, clips = archive
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(file.read_bytes()[:200])
    other = tmp_path / "other.npz"
    np.savez(other, clips=clips.astype(float), split=np.array(["train"] * 6))
    for options, message in (
        ({"path": str(tmp_path / "no.npz")}, "is missing"),
        ({"path": str(damaged)}, "cannot be read"),
        ({"path": str(other)}, "holds clips float64"),
        ({"path": str(file), "groups": ["fod"]}, "no group 'fod'"),
        ({"path": str(file), "size": 3}, "cannot be averaged to 3"),
    ):
        with pytest.raises(UserError, match=message):
            Archive("train", **options)
    file.with_suffix(".json").write_text("[1]")
    with pytest.raises(UserError, match="one object for each"):
        Archive("train", path=str(file))


def test_a_clip_is_cut_without_copies():
    clip = Clip(np.zeros((6, 2, 2, 1), np.uint8), 4.0)
    assert clip.seconds == 1.5 and len(clip.cut(2, 5).frames) == 3 and clip.shape == (2, 2, 1)
