"""Pixels, latents and the autoencoder: round trips, statistics, files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from unnoise.errors import UserError
from unnoise.noise import Noise
from unnoise_image.files import read_pictures
from unnoise_image.kl_autoencoder import KLAutoencoder
from unnoise_image.latents import Latents
from unnoise_image.pictures import contact_sheet, stack
from unnoise_image.pixels import Pixels


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_round_trip_exactly(pictures, channels):
    items = pictures(channels=channels)
    pixels = Pixels()
    pixels.fit(items)
    state = pixels.encode(items)
    assert state.parts["pixels"].shape == (6, channels, 8, 12)
    for item, back in zip(items, pixels.decode(state), strict=True):
        np.testing.assert_array_equal(item, back)


def test_every_grey_level_survives():
    items = [np.arange(256, dtype=np.uint8).reshape(16, 16, 1)]
    pixels = Pixels()
    pixels.fit(items)
    np.testing.assert_array_equal(pixels.decode(pixels.encode(items))[0], items[0])


def test_pixels_measure_mean_and_deviation_per_channel(pictures):
    items = pictures(n=1500)  # more than one chunk
    pixels = Pixels()
    pixels.fit(items)
    x = np.stack(items) / 255
    np.testing.assert_allclose(pixels.mean, x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(pixels.std, x.std((0, 1, 2)), rtol=1e-5)
    encoded = pixels.encode(items).parts["pixels"]
    torch.testing.assert_close(encoded.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(encoded.std((0, 2, 3)), torch.ones(3), atol=1e-4, rtol=0)


def test_pixels_are_rebuilt_from_settings_and_buffers(pictures):
    items = pictures()
    pixels, copy = Pixels(), Pixels()
    pixels.fit(items)
    copy.restore(json.loads(json.dumps(pixels.settings())))
    copy.load_state_dict(pixels.state_dict())
    assert copy.layout == pixels.layout
    torch.testing.assert_close(copy.encode(items).parts["pixels"], pixels.encode(items).parts["pixels"])


def test_a_constant_channel_is_finite(pictures):
    items = [np.full((4, 4, 1), 7, np.uint8)] * 3
    pixels = Pixels()
    pixels.fit(items)
    assert pixels.encode(items).parts["pixels"].abs().max() < 1e-3
    np.testing.assert_array_equal(pixels.decode(pixels.encode(items))[0], items[0])


def test_pictures_of_another_shape_are_named_and_do_not_count(pictures):
    odd = np.zeros((4, 4, 3), np.uint8)
    items = [*pictures(), odd]
    pixels, plain = Pixels(), Pixels()
    pixels.fit(items)
    plain.fit(pictures())
    assert pixels.unfit(items) == {6: "shape 4x4x3 where most have 8x12x3"}
    assert torch.equal(pixels.mean, plain.mean)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "no pictures to learn from"),
        ([np.zeros((4, 4), np.uint8)], "has shape"),
        ([np.zeros((4, 4, 2), np.uint8)], "has shape"),
        ([np.zeros((4, 4, 1))], "type float64"),
    ],
)
def test_what_is_no_picture_is_refused(items, message):
    with pytest.raises(UserError, match=message):
        Pixels().fit(items)


def test_decoding_clips_what_lies_outside(pictures):
    pixels = Pixels()
    pixels.fit(pictures())
    state = pixels.encode(pictures())
    far = pixels.decode(state.replace({"pixels": 100 * torch.sign(state.parts["pixels"])}))
    assert set(np.unique(np.stack(far))) <= {0, 255}


def test_flips_mirror_about_half_of_the_pictures_whatever_the_batch(pictures):
    items = pictures(n=200)
    pixels, still = Pixels(flip=True), Pixels()
    pixels.fit(items)
    still.fit(items)
    state, noise = pixels.encode(items), Noise.of(3, 200)
    x = state.parts["pixels"]
    flipped = pixels.augment(state, noise).parts["pixels"]
    mirrored = (flipped == x.flip(3)).flatten(1).all(1)
    assert (mirrored | (flipped == x).flatten(1).all(1)).all()
    assert 70 < int(mirrored.sum()) < 130
    alone = pixels.augment(state[17:18], noise[17:18]).parts["pixels"]
    assert torch.equal(alone, flipped[17:18])
    assert torch.equal(still.augment(state, noise).parts["pixels"], x)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_files_hold_the_pictures_and_the_settings_and_repeat_to_the_byte(pictures, tmp_path, channels):
    items, settings = pictures(channels=channels), {"seed": 3, "sampler": "heun", "prompt": "größer"}
    pixels = Pixels()
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        written = pixels.save(items, folder, settings)
        pixels.preview(items, folder / "preview.png", [f"class {i}" for i in range(len(items))])
        assert [path.name for path in written] == [f"{i:05d}.png" for i in range(len(items))]
    for file in folders[0].iterdir():
        assert file.read_bytes() == (folders[1] / file.name).read_bytes()
    with Image.open(folders[0] / "00002.png") as image:
        assert json.loads(image.text["parameters"]) == settings
        back = np.asarray(image).reshape(items[2].shape)
    np.testing.assert_array_equal(back, items[2])


def test_files_are_read_back(pictures, tmp_path):
    items = pictures(channels=1)
    Pixels().save(items, tmp_path, {})
    Pixels().preview(items, tmp_path / "preview.png")  # lies beside samples and is none of them
    for item, back in zip(items, read_pictures(tmp_path), strict=True):
        np.testing.assert_array_equal(item, back)
    assert len(read_pictures(tmp_path / "00001.png")) == 1
    (tmp_path / "bad.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"bad\.png cannot be read"):
        read_pictures(tmp_path)
    with pytest.raises(UserError, match="none does not exist"):
        read_pictures(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        read_pictures(tmp_path / "empty")


def test_contact_sheet_shows_every_picture_enlarged_and_labelled(pictures):
    items = pictures(n=5, height=8, width=8, channels=1)
    plain, labelled = contact_sheet(items), contact_sheet(items, ["a"] * 5)
    assert plain.size == (3 * 52 + 4, 2 * 52 + 4)  # 8 pixels sixfold and a gap of 4
    assert labelled.height > plain.height
    cell = np.asarray(plain.convert("L"))[4:52, 108:156][::6, ::6]  # the third of the first row
    np.testing.assert_array_equal(cell, items[2][..., 0])
    with pytest.raises(UserError, match="no picture to show"):
        contact_sheet([])


@pytest.fixture
def codec(pictures):
    codec = KLAutoencoder(channels=[8, 8], blocks=1, stem=2, latent_channels=2)
    codec.fit(pictures())
    return codec


def test_latents_have_zero_mean_and_unit_deviation_per_channel(codec, pictures):
    items = pictures(n=300)
    latents = Latents(codec)
    latents.fit(items)
    z = latents.encode(items).parts["latents"]
    assert z.shape == (300, 2, 2, 3) and not z.requires_grad
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.var((0, 2, 3), correction=0), torch.ones(2), atol=1e-3, rtol=0)
    assert [item.shape for item in latents.decode(latents.encode(items[:2]))] == [(8, 12, 3)] * 2


def test_latents_decode_to_what_the_autoencoder_alone_would_give(codec, pictures):
    items = pictures()
    latents = Latents(codec)
    latents.fit(items)
    with torch.no_grad():
        direct = codec.decode(codec.encode(codec.prepare(items))[0])
    expected = ((direct.clamp(-1, 1) + 1) * 127.5).round()
    got = stack(latents.decode(latents.encode(items))).float()
    assert (got - expected).abs().max() <= 1  # rounding


def test_latents_and_codec_are_rebuilt_from_settings_and_weights(codec, pictures):
    items = pictures()
    latents = Latents(codec)
    latents.fit(items)
    fresh = KLAutoencoder(channels=[8, 8], blocks=1, stem=2, latent_channels=2)
    fresh.restore(json.loads(json.dumps(codec.settings())))
    copy = Latents(fresh)
    copy.restore(latents.settings())
    copy.load_state_dict(latents.state_dict())
    torch.testing.assert_close(copy.encode(items).parts["latents"], latents.encode(items).parts["latents"])
    assert not any(p.requires_grad for p in copy.parameters())


def test_autoencoder_loss_is_its_formula(codec, pictures):
    x, noise = codec.prepare(pictures()), Noise.of(0, 6)
    parts = codec.loss(x, noise)
    mean, log_variance = codec.encode(x)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(parts["kl"], kl)
    total = parts["pixel"] + codec.gradient_weight * parts["gradient"] + codec.kl_weight * kl
    torch.testing.assert_close(parts["loss"], total)
    again = codec.loss(x[2:3], Noise.of(2, 1))
    torch.testing.assert_close(again["pixel"] * 1, codec.loss(x[2:3], noise[2:3])["pixel"])


def test_autoencoder_learns_and_quality_is_the_signal_to_noise_ratio(codec, pictures):
    x = codec.prepare(pictures())
    error = (codec.decode(codec.encode(x)[0]).clamp(-1, 1) - x).detach().numpy() / 2
    before = codec.quality(x)["psnr_db"]
    assert before == pytest.approx(-10 * np.log10((error**2).mean()), abs=1e-3)
    optimiser = torch.optim.Adam(codec.parameters(), lr=1e-2)
    for step in range(80):
        optimiser.zero_grad()
        codec.loss(x, Noise.of(step, len(x)))["loss"].backward()
        optimiser.step()
    assert codec.quality(x)["psnr_db"] > before + 6


def test_autoencoder_refuses_sides_that_do_not_divide_and_other_shapes(codec, pictures):
    with pytest.raises(UserError, match="8x12 cannot shrink by 16"):
        KLAutoencoder(channels=[4, 4], stem=8).fit(pictures())
    with pytest.raises(UserError, match="made for 8x12x3"):
        codec.prepare(pictures(channels=1))
