"""Codecs: trained by a run of their own, chained or named, and kept inside the run that uses them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unnoise.contracts import Codec, Representation
from unnoise.errors import UserError
from unnoise.layout import Layout
from unnoise.plugins.registry import Registry
from unnoise.runs import load, load_codec, train
from unnoise.state import State

TOY = Path(__file__).parents[1] / "third_party" / "toy"


class Rotation(Codec):
    """A linear autoencoder of points; ``decoder @ encoder`` is to become the identity."""

    def __init__(self, size=3):
        super().__init__()
        self.size = size
        self.register_buffer("scale", torch.ones(()))

    def fit(self, items):
        self.restore({"inputs": len(items[0])})
        self.scale.fill_(float(np.std(np.stack(list(items)))))

    def settings(self):
        return {"inputs": self.encoder.in_features}

    def restore(self, settings):
        self.encoder, self.decoder = nn.Linear(settings["inputs"], self.size), nn.Linear(self.size, settings["inputs"])

    def prepare(self, items):
        return torch.from_numpy(np.stack(items)) / self.scale.cpu()

    def loss(self, batch, noise):
        error = (self.decoder(self.encoder(batch)) - batch).square().mean()
        return {"loss": error, "size": self.encoder.weight.norm()}

    def quality(self, batch):
        return {"rmse": float((self.decoder(self.encoder(batch)) - batch).square().mean().sqrt())}


class Latent(Representation):
    """The codec's latents, standardised."""

    needs_codec = True

    def __init__(self, codec):
        super().__init__()
        self.codec, self.layout = codec, Layout.tensor(codec.size)
        self.register_buffer("std", torch.ones(()))

    def fit(self, items):
        self.std.fill_(self.codec.encoder(self.codec.prepare(list(items))).std().item())

    def settings(self):
        return {}

    def restore(self, settings): ...

    def encode(self, items):
        return State(self.layout, {"x": self.codec.encoder(self.codec.prepare(items)) / self.std})

    def decode(self, state):
        return list((self.codec.decoder(state.parts["x"] * self.std) * self.codec.scale).numpy())

    def save(self, items, folder, settings):
        return []

    def preview(self, items, path, labels=()):
        path.write_bytes(b"")


class Net(nn.Module):
    self_conditioning = False

    def __init__(self, layout, context_dim):
        super().__init__()
        self.net = nn.Linear(layout["x"].shape[0], layout["x"].shape[0])

    def forward(self, x, level, context, previous=None, residuals=None):
        return {"x": self.net(x.parts["x"])}


class Local(Registry):
    """The installed components and three of this file's."""

    OWN = {"rotation": Rotation, "latent": Latent, "net": Net}  # noqa: RUF012

    def load(self, kind, name, modality=None):
        return self.OWN.get(name) or super().load(kind, name, modality)

    def find(self, kind, name, modality=None):
        return super().find(*(("dataset", "ring") if name in self.OWN else (kind, name)), modality)


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.syspath_prepend(str(TOY))
    torch.set_num_threads(1)
    return Local()


CONFIG = {
    "modality": "toy",
    "data": {"name": "ring", "n": 300},
    "representation": {"name": "latent"},
    "codec": {"name": "rotation", "size": 3, "train": {"steps": 300, "lr": 0.02}},
    "denoiser": {"name": "net"},
    "train": {"steps": 30, "batch": 32, "log_every": 10, "warmup": 5, "checkpoint_every": 20, "device": "cpu"},
    "sample": {"steps": 4, "n": 4},
}


def test_a_run_trains_the_codec_it_needs_and_needs_no_other_folder_afterwards(registry, tmp_path, capsys):
    run = train(CONFIG, tmp_path / "run", registry)
    quality = json.loads((run.codec_folder / "quality.json").read_text())
    assert quality["rmse"] < 0.05 and "rmse" in capsys.readouterr().out
    inside = load(run.folder, "cpu", registry)
    codec = load_codec(run.codec_folder, registry)
    for name, value in codec.state_dict().items():
        assert torch.equal(inside.representation.state_dict()[f"codec.{name}"], value), name
    before = inside.sample(3, progress=False).items
    shutil.rmtree(run.codec_folder)
    after = load(run.folder, "cpu", registry).sample(3, progress=False).items
    assert np.array_equal(np.stack(before), np.stack(after))
    train({**CONFIG, "resume": True, "train": {**CONFIG["train"], "steps": 40}}, run.folder, registry)
    assert run.checkpoint().step == 40 and not run.codec_folder.exists()


def test_a_codec_is_not_changed_by_the_run_that_uses_it(registry, tmp_path):
    codec = train({**CONFIG, "stage": "codec"}, tmp_path / "codec", registry)
    assert codec.manifest.stage == "codec" and codec.checkpoint().step == 300  # codec.train goes before train
    named = {**CONFIG, "codec": {"name": "rotation", "size": 3, "run": str(codec.folder)}}
    run = train(named, tmp_path / "run", registry)
    assert not run.codec_folder.exists()
    trained, used = codec.checkpoint().tensors("ema"), run.checkpoint().tensors("model")
    assert all(torch.equal(used[f"representation.{name}"], value) for name, value in trained.items())


def test_a_chain_stopped_in_its_first_stage_goes_on_there(registry, tmp_path, monkeypatch):
    from unnoise.training import trainer

    straight = train(CONFIG, tmp_path / "straight", registry)
    step = trainer.Trainer._step

    def stop(self):
        if self.state.step == 50:
            raise OSError("power cut")
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_step", stop)
        with pytest.raises(OSError, match="power cut"):
            train(CONFIG, tmp_path / "run", registry)
    with pytest.raises(UserError, match="holds a run already"):
        train(CONFIG, tmp_path / "run", registry)
    run = train({**CONFIG, "resume": True}, tmp_path / "run", registry)
    a, b = run.checkpoint().tensors("model"), straight.checkpoint().tensors("model")
    assert set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_a_damaged_codec_is_neither_loaded_nor_trained_on(registry, tmp_path):
    codec = train({**CONFIG, "stage": "codec"}, tmp_path / "codec", registry)
    edited = json.loads(codec.manifest_path.read_text())
    for change, words in [
        ({"settings": {"inputs": 10**9}}, "of another model .they differ in representation., does not fit the model"),
        ({"settings": {}}, "its model cannot be built: KeyError: 'inputs'"),
        ({"versions": {"unnoise": "9.0"}}, "was made with unnoise 9.0, which is newer than"),
    ]:
        codec.manifest_path.write_text(json.dumps({**edited, **change}))
        for use in (
            lambda: load_codec(codec.folder, registry),
            lambda: train({**CONFIG, "codec": {"run": str(codec.folder)}}, tmp_path / "run", registry),
            lambda: train({**CONFIG, "stage": "codec", "resume": True}, codec.folder, registry),
        ):
            with pytest.raises(UserError, match=words):
                use()
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_what_does_not_fit_together_is_named(registry, tmp_path):
    with pytest.raises(UserError, match="'latent' needs a codec"):
        train({**CONFIG, "codec": {}}, tmp_path / "a", registry)
    codec = train({**CONFIG, "stage": "codec"}, tmp_path / "codec", registry)
    with pytest.raises(UserError, match="run of a codec, which cannot be sampled"):
        load(codec.folder, "cpu", registry)
    run = train({**CONFIG, "codec": {"name": "rotation", "run": str(codec.folder)}}, tmp_path / "b", registry)
    with pytest.raises(UserError, match="not a codec's run"):
        train({**CONFIG, "codec": {"name": "rotation", "run": str(run.folder)}}, tmp_path / "c", registry)
