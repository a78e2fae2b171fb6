"""The transform and its inverse, mel bands, and the ways back from magnitudes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from unnoise.errors import UserError
from unnoise_audio.bands import Mel, filter_bank, non_negative
from unnoise_audio.stft import Stft, compress, griffin_lim


def test_the_transform_is_scipys():
    stft, x = Stft(126, 32), torch.randn(1, 640)
    theirs = ShortTimeFFT(hann(126, sym=False), 32, 1.0, mfft=126, phase_shift=None)
    first = -theirs.p_min
    expected = theirs.stft(x[0].double().numpy())[:, first : first + 21]
    # scipy counts phases from the beginning of a frame's window as well; only where frames lie may differ.
    assert expected.shape == (64, 21)
    np.testing.assert_allclose(stft(x)[0].abs().numpy(), np.abs(expected).T, atol=1e-4)


@pytest.mark.parametrize(("n_fft", "hop"), [(126, 32), (126, 63), (64, 32), (62, 7)])
def test_the_inverse_is_exact_for_every_length_in_a_batch(n_fft, hop):
    stft, counts = Stft(n_fft, hop), torch.tensor([20, 7, 2, 13])
    mask = torch.arange(20) < counts[:, None]
    x = torch.randn(4, 2, stft.samples(20))
    for row, frames in zip(x, counts.tolist(), strict=True):
        row[:, stft.samples(frames) :] = 0
    spectrum = stft(x)
    assert spectrum.shape == (4, 2, 20, n_fft // 2 + 1)
    back = stft.inverse(spectrum, mask)
    error = (back - x).double().square().sum() / x.double().square().sum()
    assert -10 * torch.log10(error) > 120
    alone = stft.inverse(spectrum[1:2, :, :7])
    torch.testing.assert_close(alone, back[1:2, :, : stft.samples(7)])


def test_the_inverse_is_the_least_squares_one():
    """Of all signals, it gives the one whose transform is nearest to a spectrum that no signal has."""
    stft = Stft(16, 4)
    wanted = torch.randn(1, 1, 9, 9, dtype=torch.complex64)
    wanted[..., [0, -1]] = wanted[..., [0, -1]].real + 0j
    x = stft.inverse(wanted).double()
    # Bins between the ends stand for two of the full transform.
    weight = torch.tensor([1.0] + [2.0] * 7 + [1.0])

    def distance(y):
        return ((stft(y.float()) - wanted).abs().square() * weight).sum()

    inner = slice(8, -8)  # the transform of the ends also sees what the inverse cuts off
    for _ in range(8):
        step = torch.zeros_like(x)
        step[..., inner] = 0.05 * torch.randn(step[..., inner].shape)
        assert distance(x + step) > distance(x)


def test_parameters_that_lose_samples_are_refused():
    for n_fft, hop in ((15, 4), (16, 9), (16, 0)):
        with pytest.raises(UserError, match="lose samples"):
            Stft(n_fft, hop)


def test_compression_keeps_phases_and_is_undone():
    x = torch.randn(50, dtype=torch.complex64)
    x[0] = 0
    y = compress(x, 0.5)
    torch.testing.assert_close(y.abs(), x.abs().sqrt())
    torch.testing.assert_close(y.angle(), x.angle())
    torch.testing.assert_close(compress(y, 2.0), x)
    z = x.clone().requires_grad_()
    compress(z, 2.0).abs().sum().backward()
    assert z.grad.isfinite().all()


def hertz_to_mel(hertz, scale):
    """HTK: ``2595 log10(1 + f / 700)``. Slaney (Auditory Toolbox, 1998): linear below 1 kHz, logarithmic above."""
    if scale == "htk":
        return 2595 * np.log10(1 + hertz / 700)
    return np.where(hertz < 1000, hertz * 3 / 200, 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4))


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_bands_are_triangles_at_equal_distances_in_mel(scale):
    """Every triangle is 0 at the centres of its neighbours, 1 at its own, and straight in Hertz between them."""
    bank = filter_bank(513, 40, 16000, 40.0, 8000.0, scale).numpy()
    hertz = np.linspace(0, 8000, 513)
    fine = np.linspace(0, 8000, 80001)
    low, high = hertz_to_mel(np.array([40.0, 8000.0]), scale)
    corners = np.interp(np.linspace(low, high, 42), hertz_to_mel(fine, scale), fine)
    expected = [np.interp(hertz, corners[i : i + 3], [0, 1, 0]) for i in range(40)]
    np.testing.assert_allclose(bank, expected, atol=2e-4)


def test_bands_that_hear_nothing_are_refused():
    with pytest.raises(UserError, match="lie between two bins"):
        filter_bank(33, 64, 16000, 40.0, 8000.0, "slaney")
    with pytest.raises(UserError, match="make no mel bands"):
        Mel(8000, 256, 64, 32, 40.0, 9000.0, "slaney", 1e-4)


def test_a_sine_at_full_scale_has_magnitude_one(sine):
    mel = Mel(8000, 512, 128, 32, 40.0, 0.0, "slaney", 1e-4)
    bands = mel(torch.from_numpy(sine(1000.0, 0.512, 1.0).samples))[0]
    loudest = bands[8:24].exp().sum(1).mean()  # a window spreads it over two bins: their sum is 2 at most
    assert 1.0 < float(loudest) < 2.2
    assert float(bands.min()) >= np.log(1e-4) - 1e-5


def test_bands_are_bounded_by_what_samples_within_full_scale_can_have():
    mel = Mel(8000, 512, 128, 32, 40.0, 0.0, "slaney", 1e-4)
    noise = torch.rand(8, 4000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    loud = [(torch.arange(4000) * (2 * np.pi * hertz / 8000)).sin().sign() for hertz in (90.0, 440.0, 3000.0)]
    sounds = [*noise, *noise.sign(), *loud, torch.ones(4000), torch.cos(torch.arange(4000) ** 2 / 3000).sign()]
    heard = torch.stack([mel(sound) for sound in sounds])
    torch.testing.assert_close(mel.within(heard), heard, rtol=0, atol=1e-6)
    most = mel.within(torch.full((1, 32), 99.0))[0]
    narrow = heard.flatten(0, 1).amax(0)[:8]
    assert (most[:8] - narrow).min() < np.log(2)  # a loud tone in a band comes within a factor of two of it


def test_the_inversion_of_bands_is_that_of_non_negative_least_squares():
    bank = filter_bank(65, 12, 8000, 40.0, 4000.0, "slaney")
    magnitude = torch.rand(5, 65)
    bands = magnitude @ bank.T
    ours = non_negative(bank, bands, iterations=300)
    assert float(ours.min()) >= 0
    for row, wanted in zip(ours, bands, strict=True):
        _, residual = nnls(bank.double().numpy(), wanted.double().numpy())
        assert float((bank @ row - wanted).norm()) < residual + 1e-2 * float(wanted.norm())


def test_griffin_and_lim_find_a_signal_with_these_magnitudes(sounds):
    stft = Stft(256, 64)
    x = torch.from_numpy(sounds(1, shortest=2000)[0].samples[:, :1920])[None]
    magnitude = stft(x).abs()
    mask = torch.ones(1, magnitude.shape[2], dtype=torch.bool)

    def error(iterations):
        found = stft(griffin_lim(stft, magnitude, mask, iterations)).abs()
        return float((found - magnitude).norm() / magnitude.norm())

    assert error(32) < 0.25 and error(32) < 0.7 * error(1)
    assert torch.equal(griffin_lim(stft, magnitude, mask, 3), griffin_lim(stft, magnitude, mask, 3))
