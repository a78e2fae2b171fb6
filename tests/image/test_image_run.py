"""Whole runs through the public API: trained, loaded, sampled, judged."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import unnoise
from unnoise.runs import write_samples
from unnoise.runs.train import train
from unnoise.testing import modality_checks

test_contract = modality_checks("image", words=["denoiser.channels=[16,24]"])

SIZE = 8


@pytest.fixture
def folder(tmp_path):
    """Two classes of one picture each, many times over: a bright left half, and a bright lower half."""
    shapes = {"left": np.zeros((SIZE, SIZE), np.uint8), "lower": np.zeros((SIZE, SIZE), np.uint8)}
    shapes["left"][:, : SIZE // 2] = 255
    shapes["lower"][SIZE // 2 :] = 255
    for name, item in shapes.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(item).save(tmp_path / "data" / name / f"{i}.png")
    return tmp_path / "data", shapes


def config(root, **changes):
    return {
        "modality": "image",
        "data": {"name": "folder", "root": str(root), "size": SIZE, "channels": 1, "test_fraction": 0.2},
        "representation": {"name": "pixels"},
        "process": {"*": {"name": "gaussian", "schedule": {"name": "flow"}, "parametrization": {"name": "flow"}}},
        "conditions": {"use": ["class"], "dim": 16},
        "train": {"batch": 16, "steps": 120, "lr": 5e-3, "warmup": 10, "ema": {"decay": 0.95}, "threads": 1},
        "sample": {"sampler": "ddim", "steps": 8, "n": 2},
        **changes,
    }


NETWORKS = {
    "unet": {"name": "unet", "channels": [16, 16], "attention": [False, True], "head_dim": 8, "cond_dim": 32},
    "dit": {"name": "dit", "width": 32, "depth": 2, "head_dim": 16, "patch": 2},
}


@pytest.mark.parametrize("denoiser", NETWORKS)
def test_a_tiny_run_learns_two_pictures_and_their_names(folder, tmp_path, denoiser):
    root, shapes = folder
    tokens = {"use": ["class"], "dim": 16, "tokens": True}
    node = {**NETWORKS[denoiser], "cross_attention": True}
    train(config(root, denoiser=node, conditions=tokens), tmp_path / "run")
    model = unnoise.load(tmp_path / "run")
    for name, shape in shapes.items():
        samples = model.sample(3, seed=5, condition=name, progress=False)
        error = np.abs(np.stack(samples.items)[..., 0].astype(float) - shape).mean() / 255
        assert error < 0.1, f"{name}: {error:.3f}"


def test_latents_train_their_autoencoder_first_and_files_repeat_to_the_byte(folder, tmp_path):
    root, _ = folder
    codec = {
        "name": "kl_autoencoder",
        "channels": [16],
        "blocks": 1,
        "stem": 2,
        "latent_channels": 2,
        "train": {"steps": 60, "lr": 5e-3},
    }
    run = train(
        config(root, denoiser=NETWORKS["unet"], representation={"name": "latents"}, codec=codec, train={"steps": 3}),
        tmp_path / "run",
    )
    quality = json.loads((run.folder / "codec" / "quality.json").read_text())
    assert quality["psnr_db"] > 15
    folders = []
    for name in ("a", "b"):
        model = unnoise.load(tmp_path / "run")
        samples = model.sample(3, seed=1, condition="left", progress=False)
        write_samples(samples, model.representation, tmp_path / name)
        folders.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert folders[0] == folders[1]
    assert {"00000.png", "00002.png", "preview.png", "record.json"} <= set(folders[0])
