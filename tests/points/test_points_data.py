"""Folders of meshes and clouds, ShapeNet's layout, archives: what is read, skipped and refused."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from unnoise.errors import UserError
from unnoise.folders import UnreadableError
from unnoise_points.data.archive import Archive
from unnoise_points.data.folder import Folder
from unnoise_points.data.shapenet import ShapeNet
from unnoise_points.files import read_cloud, read_clouds
from unnoise_points.writing import encoded


@pytest.fixture
def meshes(tmp_path):
    """A folder of boxes of known sides, in every format, a sub-folder per class."""
    for k, kind in enumerate(("obj", "ply", "stl", "glb", "off")):
        for name, sides in (("flat", (2, 0.2, 2)), ("tall", (0.2, 2, 0.2))):
            (tmp_path / name).mkdir(exist_ok=True)
            trimesh.creation.box(np.array(sides) * (1 + k)).export(tmp_path / name / f"box.{kind}")
    return tmp_path


def test_every_format_of_meshes_is_read(meshes):
    data = Folder("train", root=str(meshes), pool=200, test_fraction=0)
    assert len(data) == 10 and not data.notes()
    columns = data.columns()
    assert columns["class"].names == ("flat", "tall") and columns["class"].values.tolist() == [0] * 5 + [1] * 5
    ratio = columns["height"].values / columns["width"].values
    np.testing.assert_allclose(ratio, [0.1] * 5 + [10] * 5, rtol=0.15)
    again = Folder("train", root=str(meshes), pool=200, test_fraction=0)
    assert all(np.array_equal(data[i].points, again[i].points) for i in range(10))
    assert not np.array_equal(data[0].points / data[1].points, np.ones((200, 3)))


def test_splits_follow_the_path_and_share_nothing(meshes):
    parts = [Folder(split, root=str(meshes), pool=8, test_fraction=0.4) for split in ("train", "test")]
    assert sum(map(len, parts)) == 10 and min(map(len, parts)) > 0


def test_the_upward_axis_is_turned_to_the_same_for_all(meshes):
    """GLB is y-up by definition; beside it the others are read as z-up, and all come out so."""
    data = Folder("train", root=str(meshes), pool=100, test_fraction=0, up="z")
    assert {data[i].up for i in range(len(data))} == {"z"}
    paths = sorted(path.relative_to(meshes).as_posix() for path in meshes.rglob("box.*"))
    glb = data[paths.index("flat/box.glb")]
    assert np.ptp(glb.points, axis=0).argmin() == 2 and np.ptp(data[paths.index("flat/box.obj")].points, axis=0)[1] < 1


def test_what_cannot_be_used_is_skipped_and_counted(meshes):
    bad = meshes / "flat"
    (bad / "a_nothing.obj").write_text("")
    (bad / "b_points.obj").write_text("v 0 0 0\nv 1 0 0\n")
    (bad / "c_nan.obj").write_text("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (bad / "d_line.obj").write_text("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n")
    (bad / "e_noise.glb").write_bytes(b"no such thing")
    (bad / "f_huge.stl").write_bytes(b"\0" * (3 << 20))
    (bad / "g_empty.ply").write_bytes(b"")
    np.save(bad / "h_shape.npy", np.zeros((4, 2)))
    data = Folder("train", root=str(meshes), pool=20, test_fraction=0, megabytes=2)
    (line,) = data.notes()
    assert len(data) == 10 and line.startswith("folder: skipped 8 of 18 shapes of the train split")
    for name, reason in (
        ("a_nothing.obj", "."), ("b_points.obj", "no faces"), ("c_nan.obj", "not finite"), ("d_line.obj", "no area"),
        ("f_huge.stl", "3 megabytes, more than 2"), ("h_shape.npy", r"float64\[4, 2\]"),
    ):  # fmt: skip
        with pytest.raises(UnreadableError, match=reason):
            read_cloud(bad / name, 20, [0], megabytes=2)


def test_a_scene_of_several_meshes_is_one_shape(tmp_path):
    scene = trimesh.Scene([trimesh.creation.box((1, 1, 1))])
    there = trimesh.transformations.translation_matrix((5, 0, 0))
    scene.add_geometry(trimesh.creation.box((1, 1, 1)), transform=there)
    scene.export(tmp_path / "two.glb")
    cloud = read_cloud(tmp_path / "two.glb", 400, [0])
    right = cloud.points[:, 0] > 2.5
    assert np.allclose(np.abs(cloud.points).max(0), [5.5, 0.5, 0.5]) and 0.4 < right.mean() < 0.6


def test_folders_that_are_none_or_hold_nothing(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        Folder("train", root=str(tmp_path / "no"))
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(UserError, match="no shape for the train split: found 0 shapes"):
        Folder("train", root=str(tmp_path))
    for options in ({"pool": 0}, {"megabytes": 0}, {"test_fraction": 1}):
        with pytest.raises(UserError, match=r"data\.pool"):
            Folder("train", root=str(tmp_path), **options)
    with pytest.raises(UserError, match="up=w"):
        Folder("train", root=str(tmp_path), up="w")


@pytest.mark.parametrize("kind", ["ply", "npy", "glb"])
def test_what_is_written_is_read_again(clouds, tmp_path, kind):
    (cloud,) = clouds(1, 40, rich=True)
    (tmp_path / f"a.{kind}").write_bytes(encoded(cloud, {"seed": 3}, kind))
    (back,) = read_clouds(tmp_path / f"a.{kind}")
    np.testing.assert_allclose(back.points, cloud.points, atol=1e-6)
    assert np.array_equal(back.colours, cloud.colours)
    if kind != "glb":  # trimesh writes no normals of points there
        np.testing.assert_allclose(back.normals, cloud.normals, atol=1e-6)
    if kind != "npy":
        assert b'"seed"' in (tmp_path / f"a.{kind}").read_bytes()
    assert encoded(cloud, {"seed": 3}, kind) == encoded(cloud, {"seed": 3}, kind)


def test_clouds_are_read_as_they_are_and_thinned(clouds, tmp_path):
    (cloud,) = clouds(1, 50)
    np.savetxt(tmp_path / "a.xyz", cloud.points)
    read = read_cloud(tmp_path / "a.xyz", 100, [0])
    np.testing.assert_allclose(read.points, cloud.points, atol=1e-5)
    thin = read_cloud(tmp_path / "a.xyz", 20, [0])
    assert len(thin) == 20 and {tuple(p) for p in thin.points.tolist()} <= {tuple(p) for p in read.points.tolist()}


def test_colours_of_faces_and_corners(tmp_path):
    mesh = trimesh.creation.box((1, 1, 1))
    mesh.visual.vertex_colors = np.tile([[200, 10, 10, 255]], (8, 1))
    mesh.export(tmp_path / "a.ply")
    trimesh.creation.box((1, 1, 1)).export(tmp_path / "b.stl")
    cloud, plain = (read_cloud(tmp_path / name, 30, [0], colours=True) for name in ("a.ply", "b.stl"))
    assert np.array_equal(cloud.colours, np.tile([[200, 10, 10]], (30, 1))) and (plain.colours == 255).all()


def test_judges_skip_nothing(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_clouds(tmp_path / "no")
    with pytest.raises(UserError, match="holds no shapes"):
        read_clouds(tmp_path)
    (tmp_path / "a.obj").write_text("v 0 0 0\n")
    with pytest.raises(UserError, match=r"a\.obj cannot be read"):
        read_clouds(tmp_path)


def test_archives(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "points": rng.uniform(-1, 1, (6, 10, 3)).astype(np.float16),
        "split": np.array(["train", "test", "train", "train", "test", "train"]),
        "label": np.array([0, 1, 2, 1, 0, 0]), "class_names": np.array(["chair", "table", "other"]),
        "scale": np.arange(1.0, 7.0),
    }  # fmt: skip
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    data = Archive("train", path=str(path), without=["other"])
    assert len(data) == 3 and data.columns()["class"].names == ("chair", "table")
    assert data.columns()["class"].values.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(data[1].points, arrays["points"][3].astype(np.float32))
    scaled = Archive("test", path=str(path), classes=["table"], scaled=True)
    np.testing.assert_allclose(scaled[0].points, 2 * arrays["points"][1].astype(np.float32))
    plain = tmp_path / "b.npz"
    np.savez(plain, points=arrays["points"], split=arrays["split"])
    assert "class" not in Archive("train", path=str(plain)).columns()
    for options, message in (
        ({"path": str(tmp_path / "no.npz")}, "is missing"), ({"path": str(path), "classes": ["tabel"]}, "'table'"),
        ({"path": str(path), "classes": ["other"], "split": "test"}, "holds no cloud of the test split"),
        ({"path": str(plain), "scaled": True}, "no 'scale'"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            Archive(**{"split": "train", **options})
    for wrong in ({"points": arrays["points"][0]}, {"label": np.array([5] * 6)}, {"split": np.array(["train"])}):
        np.savez(plain, **{**arrays, **wrong})
        with pytest.raises(UserError, match=r"holds|do not fit"):
            Archive("train", path=str(plain))
    plain.write_bytes(b"PK nothing")
    with pytest.raises(UserError, match="cannot be read"):
        Archive("train", path=str(plain))


def test_shapenets_layout(tmp_path):
    rng = np.random.default_rng(0)
    for category in ("02691156", "03001627", "mine"):
        for part, count in (("train", 3), ("val", 1), ("test", 2)):
            (tmp_path / category / part).mkdir(parents=True)
            for i in range(count):
                points = rng.standard_normal((30, 3))
                points[20:, 2] += 100
                np.save(tmp_path / category / part / f"{i}.npy", points.astype(np.float32))
    train, test = ShapeNet("train", root=str(tmp_path)), ShapeNet("test", root=str(tmp_path), categories=["chair"])
    assert train.columns()["class"].names == ("airplane", "chair", "mine") and len(train) == 9 and len(test) == 2
    # Training sees the first two thirds of the points, test shapes are known by the last third.
    assert len(train[0]) == 20 and train[0].points[:, 2].max() < 50
    assert len(test[0]) == 10 and test[0].points[:, 2].min() > 50
    assert len(ShapeNet("train", root=str(tmp_path), pool=5)[0]) == 5
    np.save(tmp_path / "mine" / "train" / "9.npy", np.full((30, 3), np.nan))
    assert "skipped 1 of 10" in ShapeNet("train", root=str(tmp_path)).notes()[0]
    for options, message in (
        ({"root": str(tmp_path / "no")}, "is not a folder"), ({"categories": ["chiar"]}, "'chair'"),
        ({"test": "train"}, "data.test=train"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            ShapeNet("train", **{"root": str(tmp_path), **options})
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match="no shape for the train split: found 0"):
        ShapeNet("train", root=str(tmp_path), categories=["empty"])
