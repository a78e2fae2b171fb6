"""Training times that differ within an item."""

import numpy as np
import pytest
import torch

from unnoise import schedules
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.processes import Categorical, Gaussian, Product
from unnoise.state import State
from unnoise.training.elements import ElementTimes, split, stretches
from unnoise.training.loss import masked_mean
from unnoise.training.times import Uniform

LAYOUT = Layout((Part("x", "gaussian", ("n", 3)), Part("y", "gaussian", (2,)), Part("z", "gaussian", ())))
SCHEDULE = schedules.flow()
PRODUCT = Product(LAYOUT, {name: Gaussian(SCHEDULE) for name in LAYOUT.names})


def state(batch, size, padded=0):
    x = State.zeros(LAYOUT, batch, {"n": torch.full((batch,), size)})
    return x.resize({"n": size + padded})


def test_shares_and_what_counts():
    batch, n = 4000, 8
    made = ElementTimes(independent=0.25, known=0.5)
    times, counted = made(np.full(batch, 0.6), Uniform(), PRODUCT, state(batch, n), Noise.of(0, batch))
    t, counts = times["x"], counted["x"].numpy()
    assert t.shape == counts.shape == (batch, n) and times["y"].shape == (batch, 2) and times["z"].shape == (batch,)
    own = (np.ptp(np.where(counts, t, np.nan), axis=1) > 0) & counts.all(1)
    assert abs(own.mean() - 0.25) < 0.03
    assert (t[~counts] == SCHEDULE.t_min).all() and (t[counts & ~own[:, None]] == 0.6).all()
    # Independent times are uniform, as the sampler says, and those of neighbours have nothing to do with each other.
    assert abs(t[own].mean() - 0.5) < 0.02 and abs(np.corrcoef(t[own][:, 0], t[own][:, 1])[0, 1]) < 0.1
    # A stretch is one piece and never empty.
    assert counts.any(1).all() and (np.abs(np.diff(np.pad(counts, ((0, 0), (1, 1))).astype(int))).sum(1) == 2).all()


def test_half_of_what_is_known_is_noised_a_little():
    batch, n = 4000, 8
    u = np.where(np.arange(batch) % 2, 0.6, 0.05)
    made = ElementTimes(known=1.0, known_level=0.2)
    times, counted = made(u, Uniform(), PRODUCT, state(batch, n), Noise.of(0, batch))
    t, known = times["x"], ~counted["x"].numpy()
    np.testing.assert_array_equal(t[~known], np.broadcast_to(u[:, None], t.shape)[~known])
    some = known.any(1)
    level = np.where(known, t, 0).max(1)
    np.testing.assert_array_equal(t[known], np.broadcast_to(level[:, None], t.shape)[known])  # one per item
    clean = level == SCHEDULE.t_min
    assert abs(clean[some].mean() - 0.5) < 0.03
    high = level[some & ~clean & (u == 0.6)]  # uniform: mean and standard deviation
    assert high.max() <= 0.2 and abs(high.mean() - 0.1) < 0.005 and abs(high.std() - 0.2 / 12**0.5) < 0.003
    low = level[some & ~clean & (u == 0.05)]  # never more than the rest
    assert low.max() == 0.05 and abs((low == 0.05).mean() - 0.75) < 0.04
    # The others' draws do not depend on it.
    without = ElementTimes(known=1.0)(u, Uniform(), PRODUCT, state(batch, n), Noise.of(0, batch))[1]
    assert torch.equal(without["x"], counted["x"])


def test_a_pair_has_the_later_time_and_is_known_by_both_ends():
    layout = Layout(
        (Part("nodes", "categorical", ("n",), 3), Part("pairs", "categorical", ("n", "n"), 2, symmetric=True))
    )
    product = Product(layout, {name: Categorical(schedules.cosine(), "uniform") for name in layout.names})
    batch, n = 400, 5
    x0 = State.zeros(layout, batch, {"n": torch.full((batch,), n)})
    made = ElementTimes(independent=0.4, known=0.4)
    times, counted = made(np.full(batch, 0.7), Uniform(), product, x0, Noise.of(0, batch))
    pairs, counts, nodes = times["pairs"], counted["pairs"].numpy(), counted["nodes"].numpy()
    assert pairs.shape == counts.shape == (batch, n, n) and (pairs == pairs.transpose(0, 2, 1)).all()
    np.testing.assert_array_equal(counts, nodes[:, :, None] | nodes[:, None])
    assert (pairs[~counts] == product.processes["pairs"].schedule.t_min).all() and not counts.all()
    own = np.einsum("bii->bi", pairs)  # that of an element with itself is its own
    apart = counts.all((1, 2))
    np.testing.assert_array_equal(pairs[apart], np.maximum(own[:, :, None], own[:, None])[apart])
    assert np.ptp(own[apart], axis=1).max() > 0.5
    noised = ElementTimes(known=1.0, known_level=0.3)(np.full(batch, 0.7), Uniform(), product, x0, Noise.of(0, batch))
    given, t = ~noised[1]["pairs"].numpy(), noised[0]
    of_nodes = np.broadcast_to(t["nodes"][:, :, None], given.shape)  # both ends are given, at one level
    np.testing.assert_array_equal(t["pairs"][given], of_nodes[given])
    assert t["pairs"][given].max() > 0.25


def test_padding_changes_no_time():
    made = ElementTimes(independent=0.5, known=0.5)
    results = [made(np.full(20, 0.5), Uniform(), PRODUCT, state(20, 5, k), Noise.of(3, 20)) for k in (0, 4)]
    (times, counted), (padded, padded_counted) = results
    np.testing.assert_array_equal(times["x"], padded["x"][:, :5])
    assert torch.equal(counted["x"], padded_counted["x"][:, :5])


def test_stretches_by_hand():
    drawn = np.array([[0.5, 0.4, 0.0], [0.5, 0.6, 0.0], [0.9999, 0.6, 0.9999], [0.01, 0.1, 0.5]])
    found = stretches(drawn, np.array([8, 8, 8, 3]), 8).astype(int).tolist()
    assert found == [[0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1], [1, 1, 1] + [0] * 5]


def test_the_mean_is_over_what_counts():
    x = state(2, 3, padded=1)
    values = torch.arange(24.0).reshape(2, 4, 3)
    counted = torch.tensor([[True, False, True, True], [True, True, True, False]])
    mean = masked_mean(x, "x", values, counted)
    assert mean.tolist() == [(0 + 1 + 2 + 6 + 7 + 8) / 6, sum(range(12, 21)) / 9]
    assert masked_mean(x, "y", torch.tensor([[1.0, 5.0]] * 2), torch.tensor([[True, False]] * 2)).tolist() == [1, 1]


def test_without_shares_nothing_changes():
    u = np.linspace(0.1, 0.9, 4)
    times, counted = ElementTimes()(u, Uniform(), PRODUCT, state(4, 3), Noise.of(0, 4))
    assert counted == {} and all((times[name] == PRODUCT.times(u)[name]).all() for name in LAYOUT.names)


def test_what_a_config_may_say():
    made, rest = split({"name": "logit_normal", "known": 0.5, "mean": 1.0})
    assert made == ElementTimes(known=0.5) and rest == {"name": "logit_normal", "mean": 1.0}
    wrong = [{"known": 0.8, "independent": 0.5}, {"known": -0.1}, {"known": "half"}]
    wrong += [{"known_level": 0.1}, {"known": 0.5, "known_level": 2}]
    for config in wrong:
        with pytest.raises(UserError, match="time_sampling"):
            split(config)
