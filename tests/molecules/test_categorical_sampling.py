"""Ways for categorical parts to come down, from a config to the record of samples."""

import json

import pytest

from unnoise.cli.main import main
from unnoise.errors import UserError
from unnoise.runs import load

SMALL = "denoiser.width=24 denoiser.heads=2 denoiser.depth=1 train.steps=2 train.batch=4 train.device=cpu sample.n=2"
WAY = "process.atoms.kernel=absorbing process.bonds.kernel=absorbing sample.categorical.name=tau_leap"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model with masks whose own way is tau-leaping."""
    root = tmp_path_factory.mktemp("categorical")
    path, run = root / "few.smi", root / "run"
    path.write_text("\n".join(["CCO", "c1ccccc1", "CC#N", "CCN", "OC1CC1F", "CCCO", "CC(=O)O", "C1CCCC1"] * 4))
    words = f"train modality=molecules data=molecules/file data.path={path} run={run} sample.steps=3"
    assert main(f"{words} {SMALL} {WAY} sample.categorical.eta=0.3".split()) == 0
    return run


def test_options_belong_to_the_way_they_were_given_for(run):
    model = load(run, "cpu")

    def config(way=None):
        return model.plan(categorical=way).categorical.config()

    plain = {"sharpness": [1, 1]}
    assert config() == config("tau_leap") == config({"name": "tau_leap"}) == {"name": "tau_leap", "eta": 0.3, **plain}
    assert config({"eta": 1}) == {"name": "tau_leap", "eta": 1, **plain}
    assert config("bridge") == {"name": "bridge", **plain}
    assert config({"name": "bridge", "sharpness": [1, 0.9]})["sharpness"] == [1, 0.9]
    assert config({"name": "confidence", "score": "top"})["score"] == "top"
    with pytest.raises(UserError, match="confidence' has no option 'eta'"):
        config({"name": "confidence", "eta": 0.3})


def test_the_command_line_takes_it_and_the_record_tells(run, tmp_path, capsys):
    words = f"sample run={run} n=3 device=cpu"
    assert main([*words.split(), "categorical.name=confidence", "categorical.temperature=2", f"out={tmp_path}/a"]) == 0
    record = json.loads((tmp_path / "a" / "record.json").read_text())
    assert record["categorical"] == {"name": "confidence", "score": "drawn", "temperature": 2, "sharpness": [1, 1]}
    again = load(run, "cpu").sample(3, categorical=record["categorical"], progress=False)
    assert again.record["categorical"] == record["categorical"]
    capsys.readouterr()
    assert main([*words.split(), "categorical.eta=-1", f"out={tmp_path}/b"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == "unnoise: tau_leap: eta is -1"
