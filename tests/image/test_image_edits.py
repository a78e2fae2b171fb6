"""Masks of pictures, and edits of them by an untrained model: what is kept does not depend on what a model knows."""

import numpy as np
import pytest
from PIL import Image

import unnoise
from unnoise.errors import UserError
from unnoise.runs.train import train
from unnoise_image.data.digits import Digits
from unnoise_image.masks import made_anew

CODEC = {"name": "kl_autoencoder", "channels": [8, 8], "latent_channels": 2, "train": {"steps": 2, "batch": 4}}


def config(**changes):
    return {
        "modality": "image",
        "data": {"name": "digits"},
        "representation": {"name": "pixels"},
        "denoiser": {"name": "unet", "channels": [8, 8], "attention": [False, False], "head_dim": 8, "cond_dim": 16},
        "process": {"*": {"name": "gaussian", "schedule": {"name": "flow"}, "parametrization": {"name": "flow"}}},
        "conditions": {"use": ["class"], "dim": 16},
        "train": {"batch": 8, "steps": 2, "threads": 1, "precision": "fp32"},
        "sample": {"steps": 3},
        **changes,
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return unnoise.load(train(config(), tmp_path_factory.mktemp("a") / "run").folder, device="cpu")


@pytest.fixture(scope="module")
def digits():
    data = Digits("test", 0)
    return [data[i] for i in range(3)]


def test_words_of_a_mask():
    def rows(text):
        return made_anew(text, 4, 6).astype(int).tolist()

    assert rows("left:2") == [[1, 1, 0, 0, 0, 0]] * 4 and rows("right:1") == [[0, 0, 0, 0, 0, 1]] * 4
    assert rows("top:1") == [[1] * 6] + [[0] * 6] * 3 and rows("bottom:3") == [[0] * 6] + [[1] * 6] * 3
    assert rows("border:1") == [[1] * 6, [1, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 1], [1] * 6]
    assert rows("box:1,2,3,4") == [[0] * 6] * 2 + [[0, 1, 1, 0, 0, 0]] * 2


def test_a_picture_as_a_mask(tmp_path):
    white = np.zeros((4, 6), np.uint8)
    white[1:3, 2] = 255
    Image.fromarray(white).save(tmp_path / "mask.png")
    assert np.array_equal(made_anew(str(tmp_path / "mask.png"), 4, 6), white > 0)
    with pytest.raises(UserError, match="6 wide and 4 high"):
        made_anew(str(tmp_path / "mask.png"), 6, 4)
    assert np.array_equal(made_anew(white > 0, 4, 6), white > 0)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("lft:2", "Did you mean 'left'"),
        ("left:9", "from 1 to 8"),
        ("left:1.5", "out of range"),
        ("box:1,2,1,4", "out of range"),
        ("box:1,2", "box takes LEFT,TOP,RIGHT,BOTTOM"),
        (np.zeros((8, 7), bool), r"a mask of shape \(8, 7\)"),
        ("left:8", "leaves nothing to keep|."),
    ],
)
def test_masks_that_do_not_fit(model, digits, mask, words):
    if isinstance(mask, str) and mask == "left:8":  # all of it: that is sampling anew, and no mistake
        assert len(model.edit("infill", digits, mask=mask, progress=False).items) == 3
        return
    with pytest.raises(UserError, match=words):
        model.edit("infill", digits, mask=mask, progress=False)


@pytest.mark.parametrize("mask", ["left:3", "box:2,2,6,6", "border:1"])
@pytest.mark.parametrize("sampler", ["adams", "heun", "ddpm", "repaint"])
def test_what_is_kept_is_kept_to_the_byte(model, digits, mask, sampler):
    made = model.edit("infill", digits, mask=mask, n=5, sampler=sampler, condition=3, progress=False)
    anew = made_anew(mask, 8, 8)
    for index, item in enumerate(made.items):
        assert np.array_equal(item[~anew], digits[index % 3][~anew])
        assert not np.array_equal(item[anew], digits[index % 3][anew])
    # Already before what was kept is put back: standardised pixels are exact.
    plain = model.representation.decode(made.state)
    assert all(np.array_equal(item[~anew], digits[i % 3][~anew]) for i, item in enumerate(plain))


def test_latents_are_put_back_to_the_byte(tmp_path, digits):
    made_of = config(representation={"name": "latents"}, codec=CODEC)
    model = unnoise.load(train(made_of, tmp_path / "run").folder, device="cpu")
    made = model.edit("infill", digits, mask="right:4", progress=False)
    assert all(np.array_equal(new[:, :4], old[:, :4]) for new, old in zip(made.items, digits, strict=True))
    blank = model.edit("infill", [np.where(np.arange(8) < 4, d[..., 0], 99)[..., None] for d in digits], mask="right:4",
                       progress=False)  # fmt: skip
    assert all(np.array_equal(a, b) for a, b in zip(made.items, blank.items, strict=True))  # it did not look


def test_variations_and_their_ends(model, digits):
    none = model.edit("variation", digits, strength=0, progress=False)
    assert all(np.array_equal(a, b) for a, b in zip(none.items, digits, strict=True))
    anew = model.edit("variation", digits, strength=1, seed=5, condition=3, progress=False)
    fresh = model.sample(3, 5, condition=3, progress=False)
    assert all(np.array_equal(a, b) for a, b in zip(anew.items, fresh.items, strict=True))
    with pytest.raises(UserError, match="item 0 of the source does not fit the model: shape 9x8x1"):
        model.edit("variation", [np.zeros((9, 8, 1), np.uint8)], progress=False)


def test_a_file_is_a_source(model, digits, tmp_path):
    Image.fromarray(digits[0][..., 0]).save(tmp_path / "one.png")
    made = model.edit("infill", tmp_path / "one.png", mask="bottom:4", n=2, progress=False)
    assert all(np.array_equal(item[:4], digits[0][:4]) for item in made.items)


def test_two_digits_in_two_halves(model):
    made = model.edit("compose", condition=1, other=8, mask="right:4", n=2, guidance_scale=2, progress=False)
    assert made.record["nfe"] == 9 and made.items[0].shape == (8, 8, 1)
