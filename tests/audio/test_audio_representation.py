"""Sounds as states and back: levels, lengths, channels, statistics, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from unnoise.errors import UserError
from unnoise.noise import Noise
from unnoise_audio.autoencoder import MelAutoencoder
from unnoise_audio.latents import Latents
from unnoise_audio.mel import LogMel, VocodedMel
from unnoise_audio.sound import Sound
from unnoise_audio.spectrum import ComplexSpectrum
from unnoise_audio.vocoder import Vocoder

BANDS = {"n_fft": 128, "hop": 32, "mels": 16}


def snr(made, real):
    difference = made.samples[:, : real.samples.shape[1]].astype(np.float64) - real.samples
    return 10 * np.log10(np.square(real.samples, dtype=np.float64).sum() / max(np.square(difference).sum(), 1e-30))


def fitted(made, items):
    made.fit(items)
    return made


def latents(items):
    codec = MelAutoencoder({**BANDS, "width": 16, "depth": 1}, 4, (16, 16), blocks=1, stem=1)
    return fitted(Latents(fitted(codec, items)), items)


def vocoded(items):
    codec = Vocoder(**BANDS, width=16, depth=2)
    return fitted(VocodedMel(fitted(codec, items)), items)


MAKERS = {
    "spectrum": lambda items: fitted(ComplexSpectrum(62, 16), items),
    "mel": lambda items: fitted(LogMel(**BANDS, iterations=4), items),
    "vocoded": vocoded,
    "latents": latents,
}


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("n_fft", "hop", "exponent"), [(62, 16, 0.5), (62, 31, 0.5), (126, 32, 1.0), (126, 32, 0.3)])
def test_complex_spectra_lose_nothing(sounds, channels, n_fft, hop, exponent):
    items = sounds(6, channels)
    spectrum = fitted(ComplexSpectrum(n_fft, hop, exponent), items)
    made = spectrum.decode(spectrum.encode(items))
    assert min(snr(a, b) for a, b in zip(made, items, strict=True)) > 100
    for a, b in zip(made, items, strict=True):
        assert a.samples.shape[1] == -(-b.samples.shape[1] // hop) * hop  # a whole number of hops, ending in silence
        assert np.abs(a.samples[:, b.samples.shape[1] :]).max(initial=0) < 1e-5


def test_statistics_are_those_of_the_real_frames(sounds):
    items = sounds(8)
    spectrum = fitted(ComplexSpectrum(62, 16), items)
    state = spectrum.encode(items)
    real = state.parts["spectrum"][state.masks["frames"]]
    inner = real[:, 1:-1].double().square().mean((0, 2))  # the first and last bin have no imaginary part
    np.testing.assert_allclose(inner, 1, atol=1e-3)


@pytest.mark.parametrize("whitening", [0.0, 0.5])
def test_less_whitening_leaves_loud_bins_louder(sounds, whitening):
    items = sounds(8)
    white, less = (fitted(ComplexSpectrum(62, 16, whitening=w), items) for w in (1.0, whitening))
    real = less.encode(items)
    assert float(real.parts["spectrum"][real.masks["frames"]].square().mean()) == pytest.approx(1, abs=0.05)
    # What is left of the differences between bins is their power of 1 - whitening.
    left = (white.scale / less.scale).log()
    full = white.scale.log()
    torch.testing.assert_close(left - left.mean(), (1 - whitening) * (full - full.mean()), atol=1e-4, rtol=1e-3)
    assert min(snr(a, b) for a, b in zip(less.decode(real), items, strict=True)) > 100
    with pytest.raises(UserError, match="whitening=2"):
        ComplexSpectrum(whitening=2)


def test_silent_bins_are_not_blown_up(sine):
    items = [sine(500, 0.2), sine(700, 0.2)]
    state = fitted(ComplexSpectrum(126, 32), items).encode(items)
    assert float(state.parts["spectrum"].abs().max()) < 50


@pytest.mark.parametrize("name", MAKERS)
def test_a_sound_is_the_same_alone_and_in_a_batch(sounds, name):
    items = sounds(5)
    representation = MAKERS[name](items)
    together, (part,) = representation.encode(items), representation.layout
    decoded = representation.decode(together)
    shortest = min(range(5), key=lambda i: items[i].samples.shape[1])
    alone = representation.encode([items[shortest]])
    torch.testing.assert_close(
        together[shortest : shortest + 1].trim().parts[part.name], alone.parts[part.name], atol=1e-4, rtol=1e-4
    )
    again = representation.decode(alone)[0]
    assert again.samples.shape == decoded[shortest].samples.shape
    np.testing.assert_allclose(again.samples, decoded[shortest].samples, atol=1e-4)


@pytest.mark.parametrize("name", MAKERS)
def test_all_are_rebuilt_from_settings_and_weights(sounds, name):
    items = sounds(5)
    first = MAKERS[name](items)
    other = {
        "spectrum": lambda: ComplexSpectrum(62, 16),
        "mel": lambda: LogMel(**BANDS, iterations=4),
        "vocoded": lambda: VocodedMel(first.codec),
        "latents": lambda: Latents(first.codec),
    }[name]()
    other.restore(json.loads(json.dumps(first.settings())))
    other.load_state_dict(first.state_dict())
    (part,) = first.layout
    assert torch.equal(other.encode(items).parts[part.name], first.encode(items).parts[part.name])


def test_stereo_stays_stereo(sounds):
    items = sounds(4, channels=2)
    for name in ("spectrum", "vocoded", "latents"):
        representation = MAKERS[name](items)
        assert representation.decode(representation.encode(items))[0].channels == 2


def test_sounds_of_another_format_are_named(sounds, sine):
    spectrum = fitted(ComplexSpectrum(62, 16), sounds(4))
    broken = sounds(1)[0]
    broken.samples[0, 5] = np.nan
    found = spectrum.unfit([*sounds(2), sine(rate=16000), Sound(np.zeros((1, 0), np.float32), 8000), broken])
    assert set(found) == {2, 3, 4}
    assert "16000 Hz" in found[2] and "no samples" in found[3] and "not finite" in found[4]
    with pytest.raises(UserError, match="no sounds to learn from"):
        ComplexSpectrum().fit([])


def test_lengths_are_drawn_from_the_data_and_by_seed(sounds):
    items = sounds(6)
    spectrum = fitted(ComplexSpectrum(62, 16), items)
    seen = {spectrum.count(item.samples.shape[1]) for item in items}
    drawn = spectrum.sizes(Noise.of(0, 200))["frames"]
    assert set(drawn.tolist()) == seen
    assert torch.equal(spectrum.sizes(Noise.of(7, 5))["frames"], drawn[7:12])


@pytest.mark.parametrize("name", MAKERS)
def test_a_duration_decides_the_length_or_is_refused(sounds, name):
    representation = MAKERS[name](sounds(6))
    sizes = representation.sizes(Noise.of(0, 3))
    assert representation.asked_sizes(sizes, {}, Noise.of(0, 3)) == sizes
    asked = torch.tensor([0.15, float("nan"), 0.2])
    frames = representation.asked_sizes(sizes, {"duration": asked}, Noise.of(0, 3))["frames"]
    assert frames[1] == sizes["frames"][1]
    for i in (0, 2):
        seconds = representation.duration(int(frames[i])) / 8000
        assert float(asked[i]) - 1e-6 <= seconds <= float(asked[i]) + representation.hop / 8000
    for seconds, message in ((9.0, "longer than any training sound"), (1e-4, "shorter than one frame")):
        with pytest.raises(UserError, match=message):
            representation.asked_sizes(sizes, {"duration": torch.full((3,), seconds)}, Noise.of(0, 3))


def test_what_a_network_makes_up_is_decoded(sounds):
    items = sounds(4)
    for make in MAKERS.values():
        representation = make(items)
        state = representation.encode(items)
        (part,) = representation.layout
        wild = state.replace({part.name: 30 * torch.randn_like(state.parts[part.name])}).project()
        assert all(np.isfinite(item.samples).all() for item in representation.decode(wild))


def test_an_autoencoder_begins_with_the_principal_components_of_the_bands(sounds):
    items = [Sound(sound.samples[:, : 7 * 32], 8000) for sound in sounds(40)]  # 8 frames, 4 latents
    codec = fitted(MelAutoencoder({**BANDS, "width": 8, "depth": 1}, 6, channels=(8,), blocks=1, stem=2), items)
    bands = codec.vocoder.mel(torch.stack([torch.from_numpy(item.samples[0]) for item in items]))
    rows = bands.reshape(-1, 2 * 16).double().numpy()
    pca = PCA(6).fit(rows)
    wanted = np.abs(pca.inverse_transform(pca.transform(rows)).clip(np.log(1e-4)) - rows).mean()
    quality = codec.quality(codec.prepare(items))
    assert quality["bands_l1"] == pytest.approx(wanted, rel=1e-4)


def test_codecs_learn(sounds):
    items = sounds(8)
    for codec, key in (
        (MelAutoencoder({**BANDS, "width": 48, "depth": 2}, 16, channels=(48,), blocks=1, stem=2), "loss"),
        (Vocoder(**BANDS, width=48, depth=2), "loss"),
    ):
        codec.fit(items)
        batch = codec.prepare(items)
        optimiser = torch.optim.Adam([p for p in codec.parameters() if p.requires_grad], 3e-3)
        losses = []
        for i in range(40):
            logs = codec.loss(batch, Noise.training(0, torch.arange(8) + 8 * i))
            optimiser.zero_grad()
            logs["loss"].backward()
            optimiser.step()
            losses.append(float(logs[key].detach()))
        assert losses[-1] < 0.8 * losses[0], type(codec).__name__
        assert all(np.isfinite(value) for value in codec.quality(batch).values())


def test_codecs_of_another_rate_are_refused(sounds, sine):
    items = sounds(4)
    other = [sine(rate=16000, seconds=0.2)] * 3
    with pytest.raises(UserError, match="the vocoder was made for 8000 Hz"):
        VocodedMel(fitted(Vocoder(**BANDS, width=8, depth=1), items)).fit(other)
    codec = fitted(MelAutoencoder({**BANDS, "width": 8, "depth": 1}, 2, channels=(8,), blocks=1), items)
    with pytest.raises(UserError, match="the autoencoder was made for 8000"):
        Latents(codec).fit(other)
    with pytest.raises(UserError, match="made for 8000 Hz"):
        codec.prepare(other)
