"""Prompts with weights, and vocabularies of sub-words."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from unnoise.errors import UserError
from unnoise.text import Vocabulary, parse_prompt, write_prompt
from unnoise.text.vocabulary import words

CORPUS = ["low low low low low", "lower lower", "newest newest newest newest newest newest", "widest widest widest"]


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        ("a red car", [("a red car", 1)]),
        ("a (red:1.3) car", [("a ", 1), ("red", 1.3), (" car", 1)]),
        ("(two words: .5)(x:2)", [("two words", 0.5), ("x", 2)]),
        ("a (red) car (of 1:20)", [("a (red) car ", 1), ("of 1", 20)]),
        ("a (red:0) car", [("a ", 1), (" car", 1)]),
        (r"\(red:1.3\) (f\(x\):2)", [("(red:1.3) ", 1), ("f(x)", 2)]),
        ("", []),
        (" (:1.3) ", []),
    ],
)
def test_what_a_prompt_says(prompt, pieces):
    if any(weight > 10 for _, weight in pieces):
        with pytest.raises(UserError, match=r"the weight of '\(of 1:20\)' is 20\nWeights go from 0 to 10"):
            parse_prompt(prompt)
    else:
        assert parse_prompt(prompt) == pieces


@example([("(", 1.0), (":1)", 1.0)])
@given(
    st.lists(
        st.tuples(st.text(st.sampled_from("ab(): .1\\"), min_size=1), st.sampled_from([0.5, 1.0, 1.3])), max_size=3
    )
)
def test_what_is_written_is_read_again(pieces):
    # A backslash before a bracket is spelling, not text, so it is not among what can be said.
    pieces = [(text.replace("\\", ""), weight) for text, weight in pieces]
    pieces = [(text, weight) for text, weight in pieces if text.strip()]
    read = parse_prompt(write_prompt(pieces))
    assert _by_weight(read) == _by_weight(pieces)


def _by_weight(pieces):
    """Letters of each weight in their order, space aside."""
    return [(sign, weight) for text, weight in pieces for sign in text if not sign.isspace()]


def test_merges_are_those_of_counting_anew_after_every_merge():
    """Against a plain reading of algorithm 1 of Sennrich et al. 2016, which counts all pairs before every merge."""
    rng = random.Random(0)
    texts = [" ".join("".join(rng.choices("abcd", k=rng.randint(1, 6))) for _ in range(8)) for _ in range(40)]
    for corpus in (CORPUS, texts):
        found = Vocabulary.measure(corpus, 256 + 25, least=2)
        spelled = Counter(tuple(bytes([b]) for b in word.encode()) for text in corpus for word in words(text))
        for first, second in found.merges:
            pairs = Counter()
            for pieces, count in spelled.items():
                for pair in pairwise(pieces):
                    pairs[pair] += count
            chosen = (found.pieces[first], found.pieces[second])
            assert pairs[chosen] == max(pairs.values()) >= 2
            spelled = Counter({_joined(pieces, chosen): count for pieces, count in spelled.items()})


def _joined(pieces, pair):
    made, i = [], 0
    while i < len(pieces):
        if pieces[i : i + 2] == pair:
            made.append(pieces[i] + pieces[i + 1])
            i += 2
        else:
            made.append(pieces[i])
            i += 1
    return tuple(made)


def test_known_words_are_few_tokens_and_unknown_ones_are_read_from_pieces():
    vocabulary = Vocabulary.measure(CORPUS, least=2)
    assert len(vocabulary.encode("newest low")) == 2
    assert [vocabulary.pieces[t] for t in vocabulary.encode("lowest")] == [b" low", b"est"]
    assert vocabulary.decode(vocabulary.encode("Über 漢字 🙂!")) == "über 漢字 🙂!"


@given(st.text(max_size=30))
def test_every_text_has_tokens_that_say_the_same(text):
    vocabulary = Vocabulary.measure(CORPUS, least=2)
    tokens = vocabulary.encode(text)
    assert vocabulary.encode(vocabulary.decode(tokens)) == tokens
    assert "".join(vocabulary.decode(tokens).split()) == "".join("".join(words(text)).split())


def test_rare_pairs_and_more_than_the_size_are_left_in_pieces():
    assert Vocabulary.measure(CORPUS, least=100).merges == []
    assert len(Vocabulary.measure(CORPUS, size=260, least=1)) == 260
    with pytest.raises(ValueError, match="token 256 cannot stand for 300 and 1"):
        Vocabulary([[300, 1]])
