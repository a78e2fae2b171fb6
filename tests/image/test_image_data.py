"""The data sets: splits, tables, and what is wrong with files."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from unnoise.contracts import Labels, Scalars
from unnoise.errors import UserError
from unnoise_image.data.digits import Digits
from unnoise_image.data.fashion import FashionMnist, read_idx
from unnoise_image.data.folder import Folder


def test_digits_split_is_stratified_complete_and_without_overlap():
    train, test = Digits("train"), Digits("test", seed=7)
    assert (len(train), len(test)) == (1352, 445)
    shares = [(np.bincount(d.columns()["class"].values) / len(d)).round(2) for d in (train, test)]
    np.testing.assert_allclose(shares[0], shares[1], atol=0.011)
    levels = np.stack([d[i] for d in (train, test) for i in range(len(d))])[..., 0] / (255 / 16)
    assert sorted(levels.round().tolist()) == sorted(load_digits().images.tolist())
    assert train[0].dtype == np.uint8 and train[0].shape == (8, 8, 1)
    np.testing.assert_array_equal(Digits("test", seed=1)[5], test[5])


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def idx_folder(tmp_path):
    rng = np.random.default_rng(0)
    for prefix, n in (("train", 5), ("t10k", 3)):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", rng.integers(0, 256, (n, 4, 6), dtype=np.uint8))
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", rng.integers(0, 10, n, dtype=np.uint8))
    return tmp_path


def test_fashion_reads_idx_files(idx_folder):
    train, test = FashionMnist("train", root=str(idx_folder)), FashionMnist("test", root=str(idx_folder))
    assert (len(train), len(test)) == (5, 3)
    assert train[4].shape == (4, 6, 1)
    raw = gzip.decompress((idx_folder / "train-images-idx3-ubyte.gz").read_bytes())
    assert train[4].tobytes() == raw[16 + 4 * 24 :]
    assert len(train.columns()["class"].names) == 10


def test_fashion_says_how_to_get_missing_files(tmp_path):
    with pytest.raises(UserError, match="apt-get install dataset-fashion-mnist"):
        FashionMnist("train", root=str(tmp_path))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda good: good[: len(good) // 2], "no gzip file"),
        (lambda good: b"no gzip", "no gzip file"),
        (lambda good: gzip.compress(gzip.decompress(good)[:-1]), "cut off"),
        (lambda good: gzip.compress(b"\0\0\x0d\1\0\0\0\1x"), "no IDX file"),
        (lambda good: gzip.compress(b""), "no IDX file"),
    ],
)
def test_broken_idx_files_are_refused(idx_folder, damage, message):
    path = idx_folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        read_idx(path, axes=1)


def test_fashion_needs_as_many_labels_as_pictures(idx_folder):
    write_idx(idx_folder / "train-labels-idx1-ubyte.gz", np.zeros(4, np.uint8))
    with pytest.raises(UserError, match="5 pictures but 4 labels"):
        FashionMnist("train", root=str(idx_folder))


@pytest.fixture
def folder(tmp_path):
    """Twenty pictures of two classes in sub-folders, a broken one, and a file that is none."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "cat" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no picture either")
    return tmp_path


def test_folder_takes_classes_from_sub_folders_and_splits_by_path(folder):
    kwargs = {"root": str(folder), "size": 16, "test_fraction": 0.3}
    train, test = Folder("train", **kwargs), Folder("test", seed=5, **kwargs)
    assert len(train) + len(test) == 20 and len(test) > 1
    assert train[0].shape == (16, 16, 3)
    for data in (train, test):
        assert data.columns()["class"].names == ("cat", "dog")
    notes = [*train.notes(), *test.notes()]
    assert notes == ["folder: skipped 1 of 16 pictures of the train split: cat/broken.jpg (it is no picture)"]
    before = {train[i].tobytes() for i in range(len(train))}
    Image.new("RGB", (5, 5)).save(folder / "dog" / "new.png")
    grown = Folder("train", **kwargs)
    assert before <= {grown[i].tobytes() for i in range(len(grown))}  # a new picture moves no other to the test split


def test_folder_takes_columns_from_a_table(folder):
    rows = [
        {"file": "cat/0.png", "class": "a", "weight": 3.5, "place": "home"},
        {"file": "cat/1.png", "class": 7, "weight": 4, "place": ""},
        {"file": "gone.png", "class": "z"},
    ]
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    data = Folder("train", root=str(folder), size=8, channels=1, test_fraction=0)
    assert data[0].shape == (8, 8, 1)
    columns = data.columns()
    kind, weight, place = columns["class"], columns["weight"], columns["place"]
    assert isinstance(kind, Labels) and kind.names == ("7", "a", "z")
    assert kind.values[:3].tolist() == [1, 0, -1]
    assert isinstance(weight, Scalars) and weight.values[:2].tolist() == [3.5, 4] and np.isnan(weight.values[2])
    assert isinstance(place, Labels) and place.values[:3].tolist() == [0, -1, -1]
    csv = "file,class\ncat/0.png,x\ncat/1.png,y\n"
    (folder / "mine.csv").write_text(csv, encoding="utf-8-sig")
    data = Folder("train", root=str(folder), size=8, table="mine.csv", test_fraction=0)
    assert data.columns()["class"].names == ("x", "y")


def test_folder_without_classes_knows_none(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    assert Folder("train", root=str(tmp_path), size=8, test_fraction=0).columns() == {}


def test_folder_cuts_the_middle_turns_upright_and_lays_on_white(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    Image.fromarray(wide).save(tmp_path / "a_wide.png")
    tall = Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10) * 2)
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned
    tall.save(tmp_path / "b_turned.png", exif=exif)
    Image.new("RGBA", (10, 10), (255, 0, 0, 0)).save(tmp_path / "c_clear.png")
    data = Folder("train", root=str(tmp_path), size=10, test_fraction=0)
    assert (data[0] == 200).all()
    np.testing.assert_array_equal(data[1][..., 0], np.rot90(np.asarray(tall), -1))
    assert (data[2] == 255).all()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda f: None, "no picture for the train split"),
        (lambda f: (f / "a.png").write_bytes(b"x"), r"skipped 1 of 1 pictures .*: a\.png \(it is no"),
        (lambda f: (f / "labels.csv").write_text("name,class\na.png,b\n"), "has no 'file'"),
        (lambda f: (f / "labels.jsonl").write_text("{oops"), "cannot be read"),
    ],
)
def test_folder_says_what_is_wrong(tmp_path, prepare, message):
    prepare(tmp_path)
    with pytest.raises(UserError, match=message):
        Folder("train", root=str(tmp_path), test_fraction=0)


def test_folder_names_what_is_missing(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        Folder("train", root=str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"mine\.csv is missing"):
        Folder("train", root=str(tmp_path), table="mine.csv")
