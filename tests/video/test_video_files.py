"""Clips as files: what is written comes back, and what cannot be read is said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from unnoise.errors import UserError
from unnoise.folders import UnreadableError
from unnoise_video.clip import Clip
from unnoise_video.files import clip_files, read_clip, read_clips, timeline
from unnoise_video.sheets import SHOWN, contact_sheet, moving_sheet
from unnoise_video.writing import durations, write_clip, write_clips

SETTINGS = {"seed": 7, "prompt": "ein Kätzchen"}
LOSSLESS = ["webp", "png", "frames"]


def path_of(folder, format):
    return folder / ("clip" if format == "frames" else f"clip.{format}")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("format", LOSSLESS)
def test_what_is_written_comes_back(clips, tmp_path, format, channels):
    (clip,) = clips(1, channels=channels)
    write_clip(clip, path_of(tmp_path, format), SETTINGS, format)
    again = read_clip(path_of(tmp_path, format), fps=None if format != "frames" else 8.0)
    assert np.array_equal(again.frames, clip.frames) and again.fps == 8.0


def test_grey_gif_comes_back_too(clips, tmp_path):
    (clip,) = clips(1, fps=10.0)
    write_clip(clip, tmp_path / "clip.gif", SETTINGS, "gif")
    again = read_clip(tmp_path / "clip.gif")
    assert np.array_equal(again.frames, clip.frames) and again.fps == 10.0


@pytest.mark.parametrize("format", ["webp", "gif", "png", "frames"])
def test_settings_lie_inside_and_bytes_repeat(clips, tmp_path, format):
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths = write_clips(clips(2), tmp_path / name, SETTINGS, format)
        found.append({path.relative_to(tmp_path / name): path.read_bytes() for path in paths})
    assert found[0] == found[1]
    first = next(path for path in paths if path.name != "animation.webp")
    with Image.open(first) as image:
        text = image.info.get("parameters") or image.info.get("comment") or image.getexif().get(0x010E)
    assert json.loads(text) == SETTINGS
    sheet = read_clip(tmp_path / "a" / "animation.webp")
    assert len(sheet.frames) == 5


def test_identical_frames_are_not_lost(tmp_path):
    """Writers merge them into one that is shown for longer."""
    frames = np.zeros((6, 8, 8, 1), np.uint8)
    frames[4:] = 200
    for format in ("webp", "gif", "png"):
        write_clip(Clip(frames, 10.0), tmp_path / f"clip.{format}", {}, format)
        again = read_clip(tmp_path / f"clip.{format}")
        lasting = 1000 / again.fps * len(again.frames)
        assert lasting == pytest.approx(600, abs=1), format
        resampled = read_clip(tmp_path / f"clip.{format}", fps=10.0)
        assert np.array_equal(resampled.frames, frames), format


def test_times_of_frames():
    assert durations(4, 8.0) == [125] * 4
    assert sum(durations(30, 30.0)) == 1000 and sum(durations(24, 24.0, unit=10)) == 1000
    assert timeline([130, 120, 130, 120]) == (8.0, [0, 1, 2, 3])  # rounded to 10 ms
    assert timeline([100, 100, 300, 100]) == (10.0, [0, 1, 2, 2, 2, 3])  # a frame that stands
    assert timeline([0, 0]) == (10.0, [0, 1])  # no time at all is 100 ms, as browsers have it
    assert timeline([100] * 4, fps=5.0)[1] == [1, 3] and timeline([100] * 2, fps=20.0)[1] == [0, 0, 1, 1]


def test_no_more_is_read_than_is_needed(clips, tmp_path):
    (clip,) = clips(1, frames=12, fps=10.0)
    write_clip(clip, tmp_path / "clip.gif", {}, "gif")
    assert np.array_equal(read_clip(tmp_path / "clip.gif", most=4).frames, clip.frames[:4])
    assert np.array_equal(read_clip(tmp_path / "clip.gif", fps=5.0, most=4).frames, clip.frames[1:8:2])


def test_size_channels_and_transparency(tmp_path):
    array = np.zeros((4, 8, 4), np.uint8)
    array[:, 4:] = (255, 0, 0, 255)
    Image.fromarray(array).save(tmp_path / "a.png")
    clip = read_clip(tmp_path / "a.png", size=2, channels=3)
    assert clip.shape == (2, 2, 3) and clip.frames[0, 0, 0].min() > 200 and clip.frames[0, 0, 1].tolist()[1] < 60
    assert read_clip(tmp_path / "a.png", channels=1).frames.shape == (1, 4, 8, 1)


def test_what_cannot_be_read_is_said(clips, tmp_path):
    (clip,) = clips(1)
    write_clip(clip, tmp_path / "clip.webp", {}, "webp")
    whole = (tmp_path / "clip.webp").read_bytes()
    broken = {"empty.gif": b"", "text.webp": b"no picture", "half.webp": whole[: len(whole) // 2]}
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableError):
            read_clip(tmp_path / name)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for i, side in enumerate((8, 9)):
        Image.new("L", (side, side)).save(mixed / f"{i}.png")
    with pytest.raises(UnreadableError, match="different sizes, 8 x 8 and 9 x 9"):
        read_clip(mixed, size=4)
    with pytest.raises(UserError, match=r"half.webp cannot be read|empty.gif cannot be read"):
        read_clips(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        read_clips(tmp_path / "nothing")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no clips"):
        read_clips(tmp_path / "none")


def test_what_below_a_folder_is_a_clip(clips, tmp_path):
    (clip,) = clips(1)
    for name in ("a.webp", "b.gif"):
        write_clip(clip, tmp_path / name, {}, name[2:])
    write_clip(clip, tmp_path / "moving.png", {"long": "x" * 100_000}, "png")
    write_clip(clip, tmp_path / "frames", {}, "frames")
    (tmp_path / "preview.png").write_bytes((tmp_path / "frames" / "00000.png").read_bytes())
    (tmp_path / "film.mp4").touch()
    found = [path.name for path in clip_files(tmp_path)[0]]
    assert found == ["a.webp", "b.gif", "film.mp4", "frames", "moving.png"]
    assert len(clip_files(tmp_path, stills=True)[0]) == 4 + 5
    names = [str(i) for i in range(12)]
    for name in names:
        Image.new("L", (4, 4), int(name)).save(tmp_path / "frames" / f"{name}.png")
    for old in (tmp_path / "frames").glob("0000*.png"):
        old.unlink()
    assert read_clip(tmp_path / "frames").frames[:, 0, 0, 0].tolist() == list(range(12))  # 10 after 9


def test_films(clips, tmp_path):
    pytest.importorskip("av")
    (clip,) = clips(1, frames=8, side=32, fps=12.0)  # of colour, H.264 keeps a quarter
    write_clip(clip, tmp_path / "clip.mp4", SETTINGS, "mp4")
    again = read_clip(tmp_path / "clip.mp4", channels=1)
    assert again.fps == 12.0 and again.frames.shape == clip.frames.shape
    assert np.abs(again.frames.astype(int) - clip.frames).mean() < 12
    assert b"seed" in (tmp_path / "clip.mp4").read_bytes()


def test_sheets_show_every_clip(clips):
    items = clips(3, frames=12, side=8)
    sheet = np.asarray(contact_sheet(items, columns=1))
    factor = 5  # 8 pixels become 40
    assert sheet.shape[1] == SHOWN * (8 * factor + 1) + 8
    strip = sheet[4 : 4 + 40, 4 : 4 + 40, 0][::factor, ::factor]
    assert np.array_equal(strip, items[0].frames[0, ..., 0])
    last = sheet[4:44, 4 + 7 * 41 : 4 + 7 * 41 + 40, 0][::factor, ::factor]
    assert np.array_equal(last, items[0].frames[-1, ..., 0])
    assert contact_sheet(items, ["a", "b", "c"], columns=1).height > sheet.shape[0]
    moving = moving_sheet([items[0], items[1].cut(0, 3)])
    assert moving.frames.shape == (12, 10, 19, 3)
    assert np.array_equal(moving.frames[11, 1:9, 10:18, 0], items[1].frames[2, ..., 0])  # it holds its last frame
    with pytest.raises(UserError, match="no clip to show"):
        contact_sheet([])
