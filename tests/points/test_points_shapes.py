"""Clouds, surfaces and families: rotations, boxes, even sampling, addresses, parameters."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from unnoise.folders import UnreadableError
from unnoise_points.cloud import Cloud, box, turn_about, turn_up
from unnoise_points.data.families import Families
from unnoise_points.families import FAMILIES, STRIPES
from unnoise_points.surfaces import address_of, cylinder, draw_points, handle, joined, lathe
from unnoise_points.surfaces import box as solid


def test_turning_keeps_distances_and_brings_the_axis_up():
    for before in "xyz":
        for after in "xyz":
            matrix = turn_up(before, after)
            assert np.isclose(np.linalg.det(matrix), 1) and np.allclose(matrix @ matrix.T, np.eye(3))
            axis = np.eye(3)["xyz".index(before)]
            assert np.array_equal(matrix @ axis, np.eye(3)["xyz".index(after)])
    for axis in "xyz":  # the same as trimesh's rotation about that axis
        other = trimesh.transformations.rotation_matrix(0.7, np.eye(3)["xyz".index(axis)])[:3, :3]
        np.testing.assert_allclose(turn_about(axis, 0.7), other, atol=1e-12)


def test_a_turned_cloud_can_be_turned_back(clouds):
    (cloud,) = clouds(1, rich=True, up="z")
    back = cloud.upright("y").upright("x").upright("z")
    np.testing.assert_array_equal(back.points, cloud.points)
    np.testing.assert_array_equal(back.normals, cloud.normals)
    assert np.array_equal(cloud.upright("y").points[:, 1], cloud.points[:, 2])


def test_the_unit_box(clouds):
    (cloud,) = clouds(1)
    unit = cloud.unit()
    assert unit.boxed and unit.unit() is unit
    low, high = unit.points.min(0), unit.points.max(0)
    np.testing.assert_allclose(low, -high, atol=1e-6)
    assert np.isclose(high.max(), 1)
    centre, half = box(cloud.points)
    np.testing.assert_allclose(unit.points * half + centre, cloud.points, atol=1e-6)


def test_points_are_even_by_area_and_lie_on_the_surface():
    """A box of 1 x 2 x 4: the share of points on each pair of faces is that of its area, within four deviations."""
    sides = np.array([1.0, 2.0, 4.0])
    cloud = draw_points(solid(sides, (0, 0, 0)), 20_000, [1, 2])
    on = np.abs(np.abs(cloud.points) - sides / 2) < 1e-5
    assert on.any(1).all()
    areas = np.prod(sides) / sides
    shares = areas / areas.sum()
    deviation = np.sqrt(shares * (1 - shares) / len(cloud))
    assert (np.abs(on.mean(0) - shares) < 4 * deviation + 1e-3).all()
    facing = np.abs(cloud.normals).argmax(1)
    assert on[np.arange(len(cloud)), facing].all() and np.allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-5)
    outwards = (cloud.normals * cloud.points).sum(1)
    assert (outwards > 0).all()


def test_an_address_decides_the_points():
    mesh = lathe([(0, 0), (1, 0.5), (0.3, 1)])
    one, same, other = (draw_points(mesh, 50, address).points for address in ([3, 1], [3, 1], [3, 2]))
    np.random.seed(5)  # trimesh's own default
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert np.array_equal(draw_points(mesh, 50, [3, 1]).points, one)
    assert address_of("a/b.obj") == address_of("a/b.obj") != address_of("a/c.obj")


def test_primitives_have_the_areas_of_geometry():
    assert np.isclose(solid((1, 2, 3), (5, 5, 5)).area, 22)
    assert np.isclose(cylinder(0.5, 2, (0, 0, 0)).area, 2 * np.pi * 0.5 * 2.5, rtol=0.03)
    assert np.isclose(lathe([(1, 0), (2, 1)]).area, np.pi * 3 * np.sqrt(2), rtol=0.02)
    whole = 4 * np.pi**2 * 1.0 * 0.1
    assert np.isclose(handle(1.0, 0.1, (0, 0, 0), -5).area, whole, rtol=0.05)
    assert np.isclose(handle(1.0, 0.1, (3, 0, 0), 3).area, whole / 2, rtol=0.08)
    both = joined([solid((1, 1, 1), (0, 0, 0)), solid((1, 1, 1), (0, 3, 0))])
    assert np.isclose(both.area, 12) and len(both.faces) == 24


def test_what_is_no_surface_is_refused():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], float)
    for mesh, message in (
        (trimesh.Trimesh(vertices, np.zeros((0, 3), int)), "no faces"),
        (trimesh.Trimesh(vertices * [1, 1, np.nan], [[0, 1, 2]], process=False), "not finite"),
        (trimesh.Trimesh(vertices * [1, 0, 0], [[0, 1, 2]], process=False), "no area"),
    ):
        with pytest.raises(UnreadableError, match=message):
            draw_points(mesh, 5, [0])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_makes_shapes_of_its_parameters(name):
    family, rng = FAMILIES[name], np.random.default_rng(0)
    for test in (False, True):
        p = family.draw(rng, test)
        assert all(low <= p[key] <= high for key, (low, high) in family.ranges.items())
        mesh = family.mesh(p)
        np.testing.assert_allclose(mesh.bounds.sum(0), 0, atol=1e-6)
        assert 0.5 < mesh.extents.max() < 2.6 and np.isfinite(mesh.vertices).all()
    p = dict(p)
    measures = {  # parameter -> what it is of the box
        "chair": ("width", 0), "table": ("height", 1), "lamp": ("height", 1), "mug": ("height", 1), "plane": ("span", 2)
    }  # fmt: skip
    key, axis = measures[name]
    assert np.isclose(family.mesh(p).extents[axis], p[key], rtol=0.02)
    wider = family.mesh({**p, key: 1.2 * p[key]})
    assert np.isclose(wider.extents[axis] / family.mesh(p).extents[axis], 1.2, rtol=0.02)


def test_splits_share_no_value_of_the_first_parameter():
    train, test = Families("train", n=400, pool=4), Families("test", n=400, pool=4)
    assert len(train) == 400 and len(test) == 100
    for data, mine in ((train, False), (test, True)):
        for i in range(len(data)):
            family = FAMILIES[data.family(i)]
            name, (low, high) = next(iter(family.ranges.items()))
            stripe = int((data.parameters(i)[name] - low) / (high - low) * STRIPES)
            assert (stripe % 5 == 4) == mine
    assert len({tuple(train.parameters(i).values()) for i in range(400)}) == 400


def test_families_are_the_same_every_time_and_turned_ones_are_turned():
    one, two = Families("train", 0, n=20, pool=16), Families("train", 9, n=20, pool=16)
    turned = Families("train", n=20, pool=16, turned=True)
    for i in range(20):
        assert np.array_equal(one[i].points, two[i].points)
        np.testing.assert_allclose(turned[i].points[:, 1], one[i].points[:, 1], atol=1e-6)
        radius = [np.hypot(cloud[i].points[:, 0], cloud[i].points[:, 2]) for cloud in (one, turned)]
        np.testing.assert_allclose(*radius, atol=1e-5)
        assert not np.allclose(turned[i].points, one[i].points, atol=1e-3)
    columns = one.columns()
    assert columns["class"].names == tuple(FAMILIES) and columns["class"].values.tolist() == [0, 1, 2, 3, 4] * 4
    assert np.isclose(columns["height"].values[3], np.ptp(one[3].points[:, 1]))


def test_clouds_of_any_axis_have_a_height(clouds):
    from unnoise_points.data.base import measured

    (cloud,) = clouds(1)
    flat = [cloud, cloud.upright("z"), cloud.upright("x")]
    found = measured(flat)
    for name in ("height", "width", "depth"):
        np.testing.assert_allclose(found[name].values, found[name].values[0], rtol=1e-6)
    assert isinstance(flat[0], Cloud) and np.isclose(found["height"].values[0], np.ptp(cloud.points[:, 1]))
