"""Sets as states: statistics, normalisations, attributes, draws that are fresh and addressed, rotations, sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unnoise.errors import UserError
from unnoise.noise import Noise
from unnoise_points.cloud import Cloud
from unnoise_points.representation import AXIS, PointSet, rotations


def fitted(items, **options):
    made = PointSet(**options)
    made.fit(items)
    return made


def same(a, b, atol=1e-5):
    np.testing.assert_allclose(a.points, b.points, atol=atol)


def test_whole_set_normalisation_is_undone(clouds):
    items = clouds(5, 40)
    made = fitted(items, points=16)
    state = made.encode(items)
    x = state.parts["points"]
    assert torch.allclose(x.mean((0, 1)), torch.zeros(3), atol=1e-5) and float(x.square().mean()) == pytest.approx(1)
    for before, after in zip(items, made.decode(state), strict=True):
        same(before, after)
        assert not after.boxed and after.up == "y"
    # One scale for all axes: proportions stay.
    assert made.scale[0] == made.scale[1] == made.scale[2]


def test_unit_boxes_are_recorded_and_not_entered_twice(clouds):
    items = clouds(4, 40)
    made = fitted(items, normalise="shape", points=16)
    decoded = made.decode(made.encode(items))
    for before, after in zip(items, decoded, strict=True):
        same(after, before.unit())
        assert after.boxed
    part = decoded[0].take(slice(0, 9))  # of a cloud in its box: stays where it is
    same(made.decode(made.encode([part]))[0], part)


def test_clouds_of_different_sizes_are_masked(clouds):
    items = [clouds(1, n, seed=n)[0] for n in (3, 7, 5)]
    state = fitted(items, points=6).encode(items)
    assert state.masks[AXIS].sum(1).tolist() == [3, 7, 5]
    assert not state.parts["points"][~state.masks[AXIS]].any()


def test_attributes_come_back(clouds):
    items = clouds(3, 20, rich=True)
    made = fitted(items, attributes=["colours", "normals"], points=10)
    assert made.layout["points"].shape == (AXIS, 9)
    for before, after in zip(items, made.decode(made.encode(items)), strict=True):
        np.testing.assert_allclose(after.normals, before.normals, atol=1e-5)
        assert np.array_equal(after.colours, before.colours)
    reasons = made.unfit([items[0], Cloud(items[0].points)])
    assert reasons == {1: "it has no normals"}


def test_a_draw_is_a_subset_fresh_each_time_and_a_function_of_its_address(clouds):
    items = clouds(6, 50)
    made = fitted(items, points=20, sided=0.5)
    state = made.encode(items)
    one, again, other = (made.augment(state, Noise.of(seed, 6)) for seed in (4, 4, 400))
    assert torch.equal(one.parts["points"], again.parts["points"])
    assert one.masks[AXIS].all() and one.parts["points"].shape == (6, 20, 3)
    for row in range(6):
        pool = {tuple(p) for p in state.parts["points"][row].tolist()}
        drawn = [tuple(p) for p in one.parts["points"][row].tolist()]
        assert set(drawn) <= pool and len(set(drawn)) == 20
        assert set(drawn) != {tuple(p) for p in other.parts["points"][row].tolist()}
    alone = made.augment(state[2:3], Noise.of(6, 1))
    assert torch.equal(alone.parts["points"][0], one.parts["points"][2])


def test_every_point_is_drawn_equally_often(clouds):
    (item,) = clouds(1, 40)
    made = fitted([item], points=10, sided=0)
    state = made.encode([item])[torch.zeros(2000, dtype=torch.long)]
    drawn = made.augment(state, Noise.of(0, 2000)).parts["points"]
    hits = (drawn[:, :, None] == state.parts["points"][0]).all(-1).float().sum((0, 1))
    assert hits.sum() == 20_000 and abs(hits / 500 - 1).max() < 0.2  # five deviations


def test_padding_changes_no_draw(clouds):
    items = [clouds(1, n, seed=n)[0] for n in (12, 30)]
    made = fitted(items, points=8)
    state = made.encode(items)
    longer = state.resize({AXIS: 37})
    one, two = (made.augment(x, Noise.of(1, 2)) for x in (state, longer))
    assert torch.equal(one.parts["points"], two.parts["points"])


def test_numbers_of_points_vary_where_asked_for(clouds):
    items = clouds(1, 60)
    made = fitted(items, points=40, fewest=10)
    state = made.encode(items)[torch.zeros(600, dtype=torch.long)]
    counts = made.augment(state, Noise.of(0, 600)).masks[AXIS].sum(1)
    assert int(counts.min()) == 10 and int(counts.max()) == 40 and abs(float(counts.float().mean()) - 25) < 2
    assert made.sizes(Noise.of(0, 5))[AXIS].tolist() == [40] * 5
    small = fitted(clouds(1, 7), points=40)
    assert small.sizes(Noise.of(0, 3))[AXIS].tolist() == [7] * 3


def test_sided_clouds_are_listed_along_a_direction(clouds):
    items = clouds(1, 64)
    state = fitted(items).encode(items)[torch.zeros(300, dtype=torch.long)]
    for share, expected in ((0.0, 0), (1.0, 1), (0.3, 0.3)):
        made = fitted(items, points=32, sided=share)
        x = made.augment(state, Noise.of(0, 300)).parts["points"]
        apart = (x[:, :16].mean(1) - x[:, 16:].mean(1)).norm(dim=1)  # far between the halves if they are two sides
        assert abs(float((apart > 1.0).float().mean()) - expected) < 0.12, share


@pytest.mark.parametrize("kind", ["up", "any"])
def test_rotations_are_rotations(kind):
    matrix = rotations(torch.randn(4000, 4), kind, "z")
    eye = torch.eye(3).expand_as(matrix)
    torch.testing.assert_close(matrix @ matrix.mT, eye, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(4000), atol=1e-5, rtol=0)
    if kind == "up":
        torch.testing.assert_close(matrix[:, 2], torch.tensor([[0.0, 0, 1]]).expand(4000, 3), atol=1e-5, rtol=0)
        angle = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])
        assert abs(float(angle.cos().mean())) < 0.06 and abs(float(angle.sin().mean())) < 0.06
    else:  # evenly distributed: every entry has mean 0 and variance 1/3
        assert matrix.mean(0).abs().max() < 0.04 and (matrix.square().mean(0) - 1 / 3).abs().max() < 0.03


def test_turned_training_clouds_keep_shape_and_height(clouds):
    items = clouds(3, 30, rich=True)
    made = fitted(items, points=30, rotate="up", attributes=["normals"], sided=0)
    turned = made.decode(made.augment(made.encode(items), Noise.of(2, 3)))
    for before, after in zip(items, turned, strict=True):
        np.testing.assert_allclose(np.sort(after.points[:, 1]), np.sort(before.points[:, 1]), atol=1e-5)
        lengths = [np.sort(np.linalg.norm(cloud.points, axis=1)) for cloud in (before, after)]
        np.testing.assert_allclose(*lengths, atol=1e-5)
        along = [np.sort((cloud.points * cloud.normals).sum(1)) for cloud in (before, after)]
        np.testing.assert_allclose(*along, atol=1e-4)  # normals turn with the points
        assert not np.allclose(np.sort(after.points[:, 0]), np.sort(before.points[:, 0]), atol=1e-3)


def test_what_does_not_fit_is_named(clouds):
    items = [*clouds(3), *clouds(1, up="z"), Cloud(np.zeros((0, 3), np.float32))]
    bad = Cloud(np.full((4, 3), np.nan, np.float32))
    made = fitted([*items, bad], points=8)
    assert made.up == "y" and torch.isfinite(made.mean).all()
    assert made.unfit([*items, bad]) == {
        3: "its up axis is z, most have y", 4: "it holds no points", 5: "its points are not finite"
    }  # fmt: skip
    for options, message in (
        ({"normalise": "box"}, "normalise=box"), ({"rotate": "all"}, "rotate=all"), ({"format": "obj"}, "format=obj"),
        ({"attributes": ["colour"]}, "attributes=colour"), ({"points": 0}, "points=0"), ({"fewest": 300}, "fewest=300"),
        ({"sided": 2}, "sided=2"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            PointSet(**options)
