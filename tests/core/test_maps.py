"""Maps as conditions: what users may give, what is absent, where they are seen, and that guidance reaches them."""

import hashlib
import math

import numpy as np
import pytest
import torch

from unnoise.conditions import Conditions, MapCondition
from unnoise.contracts import Curves, Labels, Maps, MapShape, Scalars
from unnoise.errors import UserError
from unnoise.nn import JoinMaps, resample
from unnoise.nn.maps import MapEncoder
from unnoise.noise import Noise
from unnoise.runs import evaluate, load, train
from unnoise.runs.generate import captions
from unnoise.training.loss import drop_conditions

NAN = math.nan
VALUES = np.array([[[1, 2, 3], [4, 5, 6]], [[0, NAN, 0], [0, 0, 0]], [[NAN] * 3] * 2], np.float32)[..., None]
COLUMN = Maps(VALUES, "m")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def made(**options):
    return Conditions.from_columns({"height": COLUMN}, ["height"], 6, **options)


def same(a, b):
    return np.array_equal(np.asarray(a, np.float64), np.asarray(b, np.float64), equal_nan=True)


def test_statistics_are_those_of_every_known_number():
    own, known = made()["height"], VALUES[np.isfinite(VALUES)]
    assert (own.points, own.channels, own.unit) == ((2, 3), 1, "m")
    assert (own.mean, own.std) == (pytest.approx(known.mean()), pytest.approx(known.std(), rel=1e-6))
    assert same(own.raw(COLUMN), VALUES)
    with pytest.raises(UserError, match="unknown for every item"):
        Conditions.from_columns({"height": Maps(VALUES[2:])}, ["height"], 6)


A = np.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        (A, [A] * 3),
        (A[..., None], [A] * 3),
        (torch.tensor(A), [A] * 3),
        (A.tolist(), [A] * 3),
        ([A, None], [A, np.full((2, 3), NAN), A]),
        (np.stack([A, -A])[..., None], [A, -A, A]),
        (A > 2, [A > 2] * 3),
        (None, [np.full((2, 3), NAN)] * 3),
        (np.full((2, 3), math.inf), [np.full((2, 3), NAN)] * 3),
    ],
)
def test_what_may_be_given(value, rows):
    raw = made().parse({"height": value}, 3)["height"]
    assert raw.dtype == torch.float32 and same(raw[..., 0], rows)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros((3, 2)), ["'height' that was given has size 3 x 2, the model's has 2 x 3", "Bring it to 2 x 3"]),
        (np.zeros((2, 3, 4)), ["size 2 x 3 x 4"]),
        ([1, 2], ["size 2, "]),
        ("up", ["height 'up' is no map", "array of 2 x 3 points"]),
        ({"map": "0123456789abcdef"}, ["is no map"]),
    ],
)
def test_what_may_not_be_given_is_named(value, words):
    with pytest.raises(UserError) as error:
        made().parse({"height": value}, 2)
    assert all(word in str(error.value) for word in words)


def test_columns_of_another_kind_or_size_and_settings_that_cannot_be_are_refused():
    own = made()["height"]
    for column, called in ((Scalars(np.zeros(3)), "a number"), (Labels(np.zeros(3, int), ("a",)), "a class")):
        with pytest.raises(UserError, match=f"is a map for the model, but {called} in the data"):
            own.raw(column)
    with pytest.raises(UserError, match="'height' of the data has size 4 x 4"):
        own.raw(Maps(np.zeros((2, 4, 4, 1), np.float32)))
    curve = Conditions.from_columns({"c": Curves(np.random.rand(3, 4).astype(np.float32))}, ["c"], 4)["c"]
    with pytest.raises(UserError, match="is a curve for the model, but a map in the data"):
        curve.raw(COLUMN)
    for wrong in ({"points": ()}, {"points": (0, 3)}, {"points": (2, 1 << 26)}, {"std": 0.0}, {"mean": NAN}):
        with pytest.raises(UserError, match="condition 'a'"):
            MapCondition("a", 4, **{"points": (2, 2), "channels": 1, "mean": 0.0, "std": 1.0, **wrong})


