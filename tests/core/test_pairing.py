"""Pairing the elements of sets with noise that lies near them."""

import numpy as np
import pytest
import torch

from unnoise import schedules
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.processes import Categorical, Gaussian, Product
from unnoise.state import State
from unnoise.training.pairing import Pairing, nested_order, pair

LAYOUT = Layout(
    (
        Part("x", "gaussian", ("n", 3)),
        Part("kind", "categorical", ("n",), classes=50),
        Part("bonds", "gaussian", ("n", "n"), symmetric=True),
        Part("whole", "gaussian", (2,)),
    )
)
SCHEDULE = schedules.flow()
PRODUCT = Product(
    LAYOUT,
    {p.name: Gaussian(SCHEDULE) if p.kind == "gaussian" else Categorical(SCHEDULE, "uniform") for p in LAYOUT},
)


def state(sizes, padded=0):
    sizes = torch.tensor(sizes)
    empty, drawn = State.zeros(LAYOUT, len(sizes), {"n": sizes}), Noise.of(5, len(sizes))
    named = empty.map(lambda part, x: torch.arange(x.shape[1]).expand_as(x) if part.name == "kind" else x)
    named = named.map(lambda part, x: drawn.normal(part, x.shape[1:]) if part.kind == "gaussian" else x).project()
    return named.resize({"n": int(sizes.max()) + padded})


def cost(x, eps):
    return (x - eps).square().sum(-1).mean(-1)


def test_it_comes_close_to_the_best_assignment():
    """Against scipy's exact solution of the assignment problem, on shapes unlike a normal distribution."""
    assignment = pytest.importorskip("scipy.optimize").linear_sum_assignment
    x, eps = torch.rand(6, 96, 3) * torch.tensor([3.0, 0.2, 2.0]), torch.randn(6, 96, 3)
    best = []
    for distances in torch.cdist(x, eps).square().numpy():
        rows, columns = assignment(distances)
        best.append(distances[rows, columns].mean())
    best, before = np.mean(best), float(cost(x, eps).mean())
    shares = []
    for rounds in (0, 32, 127):
        chosen = pair(x, eps, torch.ones(6, 96, dtype=torch.bool), rounds)
        assert (chosen.sort(1).values == torch.arange(96)).all()
        after = float(cost(x.gather(1, chosen[..., None].expand(-1, -1, 3)), eps).mean())
        shares.append((before - after) / (before - best))
    assert 0.85 < shares[0] < shares[1] < shares[2] <= 1 + 1e-6 and shares[1] > 0.95, shares


def test_in_one_dimension_it_is_the_best_one():
    """There the optimal pairing is that of sorted values."""
    x, eps = torch.rand(3, 37, 1), torch.randn(3, 37, 1)
    chosen = pair(x, eps, torch.ones(3, 37, dtype=torch.bool), 0)
    paired = x.gather(1, chosen[..., None])
    assert torch.equal(paired.gather(1, eps.argsort(1)), x.sort(1).values)


def test_every_part_is_reordered_alike_and_nothing_else_changes():
    x0, noise = state([9, 4]), Noise.of(0, 2)
    made = Pairing("transport")(x0, PRODUCT, noise, ("n",))
    order = made.parts["kind"]
    for i, size in enumerate((9, 4)):
        row = order[i, :size]
        assert row.sort().values.tolist() == list(range(size)) and row.tolist() != list(range(size))
        assert torch.equal(made.parts["x"][i, :size], x0.parts["x"][i, row])
        assert torch.equal(made.parts["bonds"][i, :size, :size], x0.parts["bonds"][i, row][:, row])
    assert torch.equal(made.parts["whole"], x0.parts["whole"]) and made.masks is x0.masks
    eps = PRODUCT.processes["x"].eps(LAYOUT["x"], (9, 3), noise)
    assert (cost(made.parts["x"][0], eps[0]) < 0.7 * cost(x0.parts["x"][0], eps[0])).all()


def test_it_uses_the_noise_that_is_added():
    """Noised to the end, a paired item and its partner are the same noise: what is left of ``x_t`` is ``eps``."""
    x0, noise = state([6, 6]), Noise.of(2, 2)
    x_t = PRODUCT.corrupt(x0, PRODUCT.times(0.5), noise)
    eps = PRODUCT.processes["x"].eps(LAYOUT["x"], (6, 3), noise)
    torch.testing.assert_close(x_t.parts["x"], 0.5 * x0.parts["x"] + 0.5 * eps)


def test_padding_and_neighbours_change_no_pair():
    noise = Noise.of(3, 2)
    short, long = (Pairing("transport")(state([7, 5], k), PRODUCT, noise, ("n",)) for k in (0, 4))
    for name in ("x", "kind"):
        assert torch.equal(long.parts[name][:, :7], short.parts[name])
    assert not long.parts["x"][:, 7:].any()
    alone = Pairing("transport")(state([7, 5])[1:2].trim(), PRODUCT, noise[1:2], ("n",))
    assert torch.equal(alone.parts["x"][0], short.parts["x"][1, :5])


def test_what_is_given_keeps_its_place():
    x0, counted = state([8, 8]), torch.tensor([[False, True] * 4, [True] * 8])
    made = Pairing("transport")(x0, PRODUCT, Noise.of(1, 2), ("n",), {"x": counted})
    assert torch.equal(made.parts["x"][0, ::2], x0.parts["x"][0, ::2])
    assert sorted(made.parts["kind"][0, 1::2].tolist()) == [1, 3, 5, 7]
    assert not torch.equal(made.parts["x"][0], x0.parts["x"][0])


def test_corresponding_cells_have_equal_sizes():
    """A quarter of the places holds a quarter of the elements: those below both medians, whatever the size."""
    for n in (64, 50):
        x = torch.randn(1, n, 2)
        first = x[0, nested_order(x, torch.ones(1, n, dtype=torch.bool))[0, : n // 4]]
        half = x[0, x[0, :, 0].argsort()[: n // 2]]
        assert (first[:, 0] <= half[:, 0].max()).all()
        assert (first[:, 1] <= half[:, 1].sort().values[len(half) // 2]).all()


def test_what_cannot_be_is_refused():
    assert Pairing.from_config({"name": "transport", "rounds": 5}) == Pairing("transport", 5)
    for config, message in (
        ({"name": "transprot"}, "Did you mean 'transport'"),
        ({"name": "transport", "rounds": -1}, "rounds is -1"),
        ({"name": "transport", "round": 1}, "train.pairing"),
    ):
        with pytest.raises(UserError, match=message):
            Pairing.from_config(config)
    Pairing("independent").check(PRODUCT, ())
    for unordered in ((), ("other",)):
        with pytest.raises(UserError, match="set without order"):
            Pairing("transport").check(PRODUCT, unordered)
    x0 = state([3])
    assert Pairing()(x0, PRODUCT, Noise.of(0, 1), ("n",)) is x0
