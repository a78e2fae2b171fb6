"""Training times: their distributions, their strata, and that they have an address."""

import numpy as np
import pytest
import torch
from scipy import stats

from unnoise import schedules
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.processes import Gaussian, Product
from unnoise.training.times import EdmLogNormal, LogitNormal, TimeSampling, Uniform, quantiles

Q = (np.arange(4000) + 0.5) / 4000


def product(schedule):
    return Product(Layout.tensor(2), {"x": Gaussian(schedule)})


@pytest.mark.parametrize("schedule", [schedules.cosine(), schedules.edm()], ids=["cosine", "edm"])
def test_uniform_covers_exactly_the_times_a_network_is_asked_about(schedule):
    u = Uniform()(Q, product(schedule))
    p = stats.kstest(u, stats.uniform(schedule.t_min, schedule.t_max - schedule.t_min).cdf).pvalue
    assert p > 0.99 and u.min() >= schedule.t_min and u.max() <= schedule.t_max


def test_logit_normal_has_a_normal_logit():
    schedule = schedules.flow()
    u = LogitNormal(-0.5, 0.8)(Q, product(schedule))
    share = (u - schedule.t_min) / (schedule.t_max - schedule.t_min)
    assert stats.kstest(np.log(share / (1 - share)), stats.norm(-0.5, 0.8).cdf).statistic < 1e-3


@pytest.mark.parametrize("schedule", [schedules.cosine(), schedules.edm(), schedules.shift(schedules.flow(), 3.0)])
def test_edm_has_a_normal_log_noise_to_signal_ratio_under_any_schedule(schedule):
    u = EdmLogNormal(-0.4, 1.0)(Q, product(schedule))
    ratio = np.log(schedule.sigma(u) / schedule.alpha(u))
    assert stats.kstest(ratio, stats.norm(-0.4, 1.0).cdf).statistic < 1e-3


def test_edm_means_one_part_and_the_others_follow_their_warps():
    layout = Layout((Part("x", "gaussian", (2,)), Part("c", "categorical", (2,), classes=3)))
    joint = Product.from_config(
        layout,
        {
            "parts": {
                "x": {"name": "gaussian", "schedule": {"name": "cosine"}},
                "c": {"name": "categorical", "schedule": {"name": "cosine"}, "kernel": "uniform"},
            },
            "warps": {"x": {"name": "power", "exponent": 2.0}},
        },
    )
    with pytest.raises(UserError, match=r"time_sampling.part to one of: x, c"):
        EdmLogNormal()(Q, joint)
    u = EdmLogNormal(0.0, 1.0, "x")(Q, joint)
    times = joint.times(u)
    schedule = joint.processes["x"].schedule
    assert stats.kstest(-0.5 * schedule.log_snr(times["x"]), stats.norm(0, 1).cdf).statistic < 1e-3
    np.testing.assert_allclose(times["x"], times["c"] ** 2, rtol=1e-9)


def test_every_step_has_one_time_in_every_stratum_and_steps_differ():
    a, b = (quantiles(3, torch.arange(64) + 64 * step, 64) for step in (10, 11))
    assert np.array_equal(np.floor(a * 64), np.arange(64)) and not np.allclose(a, b)
    offsets = [quantiles(3, torch.arange(64) + 64 * step, 64)[0] * 64 for step in range(500)]
    assert stats.kstest(offsets, "uniform").pvalue > 0.01


@pytest.mark.parametrize("batch", [0, 32])
def test_a_time_depends_on_seed_and_global_index_only(batch):
    whole = quantiles(1, torch.arange(96), batch)
    pieces = [quantiles(1, piece, batch) for piece in torch.arange(96).split(8)]
    assert np.array_equal(whole, np.concatenate(pieces))
    assert not np.allclose(whole, quantiles(2, torch.arange(96), batch))


def test_independent_times_are_uniform():
    assert stats.kstest(quantiles(5, torch.arange(5000)), "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"name": "lognormal"}, "Did you mean"),
        ({"name": "logit_normal", "st": 1}, "st"),
        ({"name": "edm", "std": 0.0}, "positive"),
    ],
)
def test_what_does_not_exist_is_named(config, words):
    with pytest.raises(UserError, match=words):
        TimeSampling.from_config(config)


def test_the_config_reaches_the_sampler():
    sampling = TimeSampling.from_config({"name": "logit_normal", "mean": 1.0, "stratified": False})
    assert sampling == TimeSampling(LogitNormal(1.0, 1.0), False)
    joint = product(schedules.cosine())
    assert np.array_equal(
        sampling(joint, 0, torch.arange(8), 4), LogitNormal(1.0)(quantiles(0, torch.arange(8)), joint)
    )
