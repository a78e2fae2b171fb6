"""Masks of clouds, and edits of them by an untrained model: what is kept does not depend on what a model knows."""

import numpy as np
import pytest

import unnoise
from unnoise.errors import UserError
from unnoise.runs.train import train
from unnoise_points.cloud import Cloud
from unnoise_points.writing import write_clouds

POINTS = 24


def trained(folder, **representation):
    config = {
        "modality": "points",
        "data": {"name": "families", "n": 30, "pool": 64},
        "representation": {"name": "set", "points": POINTS, **representation},
        "denoiser": {"name": "latent", "width": 16, "latent_width": 16, "latents": 4, "depth": 1, "layers": 1,
                     "head_dim": 8, "waves": 1},
        "process": {"*": {"name": "gaussian", "schedule": {"name": "flow"}, "parametrization": {"name": "flow"}}},
        "conditions": {"use": ["class"], "dim": 16},
        "train": {"batch": 8, "steps": 1, "threads": 1, "precision": "fp32", "time_sampling": {"known": 0.5}},
        "sample": {"steps": 2},
    }  # fmt: skip
    return unnoise.load(train(config, folder / "run").folder, device="cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("a"))


def up(cloud):
    return cloud.points[:, 1]


MASKS = {
    "extend:6": lambda cloud: np.ones(len(cloud), bool),
    "above:0.25": lambda cloud: up(cloud) < np.sort(up(cloud))[-5],
    "below:0.5": lambda cloud: up(cloud) > np.sort(up(cloud))[9],
}


@pytest.mark.parametrize("mask", MASKS)
def test_what_is_kept_comes_first_as_it_was(model, clouds, mask):
    source = clouds(2, 20)
    made = model.edit("infill", source, mask=mask, n=3, progress=False)
    for index, item in enumerate(made.items):
        cloud = source[index % 2]
        given = cloud.points[MASKS[mask](cloud)]
        assert len(item) == (26 if mask.startswith("extend") else 20)
        assert np.array_equal(item.points[: len(given)], given)
        rest = {tuple(point) for point in cloud.points} - {tuple(point) for point in given}
        assert not rest & {tuple(point) for point in item.points}


def test_arrays_are_masks_and_unit_boxes_are_undone(tmp_path, clouds):
    model = trained(tmp_path, normalise="shape")
    (far,) = clouds(1, 20)
    far = far.moved(np.array([9, 0, 0], np.float32), 0.1)
    anew = np.arange(20) >= 15
    (made,) = model.edit("infill", [far], mask=anew, progress=False).items
    assert np.array_equal(made.points[:15], far.points[:15]) and not made.boxed
    low, high = far.points.min(0), far.points.max(0)
    # New points lie on the scale of the source, not of the unit box.
    assert np.abs(made.points[15:] - (low + high) / 2).max() < 6 * (high - low).max()


def test_a_file_is_a_source(model, clouds, tmp_path):
    (tmp_path / "in").mkdir()
    source = clouds(1, 10)
    write_clouds(source, tmp_path / "in", {}, "ply")
    made = model.edit("infill", tmp_path / "in" / "00000.ply", mask="extend:14", n=2, progress=False)
    assert all(np.array_equal(item.points[:10], source[0].points) for item in made.items)


def test_a_variation_without_strength_is_the_source(model, clouds):
    source = clouds(2, 20)
    made = model.edit("variation", source, strength=0, progress=False)
    assert all(np.array_equal(a.points, b.points) for a, b in zip(made.items, source, strict=True))


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("extent:3", "Did you mean 'extend'"),
        ("extend:0", "out of range"),
        ("above:1", "some points, and not all"),
        (np.ones(20, bool), "does not fit clouds of 20 points"),
        (np.zeros(19, bool), "does not fit clouds of 20 points"),
    ],
)
def test_masks_that_do_not_fit(model, clouds, mask, words):
    with pytest.raises(UserError, match=words):
        model.edit("infill", clouds(2, 20), mask=mask, progress=False)


def test_clouds_that_do_not_fit(model):
    broken = Cloud(np.full((4, 3), np.nan, np.float32))
    with pytest.raises(UserError, match="not finite"):
        model.edit("infill", [broken], mask="extend:3", progress=False)
