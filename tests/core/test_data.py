"""Encoded data: what is left out, the order, and batches that hold what the data set holds."""

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from unnoise.contracts import Dataset, Labels, Representation, Scalars
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.state import State
from unnoise.training.data import EncodedData, Items, Selection, order, subset


class Words(Dataset):
    """Lower-case words, some with digits in them."""

    def __init__(self, n=50):
        rng = np.random.default_rng(0)
        self.words = [
            "".join(rng.choice(list("abcde"), rng.integers(1, 6))) + ("1" if i % 7 == 3 else "") for i in range(n)
        ]

    def __len__(self):
        return len(self.words)

    def __getitem__(self, index):
        return self.words[index]


class Letters(Representation):
    layout = Layout((Part("c", "categorical", ("letters",), classes=5), Part("x", "gaussian", ("letters", 2))))

    def fit(self, items): ...
    def settings(self): ...
    def restore(self, settings): ...
    def decode(self, state): ...
    def save(self, items, folder, settings): ...
    def preview(self, items, path, labels=()): ...

    def unfit(self, items):
        return {i: "has digits" for i, word in enumerate(items) if "1" in word}

    def encode(self, items):
        state = State.zeros(self.layout, len(items), {"letters": torch.tensor([len(word) for word in items])})
        for i, word in enumerate(items):
            state.parts["c"][i, : len(word)] = torch.tensor(["abcde".index(letter) for letter in word])
            state.parts["x"][i, : len(word)] = float(len(word))
        return state


def encoded(chunk=7):
    data = Words()
    chosen = Selection.of(data, Letters(), chunk=11)
    items = Items(data, chosen.index)
    columns = {"length": torch.tensor([float(len(word)) for word in items])}
    return items, EncodedData.encode(items, Letters(), columns, chunk)


def test_items_that_do_not_fit_are_left_out_and_counted():
    chosen = Selection.of(Words(), Letters(), chunk=11)
    assert chosen.index == [i for i in range(50) if i % 7 != 3] and chosen.notes() == [
        "left out 7 of 50 items: has digits: ecde1, caa1, bc1, ..."
    ]

    class NoneFits(Letters):
        def unfit(self, items):
            return dict.fromkeys(range(len(items)), "too odd")

    with pytest.raises(UserError, match=r"none of the 50 training items.*too odd \(50\)"):
        Selection.of(Words(), NoneFits())


def test_items_slice_lazily():
    items = Items(Words(), [4, 2, 9, 1])
    assert list(items[1:3]) == [Words()[2], Words()[9]] and len(items[:2]) == 2 and items[-1] == Words()[1]


def test_batches_hold_the_items_they_name_whatever_the_chunks():
    index = torch.tensor([0, 42, 43, 5, 100])
    for chunk in (1, 7, 1000):
        items, data = encoded(chunk)
        state, raw = data.batch(9, index)
        words = [items[i] for i in order(9, index, len(items)).tolist()]
        for i, word in enumerate(words):
            length = int(state.masks["letters"][i].sum())
            assert "".join("abcde"[c] for c in state.parts["c"][i, :length]) == word and raw["length"][i] == len(word)
        assert state.parts["c"].dtype == torch.int64 and data.state.parts["c"].dtype == torch.uint8


def test_batches_carry_no_needless_padding():
    _, data = encoded()
    for first in range(0, 40, 2):
        state, raw = data.batch(0, torch.arange(first, first + 2))
        assert state.masks["letters"].shape[1] == int(raw["length"].max())


def test_every_epoch_is_another_permutation_and_a_function_of_the_seed():
    epochs = [order(0, torch.arange(30) + 30 * epoch, 30) for epoch in range(3)]
    assert all(sorted(epoch.tolist()) == list(range(30)) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[0], order(1, torch.arange(30), 30))
    scattered = order(0, torch.tensor([89, 0, 31, 60]), 30)
    assert scattered.tolist() == [int(epochs[2][29]), int(epochs[0][0]), int(epochs[1][1]), int(epochs[2][0])]


def test_positions_are_uniform_over_items():
    hits = one_hot(torch.stack([order(seed, torch.arange(20), 20) for seed in range(400)]), 20).sum(0).double()
    chi2 = ((hits - 20) ** 2 / 20).sum()  # 20 x 20 cells with fixed margins: 361 degrees of freedom
    assert 361 - 4 * 722**0.5 < chi2 < 361 + 4 * 722**0.5


def test_a_batch_may_be_larger_than_the_data():
    _, data = encoded()
    state, _ = data.batch(0, torch.arange(100))
    assert state.batch == 100


def test_marginals_and_deviations_are_over_real_elements():
    items, data = encoded()
    letters = "".join(items)
    expected = [letters.count(letter) / len(letters) for letter in "abcde"]
    np.testing.assert_allclose(data.marginals("c").numpy(), expected, rtol=1e-12)
    assert data.std("x") == pytest.approx(np.sqrt(np.mean([len(word) ** 2 for word in items for _ in word])))


def test_rows_of_columns():
    assert subset(Labels(np.arange(5), tuple("abcde")), [3, 1]).values.tolist() == [3, 1]
    assert subset(Scalars(np.arange(5.0), "eV"), [4]).unit == "eV"
