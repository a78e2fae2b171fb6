"""Numbers that are not finite: in the data, in a loss, in what a user asks for. All are named; nothing is lost."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from unnoise.cli.main import main
from unnoise.conditions import Conditions, ScalarCondition
from unnoise.contracts import Representation
from unnoise.errors import Caution, UserError
from unnoise.schema import ConditionsConfig, TrainConfig
from unnoise.training.checkpoint import checkpoints
from unnoise.training.data import EncodedData, Items
from unnoise.training.tasks import Diffusion
from unnoise.training.trainer import Trainer


class Encoded(Representation):
    """States that exist already, by index."""

    fit = settings = restore = decode = save = preview = None

    def __init__(self, state):
        super().__init__()
        self.layout, self.state = state.layout, state

    def encode(self, items):
        return self.state[torch.tensor(list(items))]


class FailsLater(nn.Module):
    """A layer that gives NaN from its n-th call on."""

    def __init__(self, layer, good):
        super().__init__()
        self.layer, self.left = layer, good

    def forward(self, x):
        self.left -= 1
        return self.layer(x) * (1.0 if self.left >= 0 else float("nan"))


class Numbers:
    """A data set of its own indices."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return index


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_data_that_is_not_finite_is_refused_naming_the_part(mixed, value):
    state = mixed.state((5, 3, 1, 4, 2))
    assert len(EncodedData.encode(Items(Numbers()), Encoded(state))) == 5
    state.parts["dist"][3, 1, 0] = value
    state.parts["dist"][4, 0, 0] = value
    with pytest.raises(UserError, match="not finite: part 'dist' of 2 items"):
        EncodedData.encode(Items(Numbers()), Encoded(state))


def test_a_part_whose_loss_turns_nan_is_named_and_the_last_good_checkpoint_stays(mixed, tmp_path):
    config = TrainConfig(
        steps=20, batch=4, log_every=5, checkpoint_every=5, precision="fp32", warmup=0, self_conditioning=0
    )
    denoiser = mixed.denoiser()
    denoiser.network.heads["types"] = FailsLater(denoiser.network.heads["types"], good=7)
    state = mixed.state((5, 3, 1, 4, 2))
    task = Diffusion(Encoded(state), denoiser, EncodedData(state), config, ConditionsConfig(), 0)
    with pytest.raises(UserError) as caught:
        Trainer(task, config, 0, tmp_path).run()
    assert caught.value.message == "loss, error/types, grad_norm of step 8 is not finite"
    (saved,) = checkpoints(tmp_path / "checkpoints")
    assert saved.step == 5
    for name in ("model", "ema", "optimizer"):
        assert all(tensor.isfinite().all() for tensor in saved.tensors(name).values())
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [5]


def test_a_run_that_diverges_ends_with_two_lines_and_can_be_resumed(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = "train experiment=toy/small run=r train.device=cpu train.steps=40 train.log_every=4 train.checkpoint_every=4"
    assert main([*line.split(), "train.lr=1e30", "train.clip=0", "train.warmup=0"]) == 2
    what, fix = capsys.readouterr().err.splitlines()[-2:]
    assert what.startswith("unnoise: loss, error/x, grad_norm of step ")
    assert fix.strip().startswith("Lower train.lr")
    assert not list(Path("r/checkpoints").glob("*00000040"))


def conditions(**limits):
    return Conditions([ScalarCondition("gap", 4, mean=2.0, std=1.0, unit="eV", **limits)], 4)


def test_a_number_outside_of_the_trained_range_is_allowed_and_warned_of():
    own = conditions(low=0.1, high=3.0)
    for inside in (0.1, 3, [0.1, None, 2.0]):  # 0.1 is larger in float32 than in float64
        own.parse({"gap": inside}, 3)
    with pytest.warns(Caution) as warned:
        raw = own.parse({"gap": [2, 7, -1]}, 3)["gap"]
    assert raw.tolist() == [2, 7, -1]
    assert [str(warning.message) for warning in warned] == [
        "gap 7 is a guess. The training data went from 0.1 to 3 eV."
    ]


def test_the_command_line_prints_a_warning_as_one_line(monkeypatch, capsys):
    def listing(words):
        conditions(low=0.1, high=3.0).parse(9, 1)
        return 0

    monkeypatch.setattr("unnoise.cli.inspect.listing", listing)
    assert main(["list"]) == 0
    assert capsys.readouterr().err == "unnoise: gap 9 is a guess. The training data went from 0.1 to 3 eV.\n"


def test_values_may_be_a_tensor(mixed):
    own = mixed.denoiser().conditions
    assert own.parse({"class": torch.tensor([1, 0])}, 4)["class"].tolist() == [1, 0, 1, 0]
    assert own.parse({"size": torch.tensor([0.5, -0.5])}, 2)["size"].tolist() == [0.5, -0.5]
