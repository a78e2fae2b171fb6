"""Orders, measured on exact problems; the laws of stochastic samplers, computed."""

import itertools
import math

import numpy as np
import pytest
import torch
from released import dpmpp_3m_released

import unnoise
from unnoise import schedules
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.processes import Categorical, Gaussian, Product
from unnoise.sampling import SAMPLERS, SamplerInfo
from unnoise.testing import GaussianDenoiser, law_of, order_of

torch.set_num_threads(1)  # small tensors: more threads only wait for each other

CURVES = [schedules.cosine(), schedules.flow(), schedules.edm()]
by_name = pytest.mark.parametrize("schedule", CURVES, ids=lambda s: s.name)
DETERMINISTIC = sorted(name for name, info in SAMPLERS.items() if info.order > 0 and not info.stochastic)
STOCHASTIC = sorted(name for name, info in SAMPLERS.items() if info.order > 0 and info.stochastic)


def name_of(value):
    return "".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


@by_name
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_every_deterministic_sampler_has_its_declared_order(name, schedule):
    """Between two finite log-SNRs, once multistep methods have an accurate history."""
    steps = (64, 128) if SAMPLERS[name].order > 3 else (24, 48)
    made = order_of(name, schedule, steps=steps, start_up="graded")
    assert made.value == pytest.approx(SAMPLERS[name].order, abs=0.25), made


@pytest.mark.parametrize(
    ("name", "options", "order"),
    [
        ("adams", {"order": 1}, 2),
        ("adams", {"order": 2}, 3),
        ("unipc", {"order": 1}, 2),
        ("unipc", {"variant": "bh1"}, 3),
        ("unipc", {"order": 3}, 4),
        ("sa", {"tau": 0.0}, 4),
        ("sa", {"tau": 0.0, "predictor": 2, "corrector": 0}, 2),
        ("lms", {"order": 2}, 2),
        ("lms", {"order": 3}, 3),
        ("deis", {"order": 2}, 2),
        ("deis", {"over": "time"}, 3),
        ("deis", {"order": 4}, 4),
        ("dpmpp_2s_ancestral", {"eta": 0.0}, 2),
        ("dpm_2_ancestral", {"eta": 0.0}, 2),
        ("dpmpp_sde", {"eta": 0.0}, 2),
    ],
    ids=name_of,
)
def test_options_that_change_the_order(name, options, order):
    made = order_of(name, schedules.flow(), steps=(24, 48), start_up="graded", **options)
    assert made.value == pytest.approx(order, abs=0.25), made


@pytest.mark.parametrize(
    ("name", "order"),
    [("adams", 3.8), ("dpmpp_2m", 2), ("dpmpp_3m", 2.25), ("unipc", 3), ("deis", 2.35), ("lms", 3.2), ("ipndm", 2)],
)
def test_what_the_own_start_up_gives(name, order):
    """One first-order step: it costs what is above order 2, but not where a corrector takes it again."""
    made = order_of(name, schedules.cosine(), steps=(24, 48))
    assert made.value == pytest.approx(order, abs=0.25), made


def test_the_released_third_order_dpm_solver_is_of_second():
    """Its weight of the second divided difference is half of what dpmpp_3m has, whatever the start-up."""
    made = order_of(
        SamplerInfo("released", dpmpp_3m_released, 3), schedules.cosine(), steps=(64, 128), start_up="graded"
    )
    ours = order_of("dpmpp_3m", schedules.cosine(), steps=(64, 128), start_up="graded")
    assert made.value == pytest.approx(2, abs=0.25) and made.errors[-1] > 4 * ours.errors[-1]


def test_ipndm_is_lms_where_sigma_falls_in_equal_steps():
    schedule = schedules.edm()
    times = np.append(schedule.t_of(-2 * np.log(np.arange(9, 0, -1))), 0.0)
    one, other = (unnoise.plan(name, schedule, 9, times) for name in ("ipndm", "lms"))
    for row, same in zip(one.rows[3:], other.rows[3:], strict=True):
        for op, op_same in zip(row.ops, same.ops, strict=True):
            assert dict(op.registers) == pytest.approx(dict(op_same.registers), abs=1e-9)


