"""The product process on a masked graph of mixed parts: own times, legal states, and draws that padding cannot move."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unnoise import schedules
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.processes import Categorical, Gaussian, Product
from unnoise.processes.product import Power
from unnoise.state import State

GRAPH = Layout(
    (
        Part("atoms", "categorical", ("nodes",), classes=4),
        Part("bonds", "categorical", ("nodes", "nodes"), classes=3, symmetric=True),
        Part("positions", "gaussian", ("nodes", 3), com_free=True),
        Part("energy", "gaussian", ()),
    )
)
PRODUCT = Product(
    GRAPH,
    {
        "atoms": Categorical(schedules.cosine(), "marginal", (0.6, 0.3, 0.1, 0.0)),
        "bonds": Categorical(schedules.linear_survival(), "absorbing"),
        "positions": Gaussian(schedules.edm()),
        "energy": Gaussian(schedules.scaled_linear()),
    },
    {"positions": Power(2.0), "atoms": Power(0.5)},
)
sizes_of = st.lists(st.integers(1, 6), min_size=1, max_size=4)


def clean(sizes: list[int], seeds: torch.Tensor) -> State:
    """Clean graphs whose values depend on their seeds alone."""
    noise = Noise(seeds)
    empty = State.zeros(GRAPH, len(sizes), {"nodes": torch.tensor(sizes)})

    def fill(part: Part, x: torch.Tensor) -> torch.Tensor:
        if part.kind == "gaussian":
            return noise.normal(part, x.shape[1:], purpose="data")
        return (noise.uniform(part, x.shape[1:], purpose="data") * part.classes).long()

    return empty.map(fill).project()


def journey(x0: State, u: np.ndarray, noise: Noise) -> list[State]:
    """Prior, up from data, further up, and down again."""
    half, full = PRODUCT.times(u / 2), PRODUCT.times(u)
    x_half = PRODUCT.corrupt(x0, half, noise)
    x_full = PRODUCT.renoise(x_half, half, full, noise, draw=1)
    estimate = {
        part.name: x0.parts[part.name]
        if part.kind == "gaussian"
        else torch.log_softmax(torch.nn.functional.one_hot(x0.parts[part.name], part.classes).float(), -1)
        for part in GRAPH
    }
    return [PRODUCT.prior(noise, x0.sizes), x_half, x_full, PRODUCT.bridge(x_full, estimate, full, half, noise, draw=2)]


@settings(max_examples=20, deadline=None)
@given(sizes_of, st.floats(0, 1))
def test_every_draw_is_legal(sizes: list[int], u: float) -> None:
    seeds = torch.arange(len(sizes))
    for state in journey(clean(sizes, seeds), np.full(len(sizes), u), Noise(seeds)):
        assert state.layout == PRODUCT.layout
        for part in state.layout:
            x, mask = state.parts[part.name], state.mask(part.name)
            assert mask is None or bool((x.masked_select(~mask.expand_as(x)) == 0).all())
            if part.symmetric:
                assert torch.equal(x, x.transpose(1, 2))
            if part.kind == "categorical":
                assert int(x.min()) >= 0 and int(x.max()) < part.tokens
        centre = state.parts["positions"].sum(1).abs().max() / state.parts["positions"].abs().max().clamp(min=1)
        assert float(centre) < 1e-5
    assert bool((PRODUCT.prior(Noise(seeds), {"nodes": torch.tensor(sizes)}).parts["atoms"] != 3).all())


@settings(max_examples=15, deadline=None)
@given(sizes_of, st.integers(0, 5), st.integers(0, 3), st.floats(0, 1))
def test_batch_position_and_padding_change_no_draw(sizes: list[int], pad: int, which: int, u: float) -> None:
    which %= len(sizes)
    seeds = 100 + torch.arange(len(sizes))
    levels = np.linspace(u, 1, len(sizes))
    x0 = clean(sizes, seeds)
    wide = x0.resize({"nodes": x0.masks["nodes"].shape[1] + pad})
    one = slice(which, which + 1)
    alone = journey(x0[one].trim(), levels[one], Noise(seeds[one]))
    for whole, single in zip(journey(wide, levels, Noise(seeds)), alone, strict=True):
        piece = whole[one].trim()
        for part in GRAPH:
            # Only the mean that com_free takes off is summed in another order.
            tolerance = 2e-5 if part.com_free else 0.0
            torch.testing.assert_close(piece.parts[part.name], single.parts[part.name], rtol=tolerance, atol=tolerance)


def test_mask_tokens_survive_projection() -> None:
    seeds = torch.arange(3)
    x_t = PRODUCT.corrupt(clean([4, 2, 5], seeds), PRODUCT.times(1.0), Noise(seeds))
    bonds, mask = x_t.parts["bonds"], x_t.mask("bonds")
    assert PRODUCT.layout["bonds"].tokens == 4 and bool((bonds[mask] == 3).all())
    assert torch.equal(x_t.project().parts["bonds"], bonds)


def test_each_part_is_drawn_at_its_own_time() -> None:
    seeds = torch.arange(50)
    x0, noise = clean([6] * 50, seeds), Noise(seeds)
    times = {"atoms": 0.0, "bonds": 0.5, "positions": 0.4, "energy": 0.9}
    x_t = PRODUCT.corrupt(x0, times, noise)
    assert torch.equal(x_t.parts["atoms"], x0.parts["atoms"])
    kept = (x_t.parts["bonds"] == x0.parts["bonds"])[x0.mask("bonds")].double().mean()
    assert float(kept) == pytest.approx(0.5, abs=0.06)  # 750 independent pairs, three standard deviations
    spread = x_t.parts["energy"] - float(schedules.scaled_linear().alpha(0.9)) * x0.parts["energy"]
    assert float(spread.std()) == pytest.approx(float(schedules.scaled_linear().sigma(0.9)), rel=0.35)


def test_bridged_centred_parts_keep_their_marginal() -> None:
    # Noise of mean zero over n points has variance (1 - 1 / n) sigma^2 a coordinate, at every level.
    n, count = 4, 4000
    layout = Layout((Part("x", "gaussian", ("n", 3), com_free=True),))
    schedule = schedules.flow()
    product, noise = Product(layout, {"x": Gaussian(schedule)}), Noise.of(0, count)
    x0 = State.zeros(layout, count, {"n": torch.full((count,), n)})
    x_t = product.corrupt(x0, {"x": 0.8}, noise)
    x_s = product.bridge(x_t, x0.parts, {"x": 0.8}, {"x": 0.3}, noise)
    for state, t in ((x_t, 0.8), (x_s, 0.3), (product.renoise(x_s, {"x": 0.3}, {"x": 0.6}, noise), 0.6)):
        expected = float(schedule.sigma(t)) * (1 - 1 / n) ** 0.5
        assert float(state.parts["x"].std()) == pytest.approx(expected, rel=0.015)


def test_times_stay_in_the_working_range_and_data_is_exact() -> None:
    u = np.linspace(0, 1, 101)
    times = PRODUCT.times(u)
    for name, t in times.items():
        schedule = PRODUCT.processes[name].schedule
        assert t[0] == 0 and (np.diff(t) >= 0).all()
        assert t[1:].min() >= schedule.t_min and t[-1] == schedule.t_max
    middle = PRODUCT.times(0.49)
    assert (middle["atoms"], middle["bonds"]) == (pytest.approx(0.7), pytest.approx(0.49))
    assert all(np.isfinite(value).all() for value in PRODUCT.log_snr(PRODUCT.times(u[1:])).values())


def test_the_master_range_covers_every_part() -> None:
    low, high = PRODUCT.times(PRODUCT.u_min), PRODUCT.times(PRODUCT.u_max)
    for name, process in PRODUCT.processes.items():
        assert low[name] == pytest.approx(process.schedule.t_min) and high[name] == process.schedule.t_max
    inside = PRODUCT.u_min * 1.01
    assert any(PRODUCT.times(inside)[n] > p.schedule.t_min * 1.001 for n, p in PRODUCT.processes.items())


@given(st.floats(-10, 10), st.sampled_from(GRAPH.names))
def test_master_inverts_times(log_snr: float, part: str) -> None:
    schedule = PRODUCT.processes[part].schedule
    u = PRODUCT.master(part, log_snr)
    bounded = np.clip(log_snr, schedule.log_snr(schedule.t_max), schedule.log_snr(schedule.t_min))
    assert float(PRODUCT.log_snr(PRODUCT.times(u))[part]) == pytest.approx(float(bounded), abs=1e-6)


def test_levels_by_part() -> None:
    times = PRODUCT.times(np.array([0.3, 0.6]))
    assert set(PRODUCT.alpha(times)) == set(PRODUCT.sigma(times)) == {"positions", "energy"}
    assert set(PRODUCT.log_snr(times)) == set(GRAPH.names)
    expected = schedules.edm().sigma(np.maximum(np.array([0.3, 0.6]) ** 2, schedules.edm().t_min))
    np.testing.assert_allclose(PRODUCT.sigma(times)["positions"], expected)


def test_config_survives_json() -> None:
    config = json.loads(json.dumps(PRODUCT.config()))
    assert Product.from_config(GRAPH, config) == PRODUCT
    assert Product.from_config(GRAPH, config).config() == PRODUCT.config()


def test_bad_input_is_named() -> None:
    layout, process = Layout.tensor(2), Gaussian(schedules.flow())
    with pytest.raises(ValueError, match=r"do not fit the parts \['x'\]"):
        Product(layout, {"y": process})
    with pytest.raises(ValueError, match=r"warps for \['y'\]"):
        Product(layout, {"x": process}, {"y": Power(2.0)})
    with pytest.raises(ValueError, match="'x' is gaussian; a categorical process"):
        Product(layout, {"x": Categorical(schedules.flow(), "uniform")})
    with pytest.raises(ValueError, match=r"times lie in \[0, 1\]"):
        PRODUCT.times(1.5)
    entry = process.config()
    for config in ({"x": {**entry, "name": "gausian"}}, {"x": {**entry, "schedule": {"name": "cos"}}}):
        with pytest.raises(UserError, match=r"no (process|schedule) named"):
            Product.from_config(layout, {"parts": config})
    with pytest.raises(UserError, match="there is no warp 'sine'"):
        Product.from_config(layout, {"parts": {"x": entry}, "warps": {"x": {"name": "sine"}}})
    with pytest.raises(UserError, match="exponent 0"):
        Power(0)