def test_the_null_is_told_from_a_map_that_is_zero():
    conditions = made(tokens=True)
    own = conditions["height"]
    context = conditions({"height": own.raw(COLUMN)}, 3)
    (maps,) = context.maps
    assert own.map_shape == MapShape((2, 3), 2) and maps.shape == (3, 2, 3, 2)
    np.testing.assert_allclose(maps[0, ..., 0], (VALUES[0, ..., 0] - own.mean) / own.std, rtol=1e-5)
    known = np.isfinite(VALUES[..., 0])
    assert same(maps[..., 1], known) and not maps[..., 0][~torch.tensor(known)].any()
    assert torch.equal(context.vector[2], own.null) and torch.equal(context.vector[0], context.vector[1])
    assert torch.equal(conditions(None, 3).maps[0], torch.zeros(3, 2, 3, 2))
    assert context.tokens.shape == (3, 1, 6)


def test_a_dropped_map_is_wholly_absent():
    conditions, n = made(), 3000
    raw = {"height": torch.rand(n, 2, 3, 1)}
    hidden = drop_conditions(conditions, raw, Noise.of(0, n), 0.2)["height"]
    gone = hidden.isnan().flatten(1).all(1)
    assert abs(float(gone.float().mean()) - 0.2) < 0.03
    assert torch.equal(hidden[~gone], raw["height"][~gone])


def test_records_hold_a_digest_and_a_config_rebuilds_the_condition():
    conditions = made()
    own = conditions["height"]
    said = own.describe(own.raw(COLUMN))
    digest = hashlib.sha256(VALUES[0].astype("<f4").tobytes()).hexdigest()[:16]
    assert said[0] == {"map": digest} and said[2] is None and said[1] != said[0]
    assert captions({"n": 2, "condition": {"height": said[0]}}) == []
    again = Conditions.from_config(conditions.config())
    again.load_state_dict(conditions.state_dict())
    raw = {"height": own.raw(COLUMN)}
    one, two = conditions(raw, 3), again(raw, 3)
    assert torch.equal(one.vector, two.vector) and torch.equal(one.maps[0], two.maps[0])
    assert again.maps == {"height": MapShape((2, 3), 2)}


