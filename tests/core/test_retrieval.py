"""The judge of words: its score against enumeration, and that it learns what belongs together."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from unnoise.contracts import Dataset, Evidence, Labels, Texts
from unnoise.retrieval import SIZE, Judge, JudgeRecipe, RetrievalMetric, retrieval, train_judge
from unnoise.text import Vocabulary

COLOURS, SHAPES = ("red", "green", "blue", "black"), ("cat", "dog", "car", "tree", "hat")


def pairs(n, seed):
    """Eight numbers that tell a colour and a shape, with noise, and the words for them."""
    rng = np.random.default_rng(seed)
    colour, shape = rng.integers(len(COLOURS), size=n), rng.integers(len(SHAPES), size=n)
    items = np.concatenate([np.eye(4)[colour], np.eye(5)[shape]], 1) + 0.05 * rng.standard_normal((n, 9))
    texts = [f"a {COLOURS[c]} {SHAPES[s]}" for c, s in zip(colour, shape, strict=True)]
    return torch.tensor(items, dtype=torch.float32), texts


class Fixed(Judge):
    """Fits that are given: item i and text j by a table."""

    def __init__(self, fits):
        super().__init__(nn.Identity(), Vocabulary([]))
        self.fits = fits

    def read(self, tokens):
        return torch.eye(self.fits.shape[1])

    def look(self, items):
        return self.fits[items.long().flatten()]


@pytest.mark.parametrize("among", [2, 3, 5, 9])
def test_the_score_is_the_mean_over_all_choices_of_candidates(among):
    torch.manual_seed(0)
    fits, texts = torch.randn(6, 6), list("abcdef")
    found = retrieval(Fixed(fits), torch.arange(6)[:, None], texts, among)
    wins = []
    for i in range(6):
        others = [j for j in range(6) if j != i]
        chosen = list(combinations(others, min(among, 6) - 1))
        wins.append(np.mean([all(fits[i, i] > fits[i, j] for j in some) for some in chosen]))
    assert found == pytest.approx(np.mean(wins))


def test_texts_that_come_twice_are_one_candidate_and_ties_are_lost():
    fits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    assert retrieval(Fixed(fits), torch.arange(3)[:, None], ["a", "a", "b"], 2) == pytest.approx(2 / 3)


def test_a_judge_learns_words_and_its_weights_are_kept(tmp_path):
    items, texts = pairs(300, 0)
    recipe, tower = JudgeRecipe(min_steps=150, max_steps=150, batch=64, lr=5e-3), lambda: nn.Linear(9, SIZE)
    state = torch.random.get_rng_state()
    judge = train_judge(tower, items, texts, recipe, cache=tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)
    seen, said = pairs(100, 1)
    assert retrieval(judge, seen, said, 8) > 0.9
    assert abs(retrieval(judge, seen[torch.randperm(100)], said, 8) - 1 / 8) < 0.12
    again = train_judge(tower, items, texts, recipe, cache=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(judge.parameters(), again.parameters(), strict=True))
    assert len(list(tmp_path.glob("judge-*.safetensors"))) == 1


class Pairs(Dataset):
    def __init__(self, n, seed, column=None):
        self.items, texts = pairs(n, seed)
        self.column = Texts(np.array(texts)) if column is None else column

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]

    def columns(self):
        return {"text": self.column}


class Metric(RetrievalMetric):
    def inputs(self, items, evidence):
        return torch.stack(items)

    def tower(self, inputs):
        return nn.Linear(9, SIZE)


def test_the_metric_has_a_floor_of_real_pairs_and_a_ceiling_of_chance():
    train, test = Pairs(300, 0), Pairs(100, 1)
    made, asked = pairs(60, 2)
    metric = Metric(among=8, max_steps=150)
    (score,) = metric(Evidence(list(made), {"text": np.array(asked)}, train, test))
    assert score.name == "retrieval_8" and score.ceiling == 1 / 8 and min(score.value, score.floor) > 0.8
    wrong = Evidence(list(made), {"text": np.array(asked[1:] + asked[:1])}, train, test)
    assert metric(wrong)[0].value < 0.3
    half = np.array([text if i % 2 else "" for i, text in enumerate(asked)])  # some were asked for nothing
    assert metric(Evidence(list(made), {"text": half}, train, test))[0].note.startswith("N=30, 8 candidates")


def test_data_without_words_and_samples_asked_for_none_get_no_score():
    train, items = Pairs(10, 0), list(pairs(4, 1)[0])
    assert Metric()(Evidence(items, {}, train, train)) == []
    assert Metric()(Evidence(items, {"text": np.array([""] * 4)}, train, train)) == []
    plain = Pairs(10, 0, Labels(np.zeros(10, np.int64), ("a",)))
    assert Metric()(Evidence(items, {"text": np.array(["a"] * 4)}, plain, plain)) == []