LAW = {"ddpm": 1, "euler_ancestral": 1, "repaint": 1}
"""Order of the variance on gaussian data, where it is not 2."""


@by_name
@pytest.mark.parametrize("name", STOCHASTIC)
def test_the_law_of_stochastic_samplers_tends_to_the_datas(name, schedule):
    """Mean and variance, exactly; the rate is that of the variance, on gaussian data."""
    denoiser = GaussianDenoiser([0.8], [0.5], schedule)
    mean, variance = zip(
        *(law_of(unnoise.plan(name, schedule, n, "log_snr").rows, denoiser) for n in (80, 160)), strict=True
    )
    assert mean[1] == pytest.approx(0.8, abs=0.008)  # what the prior of a finite range leaves
    assert variance[1] == pytest.approx(0.5, abs=0.05 if name in LAW else 0.003)
    rate = math.log2(abs(variance[0] - 0.5) / abs(variance[1] - 0.5))
    assert rate > LAW.get(name, 2) - 0.3


@by_name
@pytest.mark.parametrize("name", ["euler", "heun"])
def test_churn_keeps_the_law(name, schedule):
    denoiser = GaussianDenoiser([0.8], [0.5], schedule)
    plain, churned = (
        law_of(unnoise.plan(name, schedule, 160, "log_snr", s_churn=churn).rows, denoiser) for churn in (0.0, 20.0)
    )
    assert churned[0] == pytest.approx(0.8, abs=0.008)
    assert churned[1] == pytest.approx(0.5, abs=0.06 if name == "euler" else 0.005) and churned[1] != plain[1]
    with pytest.raises(UserError, match="s_churn is -1"):
        unnoise.plan(name, schedule, 4, s_churn=-1.0)


@pytest.mark.parametrize("name", ["dpmpp_sde", "sa", "dpmpp_3m_sde", "restart", "heun"])
def test_the_loop_draws_the_law_that_the_table_has(name):
    """Also where a draw is used twice, by a corrector or a second half-step."""
    schedule, count = schedules.cosine(), 20_000
    denoiser = GaussianDenoiser([0.8], [0.5], schedule)
    plan = unnoise.plan(name, schedule, 8, "log_snr", **({"s_churn": 4.0} if name == "heun" else {}))
    mean, variance = law_of(plan.rows, denoiser)
    made = unnoise.sample(denoiser, unnoise.prior((count, 1), schedule, 10), plan, seed=10)
    assert made.mean().item() == pytest.approx(mean, abs=4 * math.sqrt(variance / count))
    assert made.var().item() == pytest.approx(variance, rel=4 * math.sqrt(2 / count))


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_categorical_parts_move_in_lockstep(name):
    """Part by part: the same rows are evaluated, levels follow each other without a gap, and all arrive at data."""
    layout = Layout((Part("a", "categorical", (2,), classes=3), Part("b", "gaussian", (2,)), Part("c", "gaussian", ())))
    product = Product(
        layout,
        {
            "a": Categorical(schedules.linear_survival(), "absorbing"),
            "b": Gaussian(schedules.edm()),
            "c": Gaussian(schedules.scaled_linear()),
        },
    )
    plan = unnoise.plan(name, product, 7, **({"s_churn": 2.0} if name in ("euler", "heun") else {}))
    evaluated = [row.eval for row in plan.rows]
    for part, rows in plan.tables.items():
        assert [row.eval for row in rows] == evaluated
        assert rows[0].t == product.times(plan.t)[part][0] and rows[-1].s == 0
        assert all(row.s == later.t for row, later in itertools.pairwise(rows))
        for row in rows:
            assert row.cat == ("bridge" if row.s < row.t else "forward" if row.s > row.t else "hold")
            assert row.eval is not None or row.cat != "bridge"  # nothing goes down without an estimate
        assert np.isfinite([c for row in rows for op in row.ops for _, c in op.registers]).all()
