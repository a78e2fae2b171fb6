"""Distances and set scores against definitions spelled out, and judges that know good from bad."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree
from scipy.stats import wasserstein_distance

from unnoise.contracts import Dataset, Evidence, Labels
from unnoise_points.cloud import Cloud
from unnoise_points.data.families import Families
from unnoise_points.families import FAMILIES
from unnoise_points.metrics.distances import (
    BoundedTable,
    WholeTable,
    chamfer,
    nearest_bound,
    sliced_bound,
    stacked,
    transport,
)
from unnoise_points.metrics.judged import ClassifierMetric, MemorisationMetric, nearest_training
from unnoise_points.metrics.parameters import ParametersMetric, fit, residual
from unnoise_points.metrics.sets import (
    ChamferMetric,
    OccupancyMetric,
    TransportMetric,
    compare,
    jensen_shannon,
)
from unnoise_points.surfaces import draw_points


class Given(Dataset):
    """Clouds of two classes: flat ones and tall ones, of random sides."""

    def __init__(self, n, seed, points=48):
        rng = np.random.default_rng(seed)
        self.labels = np.arange(n) % 2
        shape = np.array([[1, 0.1, 1], [0.2, 1, 0.2]])[self.labels]
        sides = shape * rng.uniform(0.6, 1.4, (n, 3))
        self.items = [Cloud((rng.uniform(-1, 1, (points, 3)) * side).astype(np.float32)) for side in sides]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]

    def columns(self):
        return {"class": Labels(self.labels, ("flat", "tall"))}


def evidence(generated, conditions=None, n=60, noise=True):
    rng = np.random.default_rng(9)
    blobs = [Cloud(rng.standard_normal((48, 3)).astype(np.float32)) for _ in range(20)] if noise else []
    return Evidence(generated, conditions or {}, Given(n, 1), Given(n, 2), blobs)


def scores(metric, found):
    return {score.name: score for score in metric(found)}


def by_trees(x, y):
    """The Chamfer distance of two clouds."""
    there, back = (KDTree(b.numpy()).query(a.numpy())[0] for a, b in ((x, y), (y, x)))
    return np.square(there).mean() + np.square(back).mean()


def test_chamfer_by_a_tree():
    x, y = torch.randn(3, 20, 3), torch.randn(4, 30, 3) + 1
    for one, other in ((x, y), (y, y)):  # among themselves each pair is computed once
        wanted = [[by_trees(a, b) for b in other] for a in one]
        np.testing.assert_allclose(chamfer(one, other).numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_transport_by_trying_all_pairings():
    x, y = torch.randn(6, 3), torch.randn(6, 3)
    best = min(float((x - y[list(p)]).norm(dim=1).mean()) for p in permutations(range(6)))
    assert transport(x, y) == pytest.approx(best, rel=1e-6) and transport(x, x[torch.randperm(6)]) < 1e-9
    line = torch.zeros(2, 9, 3)
    line[..., 0] = torch.randn(2, 9)  # along a line it is the one-dimensional Wasserstein distance
    assert transport(*line) == pytest.approx(wasserstein_distance(*line[..., 0].numpy()), rel=1e-6)


def test_bounds_lie_below_and_not_at_nothing():
    x, y = torch.randn(5, 40, 3) * torch.tensor([2.0, 1, 0.1]), torch.randn(5, 40, 3) + 0.5
    true = torch.tensor([[transport(a, b) for b in y] for a in x])
    for bound in (nearest_bound(x, y), sliced_bound(x, y)):
        assert (bound <= true + 1e-4).all() and (bound > 0.2 * true).all()


def test_a_lazy_table_gives_the_answers_of_the_whole_one():
    rng = np.random.default_rng(0)
    places = rng.standard_normal((30, 2))
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    lazy = BoundedTable(distances * 0.8, lambda i, j: float(distances[i, j]))
    whole = WholeTable(distances)
    for row in range(30):
        others = np.delete(np.arange(30), row)
        assert lazy.nearest(row, others) == whole.nearest(row, others)
    assert lazy.computed < 150  # of 435
    assert compare(lazy, np.arange(15), np.arange(15, 30)) == compare(whole, np.arange(15), np.arange(15, 30))


def test_set_scores_by_hand():
    """On a line: generated at 0, 1, 10; real at 0.2, 5, 5.4."""
    at = np.array([0.0, 1.0, 10.0, 0.2, 5.0, 5.4])
    found = compare(WholeTable(np.abs(at[:, None] - at[None])), np.arange(3), np.arange(3, 6))
    # Nearest are 0.2, 0.2 and 5.4 of the generated, 0, 5.4 and 5 of the real: two of six are of their own kind.
    assert found.accuracy == pytest.approx(2 / 6)
    assert found.coverage == pytest.approx(2 / 3)  # 0 and 1 at 0.2, 10 at 5.4
    assert found.matching == pytest.approx((0.2 + 4 + 4.4) / 3)


def test_divergence_of_occupancy():
    p, q = np.array([0.5, 0.5, 0, 0]), np.array([0, 0, 0.5, 0.5])
    assert jensen_shannon(p, p) == 0 and jensen_shannon(p, q) == pytest.approx(1)
    half = np.array([0.5, 0, 0.5, 0])
    assert jensen_shannon(p, half) == pytest.approx(0.5)


def test_clouds_are_brought_to_one_number_of_points(clouds):
    items = [clouds(1, n, seed=n)[0] for n in (50, 7)]
    rows = stacked(items, 20)
    assert rows.shape == (2, 20, 3) and torch.equal(rows, stacked(items, 20))
    assert len({tuple(p) for p in rows[0].tolist()}) == 20 and len({tuple(p) for p in rows[1].tolist()}) == 7


@pytest.mark.parametrize("metric", [ChamferMetric(40, 48), TransportMetric(16, 48)])
def test_scores_of_sets_know_real_from_repeated_and_from_noise(metric):
    good, again = Given(60, 3).items, Given(2, 4).items * 30
    ideal, repeated = scores(metric, evidence(good)), scores(metric, evidence(again))
    name = metric.name
    assert abs(ideal[f"1nna_{name}"].value - 0.5) < 0.2 and repeated[f"1nna_{name}"].value > 0.8
    assert ideal[f"coverage_{name}"].value > 2 * repeated[f"coverage_{name}"].value
    assert ideal[f"mmd_{name}"].value < repeated[f"mmd_{name}"].value
    assert "48 points each, in the data's own units" in ideal[f"mmd_{name}"].note
    if isinstance(metric, ChamferMetric):
        assert ideal[f"1nna_{name}"].ceiling > 0.9 and abs(ideal[f"1nna_{name}"].floor - 0.5) < 0.25


def test_boxed_clouds_are_compared_in_unit_boxes():
    generated = [item.moved(np.array([5, 5, 5], np.float32), 0.1).unit() for item in Given(60, 3).items]
    found = scores(ChamferMetric(40, 48), evidence(generated))["1nna_chamfer"]
    assert abs(found.value - 0.5) < 0.2 and "in unit boxes" in found.note


def test_occupancy_of_good_and_bad():
    good = scores(OccupancyMetric(48), evidence(Given(60, 3).items))["occupancy_divergence"]
    bad = scores(OccupancyMetric(48), evidence([Cloud(item.points[:, [1, 0, 2]]) for item in Given(60, 3).items]))
    assert good.floor < 1.3 * good.value < bad["occupancy_divergence"].value <= 1 and good.ceiling > good.value


def test_the_classifier_knows_what_was_asked_for(tmp_path):
    made = Given(60, 3)
    right = evidence(made.items, {"class": made.labels})
    wrong = evidence(made.items, {"class": 1 - made.labels})
    metric = ClassifierMetric(max_steps=60, points=48)
    found = scores(metric, right)
    assert found["class_accuracy"].value > 0.95 < found["class_accuracy"].floor
    assert scores(metric, wrong)["class_accuracy"].value < 0.05
    assert found["frechet_classifier"].value < found["frechet_classifier"].ceiling
    unlabelled = Given(20, 1)
    unlabelled.columns = dict
    assert metric(Evidence(made.items, {}, unlabelled, unlabelled)) == []


def test_repeated_training_shapes_are_found():
    train = Given(60, 1)
    rows = torch.stack([torch.from_numpy(item.points) for item in train.items])
    index, distance = nearest_training(rows[[3, 20]], rows)
    assert index.tolist() == [3, 20] and float(distance.max()) < 1e-5
    fresh = scores(MemorisationMetric(30, 48), evidence(Given(60, 3).items))["nearest_train_ratio"]
    copied = scores(MemorisationMetric(30, 48), evidence(train.items))["nearest_train_ratio"]
    assert 0.6 < fresh.value < 1.6 and copied.value < 0.3 and fresh.ceiling > 1.5


def test_parameters_of_a_shape_are_recovered():
    family = FAMILIES["table"]
    true = {"height": 1.0, "width": 1.6, "depth": 1.0, "thickness": 0.1, "leg": 0.1, "round": 0.0}
    cloud = draw_points(family.mesh(true), 256, [7]).points
    start = {**true, "height": 0.8, "width": 1.3, "depth": 1.3}
    found = fit(cloud, family, start)
    for name, within in (("height", 0.08), ("width", 0.12), ("depth", 0.1)):  # from 0.2 to 0.3 away
        assert abs(found.parameters[name] - true[name]) < within, (name, found)
    other = fit(cloud, FAMILIES["lamp"], FAMILIES["lamp"].draw(np.random.default_rng(0), False), rounds=3)
    assert other.likelihood < found.likelihood and residual(cloud, FAMILIES["lamp"], other) > 3 * residual(
        cloud, family, found
    )


def test_real_shapes_are_explained_by_parameters_and_noise_is_not():
    train, test = (Families(split, n=80, pool=128, families=["table"]) for split in ("train", "test"))
    real = [test[i] for i in range(3)]
    asked = {"class": np.zeros(3, np.int64)}
    rng = np.random.default_rng(0)
    blurred = [Cloud(item.points + 0.15 * rng.standard_normal(item.points.shape).astype(np.float32)) for item in real]
    metric = ParametersMetric(3, 128)
    (good,), (bad,) = metric(Evidence(real, asked, train, test)), metric(Evidence(blurred, asked, train, test))
    assert good.value < 1.6 * good.floor and bad.value > 1.5 * good.value and "of their ranges" in good.note
    assert metric(Evidence([item.unit() for item in real], asked, train, test)) == []
    assert metric(evidence(real, asked)) == []
