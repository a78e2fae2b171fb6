"""Weightings: the same weight on clean data whatever the network predicts, and the published special cases."""

import numpy as np
import pytest
import torch

from unnoise import schedules
from unnoise.errors import UserError
from unnoise.layout import Part
from unnoise.parametrization import Parametrization
from unnoise.training.weighting import (
    EdmWeighting,
    LearnedWeighting,
    MinSnrWeighting,
    UniformWeighting,
    build_weighting,
)

X = Part("x", "gaussian", (2,))
CLASSES = Part("c", "categorical", (2,), classes=3)
T = np.linspace(0.02, 0.98, 49)


def levels(name, schedule, data_std=1.0):
    parametrization = Parametrization(name, schedule, data_std)
    log_snr = torch.tensor(schedule.log_snr(T), dtype=torch.float32)
    return log_snr, torch.tensor(parametrization.scalings(T).c_out, dtype=torch.float32)


@pytest.mark.parametrize("weighting", [MinSnrWeighting(X, 5.0), EdmWeighting(X, 0.5)])
@pytest.mark.parametrize("schedule", [schedules.linear_beta(), schedules.edm()], ids=["vp", "ve"])
def test_the_weight_on_clean_data_is_the_same_for_every_parametrization(weighting, schedule):
    seen = []
    for name in ("eps", "x0", "v", "flow", "edm"):
        log_snr, c_out = levels(name, schedule, 0.5)
        factor, offset = weighting(log_snr, c_out)
        assert not offset.any()
        seen.append(factor / c_out.square())  # on |x0_hat - x0|^2 = c_out^2 |F - F*|^2
    for other in seen[1:]:
        torch.testing.assert_close(other, seen[0], rtol=2e-5, atol=0)


def test_min_snr_is_what_was_published_for_each_target():
    """Hang et al. 2023, section 3.4: min(SNR, g) for x0, min(SNR, g) / SNR for eps, min(SNR, g) / (SNR + 1) for v."""
    schedule = schedules.linear_beta()
    snr = np.exp(schedule.log_snr(T))
    expected = {"x0": np.minimum(snr, 5), "eps": np.minimum(snr, 5) / snr, "v": np.minimum(snr, 5) / (snr + 1)}
    for name, value in expected.items():
        np.testing.assert_allclose(MinSnrWeighting(X, 5.0)(*levels(name, schedule))[0], value, rtol=1e-4)


def test_edm_weighting_makes_the_edm_parametrization_uniform():
    factor, _ = EdmWeighting(X, 0.5)(*levels("edm", schedules.edm(), 0.5))
    torch.testing.assert_close(factor, torch.ones_like(factor), rtol=1e-4, atol=0)


def test_uniform_is_one_everywhere():
    factor, offset = UniformWeighting(X)(*levels("v", schedules.cosine()))
    assert torch.equal(factor, torch.ones(len(T))) and not offset.any()


def test_learned_weighting_starts_uniform_and_finds_the_log_of_the_error():
    weighting = LearnedWeighting(X)
    log_snr = torch.linspace(-12, 12, 200)
    error = (0.3 * log_snr).sigmoid() * 4 + 0.1
    factor, offset = weighting(log_snr, torch.ones(200))
    assert torch.equal(factor, torch.ones(200)) and not offset.any()
    optimizer = torch.optim.LBFGS(weighting.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        factor, offset = weighting(log_snr, torch.ones(200))
        loss = (factor * error + offset).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    _, u = weighting(log_snr, torch.ones(200))
    torch.testing.assert_close(u, error.log(), atol=0.02, rtol=0)


def test_levels_per_element_keep_their_shape():
    factor, offset = LearnedWeighting(X)(torch.zeros(3, 4), torch.ones(3, 4))
    assert factor.shape == offset.shape == (3, 4)


@pytest.mark.parametrize("name", ["min_snr", "edm"])
def test_weights_of_squared_errors_are_refused_for_classes(name):
    with pytest.raises(UserError, match="categorical"):
        build_weighting({"name": name}, CLASSES)
    mixed = {"x": {"name": name}, "*": {"name": "learned"}}
    assert isinstance(build_weighting(mixed, CLASSES), LearnedWeighting)
    assert not isinstance(build_weighting(mixed, X), LearnedWeighting)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"name": "minsnr"}, "Did you mean 'min_snr'"),
        ({"name": "min_snr", "gama": 5}, "gama"),
        ({"name": "min_snr", "gamma": 0}, "positive"),
    ],
)
def test_what_does_not_exist_is_named(config, words):
    with pytest.raises(UserError, match=words):
        build_weighting(config, X)
