"""Captioned archives: what is read, and what is refused."""

import json

import numpy as np
import pytest

from unnoise.archives import averaged, caption, chosen_rows, read_archive, read_known
from unnoise.errors import UserError

ITEMS = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3)
SPLIT = np.array(["train", "test", "train", "train"])


def read(file, **arrays):
    np.savez(file, **arrays)
    return read_archive(file, "things", 4, "it holds things", "get one")


def test_arrays_with_and_without_groups(tmp_path):
    found = read(tmp_path / "a.npz", things=ITEMS, split=SPLIT)
    assert found["group"].tolist() == [-1] * 4 and chosen_rows(found, tmp_path, "train").tolist() == [0, 2, 3]
    names = np.array(["x", "y"])
    found = read(tmp_path / "a.npz", things=ITEMS, split=SPLIT, group=np.array([0, 1, 1, -1]), group_names=names)
    assert chosen_rows(found, tmp_path, "train", groups=["y"]).tolist() == [2]
    assert chosen_rows(found, tmp_path, "train", without=["y"]).tolist() == [0, 3]
    with pytest.raises(UserError, match="has no group 'z'\nthere is: x, y"):
        chosen_rows(found, tmp_path, "train", without=["z"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"things": ITEMS}, r"holds things uint8\[4, 2, 2, 3\]\nit holds things"),
        ({"things": ITEMS.astype(float), "split": SPLIT}, "holds split"),
        ({"things": ITEMS[0], "split": SPLIT}, "holds split"),
        ({"things": ITEMS, "split": SPLIT[:2]}, "holds split"),
        ({"things": ITEMS, "split": SPLIT, "group": np.array([0, 0, 0, 0])}, "group and group_names do not fit"),
        ({"things": np.array([{}], dtype=object), "split": SPLIT[:1]}, "cannot be read: Object arrays"),
    ],
)
def test_other_files_are_refused(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path / "a.npz", **arrays)


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="is missing\nget one"):
        read_archive(tmp_path / "a.npz", "things", 4, "", "get one")
    (tmp_path / "a.json").write_text("[{}, 3]")
    for text, message in (
        ("[{}, 3]", "one object for each of 2 things"),
        ("{", "cannot be read"),
        ("[{}]", "for each of 2"),
    ):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(UserError, match=message):
            read_known(tmp_path / "a.json", 2, "thing")
    (tmp_path / "a.json").write_text(json.dumps([{"label": "a"}, {}]))
    assert read_known(tmp_path / "a.json", 2, "thing") == [{"label": "a"}, {}]
    assert read_known(tmp_path / "b.json", 2, "thing") == [{}, {}]


def test_captions_are_the_label_and_then_what_it_does_not_say():
    known = {"label": "Red apple", "tags": ["apple", "fruit", 3, "ripe"]}
    assert caption(known) == "Red apple" and caption(known, 2) == "Red apple, fruit, 3"
    assert (
        caption({"tags": ["a"]}, 1) == "a" and caption({"label": "b", "tags": None}, 3) == "b" and caption({}, 3) == ""
    )


def test_averages_are_those_of_blocks():
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 4, 1), dtype=np.uint8)
    found = averaged(np.concatenate([x, x], 3), 4)
    assert found.shape == (2, 3, 4, 4, 1)
    assert found[1, 2, 3, 1, 0] == np.round(x[1, 2, 6:8, 2:4, 0].mean())
    with pytest.raises(UserError, match="8x4 cannot be averaged to 3"):
        averaged(x, 3)
