"""The average of weights: closed form, warm-up, buffers, and the swap."""

import pytest
import torch
from torch import nn

from unnoise.training.ema import Ema


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.frozen = nn.Parameter(torch.tensor([5.0]), requires_grad=False)
        self.register_buffer("count", torch.tensor(0))


def feed(net, ema, values):
    for value in values:
        with torch.no_grad():
            net.weight.fill_(value)
            net.frozen.fill_(value)
            net.count += 1
        ema.update()


def test_a_constant_decay_is_the_geometric_sum():
    net = Net()
    ema = Ema(net, decay=0.9, warmup=False)
    start, values = net.weight.detach().clone(), [0.5, 2.0, -1.0, 3.0]
    feed(net, ema, values)
    expected = 0.9**4 * start + sum(0.1 * 0.9 ** (3 - k) * v for k, v in enumerate(values))
    torch.testing.assert_close(ema.average["weight"], expected)


def test_warm_up_forgets_the_start():
    """Update n keeps (1 + n) / (10 + n) of the old value."""
    net = Net()
    ema = Ema(net, decay=0.99999)
    feed(net, ema, [0.0] * 5)
    left = torch.tensor(2 / 11 * 3 / 12 * 4 / 13 * 5 / 14 * 6 / 15)
    torch.testing.assert_close(ema.average["weight"], left * torch.tensor([1.0, -2.0]))
    assert [ema.decay_at(n) for n in (1, 100)] == [2 / 11, 101 / 110] and Ema(net, 0.5).decay_at(100) == 0.5


def test_buffers_and_frozen_weights_are_copied():
    net = Net()
    ema = Ema(net, decay=0.9)
    feed(net, ema, [1.0, 2.0])
    state = ema.state_dict()
    assert state["count"] == 2 and state["frozen"] == 2.0 and set(state) == set(net.state_dict())


def test_the_swap_is_undone_even_after_an_error():
    net = Net()
    ema = Ema(net, decay=0.9)
    feed(net, ema, [7.0])
    kept = ema.average["weight"].clone()
    with pytest.raises(RuntimeError), ema.applied():
        assert torch.equal(net.weight, kept)
        raise RuntimeError
    assert torch.equal(net.weight, torch.full((2,), 7.0)) and torch.equal(ema.average["weight"], kept)


def test_a_saved_average_goes_on_as_if_never_stopped():
    a, b = Net(), Net()
    straight, resumed = Ema(a, 0.9), Ema(b, 0.9)
    feed(a, straight, [1.0, 2.0, 3.0])
    feed(b, resumed, [1.0, 2.0])
    again = Ema(b, 0.9)
    again.load_state_dict(resumed.state_dict(), resumed.updates)
    feed(b, again, [3.0])
    assert torch.equal(again.average["weight"], straight.average["weight"])


def test_an_average_in_float32_of_weights_in_less():
    net = Net().bfloat16()
    ema = Ema(net, decay=0.999, warmup=False)
    feed(net, ema, [2.0] * 100)
    torch.testing.assert_close(ema.average["weight"][0], torch.tensor(2 - 0.999**100))


def test_a_decay_of_one_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        Ema(Net(), 1.0)


def test_every_name_of_a_tied_weight_has_the_average():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    net = nn.Sequential(first, second)
    ema = Ema(net, decay=0.9, warmup=False)
    with torch.no_grad():
        first.weight.add_(1.0)
    ema.update()
    saved = ema.state_dict()
    assert torch.equal(saved["0.weight"], saved["1.weight"])
    assert not torch.equal(saved["1.weight"], net.state_dict()["1.weight"])
