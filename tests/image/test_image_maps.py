"""Maps of pictures, how agreement with them is measured, and pictures rendered from meshes."""

import numpy as np
import pytest
import torch
from PIL import Image

from unnoise.contracts import Dataset, Maps
from unnoise.errors import UserError
from unnoise.noise import Noise
from unnoise_image.maps import Depth, Sketch, edge_f1, grey
from unnoise_image.pixels import Pixels
from unnoise_image.rendering import AMBIENT, LIGHT, Surface, render


def brute_f1(found, wanted, distance):
    """By the distances of all pairs of pixels."""
    a, b = np.argwhere(found), np.argwhere(wanted)
    apart = np.abs(a[:, None] - b[None]).max(-1)
    precision, recall = (apart.min(1) <= distance).mean(), (apart.min(0) <= distance).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("distance", [0, 1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_agreement_of_edges_is_that_of_all_pairs_of_pixels(seed, distance):
    found, wanted = np.random.default_rng(seed).random((2, 12, 9)) < 0.12
    assert edge_f1(found, wanted, distance) == pytest.approx(brute_f1(found, wanted, distance))


def test_agreement_of_edges_at_its_ends():
    line, far, none = np.zeros((3, 8, 8), bool)
    line[:, 2], far[:, 6] = True, True
    assert edge_f1(line, line) == edge_f1(line, np.roll(line, 1, 1)) == edge_f1(none, none) == 1
    assert edge_f1(line, far) == edge_f1(line, none) == edge_f1(none, line) == 0


def square(value=220, size=24, channels=1):
    picture = np.full((size, size, channels), 30, np.uint8)
    picture[6:18, 6:18] = value
    return picture


@pytest.mark.parametrize(("name", "least"), [("CannyEdges", 0.95), ("SobelEdges", 0.8)])
def test_edges_lie_where_levels_change(name, least):
    pytest.importorskip("skimage")
    from unnoise_image import maps

    outline = np.zeros((24, 24), bool)
    outline[5:19, 5:19] = True
    outline[7:17, 7:17] = False  # a pixel on either side of the border
    make = getattr(maps, name)()
    for channels in (1, 3):
        found = make([square(channels=channels)])[0, ..., 0]
        assert set(np.unique(found)) == {0.0, 1.0}
        assert (found[outline] > 0).any() and not found[~outline].any()
        assert edge_f1(found > 0, outline) > least
    assert not make([square(30)]).any()
    made = [square(), square(30)]
    assert make.agreement(make([square(), square()]), made, None).tolist() == [1.0, 0.0]


def test_a_sketch_has_lines_on_the_dark_side_and_mirrors_with_its_picture():
    make, picture = Sketch(), square()
    drawn = make([picture])[0, ..., 0]
    assert drawn[5, 8:16].min() > 0.5 and drawn[6:8, 8:16].max() == 0 and not drawn[0].any()
    np.testing.assert_allclose(make([picture[:, ::-1]])[0], make([picture])[0][:, ::-1], atol=1e-6)
    assert make.agreement(make([picture]), [picture], None)[0] == pytest.approx(1)
    assert make.agreement(make([picture]), [np.roll(picture, 8, 1)], None)[0] < 0.5


def test_a_representation_that_mirrors_pictures_mirrors_their_maps():
    pictures = [np.random.default_rng(i).integers(0, 255, (8, 8, 1), np.uint8) for i in range(12)]
    make, representation = Sketch(), Pixels(flip=True)
    representation.fit(pictures)
    noise = Noise.training(0, torch.arange(12))
    state = representation.augment(representation.encode(pictures), noise)
    maps = representation.augment_maps({"sketch": torch.from_numpy(make(pictures))}, noise)
    again = make(representation.decode(state))
    np.testing.assert_allclose(maps["sketch"].numpy(), again, atol=1e-5)
    moved = [not np.array_equal(a, b) for a, b in zip(again, make(pictures), strict=True)]
    assert 0 < sum(moved) < 12


def test_maps_are_read_from_pictures(tmp_path):
    from unnoise_image.maps import Edges

    levels = np.array([[0, 100], [160, 255]], np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    np.testing.assert_allclose(Sketch().read(tmp_path / "a.png")[0, ..., 0], levels / 255, rtol=1e-6)
    assert Edges.prepared(Sketch(), Sketch().read(tmp_path))[0, ..., 0].tolist() == [[0, 0], [1, 1]]
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(UserError, match="2 pictures of one size"):
        Sketch().read(tmp_path)
    (tmp_path / "c.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"the map .*c.png cannot be read: it is no picture"):
        Sketch().read(tmp_path / "c.png")


@pytest.mark.parametrize(("name", "options"), [("Sketch", {"sigma": 0}), ("SobelEdges", {"threshold": 0}),
                                               ("CannyEdges", {"low": 0.3, "high": 0.1})])  # fmt: skip
def test_options_that_cannot_be_are_refused(name, options):
    from unnoise_image import maps

    with pytest.raises(UserError, match=f"{next(iter(options))}="):
        getattr(maps, name)(**options)


def test_grey_weighs_colours():
    assert grey(np.array([[[255, 0, 0]], [[255, 255, 255]]], np.uint8)).ravel() == pytest.approx([0.299, 1.0])


def triangle(*corners):
    return np.array([corners], float)


def test_the_depth_of_a_plane_is_its_equation_and_its_colour_is_lamberts():
    corners = triangle((-3, -3, -0.9), (3, -3, 0.3), (0, 4, 0.5))
    normal = np.cross(corners[0, 1] - corners[0, 0], corners[0, 2] - corners[0, 0])
    picture, depth = render(Surface(corners, np.array([[1.0, 0.5, 0.2]])), 8, np.ones(3))
    x, y = np.meshgrid((np.arange(8) + 0.5) / 4 - 1, 1 - (np.arange(8) + 0.5) / 4)
    wanted = corners[0, 0, 2] - (normal[0] * (x + 3) + normal[1] * (y + 3)) / normal[2]
    np.testing.assert_allclose(depth, wanted, atol=1e-12)
    cosine = normal @ LIGHT / np.linalg.norm(normal) / np.linalg.norm(LIGHT)
    level = AMBIENT + (1 - AMBIENT) * max(cosine, 0)
    np.testing.assert_allclose(
        picture, np.broadcast_to(255 * level * np.array([1, 0.5, 0.2]), picture.shape), atol=0.51
    )


def test_the_nearer_surface_hides_the_other_and_turning_it_round_changes_nothing():
    near, far = (triangle((-3, -3, z), (3, -3, z), (0, 4, z)) for z in (0.4, -0.2))
    left = near.copy()
    left[..., 0] -= 3  # covers the left
    corners = np.concatenate([far, left])
    colours = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    picture, depth = render(Surface(corners, colours), 16, np.ones(3))
    assert set(np.unique(depth.round(9))) == {-0.2, 0.4}
    assert (picture[depth > 0][:, 0] > 0).all() and np.median(picture[depth < 0][:, 0]) == 0
    again = render(Surface(corners[:, ::-1], colours), 16, np.ones(3))
    assert np.array_equal(again[0], picture) and np.allclose(again[1], depth)
    beside, nothing = render(Surface(corners + np.array([9, 0, 0]), colours), 4, np.full(3, 0.5))
    assert np.isnan(nothing).all() and (beside == 128).all()
    with pytest.raises(ValueError, match="none in the middle"):
        render(Surface(corners, colours), 4, np.ones(3), samples=2)


def test_a_ball_is_as_deep_as_a_ball():
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(subdivisions=5, radius=0.8)
    surface = Surface(np.asarray(ball.triangles), np.ones((len(ball.faces), 3)))
    _, depth = render(surface, 33, np.zeros(3))
    x, y = np.meshgrid(*[(np.arange(33) + 0.5) / 16.5 - 1] * 2)
    square = 0.64 - x**2 - y**2
    inside = square > 0.02
    np.testing.assert_allclose(depth[inside], np.sqrt(square[inside]), atol=0.01)
    assert np.isnan(depth[square < -0.001]).all()


def test_rendered_solids_repeat_and_no_test_picture_is_a_training_picture():
    pytest.importorskip("trimesh")
    from unnoise_image.data.rendered import Rendered

    train, test = (Rendered(split, n=16, size=16) for split in ("train", "test"))
    assert (len(train), len(test)) == (16, 4)
    assert np.array_equal(np.stack(list(train)), np.stack(list(Rendered("train", n=16, size=16))))
    assert not {item.tobytes() for item in train} & {item.tobytes() for item in test}
    depth = train.columns()["depth"].values
    assert depth.shape == (16, 16, 16, 1) and depth.min() >= 0 and 1 < depth.max() <= 2
    for item, map_ in zip(train, depth, strict=True):  # the background is grey, solids are not
        background = map_[..., 0] == 0
        corner = item[0, 0].astype(int)
        assert np.abs(item[background].astype(int) - corner).max(1).mean() < 25
    with pytest.raises(UserError, match=r"data\.n=2"):
        Rendered("train", n=2)
    with pytest.raises(UserError, match="nowhere is not a folder"):
        Rendered("train", root="nowhere")


def test_meshes_of_a_folder_are_rendered_and_a_damaged_one_is_skipped(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    from unnoise_image.data.rendered import Rendered

    for i in range(12):
        kind = "ring" if i % 2 else "box"
        (tmp_path / kind).mkdir(exist_ok=True)
        made = trimesh.creation.torus(1.0, 0.3, 12, 8) if i % 2 else trimesh.creation.box((1, 2, 3))
        made.export(tmp_path / kind / f"{i}.ply")
    (tmp_path / "box" / "bad.stl").write_bytes(b"solid nonsense")
    splits = [Rendered(split, n=12, size=12, root=str(tmp_path), test_fraction=0.4) for split in ("train", "test")]
    for data in splits:
        assert (
            data.columns()["class"].names == ("box", "ring")
            and (data.columns()["depth"].values > 0).any((1, 2, 3)).all()
        )
    assert sum("skipped 1 meshes" in note for data in splits for note in data.notes()) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no mesh for the train split"):
        Rendered("train", root=str(tmp_path / "empty"))


class Bright(Dataset):
    """Pictures that are as bright as they are near."""

    def __init__(self, n=64):
        self.pictures = [
            np.random.default_rng(i).integers(0, 255, (4, 4, 1), np.uint8).repeat(2, 0).repeat(2, 1) for i in range(n)
        ]

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        return self.pictures[index]

    def columns(self):
        return {"depth": Maps(np.stack(self.pictures).astype(np.float32) / 255)}


def test_a_judge_learns_to_see_depth_and_is_kept(tmp_path):
    data, make = Bright(), Depth(judge_steps=150)
    unseen = Bright(80).pictures[64:]
    wanted = np.stack(unseen).astype(np.float32) / 255
    right = make.agreement(wanted, unseen, data, tmp_path)
    assert right.mean() > 0.95 and make.agreement(wanted, unseen[::-1], data, tmp_path).mean() < 0.5
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(UserError, match="pictures do not tell their depth"):
        make(unseen)
    with pytest.raises(UserError, match="the data does not know depth"):
        make.agreement(wanted, unseen, type("Blind", (Bright,), {"columns": lambda self: {}})(), None)
