"""What is wrong with a config is said before the expensive work: before data are read, or at least encoded."""

import pytest

from unnoise.errors import UserError
from unnoise.runs import train

CONFIG = {
    "modality": "toy",
    "data": {"name": "ring", "n": 20},
    "representation": {"name": "plane"},
    "denoiser": {"name": "mlp"},
    "train": {"steps": 2, "batch": 4, "device": "cpu"},
    "sample": {"steps": 2, "n": 1},
}

BEFORE_DATA = [
    ({"stage": "codek"}, "stage 'codek' does not exist"),
    ({"seed": -3}, "seed is -3"),
    ({"seed": 10**20}, "seed is 100000000000000000000"),
    ({"modality": "tyo"}, "no modality named 'tyo'"),
    ({"data": {"name": "rnig"}}, "no dataset named 'rnig'"),
    ({"denoiser": {"name": "mlp", "widht": 3}}, "has no option 'widht'. Did you mean 'width'?"),
    ({"process": {"x": {"nmae": "gaussian"}}}, "process.x has no option 'nmae'. Did you mean 'name'?"),
    ({"process": {"*": {"name": "gausian"}}}, "no process named 'gausian'"),
    ({"process": {"x": {"schedule": {"name": "cosin"}}}}, "no schedule named 'cosin'"),
    (
        {"process": {"x": {"schedule": "cosine"}}},
        "process.x.schedule is 'cosine'\nWrite process.x.schedule.name=cosine",
    ),
    ({"process": {"x": {"name": "gaussian", "kernel": "uniform"}}}, "process.x has no option 'kernel'"),
    ({"sample": {"sampler": "huen"}}, "no sampler named 'huen'"),
    ({"train": {"time_sampling": {"name": "unifrm"}}}, "time_sampling 'unifrm' does not exist"),
    ({"train": {"pairing": {"name": "transprt"}}}, "train.pairing 'transprt' does not exist."),
    ({"train": {"decay_shape": "step"}}, "train.decay_shape 'step' does not exist"),
    ({"train": {"precision": "fp8"}}, "'fp8' does not exist"),
    ({"train": {"batch": 5, "accumulate": 2}}, "train.batch=5 cannot be computed in 2 equal pieces"),
    ({"train": {"device": "gpu"}}, "device 'gpu' cannot be used"),
    ({"codec": {"run": "nowhere"}}, "nowhere is not a run folder"),
]

BEFORE_ENCODING = [
    ({"process": {"y": {"name": "gaussian"}}}, "process: there is no part 'y'"),
    ({"process": {"x": {"parametrization": "epsilon"}}}, "epsilon"),
    ({"process": {"x": {"name": "categorical"}}}, "part 'x' is gaussian; a 'categorical' process cannot noise it"),
    ({"train": {"pairing": {"name": "transport"}}}, "no real-valued part of this representation is"),
    ({"train": {"part_weights": {"z": 2.0}}}, "train.part_weights: there is no part 'z'"),
    ({"train": {"weighting": {"name": "unifrm"}}}, "weighting 'unifrm' does not exist"),
    ({"sample": {"spacing": "linaer"}}, "linaer"),
    ({"sample": {"sampler_options": {"etta": 1}}}, "etta"),
    ({"sample": {"spacing": "karras", "spacing_options": {"rhoo": 1}}}, "rhoo"),
    ({"conditions": {"use": ["clas"]}}, "no column 'clas' to condition on. Did you mean 'class'?"),
]


def refusal(change, folder):
    changed = {key: {**value, **change[key]} if key in ("train", "sample") else change[key]
               for key, value in {**dict.fromkeys(change), **CONFIG}.items() if key in change}  # fmt: skip
    with pytest.raises(UserError) as refused:
        train({**CONFIG, **changed}, folder)
    assert not folder.exists()
    return str(refused.value)


@pytest.mark.parametrize(("change", "words"), BEFORE_DATA, ids=str)
def test_before_any_data_is_read(toy, tmp_path, monkeypatch, change, words):
    from unnoise_toy.parts import Ring

    monkeypatch.setattr(Ring, "__init__", lambda self, **options: pytest.fail("data was read"))
    assert words in refusal(change, tmp_path / "run")


@pytest.mark.parametrize(("change", "words"), BEFORE_ENCODING, ids=str)
def test_before_any_item_is_encoded(toy, tmp_path, monkeypatch, change, words):
    from unnoise_toy.parts import Plane

    monkeypatch.setattr(Plane, "encode", lambda self, items: pytest.fail("items were encoded"))
    assert words in refusal(change, tmp_path / "run")


def test_a_change_that_cannot_be_resumed_with_is_not_kept(toy, tmp_path):
    run = train(CONFIG, tmp_path / "run")
    before = run.config_path.read_bytes()
    with pytest.raises(UserError):
        train({**CONFIG, "resume": True, "data": {"name": "ring", "n": 0}}, run.folder)
    assert run.config_path.read_bytes() == before
    train({**CONFIG, "resume": True, "train": {**CONFIG["train"], "steps": 3}}, run.folder)
    assert run.checkpoint().step == 3
