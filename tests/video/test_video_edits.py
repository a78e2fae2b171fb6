"""Masks of clips, and edits of them by an untrained model: what is kept does not depend on what a model knows."""

import numpy as np
import pytest

import unnoise
from unnoise.errors import UserError
from unnoise.runs.train import train
from unnoise_video.clip import Clip

SIDE, FRAMES = 8, 6


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    config = {
        "modality": "video",
        "data": {"name": "digits", "n": 24, "frames": FRAMES, "canvas": SIDE, "sprite": 6, "fastest": 2},
        "representation": {"name": "pixels"},
        "denoiser": {"name": "transformer", "width": 32, "depth": 2, "head_dim": 32, "patch": 4},
        "process": {"*": {"name": "gaussian", "schedule": {"name": "flow"}, "parametrization": {"name": "flow"}}},
        "conditions": {"use": ["class"], "dim": 16},
        "train": {"batch": 8, "steps": 1, "threads": 1, "precision": "fp32", "time_sampling": {"known": 0.5}},
        "sample": {"steps": 2},
    }
    return unnoise.load(train(config, tmp_path_factory.mktemp("a") / "run").folder, device="cpu")


MASKS = {
    "after:2": (np.arange(4) >= 2)[:, None, None],
    "before:1": (np.arange(4) < 1)[:, None, None],
    "between:1,3": np.isin(np.arange(4), [1, 2])[:, None, None],
    "box:0,2,4,8": ((np.arange(8) >= 2)[:, None] & (np.arange(8) < 4)[None])[None],
}


@pytest.mark.parametrize("mask", MASKS)
def test_what_is_kept_is_kept_to_the_byte(model, clips, mask):
    source = clips(2, 4)
    made = model.edit("infill", source, mask=mask, n=3, progress=False)
    anew = np.broadcast_to(MASKS[mask], (4, SIDE, SIDE))
    for index, item in enumerate(made.items):
        assert np.array_equal(item.frames[~anew], source[index % 2].frames[~anew])
        assert not np.array_equal(item.frames[anew], source[index % 2].frames[anew])


def test_frames_after_the_end(model, clips):
    source = clips(2, 4)
    made = model.edit("infill", source, mask="extend:2", progress=False)
    assert all(len(item.frames) == 6 for item in made.items)
    assert all(np.array_equal(a.frames[:4], b.frames) for a, b in zip(made.items, source, strict=True))


def test_arrays_are_masks(model, clips):
    (source,) = clips(1, 4)
    anew = np.zeros((4, SIDE, SIDE), bool)
    anew[2, 1:3] = True
    made = model.edit("infill", [source], mask=anew, progress=False)
    assert np.array_equal(made.items[0].frames[~anew], source.frames[~anew]) and made.record["edit"]["mask"] == "array"


def test_variations_and_their_ends(model, clips):
    source = clips(2, 4)
    none = model.edit("variation", source, strength=0, progress=False)
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(none.items, source, strict=True))
    anew = model.edit("variation", source, strength=1, seed=5, progress=False)
    fresh = model.sample(2, 5, sizes=4, progress=False)
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(anew.items, fresh.items, strict=True))


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("aftr:1", "Did you mean 'after'"),
        ("after:4", "from 1 to 3"),
        ("between:2,2", "out of range"),
        ("box:0,0,9,4", "out of range"),
        ("extend:5", "longer than any training clip"),
        (np.zeros(5, bool), r"a mask of shape \(5,\)"),
    ],
)
def test_masks_that_do_not_fit(model, clips, mask, words):
    with pytest.raises(UserError, match=words):
        model.edit("infill", clips(2, 4), mask=mask, progress=False)


def test_sources_that_do_not_fit(model, clips):
    with pytest.raises(UserError, match="differ in length"):
        model.edit("infill", [*clips(1, 4), *clips(1, 5)], mask="after:1", progress=False)
    with pytest.raises(UserError, match="frames of 9x9x1"):
        model.edit("variation", [Clip(np.zeros((3, 9, 9, 1), np.uint8), 8.0)], progress=False)
