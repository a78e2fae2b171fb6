"""Curves over an item: what users may write, where the points lie, what is absent, and that guidance reaches them."""

import math
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from unnoise.conditions import Conditions, CurveCondition
from unnoise.contracts import Context, Curves, Labels, MapShape, Network, Scalars
from unnoise.denoiser import Denoiser
from unnoise.errors import Caution, UserError
from unnoise.guidance import CFG
from unnoise.layout import Layout, Part
from unnoise.nn import JoinCurves, resample
from unnoise.noise import Noise
from unnoise.parametrization import Parametrization
from unnoise.plugins import registry
from unnoise.processes import Product
from unnoise.runs import train
from unnoise.runs.generate import captions
from unnoise.runs.recipe import short
from unnoise.sampling import plan, sample
from unnoise.training.loss import drop_conditions

NAN = math.nan
COLUMN = Curves(np.array([[1, 2, 3, 4, 5], [3, NAN, NAN, 3, 3], [NAN] * 5], np.float32), "m")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def made(**options):
    return Conditions.from_columns({"height": COLUMN}, ["height"], 6, **options)


def same(a, b):
    return np.array_equal(np.asarray(a, np.float64), np.asarray(b, np.float64), equal_nan=True)


def test_statistics_are_those_of_every_known_point():
    curve, known = made()["height"], [1, 2, 3, 4, 5, 3, 3, 3]
    assert (curve.points, curve.low, curve.high, curve.unit) == (5, 1.0, 5.0, "m")
    assert (curve.mean, curve.std) == (pytest.approx(np.mean(known)), pytest.approx(np.std(known)))
    assert same(curve.raw(COLUMN), COLUMN.values)
    with pytest.raises(UserError, match="unknown for every item"):
        Conditions.from_columns({"height": Curves(COLUMN.values[2:])}, ["height"], 6)


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        ([1, 2, 3, 4, 5], [[1, 2, 3, 4, 5]] * 3),  # one curve for all
        ([[1, 5]], [[1, 2, 3, 4, 5]] * 3),  # fewer points: straight lines between
        ([1, 5, 1], [[1, 3, 5, 3, 1]] * 3),
        (2, [[2] * 5] * 3),
        ([[1, 5], 2], [[1, 2, 3, 4, 5], [2] * 5, [1, 2, 3, 4, 5]]),  # one each, repeated
        ([[1, 5], None], [[1, 2, 3, 4, 5], [NAN] * 5, [1, 2, 3, 4, 5]]),
        ([1, None, 5], [[1, 2, NAN, 4, 5]] * 3),  # a gap reaches half-way to its neighbours
        ([1, 2, None, 4, NAN], [[1, 2, NAN, 4, NAN]] * 3),
        (None, [[NAN] * 5] * 3),
        ([None, None], [[NAN] * 5] * 3),
        (np.array([[1.0, 5.0], [3.0, 3.0]]), [[1, 2, 3, 4, 5], [3] * 5, [1, 2, 3, 4, 5]]),
    ],
)
def test_what_may_be_written(value, rows):
    raw = made().parse({"height": value}, 3)["height"]
    assert raw.dtype == torch.float32 and same(raw, rows)


def test_a_model_that_knows_one_curve_takes_it_without_a_name():
    assert same(made().parse([1, 5], 1)["height"], [[1, 2, 3, 4, 5]])


@pytest.mark.parametrize("count", range(1, 12))
def test_points_between_are_numpys(count):
    values = np.random.default_rng(count).uniform(1, 5, count)
    condition = CurveCondition("height", 4, points=11, mean=0.0, std=1.0, low=1.0, high=5.0)
    wanted = np.interp(np.linspace(0, 1, 11), np.linspace(0, 1, count), values) if count > 1 else [values[0]] * 11
    np.testing.assert_allclose(condition.parse(values, 1)[0], wanted, rtol=1e-6)
    column = condition.raw(Curves(values[None].astype(np.float32)))  # data may bring another number of points
    np.testing.assert_allclose(column[0], wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], ["empty list"]),
        ([[]], ["curve of 0 numbers", "from 1 to 5 numbers"]),
        ([1] * 6, ["curve of 6 numbers", "from 1 to 5 numbers, at equal distances"]),
        (["high", 1], ["height 'high' is not a finite number", "from 1 to 5 m"]),
        ([[1, math.inf]], ["'inf' is not a finite number"]),
        ([[[1]]], ["'[1]' is not a finite number"]),
    ],
)
def test_what_may_not_be_written_is_named(value, words):
    with pytest.raises(UserError) as error:
        made().parse({"height": value}, 2)
    assert all(word in str(error.value) for word in words)


