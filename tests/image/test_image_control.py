"""Maps and controls of both denoisers of pictures, in pixels and in latents."""

import json

import numpy as np
import pytest
import torch

from unnoise.cli.main import main
from unnoise.errors import UserError
from unnoise.plugins.registry import get_registry
from unnoise.runs import load, train
from unnoise.runs.controls import LoadedControl, load_control
from unnoise.testing.checks.network import takes_control
from unnoise.testing.subject import Subject
from unnoise_image.pictures import to_image

QUICK = {"steps": 2, "batch": 8, "log_every": 2, "warmup": 0, "device": "cpu", "preview_every": 1}
NETWORKS = {
    "unet": {"name": "unet", "channels": [8, 16], "attention": [False, True], "head_dim": 8, "cond_dim": 16},
    "dit": {"name": "dit", "width": 16, "depth": 3, "head_dim": 8},
}


def config(network="unet", **changes):
    made = {
        "modality": "image",
        "data": {"name": "digits"},
        "representation": {"name": "pixels"},
        "denoiser": NETWORKS[network],
        "conditions": {"use": ["class"], "dim": 8},
        "train": QUICK,
        "sample": {"steps": 3, "n": 4, "guidance": {"scale": 2.0}},
    }
    return {**made, **changes}


def shaken(folder, model):
    """A control whose last layers are not zero."""
    control = load_control(folder, model)
    torch.manual_seed(1)
    for out in control.control.outs:
        torch.nn.init.normal_(out.weight, std=0.2)
    return control


def states(model, **options):
    options = {"condition": 3, "guidance_scale": 2, "progress": False, **options}
    return model.sample(4, seed=2, **options).state.parts["pixels"]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_control_acts_where_it_shall_and_nowhere_else(network, tmp_path):
    base = train(config(network), tmp_path / "base").folder
    control = {"base": str(base), "map": "sketch", "judge_every": 2, "judged": 4}
    folder = train(config(network, stage="control", control=control), tmp_path / "control").folder
    assert "agreement/sketch" in json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert len(list((folder / "previews").glob("*.png"))) == 2
    model = load(base, "cpu")
    one, other = np.random.default_rng(0).random((2, 8, 8)).astype(np.float32)
    moving = shaken(folder, model)
    plain = states(model)
    assert torch.equal(states(model, control={"run": moving, "map": one, "strength": 0}), plain)
    followed = states(model, control={"run": moving, "map": one})
    assert not torch.equal(followed, plain)
    early = states(model, control={"run": moving, "map": one, "interval": [None, 0]})
    assert not torch.equal(early, plain) and not torch.equal(early, followed)
    both = [{"run": moving, "map": one}, {"run": moving, "map": other, "strength": 0.5}]
    assert not torch.equal(states(model, control=both), followed)
    assert not torch.equal(states(model, control=both, negative=5), states(model, control=both))
    with pytest.raises(UserError, match="size 4 x 4, the model's has 8 x 8"):
        states(model, control={"run": moving, "map": np.zeros((4, 4))})
    source = [np.full((8, 8, 1), 90, np.uint8)] * 2
    kept = model.edit("infill", source, mask="right:4", control={"run": moving, "map": one}, progress=False)
    assert all((item[:, :4] == 90).all() for item in kept.items)


def test_a_control_of_latents_sees_a_map_of_pixels(tmp_path):
    latents = {
        "representation": {"name": "latents"},
        "codec": {"name": "kl_autoencoder", "channels": [8], "blocks": 1, "stem": 2, "latent_channels": 2},
    }
    base = train(config(**latents), tmp_path / "base").folder
    control = {"base": str(base), "map": "sketch"}
    folder = train(config(stage="control", control=control), tmp_path / "control").folder
    model = load(base, "cpu")
    moving = shaken(folder, model)
    assert isinstance(moving, LoadedControl) and moving.control.condition.points == (8, 8)
    spot = np.zeros((8, 8), np.float32)
    spot[:4, :4] = 1
    made = [model.sample(2, control={"run": moving, "map": m}, progress=False).state for m in (spot, 0 * spot)]
    assert not torch.equal(made[0].parts["latents"], made[1].parts["latents"])


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_adds_what_it_is_given_at_the_places_that_it_names(network, tmp_path):
    words = [f"denoiser.{key}={json.dumps(value)}" for key, value in NETWORKS[network].items() if key != "name"]
    takes_control(Subject("image", tmp_path, [f"denoiser={network}", *words], get_registry()))


@pytest.mark.parametrize("network", NETWORKS)
def test_models_are_told_maps_beside_other_conditions(network, tmp_path):
    told = {"use": ["class", "sketch"], "dim": 8, "maps": {"sketch": {"name": "sketch", "sigma": 1.0}}}
    run = train(config(network, conditions=told), tmp_path / "run")
    model = load(run.folder, "cpu")
    torch.nn.init.normal_(model.denoiser.network.maps.encoders[0].out.weight)
    torch.nn.init.normal_(
        (model.denoiser.network.unet.conv_out if network == "unet" else model.denoiser.network.out).weight
    )
    drawn = np.random.default_rng(0).integers(0, 255, (8, 8, 1), np.uint8)
    to_image(drawn).save(tmp_path / "drawn.png")
    subsets = [{}, {"class": 3}, {"sketch": str(tmp_path / "drawn.png")}]
    subsets.append({**subsets[1], **subsets[2]})
    made = [model.sample(2, condition=c, progress=False).state.parts["pixels"] for c in subsets]
    assert all(not torch.equal(a, b) for i, a in enumerate(made) for b in made[:i])
    given = model.sample(2, condition={"sketch": drawn[..., 0] / 255}, progress=False).state.parts["pixels"]
    torch.testing.assert_close(given, made[2])


def test_what_goes_wrong_on_the_command_line_is_said_in_two_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train(config(), "base")
    train(config(stage="control", control={"base": "base", "map": "sketch"}), "control")
    train(config("dit"), "other")
    to_image(np.zeros((9, 9, 1), np.uint8)).save("large.png")
    to_image(np.zeros((8, 8, 1), np.uint8)).save("fits.png")
    capsys.readouterr()
    for words, message, fix in [
        (["run=base", "control.run=control", "control.map=large.png"], "has size 9 x 9", "Bring it to 8 x 8 first"),
        (
            ["run=other", "control.run=control", "control.map=fits.png"],
            "trained for another base: denoiser",
            "run=base",
        ),
        (["run=base", "control.run=other", "control.map=fits.png"], "not of a control", "train one"),
        (["run=base", "control.run=control"], "which sketch", "control.map=<sketch>"),
    ]:
        assert main(["sample", "n=2", *words]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 2 and message in lines[0] and fix in lines[1]
    assert main(["sample", "n=2", "run=base", "control.run=control", "control.map=fits.png", "out=made"]) == 0
    assert json.loads((tmp_path / "made" / "record.json").read_text())["control"][0]["map"] == "sketch"
