"""Optimisers: who is decayed, who goes to Muon, the learning rate, and the state as plain tensors."""

import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from unnoise.errors import UserError
from unnoise.schema import TrainConfig
from unnoise.training.optim import Optimizer, lr_factor


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(3, 4)
        self.norm = nn.LayerNorm([2, 4])
        self.conv = nn.Conv1d(4, 4, 3, padding=1)
        self.linear = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.ones(4))
        self.fixed = nn.Parameter(torch.ones(4, 4), requires_grad=False)

    def forward(self, i):
        h = self.norm(self.table(i))
        return (self.linear(self.conv(h.mT).mT) * self.scale).square().mean()


INPUT = torch.tensor([[0, 1], [2, 1]])
DECAYED = {"conv.weight", "linear.weight"}


def groups(optimizer):
    return {
        name: (type(o).__name__, g["weight_decay"])
        for o in optimizer.optimizers
        for g in o.param_groups
        for name in g["names"]
    }


def test_only_weights_are_decayed():
    found = groups(Optimizer(Net(), TrainConfig(weight_decay=0.3)))
    assert {name for name, (_, decay) in found.items() if decay} == DECAYED and "fixed" not in found
    assert {decay for _, decay in found.values()} == {0.0, 0.3}


def test_muon_takes_matrices_and_kernels_only():
    found = groups(Optimizer(Net(), TrainConfig(optimizer="muon", weight_decay=0.3)))
    assert {name for name, (kind, _) in found.items() if kind == "Muon"} == DECAYED
    assert found["linear.weight"][1] == found["conv.weight"][1] == 0.3 and found["table.weight"] == ("AdamW", 0.0)


def run(net, optimizer, steps, factor=1.0):
    for _ in range(steps):
        net(INPUT).backward()
        optimizer.step(factor)


def test_adamw_agrees_with_its_formula():
    """Loshchilov & Hutter 2019, algorithm 2, on one scalar weight with gradients 2w."""
    net = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(1.5)
    optimizer = Optimizer(net, TrainConfig(lr=0.1, weight_decay=0.2, betas=[0.8, 0.95], clip=0))
    w, m, v = 1.5, 0.0, 0.0
    for step in range(1, 6):
        net(torch.ones(1, 1)).square().sum().backward()
        optimizer.step(0.5)
        g = 2 * w
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        update = m / (1 - 0.8**step) / (math.sqrt(v / (1 - 0.95**step)) + 1e-8)
        w = w * (1 - 0.05 * 0.2) - 0.05 * update
        assert net.weight.item() == pytest.approx(w, rel=1e-5)


def test_clipping_bounds_the_gradient_and_returns_the_norm_before():
    net = nn.Linear(1, 1, bias=False)
    for clip, expected in ((0.5, 0.5), (0.0, 30.0), (100.0, 30.0)):
        optimizer = Optimizer(net, TrainConfig(clip=clip, lr=0.0))
        seen = []
        optimizer.optimizers[0].register_step_pre_hook(
            lambda *args, seen=seen: seen.append(float(net.weight.grad.norm()))
        )
        (net(torch.full((1, 1), 30.0))).sum().backward()
        assert float(optimizer.step(1.0)) == pytest.approx(30.0) and seen == [pytest.approx(expected, rel=1e-4)]
        assert net.weight.grad is None


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_the_state_survives_safetensors_bit_for_bit(kind, tmp_path):
    config = TrainConfig(optimizer=kind, lr=0.01)
    straight, stopped = Net(), Net()
    first, second = Optimizer(straight, config), Optimizer(stopped, config)
    run(straight, first, 6)
    run(stopped, second, 3)
    save_file(second.state_dict(), tmp_path / "optimizer.safetensors")
    again = Optimizer(stopped, config)
    again.load_state_dict(load_file(tmp_path / "optimizer.safetensors"))
    run(stopped, again, 3)
    for (name, a), b in zip(straight.named_parameters(), stopped.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_the_state_of_other_weights_is_refused():
    optimizer = Optimizer(Net(), TrainConfig())
    with pytest.raises(UserError, match=r"other weights, such as 'head\.weight'"):
        optimizer.load_state_dict({"head.weight//exp_avg": torch.zeros(1)})


def test_what_no_optimizer_can_be_made_with_is_named():
    for change, words in (
        ({"optimizer": "adam"}, "'adam' does not exist\nThere is: adamw, muon"),
        ({"decay_shape": "step"}, "'step' does not exist\nThere is: cosine, linear"),
        ({"betas": [0.9]}, r"train\.betas is \[0\.9\]"),
    ):
        with pytest.raises(UserError, match=words):
            Optimizer(Net(), TrainConfig(**change))


def test_the_learning_rate_rises_stays_and_falls():
    config = TrainConfig(warmup=10, decay=0.25, decay_shape="linear")
    rates = [lr_factor(config, step, step / 100) for step in range(101)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)]) and set(rates[10:76]) == {1.0}
    assert rates[75:] == pytest.approx([1 - i / 25 for i in range(26)])
    cosine = TrainConfig(warmup=0, decay=0.5)
    assert [lr_factor(cosine, 0, p) for p in (0.5, 0.75, 1.0)] == pytest.approx([1.0, 0.5, 0.0])
    constant = TrainConfig(warmup=0, decay=0.0)
    assert lr_factor(constant, 0, 1.0) == 1.0