def test_a_number_beyond_the_training_data_is_allowed_with_a_warning():
    with pytest.warns(Caution, match=r"height 9 is a guess. The training data went from 1 to 5 m"):
        made().parse([2, 9], 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made().parse([1, None, 5], 1)


def test_raw_values_of_another_shape_or_kind_are_refused():
    conditions = made()
    assert conditions.checked({"height": torch.zeros(2, 5)}, 2)
    with pytest.raises(UserError, match=r"shape \(2,\)\nRaw values of 2 samples have shape \(2, 5\)"):
        conditions.checked({"height": torch.zeros(2)}, 2)
    with pytest.raises(UserError, match="is a curve for the model, but a number in the data"):
        conditions["height"].raw(Scalars(np.zeros(3)))
    number = Conditions.from_columns({"height": Scalars(np.arange(3.0))}, ["height"], 4)["height"]
    with pytest.raises(UserError, match="is a number for the model, but a curve in the data"):
        number.raw(COLUMN)
    with pytest.raises(UserError, match="curve of 1 points"):
        CurveCondition("a", 4, points=1, mean=0.0, std=1.0, low=0.0, high=1.0)


def test_the_null_the_gap_and_the_points_are_told_apart():
    conditions = made()
    own = conditions["height"]
    given = conditions({"height": own.raw(COLUMN)}, 3)
    (curve,) = given.maps
    assert curve.shape == (3, 5, 6) and torch.equal(given.vector, curve.mean(1))
    assert torch.equal(curve[2], own.null.expand(5, 6))  # nothing is known
    assert torch.equal(curve[1, 1:3], own.gap.expand(2, 6))  # known to be without
    numbers = own.mlp(_features((COLUMN.values[0] - own.mean) / own.std))
    torch.testing.assert_close(curve[0], numbers)
    assert torch.equal(conditions(None, 3).maps[0], own.null.expand(3, 5, 6))


def _features(z):
    """Fourier features of standardised numbers, by numpy."""
    phase = 2 * np.pi * z[:, None] * np.array([1 / 16, 1 / 8, 1 / 4, 1 / 2, 1])
    return torch.tensor(np.concatenate([z[:, None], np.sin(phase), np.cos(phase)], 1), dtype=torch.float32)


def test_absent_points_send_no_gradient_to_the_features_and_no_nan_anywhere():
    conditions = made()
    context = conditions({"height": conditions["height"].raw(COLUMN)}, 3)
    (context.vector.sum() + context.maps[0].square().sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in conditions.parameters())


def test_a_dropped_curve_is_wholly_absent():
    conditions, n = made(), 4000
    raw = {"height": torch.rand(n, 5)}
    hidden = drop_conditions(conditions, raw, Noise.of(0, n), 0.2)["height"]
    gone = hidden.isnan().all(1)
    assert abs(float(gone.float().mean()) - 0.2) < 0.03
    assert torch.equal(hidden[~gone], raw["height"][~gone])


def test_describe_and_parse_are_inverse_and_records_keep_curves_apart_from_lists():
    own = made()["height"]
    raw = own.raw(COLUMN)
    told = own.describe(raw)
    assert told[1] == [3.0, None, None, 3.0, 3.0] and told[2] is None
    assert same(own.parse(told, 3), raw) and same(own.parse(short(told), 3), raw)
    odd = torch.tensor([[0.1, 1 / 3, 1e-7, 16777217.0, -2.5e30]])
    with pytest.warns(Caution):
        assert own.describe(odd)[0][0] == 0.1 and torch.equal(own.parse(own.describe(odd), 1), odd)
    alike = short(own.describe(raw[:1].expand(3, 5)))
    assert alike == [[1.0, 2.0, 3.0, 4.0, 5.0]] and same(own.parse(alike, 3), COLUMN.values[[0, 0, 0]])
    assert captions({"n": 3, "condition": {"height": alike}}) == ["1 to 5"] * 3
    assert captions({"n": 3, "condition": {"height": told, "size": 2.0}})[1:] == ["height 3 to 3, size 2", "size 2"]


def test_config_and_weights_rebuild_the_same_condition():
    labels = Labels(np.array([0, 1, 1]), ("a", "b"))
    columns = {"height": COLUMN, "class": labels}
    conditions = Conditions.from_columns(columns, ["height", "class"], 6, tokens=True)
    again = Conditions.from_config(conditions.config())
    again.load_state_dict(conditions.state_dict())
    raw = {name: conditions[name].raw(columns[name]) for name in columns}
    a, b = conditions(raw, 3), again(raw, 3)
    assert torch.equal(a.vector, b.vector) and torch.equal(a.maps[0], b.maps[0])
    assert a.tokens.shape == (3, 2, 6) and conditions.maps == {"height": MapShape((5,), 6)}
    torch.testing.assert_close(a.vector, a.maps[0].mean(1) + conditions["class"](raw["class"]).vector)


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("points", [2, 5, 64])
def test_resampling_is_numpys_for_every_item_and_padding_changes_nothing(points, step):
    counts = [1, 2, 7, 12]
    curve = torch.randn(len(counts), points, 3)
    mask = torch.arange(12) < torch.tensor(counts)[:, None]
    found = resample(curve, mask, step)
    assert found.shape == (len(counts), -(-12 // step), 3)
    for i, count in enumerate(counts):
        blocks = -(-count // step)
        middles = np.minimum(np.arange(blocks) * step + (step - 1) / 2, count - 1)
        for channel in range(3):
            values = curve[i, :, channel].double().numpy()
            wanted = np.interp(middles, np.linspace(0, max(count - 1, 1), points), values)
            np.testing.assert_allclose(found[i, :blocks, channel], wanted, atol=1e-5)  # places are float32
        assert not found[i, blocks:].any()
    longer = resample(curve, torch.cat([mask, torch.zeros(4, 5, dtype=torch.bool)], 1), step)
    torch.testing.assert_close(longer[:, : found.shape[1]], found) and not longer[:, found.shape[1] :].any()


def test_several_curves_are_joined_as_a_sum_of_any_number_of_points():
    join, mask = JoinCurves(3, 4), torch.ones(2, 6, dtype=torch.bool)
    a, b = torch.randn(2, 5, 3), torch.randn(2, 9, 3)
    wanted = (resample(a, mask) + resample(b, mask)) @ join.project.weight.T + join.project.bias
    torch.testing.assert_close(join([a, b], mask), wanted)


class Follow(Network):
    """Says nothing but what the curve says, wherever it is."""

    def __init__(self, layout, context_dim, maps=()):
        super().__init__()
        self.join = JoinCurves(maps[0].channels, 1)

    def forward(self, x, level, context, previous=None, residuals=None):
        assert isinstance(context, Context)
        return {"x": self.join(context.maps, x.masks["time"])}


def denoiser():
    layout = Layout((Part("x", "gaussian", ("time", 1)),))
    product = Product.from_config(layout, {"parts": {"x": {"name": "gaussian", "schedule": {"name": "cosine"}}}})
    parametrization = Parametrization("x0", product.processes["x"].schedule)
    return Denoiser(Follow(layout, 6, maps=[MapShape((5,), 6)]), made(), product, {"x": parametrization})


def test_guidance_steers_from_the_negative_curve_point_by_point():
    """A network that only follows its curve has a sample in closed form, whatever the sampler did."""
    own, sizes = denoiser(), torch.tensor([4, 9])
    noise = Noise.of(3, 2)
    x_T = own.product.prior(noise, {"time": sizes})
    chosen = plan("ddim", own.product, 3)
    asked, against = (own.conditions.parse({"height": v}, 2) for v in ([[1, 5], [5, 2]], [[3, 3, 1], None]))
    found = sample(own, x_T, chosen, noise.seeds, asked, CFG(3.0, against))
    branches = [own.conditions(raw, 2).maps[0].detach().double().numpy() for raw in (asked, against)]
    weight, bias = (p.detach().double().numpy() for p in own.network.join.parameters())
    for i, count in enumerate(sizes.tolist()):
        at = np.linspace(0, 4, count)
        cond, negative = (
            np.stack([np.interp(at, np.arange(5), curve[i, :, c]) for c in range(6)], 1) @ weight[0] + bias
            for curve in branches
        )
        wanted = negative + 3 * (cond - negative)
        np.testing.assert_allclose(found.parts["x"][i, :count, 0], wanted, atol=1e-5)
        assert not found.parts["x"][i, count:].any()


def test_a_run_on_a_curve_needs_a_network_that_takes_it(tmp_path, monkeypatch):
    toy = Path(__file__).parents[1] / "third_party" / "toy"
    monkeypatch.syspath_prepend(str(toy))
    registry._registry.cache_clear()
    try:
        from unnoise_toy.parts import Ring

        monkeypatch.setattr(Ring, "columns", lambda self: {"path": Curves(np.zeros((len(self), 4), np.float32))})
        config = {"modality": "toy", "data": {"name": "ring"}, "representation": {"name": "plane"}}
        config |= {"denoiser": {"name": "mlp"}, "conditions": {"use": ["path"]}}
        with pytest.raises(UserError, match="condition 'path' is a curve, which denoiser 'mlp' does not take"):
            train(config, tmp_path / "run")
        assert not (tmp_path / "run").exists()
        with pytest.raises(UserError, match="option 'maps' is set by the engine"):
            train({**config, "denoiser": {"name": "mlp", "maps": 3}}, tmp_path / "run")
    finally:
        sys.modules.pop("unnoise_toy.parts", None)
        registry._registry.cache_clear()
