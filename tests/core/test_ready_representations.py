"""The ready-made representations against scikit-learn and scipy, and their round trips, masks and files."""

import json

import numpy as np
import pytest
import torch

from unnoise.errors import UserError
from unnoise.noise import Noise
from unnoise.ready import Arrays, Records, Symbols, read_arrays, read_rows, read_texts
from unnoise.state import State

RNG = np.random.default_rng(0)
ROWS = [
    {"age": int(a), "pay": float(round(p, 2)), "sex": s, "planet": "earth", "zero": 0.0}
    for a, p, s in zip(RNG.integers(18, 80, 400), RNG.lognormal(0, 1, 400), RNG.choice(list("fm"), 400), strict=True)
]
LINES = [RNG.normal(3, 2, (int(n), 2)).astype(np.float32) for n in RNG.integers(2, 9, 60)]
WORDS = ["one", "three", "seven", "none", "eleven"]


def restored(representation, **options):
    """Another object that a run would build from settings and buffers."""
    other = type(representation)(**options)
    other.restore(json.loads(json.dumps(representation.settings())))
    other.load_state_dict(representation.state_dict())
    return other


def fitted(representation, items):
    representation.fit(items)
    return representation


def test_arrays_are_scaled_as_another_library_does():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    items = list(RNG.normal([5, -1, 0], [1, 20, 0.1], (100, 3)))
    expected = preprocessing.StandardScaler().fit_transform(np.stack(items))
    found = fitted(Arrays(), items).encode(items).parts["x"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("per", ["channel", "all"])
def test_arrays_of_many_lengths_come_back(per):
    representation = fitted(Arrays(axis="steps", per=per), LINES)
    state = representation.encode(LINES)
    assert state.sizes["steps"].tolist() == [len(line) for line in LINES]
    values = np.concatenate(LINES).astype(np.float64)
    axis = 0 if per == "channel" else None
    np.testing.assert_allclose(representation.mean, np.atleast_1d(values.mean(axis)), rtol=1e-4)
    np.testing.assert_allclose(representation.scale, np.atleast_1d(values.std(axis)), rtol=1e-4)
    for before, after in zip(LINES, restored(representation, axis="steps", per=per).decode(state), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-4)


def test_a_constant_channel_is_not_blown_up():
    items = [np.array([1.0, 7.0]), np.array([2.0, 7.0])]
    assert fitted(Arrays(), items).encode(items).parts["x"][:, 1].abs().max() == 0


def test_new_lengths_are_those_of_training():
    representation = fitted(Arrays(axis="steps"), [np.zeros((n, 1)) + i for i, n in enumerate([2] * 3 + [5])])
    drawn = representation.sizes(Noise.of(0, 4000))["steps"]
    assert sorted(set(drawn.tolist())) == [2, 5]
    assert float((drawn == 2).float().mean()) == pytest.approx(0.75, abs=0.03)


def test_arrays_that_do_not_fit_are_named():
    representation = fitted(Arrays(axis="steps", longest=8), LINES)
    bad = [np.zeros((3, 3)), np.zeros((9, 2)), np.zeros((0, 2)), np.full((3, 2), np.nan), LINES[0]]
    reasons = representation.unfit(bad)
    assert sorted(reasons) == [0, 1, 2, 3]
    for i, text in enumerate(["its shape is", "longer than 8", "empty", "not finite"]):
        assert text in reasons[i]
    with pytest.raises(UserError, match="none of the 1 items"):
        Arrays().fit([np.full(3, np.nan)])


@pytest.mark.parametrize(
    ("mask", "made"),
    [
        ("after:2", [0, 0, 1, 1]),
        ("before:1", [1, 0, 0, 0]),
        ("between:1,3", [0, 1, 1, 0]),
        ("extend:2", [0, 0, 0, 0, 1, 1]),
    ],
)
def test_masks_of_spans(mask, made):
    items = [np.arange(8.0).reshape(4, 2)]
    kept = fitted(Arrays(axis="steps"), items).kept(items, mask)
    assert (~kept.masks["x"])[0, :, 0].int().tolist() == made
    assert kept.state.sizes["steps"].tolist() == [len(made)]
    torch.testing.assert_close(
        kept.state.parts["x"][:, :4], fitted(Arrays(axis="steps"), items).encode(items).parts["x"]
    )


def test_masks_that_are_arrays_and_those_that_do_not_fit():
    items = [np.arange(6.0).reshape(3, 2), np.ones((3, 2))]
    representation = fitted(Arrays(), items)
    mask = np.array([[True, False], [False, False], [True, True]])
    assert torch.equal(representation.kept(items, mask).masks["x"], ~torch.from_numpy(mask)[None])
    for bad, message in (
        (np.ones((2, 2), bool), "the mask is"),
        (np.ones((3, 2)), "the mask is"),
        ("extend:1", "there is no mask 'extend'"),
        ("after:9", "out of range"),
    ):
        with pytest.raises(UserError, match=message):
            representation.kept(items, bad)


def test_numbers_by_rank_are_normal_and_come_back():
    stats = pytest.importorskip("scipy.stats")
    representation = fitted(Records(), ROWS)
    state = representation.encode(ROWS)
    assert [part.name for part in state.layout] == ["numbers", "sex"]  # what never varies is no part
    assert stats.kstest(state.parts["numbers"][:, 1].numpy(), "norm").statistic < 0.03
    assert representation.decode(state) == ROWS  # to the last digit, and whole numbers whole
    assert restored(representation).decode(state) == ROWS


def test_numbers_by_rank_are_those_of_another_library():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    values = RNG.gamma(2.0, 3.0, 1000)
    rows = [{"x": float(v)} for v in values]
    found = fitted(Records(knots=1000), rows).encode(rows).parts["numbers"][:, 0].numpy()
    other = preprocessing.QuantileTransformer(n_quantiles=1000, output_distribution="normal")
    expected = other.fit_transform(values[:, None])[:, 0]
    inside = np.abs(expected) < 2
    np.testing.assert_allclose(found[inside], expected[inside], atol=0.02)


def test_what_a_model_makes_stays_within_the_table():
    representation = fitted(Records(), ROWS)
    state = representation.encode(ROWS[:50])
    wild = state.replace({**state.parts, "numbers": 100 * state.parts["numbers"]})
    made = representation.decode(wild)
    assert {row["age"] for row in made} <= set(range(18, 80))
    assert all(row["planet"] == "earth" and row["zero"] == 0 for row in made)


def test_the_standard_scale_is_linear():
    rows = [{"x": v} for v in (1.0, 2.0, 6.0)]
    found = fitted(Records(scale="standard"), rows).encode(rows).parts["numbers"][:, 0]
    np.testing.assert_allclose(found, (np.array([1, 2, 6]) - 3) / np.std([1, 2, 6]), rtol=1e-6)


def test_rows_that_do_not_fit_are_named():
    representation = fitted(Records(), ROWS)
    bad = [{**ROWS[0], "sex": "x"}, {**ROWS[0], "age": float("nan")}, {k: v for k, v in ROWS[0].items() if k != "pay"}]
    reasons = representation.unfit([*bad, ROWS[0]])
    assert sorted(reasons) == [0, 1, 2]
    assert "'x', which training data never has" in reasons[0] and "no finite number" in reasons[1]
    assert "it has no 'pay'" in reasons[2]
    for rows, message in (
        ([], "no rows"),
        ([{"a": 1.0}, {"a": "b"}], "both numbers and texts"),
        ([{"a": 1.0}, {"a": 1.0}], "no column of the table varies"),
        ([{"numbers": "a"}, {"numbers": "b"}], "cannot be called 'numbers'"),
    ):
        with pytest.raises(UserError, match=message):
            Records().fit(rows)


def test_columns_are_kept_by_name():
    representation = fitted(Records(), ROWS)
    kept = representation.kept(ROWS[:3], "pay:sex")
    assert kept.masks["numbers"].tolist() == [[True, False]] and kept.masks["sex"].tolist() == [False]
    with pytest.raises(UserError, match=r"no column 'sax' that varies. Did you mean 'sex'\?"):
        representation.kept(ROWS[:3], "sax")


def test_symbols_come_back_and_strange_ones_are_named():
    representation = fitted(Symbols(longest=6), WORDS)
    assert representation.vocabulary == tuple("ehlnorstv")
    assert restored(representation, longest=6).decode(representation.encode(WORDS)) == WORDS
    reasons = representation.unfit(["zone", "", "seventeen", "one"])
    assert sorted(reasons) == [0, 1, 2] and "'z' is no known symbol" in reasons[0]
    with pytest.raises(UserError, match="with 1 symbols"):
        Symbols().fit(["aa", "a"])


def test_symbols_of_one_length_need_no_mask():
    representation = fitted(Symbols(axis=""), ["one", "two", "toe"])
    assert representation.encode(["ten"[::-1].replace("n", "w")]).masks == {}
    assert restored(representation, axis="").decode(representation.encode(["two"])) == ["two"]
    assert "it has 4 symbols, the first 3" in representation.unfit(["toow"])[0]


@pytest.mark.parametrize(
    ("make", "items", "read"),
    [
        (lambda: Arrays(axis="steps"), LINES, read_arrays),
        (Arrays, list(RNG.normal(size=(20, 3)).astype(np.float32)), read_arrays),
        (Records, ROWS, read_rows),
        (Symbols, WORDS, read_texts),
    ],
    ids=["lines", "vectors", "rows", "words"],
)
def test_files_are_read_back_and_pictures_drawn(make, items, read, tmp_path):
    representation = fitted(make(), items)
    clean = representation.decode(representation.encode(items))
    representation.save(clean, tmp_path, {})
    again = representation.encode(read(tmp_path))
    for name, x in representation.encode(clean).parts.items():
        torch.testing.assert_close(again.parts[name], x)
    for labels in ((), ["label"] * len(clean)):
        representation.preview(clean, tmp_path / "preview.png", labels)
        assert (tmp_path / "preview.png").read_bytes().startswith(b"\x89PNG")


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"no array")
    for read, path in ((read_arrays, tmp_path), (read_rows, tmp_path), (read_texts, tmp_path / "gone.txt")):
        with pytest.raises(UserError, match="cannot be read"):
            read(path)


def test_an_extension_takes_no_real_element_away():
    state = State.zeros(fitted(Symbols(), WORDS).layout, 2, {"places": torch.tensor([1, 3])})
    from unnoise.ready.elements import keep

    kept = keep(state, "extend:1", "places")
    assert kept.state.sizes["places"].tolist() == [2, 4]
    assert kept.masks["symbols"].tolist() == [[True, False, False, False], [True, True, True, False]]
