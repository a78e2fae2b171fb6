"""Whole runs through the public API and the command line: trained, loaded, sampled, completed, judged."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import unnoise
from unnoise.errors import UserError
from unnoise.noise import Noise
from unnoise.runs import write_samples
from unnoise.runs.train import train
from unnoise.state import State
from unnoise.testing import modality_checks
from unnoise_points.cloud import Cloud
from unnoise_points.files import read_clouds
from unnoise_points.infill import complete, one_side, upsample
from unnoise_points.representation import AXIS

DATA = ["data.n=40", "data.pool=24", "representation.points=16", "conditions.dim=16"]
LATENT = ["denoiser.width=64", "denoiser.latents=8", "denoiser.latent_width=64", "denoiser.depth=2"]
test_contract = modality_checks("points", words=[*DATA, *LATENT])

PLAIN = ["denoiser=transformer", "denoiser.width=64", "denoiser.depth=2", "representation.normalise=shape"]
test_contract_transformer = modality_checks("points", words=[*DATA, *PLAIN, "representation.attributes=[normals]"])

POINTS = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of 40 points: discs that lie flat at height -1, and poles around them from -1 to 1."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("disc", "pole"):
        (root / name).mkdir()
        for i in range(24):
            points = rng.standard_normal((40, 3)) * (0.6, 0, 0.6)
            points[:, 1] = -1
            if name == "pole":
                points = np.stack([np.zeros(40), rng.uniform(-1, 1, 40), np.zeros(40)], 1)
            np.save(root / name / f"{i}.npy", points.astype(np.float32))
    return root


def config(root, **changes):
    return {
        "modality": "points",
        "data": {"name": "folder", "root": str(root)},
        "representation": {"name": "set", "points": POINTS},
        "denoiser": {
            "name": "latent", "width": 32, "latents": 6, "latent_width": 48, "depth": 2, "layers": 1, "head_dim": 16
        },
        "process": {"*": {"name": "gaussian", "schedule": {"name": "flow"}, "parametrization": {"name": "flow"}}},
        "conditions": {"use": ["class"], "dim": 32},
        "train": {
            "batch": 32, "steps": 300, "lr": 4e-3, "warmup": 10, "ema": {"decay": 0.97}, "threads": 1,
            "precision": "fp32", "time_sampling": {"name": "uniform", "known": 0.4},
            "pairing": {"name": "transport", "rounds": 8},
        },
        "sample": {"steps": 12, "n": 2},
        **changes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    return train(config(folder), tmp_path_factory.mktemp("runs") / "a")


@pytest.fixture(scope="module")
def model(run):
    return unnoise.load(run.folder, device="cpu")


def shape_of(cloud):
    """Deviations along (x and z together) and up."""
    return cloud.points[:, [0, 2]].std(), cloud.points[:, 1].std()


def test_a_tiny_run_learns_discs_and_poles(model):
    for name in ("disc", "pole"):
        made = model.sample(6, seed=3, condition={"class": name}, progress=False).items
        flat, high = np.mean([shape_of(cloud) for cloud in made], 0)
        assert all(len(cloud) == POINTS and cloud.up == "y" for cloud in made)
        if name == "disc":
            assert abs(flat - 0.6) < 0.2 and high < 0.25
        else:
            assert flat < 0.2 and abs(high - 0.58) < 0.2


def test_permuting_noise_permutes_the_sample(model):
    """Exactly what a set is: the points of the noise in another order give the same points in that order."""
    plan = model.plan(steps=6)
    product = model.denoiser.product
    x_T = product.prior(Noise.of(0, 2), {AXIS: torch.tensor([POINTS, POINTS])})
    order = torch.randperm(POINTS, generator=torch.Generator().manual_seed(1))
    moved = x_T.replace({"points": x_T.parts["points"][:, order]})
    raw = model.denoiser.conditions.parse({"class": "disc"}, 2)
    with torch.no_grad():
        one, two = (unnoise.sample(model.denoiser, x, plan, seed=[0, 1], condition=raw) for x in (x_T, moved))
    assert isinstance(one, State)
    torch.testing.assert_close(two.parts["points"], one.parts["points"][:, order], atol=1e-5, rtol=1e-5)


def test_files_repeat_to_the_byte_and_hold_their_settings(model, tmp_path):
    folders = []
    for name in ("a", "b"):
        samples = model.sample(2, seed=5, condition={"class": "pole"}, progress=False)
        write_samples(samples, model.representation, tmp_path / name)
        folders.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    names = {"00000.ply", "00001.ply", "turntable.gif", "preview.png", "record.json"}
    assert folders[0] == folders[1] and names == set(folders[0])
    assert b'"seed": 5' in folders[0]["00000.ply"]
    (again,) = read_clouds(tmp_path / "a/00001.ply")
    assert np.array_equal(again.points, samples.items[1].points)


@pytest.mark.parametrize("sampler", unnoise.samplers())
def test_every_sampler_runs_and_keeps_given_points(model, folder, sampler):
    given = Cloud(np.load(folder / "disc/1.npy")[:8])
    (made,) = complete(model, given, seed=1, sampler=sampler, steps=4, progress=False)
    assert np.array_equal(made.points[:8], given.points) and len(made) == POINTS and np.isfinite(made.points).all()


def test_what_is_missing_fits_what_is_given(model, folder):
    """Without being told the class, from one side or from everywhere: a disc goes on as a disc, a pole as a pole."""
    for name in ("disc", "pole"):
        whole = Cloud(np.load(folder / name / "2.npy")[:POINTS])
        side = one_side(whole, np.array([1.0, 1.0, 0.3]), 0.4)
        for given in (whole.take(side), whole.take(slice(0, 10))):
            made = complete(model, given, n=4, seed=2, progress=False)
            rest = np.mean([shape_of(cloud.take(slice(len(given), None))) for cloud in made], 0)
            assert rest[0] > rest[1] if name == "disc" else rest[1] > rest[0], (name, rest)
            assert all(np.array_equal(cloud.points[: len(given)], given.points) for cloud in made)


def test_more_points_of_a_shape(model, folder):
    cloud = Cloud(np.load(folder / "pole/3.npy")[:12])
    more = upsample(model, cloud, 48, condition={"class": "pole"}, progress=False)
    assert len(more) == 48 and np.array_equal(more.points[:12], cloud.points)
    flat, high = shape_of(more.take(slice(12, None)))
    assert flat < 0.25 < high


def test_clouds_in_another_frame_come_back_in_their_own(folder, tmp_path):
    """A model of unit boxes, and a z-up cloud far away and ten times as large."""
    options = {**config(folder)["train"], "steps": 3}
    made = config(folder, representation={"name": "set", "points": POINTS, "normalise": "shape"}, train=options)
    model = unnoise.load(train(made, tmp_path / "run").folder, device="cpu")
    far = Cloud(np.load(folder / "disc/0.npy")[:9] * 10 + 100).upright("z")
    whole = (np.array([100, 100, 100], np.float32), 20.0)
    for frame in (None, whole):
        (done,) = complete(model, far, seed=1, frame=frame, progress=False)
        assert np.array_equal(done.points[:9], far.points) and done.up == "z" and not done.boxed
        # An untrained model makes points about a standard deviation from the middle of the frame.
        middle, half = np.median(done.points[9:], 0), 20 if frame else np.ptp(far.points, axis=0).max() / 2
        assert (np.abs(middle - (100 if frame else far.points.mean(0))) < 2 * half).all()
    sample = model.sample(1, progress=False).items[0]
    assert sample.boxed and complete(model, sample.take(slice(0, 5)), progress=False)[0].boxed


def test_what_cannot_be_completed_is_refused(model):
    cloud = Cloud(np.zeros((POINTS, 3), np.float32))
    for call, message in (
        (lambda: complete(model, cloud), "24 points are given of a cloud of 24"),
        (lambda: complete(model, cloud.take([])), "0 points are given"),
        (lambda: complete(model, Cloud(np.full((2, 3), np.nan, np.float32))), "not finite"),
        (lambda: one_side(cloud, np.ones(3), 1.0), "share=1"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_missing_attributes_are_made(folder, tmp_path, clouds):
    root = tmp_path / "data"
    root.mkdir()
    for i, cloud in enumerate(clouds(12, 30, rich=True)):
        np.save(root / f"{i}.npy", np.concatenate([cloud.points, cloud.normals, cloud.colours], 1))
    representation = {"name": "set", "points": 20, "attributes": ["normals", "colours"]}
    options = {**config(folder)["train"], "steps": 2}
    conditions = {"use": [], "dim": 8}
    made = config(root, representation=representation, train=options, conditions=conditions)
    model = unnoise.load(train(made, tmp_path / "run").folder, device="cpu")
    bare, rich = clouds(1, 8)[0], clouds(1, 8, rich=True)[0]
    (one,), (two,) = complete(model, bare, progress=False), complete(model, rich, progress=False)
    assert one.normals.shape == (20, 3) and one.colours.shape == (20, 3)
    assert np.array_equal(two.normals[:8], rich.normals) and np.array_equal(two.colours[:8], rich.colours)


def test_the_command_line_samples_and_judges(run, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "UNNOISE_PLUGINS": "unnoise-points"}

    def said(*words):
        command = [sys.executable, "-m", "unnoise", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    told = said("sample", f"run={run.folder}", "n=2", "condition.class=disc", f"out={tmp_path}/s", "steps=3")
    assert "24 points each, in a box of" in told and "y is up" in told
    table = said("eval", f"run={run.folder}", "n=3", "steps=3", "metrics=[chamfer,occupancy]", f"out={tmp_path}/e")
    assert "1nna_chamfer" in table and "occupancy_divergence" in table
