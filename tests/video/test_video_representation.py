"""Clips as states: statistics, lengths, rates, stills, latents."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from unnoise.errors import UserError
from unnoise.noise import Noise
from unnoise_video.autoencoder import FrameAutoencoder
from unnoise_video.clip import Clip
from unnoise_video.latents import Latents
from unnoise_video.pixels import Pixels
from unnoise_video.representation import AXIS


@pytest.fixture
def fitted(clips):
    """Colour clips of 3 and 6 frames, at 8 frames a second but for one."""
    items = clips(5, frames=6, channels=3)
    items = [items[0].cut(0, 3), *items[1:4], Clip(items[4].frames, 12.0)]
    pixels = Pixels()
    pixels.fit(items)
    return pixels, items


def test_statistics_are_those_of_all_real_frames(fitted):
    pixels, items = fitted
    values = np.concatenate([item.frames.reshape(-1, 3) for item in items]) / 255
    np.testing.assert_allclose(pixels.mean.numpy(), values.mean(0), atol=1e-5)
    np.testing.assert_allclose(pixels.std.numpy(), values.std(0), atol=1e-5)
    x = pixels.encode(items)
    real = x.parts["pixels"][x.masks[AXIS]]
    assert abs(float(real.mean())) < 1e-4 and abs(float(real.std()) - 1) < 1e-3


def test_clips_come_back_with_their_length(fitted):
    pixels, items = fitted
    made = pixels.decode(pixels.encode(items))
    for one, two in zip(items, made, strict=True):
        assert np.array_equal(one.frames, two.frames)
    assert {item.fps for item in made} == {8.0}
    assert pixels.encode([]).batch == 0 and pixels.facts(items) == "3 to 6 frames of 8x8x3, 8, 12 a second"


def test_new_clips_have_lengths_of_the_data_and_the_rate_that_is_asked_for(fitted):
    pixels, _ = fitted
    sizes = pixels.sizes(Noise.of(0, 4000))[AXIS]
    assert set(sizes.tolist()) == {3, 6} and abs(float((sizes == 3).double().mean()) - 0.2) < 0.03
    nan = float("nan")
    asked = {"duration": torch.tensor([0.5, nan, 0.5]), "fps": torch.tensor([nan, 12.0, 12.0])}
    counts = pixels.asked_sizes({AXIS: torch.tensor([3, 3, 3])}, asked, Noise.of(0, 3))[AXIS]
    assert counts.tolist() == [4, 3, 6]
    items = pixels.finish([Clip(np.zeros((1, 8, 8, 3), np.uint8), 8.0)] * 3, asked)
    assert [item.fps for item in items] == [8.0, 12.0, 12.0]
    for seconds in (2.0, 0.01):
        with pytest.raises(UserError, match="which the model cannot make"):
            pixels.asked_sizes({AXIS: torch.tensor([3])}, {"duration": torch.tensor([seconds])}, Noise.of(0, 1))


def test_clips_that_do_not_fit_are_named(fitted, clips):
    pixels, items = fitted
    strange = [*clips(1, channels=1), Clip(items[0].frames[:0], 8.0), Clip(items[0].frames, 0.0), items[1]]
    reasons = pixels.unfit(strange)
    assert set(reasons) == {0, 1, 2}
    assert "8x8x1 where most have 8x8x3" in reasons[0] and "no frames" in reasons[1] and "0.0 frames" in reasons[2]
    with pytest.raises(UserError, match="no clips"):
        Pixels().fit([])
    with pytest.raises(UserError, match="float64"):
        Pixels().fit([Clip(np.zeros((1, 2, 2, 1)), 8.0)])
    for options in ({"stills": 2.0}, {"format": "avi"}):
        with pytest.raises(UserError, match=r"representation\.format"):
            Pixels(**options)


def test_some_clips_are_shown_as_one_of_their_frames(clips):
    items = clips(1, frames=5) * 400
    pixels = Pixels(stills=0.3)
    pixels.fit(items)
    x = pixels.encode(items)
    made = pixels.augment(x, Noise.of(0, 400))
    counts = made.sizes[AXIS]
    chosen = counts == 1
    assert set(counts.tolist()) == {1, 5} and abs(float(chosen.double().mean()) - 0.3) < 0.08
    torch.testing.assert_close(made.parts["pixels"][~chosen], x.parts["pixels"][~chosen])
    assert not made.parts["pixels"][chosen][:, 1:].any()
    # Every frame of the clip is shown now and then.
    shown = (made.parts["pixels"][chosen][:, :1] == x.parts["pixels"][:1]).all((2, 3, 4)).sum(0)
    assert (shown > 10).all() and int(shown.sum()) == int(chosen.sum())


def small_codec(**options):
    return FrameAutoencoder(channels=(16,), blocks=1, stem=2, latent_channels=3, frames=3, **options)


def test_latents_of_a_frame_depend_on_that_frame_alone(clips):
    items = clips(3, frames=4)
    codec = small_codec(temporal=1)
    codec.fit(items)
    for parameter in codec.over_time.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    latents = Latents(codec).eval()
    latents.fit(items)
    x = latents.encode(items)
    assert x.parts["latents"].shape == (3, 4, 3, 4, 4)
    assert abs(float(x.parts["latents"].std()) - 1) < 0.05
    changed = [Clip(np.concatenate([items[0].frames[:3], items[1].frames[3:]]), 8.0)]
    torch.testing.assert_close(latents.encode(changed).parts["latents"][0, :3], x.parts["latents"][0, :3])
    # The decoder looks at neighbours in time, but never at padding.
    z, mask = x.parts["latents"][:1], x.masks[AXIS][:1]
    made = latents.to_pixels(z, mask)
    other = torch.cat([z[:, :3], z[:, 3:] + 1], 1)
    assert (latents.to_pixels(other, mask) - made)[:, 2].abs().max() > 1e-4
    short = mask.clone()
    short[:, 3] = False
    kept = [latents.to_pixels(torch.cat([z[:, :3], z[:, 3:] * k], 1), short)[:, :3] for k in (0, 5)]
    alone = latents.to_pixels(z[:, :3], mask[:, :3])
    for made in kept:
        torch.testing.assert_close(made, alone, atol=1e-4, rtol=1e-4)


def test_settings_rebuild_latents(clips):
    items = clips(3, frames=4)
    codec = small_codec()
    codec.fit(items)
    latents = Latents(codec)
    latents.fit(items)
    again_codec = small_codec()
    again_codec.restore(json.loads(json.dumps(codec.settings())))
    again = Latents(again_codec)
    again.restore(json.loads(json.dumps(latents.settings())))
    again.load_state_dict(latents.state_dict())
    a, b = (x.eval().encode(items).parts["latents"] for x in (latents, again))
    assert torch.equal(a, b)


def test_an_autoencoder_learns_to_repeat_frames(clips):
    items = clips(8, frames=4)
    codec = small_codec(temporal=1)
    codec.fit(items)
    batch = codec.prepare([*items, items[0].cut(0, 2)])
    assert batch.shape == (9, 3, 1, 8, 8) and torch.equal(batch[8, 1], batch[8, 2])  # the last frame stands
    before = codec.quality(batch)["psnr_db"]
    optimiser = torch.optim.AdamW(codec.parameters(), lr=3e-3)
    for i in range(60):
        optimiser.zero_grad()
        codec.loss(batch, Noise.of(9 * i, 9))["loss"].backward()
        optimiser.step()
    assert codec.quality(batch)["psnr_db"] > before + 5
    with pytest.raises(UserError, match="made for 8x8x1"):
        codec.prepare(clips(1, side=16))
    with pytest.raises(UserError, match="cannot shrink by 3"):
        FrameAutoencoder(stem=3).fit(items)
    with pytest.raises(UserError, match="size of 0"):
        FrameAutoencoder(blocks=0)
    with pytest.raises(UserError, match="made for 8x8x1"):
        Latents(codec).fit(clips(2, side=16))