@pytest.mark.parametrize("points", [(8, 8), (16, 16), (32, 24), (9, 20)])
def test_a_map_is_seen_where_it_is(points):
    """Moving a spot over the map moves the middle of what changes on the grid along."""
    grid = (8, 8)
    encoder = MapEncoder(points, 1, 1, grid, 4)
    for parameter in encoder.parameters():
        torch.nn.init.uniform_(parameter, 0.05, 0.2)
    blank = torch.zeros(1, 1, *points)
    seen = []
    for row, column in ((points[0] // 4, points[1] // 4), (3 * points[0] // 4, 3 * points[1] // 4)):
        spot = blank.clone()
        spot[0, 0, row, column] = 5.0
        with torch.no_grad():
            change = (encoder(spot) - encoder(blank))[0, 0].abs()
        shares = change / change.sum()
        middle = [
            float((shares * at).sum()) for at in torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
        ]
        wanted = [(place + 0.5) / size * 8 - 0.5 for place, size in zip((row, column), points, strict=True)]
        assert np.abs(np.subtract(middle, wanted)).max() < 1.0
        seen.append(middle)
    assert min(np.subtract(seen[1], seen[0])) > 2


def test_maps_start_at_nothing_and_several_are_summed():
    shapes = [MapShape((8, 8), 2), MapShape((16, 16), 1)]
    join = JoinMaps(shapes, 5, (4, 4))
    maps = [torch.randn(3, 8, 8, 2), torch.randn(3, 16, 16, 1)]
    assert join(maps).shape == (3, 5, 4, 4) and not join(maps).any()
    for encoder in join.encoders:
        torch.nn.init.normal_(encoder.out.weight)
    apart = [encoder(one.permute(0, 3, 1, 2)) for encoder, one in zip(join.encoders, maps, strict=True)]
    torch.testing.assert_close(join(maps), apart[0] + apart[1])


def test_along_a_variable_axis_maps_move_curves_are_alike_all_over_and_stills_all_along():
    shapes = [MapShape((5, 4, 4), 2), MapShape((7,), 3), MapShape((4, 4), 1)]
    join = JoinMaps(shapes, 6, (2, 2), moving=True)
    for encoder in join.encoders:
        torch.nn.init.normal_(encoder.out.weight)
    maps = [torch.randn(2, 5, 4, 4, 2), torch.randn(2, 7, 3), torch.randn(2, 4, 4, 1)]
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    with torch.no_grad():
        made = join(maps, mask)
        moving = torch.stack([join.encoders[0](maps[0][:, i].permute(0, 3, 1, 2)) for i in range(5)], 1)
        curve = torch.stack([join.encoders[1](maps[1][:, i, :, None, None]) for i in range(7)], 1)
        still = join.encoders[2](maps[2].permute(0, 3, 1, 2))[:, None]
    wanted = sum(resample(one.flatten(2), mask).reshape(2, 9, 6, 2, 2) for one in (moving, curve, still))
    torch.testing.assert_close(made[0], wanted[0])
    torch.testing.assert_close(made[1, :4], wanted[1, :4])
    with pytest.raises(UserError, match="a map of 3 points does not lie on this denoiser's grid"):
        JoinMaps([MapShape((3,), 1)], 6, (2, 2))
    with pytest.raises(UserError, match="give one of 2 or 3 axes"):
        JoinMaps([MapShape((3, 3, 3, 3), 1)], 6, (2, 2), moving=True)


def test_a_model_that_was_trained_on_a_map_follows_it_and_any_subset_of_its_conditions(toy, tmp_path):
    quick = {"steps": 300, "batch": 64, "lr": 1e-2, "log_every": 300, "warmup": 0, "device": "cpu"}
    config = {
        "modality": "toy",
        "data": {"name": "ring"},
        "representation": {"name": "plane"},
        "denoiser": {"name": "ladder"},
        "conditions": {"use": ["class", "quadrant"], "dim": 8, "dropout": 0.2},
        "train": {**quick, "ema": {"decay": 0.98}},
        "sample": {"steps": 4, "n": 4},
    }
    model = load(train(config, tmp_path / "run").folder, "cpu")
    upper_right = [[0, 0], [0, 1]]

    def share(**told):
        items = np.stack(model.sample(60, progress=False, **told).items)
        return np.mean((items > 0).all(1))

    assert share(condition={"quadrant": upper_right}) > 0.6
    assert share(condition={"quadrant": upper_right, "class": "upper"}) > 0.8
    assert share(condition={"class": "upper"}) < 0.8 and share() < 0.6
    negative = share(condition={"class": "upper"}, negative={"quadrant": [[0, 0], [1, 0]]}, guidance_scale=2)
    assert negative > share(condition={"class": "upper"})
    np.savetxt(tmp_path / "map.txt", upper_right)
    np.save(tmp_path / "map.npy", np.array(upper_right))
    for path in ("map.txt", "map.npy"):
        asked = {"quadrant": str(tmp_path / path)}
        read = model.sample(3, condition=asked, progress=False)
        assert same(read.items, model.sample(3, condition={"quadrant": upper_right}, progress=False).items)
    made = model.sample(3, condition={"quadrant": {"of": [np.array([1.0, 1.0])]}}, progress=False)
    assert same(made.items, read.items)
    _, scores = evaluate(model, 100, metrics=["agreement"], progress=False)
    assert scores[0].name == "agreement_quadrant" and scores[0].value > scores[0].ceiling + 0.2
    edited = model.edit(
        "variation", [np.array([-1.4, 1.4], np.float32)] * 4, strength=0.9, condition=asked, progress=False
    )
    assert len(edited.items) == 4
    with pytest.raises(UserError, match="has size 3 x 3"):
        model.sample(2, condition={"quadrant": np.zeros((3, 3))}, progress=False)
    for missing in ("nowhere.txt", {"of": "nowhere.txt"}):
        with pytest.raises(UserError, match=r"nowhere.txt does not exist"):
            model.sample(2, condition={"quadrant": missing}, progress=False)
