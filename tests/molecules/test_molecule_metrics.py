"""Metrics on sets whose scores are known."""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import pytest

from unnoise.contracts import Evidence
from unnoise.errors import UserError
from unnoise_molecules.data.base import Molecules
from unnoise_molecules.metrics.fcd import FcdMetric
from unnoise_molecules.metrics.properties import PropertiesMetric, distance
from unnoise_molecules.metrics.validity import ValidityMetric


def evidence(generated, **more):
    train, test = Molecules(["CCO", "CCN", "CCC", "c1ccccc1"]), Molecules(["CCO", "CCF", "CCCC"])
    return Evidence(**{"generated": generated, "conditions": {}, "train": train, "test": test, **more})


def by_name(scores):
    return {score.name: score for score in scores}


def test_shares_are_counted_without_repair():
    made = ["OCC", "CCO", "CC.C", "C(C)(C)(C)(C)C", "", "CCCl"]
    scores = by_name(ValidityMetric()(evidence(made, noise=["nonsense"])))
    assert scores["valid"].value == pytest.approx(4 / 6)
    assert scores["connected"].value == pytest.approx(3 / 6)
    assert scores["unique"].value == pytest.approx(3 / 4)
    assert scores["novel"].value == pytest.approx(2 / 3)
    assert scores["novel"].floor == pytest.approx(2 / 3)
    assert scores["valid"].floor == 1
    assert scores["valid"].ceiling == 0
    assert scores["unique"].ceiling is None
    assert scores["heavy_atoms"].value == pytest.approx(3.0)


def test_nothing_valid_is_no_crash():
    scores = by_name(ValidityMetric()(evidence(["nonsense"])))
    assert scores["valid"].value == 0
    assert math.isnan(scores["unique"].value)
    assert all(math.isnan(s.value) for s in PropertiesMetric()(evidence(["nonsense"])) if "distance" in s.name)


def test_distance_is_wassersteins():
    assert distance(np.array([0.0, 1.0, np.nan]), np.array([2.0, 3.0])) == pytest.approx(2)
    assert math.isnan(distance(np.array([np.nan]), np.array([1.0])))


def test_what_was_asked_for_is_compared():
    asked = {"atoms": np.array([3.0, 5.0, np.nan])}
    scores = by_name(PropertiesMetric(["atoms"])(evidence(["CCO", "CCO", "CCO"], conditions=asked)))
    assert scores["atoms_error"].value == pytest.approx(1.0)
    assert scores["atoms_distance"].value == pytest.approx(1 / 3)
    assert set(by_name(PropertiesMetric(["logp"])(evidence(["CCO"] * 3, conditions=asked)))) == {"logp_distance"}


def test_an_unknown_property():
    with pytest.raises(UserError, match=r"Did you mean 'logp'\?"):
        PropertiesMetric(["logP"])


def test_fcd_says_what_to_install(monkeypatch):
    monkeypatch.setattr("unnoise_molecules.metrics.fcd.find_spec", lambda name: None)
    with pytest.raises(UserError, match="fcd_torch"):
        FcdMetric()(evidence(["CCO"]))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("fcd_torch") is None, reason="fcd_torch is not installed")
def test_fcd_knows_its_own_data_and_keeps_it(tmp_path):
    same = by_name(FcdMetric()(evidence(["CCO", "CCF", "CCCC"], cache=tmp_path)))["fcd"]
    assert same.value == pytest.approx(0, abs=1e-3)
    assert same.floor > 1
    assert len(list(tmp_path.glob("fcd-*.npz"))) == 2
