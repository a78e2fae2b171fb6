"""The ready-made data sets and metrics."""

import numpy as np
import pytest

from unnoise.contracts import Curves, Evidence, Labels, Scalars
from unnoise.errors import UserError
from unnoise.ready import (
    ArrayFile,
    FileFolder,
    ItemList,
    KernelMetric,
    MarginalMetric,
    NearestMetric,
    SlicedMetric,
    TableFile,
)
from unnoise.ready.features import features_of

RNG = np.random.default_rng(0)


class Numbers(FileFolder):
    endings = (".txt",)

    def read(self, path):
        return np.loadtxt(path, ndmin=1)


def everything(cls, **options):
    return [cls(split, 0, **options) for split in ("train", "test")]


def test_a_list_is_split_once_and_its_columns_with_it():
    labels = Labels(np.arange(50) % 3, ("a", "b", "c"))
    train, test = (ItemList(split, list(range(50)), {"class": labels}) for split in ("train", "test"))
    assert sorted([train[i] for i in range(40)] + [test[i] for i in range(10)]) == [*range(50)]
    for data in (train, test):
        assert [data[i] % 3 for i in range(len(data))] == data.columns()["class"].values.tolist()
    with pytest.raises(UserError, match="leaves a split empty"):
        ItemList("train", [1], {})


def test_arrays_of_a_file(tmp_path):
    x = RNG.normal(size=(30, 2, 3))
    more = {"speed": np.arange(30), "kind": np.array(["b", "a", "c"] * 10), "way": RNG.normal(size=(30, 5))}
    np.savez(tmp_path / "data.npz", x=x, **more)
    np.save(tmp_path / "data.npy", x)
    (train, test), (plain, _) = (everything(ArrayFile, path=str(tmp_path / f"data.{e}")) for e in ("npz", "npy"))
    assert len(train) + len(test) == 30 and plain.columns() == {}
    np.testing.assert_array_equal(train[0], plain[0])
    columns = train.columns()
    assert {name: type(c) for name, c in columns.items()} == {"speed": Scalars, "kind": Labels, "way": Curves}
    for i in range(len(train)):
        row = int(columns["speed"].values[i])
        np.testing.assert_allclose(train[i], x[row], rtol=1e-6)
        assert columns["kind"].names[columns["kind"].values[i]] == more["kind"][row]
        np.testing.assert_allclose(columns["way"].values[i], more["way"][row], rtol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "no array of numbers 'x'"),
        ({"x": np.array(["a"])}, "no array of numbers 'x'"),
        ({"x": np.zeros(3), "y": np.zeros(4)}, "'y' is float64"),
    ],
)
def test_files_that_are_no_arrays(arrays, message, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(UserError, match=message):
        ArrayFile("train", path=str(tmp_path / "data.npz"))
    with pytest.raises(UserError, match="cannot be read"):
        ArrayFile("train", path=str(tmp_path / "gone.npz"))


def test_rows_of_a_table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("name,height,pet\n" + "".join(f"n{i},{i}.5,{'cat' if i % 2 else ''}\n" for i in range(10)))
    train, test = everything(TableFile, path=str(path))
    rows = [train[i] for i in range(len(train))] + [test[i] for i in range(len(test))]
    assert sorted(row["height"] for row in rows) == [i + 0.5 for i in range(10)]
    assert {row["pet"] for row in rows} == {"cat", None}  # an empty cell says nothing
    assert train.columns()["pet"].names == ("cat",)


def test_files_of_a_folder(tmp_path):
    for i in range(60):
        place = tmp_path / ("even" if i % 2 == 0 else "odd")
        place.mkdir(exist_ok=True)
        (place / f"{i}.txt").write_text(f"{i} 0\n" if i else "not a number\n")
    train, test = everything(Numbers, root=str(tmp_path))
    assert len(train) + len(test) == 59 and len(test) > 0
    for data in (train, test):
        names = data.columns()["class"].names
        assert all(
            names[kind] == ("odd" if data[i][0] % 2 else "even")
            for i, kind in enumerate(data.columns()["class"].values)
        )
    assert any("1 files cannot be read: even/0.txt" in line for line in [*train.notes(), *test.notes()])
    with pytest.raises(UserError, match="is not a folder"):
        Numbers("train", root=str(tmp_path / "gone"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no .txt file that can be read for the train split"):
        Numbers("train", root=str(tmp_path / "empty"))


def items_of(kind, n, shift, seed):
    rng = np.random.default_rng(seed)
    if kind == "rows":
        return [{"a": float(v), "b": "x" if rng.uniform() < 0.5 + shift / 4 else "y"} for v in rng.normal(shift, 1, n)]
    if kind == "texts":
        return ["".join(rng.choice(list("abcd"), 12, p=np.array([1 + shift, 1, 1, 1]) / (4 + shift))) for _ in range(n)]
    sizes = rng.integers(3, 9, n) if kind == "curves" else [5] * n
    return [rng.normal(shift, 1, (size, 2)).astype(np.float32) for size in sizes]


@pytest.mark.parametrize("kind", ["rows", "texts", "curves", "arrays"])
@pytest.mark.parametrize("metric", [SlicedMetric, KernelMetric, MarginalMetric, NearestMetric])
def test_metrics_tell_good_items_from_bad_ones(kind, metric):
    """Items of the same distribution score as real training items do; shifted ones score worse, and noise worst."""
    train = ItemList("train", items_of(kind, 400, 0.0, 1), {}, 0.5)
    test = ItemList("test", items_of(kind, 400, 0.0, 1), {}, 0.5)
    noise = items_of(kind, 200, 3.0, 4)

    def scores(shift):
        return {s.name: s for s in metric()(Evidence(items_of(kind, 200, shift, 2), {}, train, test, noise))}

    good, bad = scores(0.0), scores(1.5)
    assert good.keys() == bad.keys()
    for name, score in good.items():
        if name == "correlations":  # the shift changes none
            assert score.value < 0.15
        elif metric is NearestMetric:
            assert 0.7 < score.value < 1.4
        else:
            assert score.value < bad[name].value < score.ceiling
            assert abs(score.value - score.floor) < 0.5 * (bad[name].value - score.floor)


def test_a_repeated_training_item_is_found():
    train = ItemList("train", items_of("arrays", 400, 0.0, 1), {}, 0.5)
    test = ItemList("test", items_of("arrays", 400, 0.0, 1), {}, 0.5)
    (score,) = NearestMetric()(Evidence([train[i] for i in range(100)], {}, train, test))
    assert score.value == 0


def test_too_few_items_are_no_score():
    data = ItemList("train", items_of("arrays", 10, 0.0, 1), {}, 0.5)
    assert SlicedMetric()(Evidence([data[0]], {}, data, data)) == []
    with pytest.raises(UserError, match="at least 2 items"):
        SlicedMetric(size=1)


def test_features_of_rows():
    rows = [{"a": 1.0, "b": "x"}, {"a": 3.0, "b": "y"}]
    assert features_of(rows)(rows).tolist() == [[-1, 1, 0], [1, 0, 1]]
