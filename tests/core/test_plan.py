import dataclasses

import numpy as np
import pytest
import torch

import unnoise
from unnoise import schedules
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.processes import Categorical, Gaussian, Product
from unnoise.sampling import SAMPLERS
from unnoise.testing import MixedToy

torch.set_num_threads(1)  # small tensors: more threads only wait for each other

TWICE = {"heun", "midpoint", "dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde"}
EVALUATIONS = {name: 11 if name in TWICE else 6 for name in SAMPLERS} | {"restart": 13, "repaint": 12}


@pytest.mark.parametrize("start", [1.0, 0.5])
@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_evaluations_are_counted_exactly(name, start):
    asked = []

    def denoise(x, t):
        asked.append(float(t))
        return x * 0

    schedule = schedules.flow()
    plan = unnoise.plan(name, schedule, 6, start=start)
    unnoise.sample(denoise, torch.zeros(2, 3), plan)
    assert len(asked) == plan.nfe == EVALUATIONS[name] and plan.steps == 6
    assert asked == [row.t for row in plan.rows if row.eval]
    assert asked[0] == plan.t[0] == min(start, schedule.t_max)


def test_a_plan_knows_its_levels():
    schedule = schedules.scaled_linear()
    plan = unnoise.plan("dpmpp_2m", schedule, steps=20, spacing="karras")
    assert len(plan.t) == len(plan.alpha) == len(plan.sigma) == 21
    np.testing.assert_allclose(plan.alpha**2 + plan.sigma**2, 1)
    assert (plan.t[-1], plan.alpha[-1], plan.sigma[-1]) == (0.0, 1.0, 0.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.t = plan.t[:3]


def test_printing():
    text = str(unnoise.plan("dpmpp_2m", schedules.flow(), 3, spacing=[0.8, 0.5, 0.25, 0.0]))
    lines = text.splitlines()
    assert lines[0] == "dpmpp_2m: 3 steps, 3 evaluations, order 2"
    assert lines[1].split() == ["row", "step", "order", "evaluate", "t", "log-SNR", "to", "t", "cat", "update"]
    # (sigma_s / sigma_t) x + (1 - sigma_s alpha_t / (sigma_t alpha_s)) alpha_s x0 = 0.625 x + 0.375 x0
    assert lines[2].split(maxsplit=8)[8] == "x = 0.625 x + 0.375 x0[0]"
    assert lines[3].split()[:8] == ["1", "1", "2", "x", "0.5", "0", "0.25", "bridge"]
    assert "x0[0]" in lines[3] and " - " in lines[3]
    assert lines[4].split(maxsplit=8)[8] == "x = 1 x0[2]"
    assert "z[0]" in str(unnoise.plan("ddpm", schedules.flow(), 3))
    heun = str(unnoise.plan("heun", schedules.flow(), 3)).splitlines()
    assert "half = " in heun[2] and "hold" in heun[3]


def test_a_product_moves_in_lockstep():
    toy = MixedToy(schedule=schedules.cosine())
    plan = unnoise.plan("heun", toy.product, 4)
    assert set(plan.tables) == {"kind", "position", "edge"} and plan.nfe == 7
    assert [row.cat for row in plan.rows] == ["bridge", "hold"] * 3 + ["bridge"]
    assert all(len(rows) == len(plan.rows) for rows in plan.tables.values())
    assert plan.schedule == toy.product.processes["position"].schedule  # the gaussian part is the reference


def warped(exponent):
    """A part that is noised later than the other, and another whose range ends early."""
    layout = Layout((Part("a", "categorical", (2,), classes=3), Part("b", "gaussian", (2,))))
    processes = {"a": Categorical(schedules.linear_survival(), "absorbing"), "b": Gaussian(schedules.edm())}
    bare = Product(layout, processes)
    config = bare.config() | {"warps": {"a": {"name": "power", "exponent": exponent}}}
    return Product.from_config(layout, config)


def test_parts_of_a_product_have_their_own_times():
    product = warped(2.0)
    plan = unnoise.plan("ddim", product, 12, "karras")
    for name, rows in plan.tables.items():
        own = product.times(plan.t)[name]
        np.testing.assert_array_equal([row.t for row in rows], own[:-1])
        np.testing.assert_array_equal([row.s for row in rows], own[1:])
    assert plan.tables["b"][0].t == 1.0 and plan.tables["a"][-1].s == plan.tables["b"][-1].s == 0.0
    sigma = plan.sigma[plan.sigma > product.processes["b"].schedule.sigma_min * 1.01]
    np.testing.assert_allclose(np.diff(sigma ** (1 / 7), 2), 0, atol=1e-6)  # spaced by the reference's levels


def test_a_product_of_one_tabulated_part_keeps_to_its_integer_steps():
    schedule = schedules.scaled_linear()
    product = Product(Layout.tensor(2), {"x": Gaussian(schedule)})
    plan = unnoise.plan("ddim", product, 7, "trailing")
    np.testing.assert_array_equal(plan.t, unnoise.plan("ddim", schedule, 7, "trailing").t)


def test_a_kind_of_part_that_the_sampler_does_not_move():
    info = dataclasses.replace(SAMPLERS["ddim"], kinds=frozenset({"gaussian"}))
    with pytest.raises(UserError, match="does not move categorical parts, as 'kind' is"):
        unnoise.plan(info, MixedToy(schedule=schedules.cosine()).product, 4)


def test_too_few_steps():
    info = dataclasses.replace(SAMPLERS["ddim"], min_steps=3)
    with pytest.raises(UserError, match="steps is 2"):
        unnoise.plan(info, schedules.flow(), 2)
