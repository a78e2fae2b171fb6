"""Conditions: what users may write, what is absent, and what the embedding must not depend on."""

import math

import numpy as np
import pytest
import torch

from unnoise.conditions import ClassCondition, Conditions, ScalarCondition
from unnoise.contracts import Labels, Scalars
from unnoise.errors import UserError

LABELS = Labels(np.array([0, 2, -1]), ("red", "green", "7"))
SCALARS = Scalars(np.array([1.0, np.nan, 3.0]), "eV")


def both(**options):
    torch.manual_seed(0)
    return Conditions.from_columns({"colour": LABELS, "gap": SCALARS}, ["colour", "gap"], 8, **options)


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        ("green", [1, 1, 1, 1]),
        (1, [1] * 4),
        ("7", [2] * 4),
        (7, [2] * 4),
        (["red", None], [0, -1, 0, -1]),
        (None, [-1] * 4),
    ],
)
def test_classes_by_name_then_by_index_and_lists_repeat(value, raw):
    assert both()["colour"].parse(value, 4).tolist() == raw


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("colour", "gren", ["gren", "Did you mean 'green'?", "red, green, 7"]),
        ("colour", 3, ["3", "red, green, 7"]),
        ("colour", -1, ["-1", "red, green, 7"]),
        ("colour", [], ["empty list"]),
        ("gap", "wide", ["wide", "from 1 to 3 eV"]),
        ("gap", math.nan, ["nan", "from 1 to 3 eV"]),
        ("collour", 1, ["collour", "Did you mean 'colour'?", "colour, gap"]),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(name, value, words):
    with pytest.raises(UserError) as error:
        both().parse({name: value}, 2)
    assert all(word in str(error.value) for word in words)


def test_a_bare_value_needs_a_single_condition():
    one = Conditions([ClassCondition("colour", 4, names=("red", "green"))], 4)
    assert one.parse("green", 2)["colour"].tolist() == [1, 1]
    with pytest.raises(UserError, match="which condition"):
        both().parse("green", 2)


def test_columns_keep_what_is_unknown_absent():
    conditions = both()
    assert conditions["colour"].raw(LABELS).tolist() == [0, 2, -1]
    assert conditions["gap"].is_absent(conditions["gap"].raw(SCALARS)).tolist() == [False, True, False]
    scalar = conditions["gap"]
    assert isinstance(scalar, ScalarCondition) and (scalar.mean, scalar.std) == (2.0, 1.0)


def test_absent_values_give_the_null_and_a_name_left_out_is_absent():
    conditions = both()
    nulls = conditions["colour"].null + conditions["gap"].null
    given = conditions({"colour": torch.tensor([-1, -1]), "gap": torch.tensor([math.nan, math.nan])}, 2)
    assert torch.equal(given.vector, nulls.expand(2, 8))
    assert torch.equal(conditions({}, 2).vector, given.vector) and torch.equal(conditions(None, 2).vector, given.vector)


def test_absent_scalars_send_no_gradient_to_the_features_and_no_nan_to_the_null():
    conditions = both()
    conditions({"gap": torch.tensor([math.nan, 2.5])}, 2).vector.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in conditions["gap"].parameters())


def test_the_embedding_of_one_item_ignores_the_others_and_the_unit():
    conditions = both()
    alone = conditions({"gap": torch.tensor([2.5])}, 1).vector
    among = conditions({"gap": torch.tensor([math.nan, 2.5, 1.0])}, 3).vector[1:2]
    assert torch.allclose(alone, among, atol=1e-6)
    other = Conditions.from_columns({"gap": Scalars(SCALARS.values * 1000 + 5, "meV")}, ["gap"], 8)
    other["gap"].load_state_dict(conditions["gap"].state_dict())
    single = Conditions.from_columns({"gap": SCALARS}, ["gap"], 8)
    single["gap"].load_state_dict(conditions["gap"].state_dict())
    scaled = other({"gap": torch.tensor([2505.0])}, 1).vector
    assert torch.allclose(scaled, single({"gap": torch.tensor([2.5])}, 1).vector, atol=1e-4)


def test_describe_and_parse_are_inverse():
    conditions = both()
    for name, raw in {"colour": torch.tensor([1, -1, 2]), "gap": torch.tensor([1.5, math.nan, 2.0])}.items():
        again = conditions[name].parse(conditions[name].describe(raw), 3)
        assert torch.equal(torch.nan_to_num(again.double(), 99), torch.nan_to_num(raw.double(), 99))


def test_config_and_weights_rebuild_the_same_conditions():
    conditions = both(tokens=True)
    again = Conditions.from_config(conditions.config())
    again.load_state_dict(conditions.state_dict())
    raw = {"colour": torch.tensor([0, 2]), "gap": torch.tensor([1.5, math.nan])}
    a, b = conditions(raw, 2), again(raw, 2)
    assert torch.equal(a.vector, b.vector) and torch.equal(a.tokens, b.tokens) and a.tokens.shape == (2, 2, 8)


def test_an_unconditional_model_has_no_context_and_says_so():
    none = Conditions([], 8)
    assert none(None, 3) is None and none.dim == 0
    with pytest.raises(UserError, match="unconditional"):
        none(({"colour": torch.zeros(3)}), 3)


def test_a_column_that_does_not_exist_is_named():
    with pytest.raises(UserError, match=r"no column 'color' to condition on\. Did you mean 'colour'"):
        Conditions.from_columns({"colour": LABELS}, ["color"], 8)
