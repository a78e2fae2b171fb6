"""What a model was trained with, and what it is asked for: mistakes are named, with what exists; records say it all."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from damage import CONFIG, put

import unnoise
from unnoise.cli.main import main
from unnoise.conditions import Conditions, ScalarCondition
from unnoise.contracts import Scalars
from unnoise.errors import UserError
from unnoise.plugins import registry
from unnoise.runs import Manifest, Model, Run, evaluate, load, train

TOY = Path(__file__).parents[1] / "third_party" / "toy"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small run, with the toy plugin on the path."""
    root = tmp_path_factory.mktemp("requests")
    torch.set_num_threads(1)
    sys.path.insert(0, str(TOY))
    registry._registry.cache_clear()
    yield train(CONFIG, root / "a").folder
    sys.path.remove(str(TOY))
    registry._registry.cache_clear()


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """``cli("sample run=run")`` -> (exit code, what was said on stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNNOISE_PLUGINS", "unnoise-toy")

    def call(line):
        code = main(line.split())
        return code, capsys.readouterr().err.splitlines()

    return call


@pytest.mark.parametrize(
    ("words", "said", "fix"),
    [
        ("condition.class=2", "class '2' does not exist.", "There is: lower, upper; or an index from 0 to 1."),
        ("condition.class=-1", "class '-1' does not exist.", "There is: lower, upper; or an index from 0 to 1."),
        ("condition.class=uper", "class 'uper' does not exist. Did you mean 'upper'?", "There is: lower, upper; or"),
        ("condition.size=3", "the model has no condition 'size'.", "This model knows: class."),
        ("negative.clas=1", "the model has no condition 'clas'. Did you mean 'class'?", "This model knows: class."),
    ],
)
def test_what_a_model_was_not_trained_with(run, cli, words, said, fix):
    code, lines = cli(f"sample run=run {words}")
    assert (code, lines[0]) == (2, f"unnoise: {said}") and lines[1].startswith(f"         {fix}")


def test_raw_conditions_are_held_against_what_exists(run):
    model = load(run, "cpu")
    for raw, said in [([0, 2], "class 2 does not exist."), ([0], "raw values of shape (1,)")]:
        with pytest.raises(UserError) as caught:
            model.sample(2, raw={"class": torch.tensor(raw)}, progress=False)
        assert said in caught.value.message


def test_an_unconditional_model_is_told_nothing():
    with pytest.raises(UserError, match="condition 5 tells the model nothing\nLeave it out: it is unconditional"):
        Conditions([], 4).parse(5, 2)


def test_infinite_numbers_are_unknown():
    column = Scalars(np.array([1.0, 3.0, np.inf, -np.inf, np.nan, 1e300]), "u")
    condition = ScalarCondition.from_column("size", column, 4)
    assert (condition.mean, condition.low, condition.high) == (2.0, 1.0, 3.0)
    assert condition.is_absent(condition.raw(column)).tolist() == [False, False, True, True, True, True]
    for value in ("inf", 1e39, 10**400, "nan"):
        with pytest.raises(UserError, match=r"is not a finite number\.\nThe training data went from 1 to 3 u"):
            condition.parse_one(value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"conditions": {"dropout": 1.5}}, "conditions.dropout is 1.5\nIt must be at least 0 and at most 1."),
        ({"conditions": {"dropout": -0.1}}, "conditions.dropout is -0.1\nIt must be at least 0 and at most 1."),
        ({"train": {"self_conditioning": 2.0}}, "train.self_conditioning is 2.0\nIt must be at least 0 and at most 1."),
        ({"train": {"lr": float("nan")}}, "train.lr is nan\nIt must be at least 0."),
        ({"train": {"ema": {"decay": 1.0}}}, "train.ema.decay is 1.0\nIt must be at least 0 and below 1."),
    ],
)  # fmt: skip
def test_numbers_out_of_range(tmp_path, change, said):
    with pytest.raises(UserError) as caught:
        train({**CONFIG, **change}, tmp_path / "run")
    assert str(caught.value) == said


def test_a_column_that_other_data_lacks_is_named(run, monkeypatch, capsys):
    from unnoise_toy.parts import Ring

    model = load(run, "cpu")
    monkeypatch.setattr(Ring, "columns", lambda self: {})
    samples, _ = evaluate(model, 2, progress=False)
    assert "the data has no column 'class': samples are made without that condition" in capsys.readouterr().err
    assert samples.record["condition"] == {}


def test_a_manifest_is_read_once(run, monkeypatch):
    model, read = load(run, "cpu"), []
    original = Manifest.read.__func__
    monkeypatch.setattr(Manifest, "read", classmethod(lambda cls, path: read.append(path) or original(cls, path)))
    for _ in range(3):
        model.sample(1, progress=False)
    assert len(read) == 1


def test_a_record_says_who_trained_and_who_sampled_and_how_large_the_samples_are(run, mixed):
    put(run / "manifest.json", ["versions", "torch"], "2.6.0")
    put(run / "manifest.json", ["versions", "unnoise-gone"], "1.0")
    versions = load(run, "cpu").sample(1, progress=False).record["versions"]
    assert versions["trained"]["torch"] == "2.6.0" and versions["sampled"]["torch"] == torch.__version__
    assert "unnoise-gone" not in versions["sampled"] and versions["sampled"]["unnoise"] == unnoise.__version__
    sizes = {"nodes": torch.tensor([4, 2])}
    representation = SimpleNamespace(
        layout=mixed.layout,
        sizes=lambda noise: sizes,
        asked_sizes=lambda drawn, conditions, noise: drawn,
        decode=lambda state: [None] * 2,
        finish=lambda items, conditions: items,
    )
    model = Model(Run(run), representation, mixed.denoiser())
    assert model.sample(2, sampler="ddim", steps=1, progress=False).record["sizes"] == {"nodes": [4, 2]}
    assert model.sample(2, sampler="ddim", steps=1, sizes=3, progress=False).record["sizes"] == {"nodes": 3}
