"""Pictures: what is near is dark and in front, one scale for all, a turn that ends where it began."""

from __future__ import annotations

import numpy as np
import pytest

from unnoise.errors import UserError
from unnoise_points import pictures
from unnoise_points.cloud import Cloud
from unnoise_points.pictures import SIDE, extent, render, sheet, turntable


def cloud(*points, **known):
    return Cloud(np.array(points, np.float32), **known)


def painted(picture):
    return np.argwhere((picture != 255).any(2))


def test_up_is_up_for_every_axis():
    stick = np.stack([np.zeros(50), np.linspace(-1, 1, 50), np.zeros(50)], 1).astype(np.float32)
    standing = Cloud(stick)
    reach = extent([standing])
    for up in "xyz":
        rows, columns = painted(render(standing.upright(up), 30, reach)).T
        assert np.ptp(rows) > 10 * np.ptp(columns) - 40 and np.ptp(columns) < 10


def test_near_points_are_dark_and_cover_far_ones(monkeypatch):
    monkeypatch.setattr(pictures, "ELEVATION", 0.0)
    pair = cloud([0, 0, 1], [0, 0, -1], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0])
    front = render(pair, 0, 2.0)
    middle = front[SIDE // 2, SIDE // 2].astype(int)
    side = front[SIDE // 2, SIDE // 2 + SIDE // 4].astype(int)
    assert middle.sum() < side.sum() < 3 * 255  # the nearest of the two in the middle hides the farthest


def test_colours_are_shown():
    red = cloud([0, 0, 0], [0.1, 0, 0], colours=np.array([[255, 0, 0]] * 2, np.uint8))
    shown = render(red, 0, 1.0)
    dots = shown[tuple(painted(shown).T)]
    assert (dots[:, 0] > 100).all() and not dots[:, 1:].any()


def test_one_scale_for_all_and_stray_points_do_not_decide_it(clouds):
    small, large = clouds(1, 40)[0], clouds(1, 40)[0].moved(np.zeros(3, np.float32), 0.25)
    assert extent([small, large]) == extent([large]) > 3 * extent([small])
    stray = Cloud(np.concatenate([small.points, [[99, 0, 0]]]).astype(np.float32))
    assert extent([stray]) < 2 * extent([small])
    areas = [len(painted(render(item, 35, extent([small, large])))) for item in (small, large)]
    assert areas[0] < areas[1]


def test_a_sheet_has_a_place_for_everything(clouds):
    items = clouds(5)
    plain, labelled = sheet(items), sheet(items, ["a chair"] * 5)
    assert plain.width == labelled.width and plain.height < labelled.height
    assert sheet(items[:1], columns=1).size == (2 * SIDE + 8, SIDE + 8)
    with pytest.raises(UserError, match="no cloud to show"):
        sheet([])


def test_a_turntable_goes_round(clouds):
    frames = turntable(clouds(3), 8)
    assert len(frames) == 8 and len({frame.tobytes() for frame in frames}) == 8
    again = turntable(clouds(3), 4)
    assert again[1].tobytes() == frames[2].tobytes()
