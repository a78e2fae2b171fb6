"""Edits: their exact ends, their evaluations, and ways between data and noise on problems with known solutions."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import unnoise
from unnoise import schedules
from unnoise.edits.paths import ascend, between, round_trip, turned, upward
from unnoise.errors import UserError
from unnoise.layout import Layout
from unnoise.masks import parse_mask, whole
from unnoise.noise import Noise
from unnoise.plugins import registry
from unnoise.processes import Gaussian, Product
from unnoise.runs import load, train
from unnoise.sampling import Known
from unnoise.state import State
from unnoise.testing import GaussianDenoiser, MixedToy

torch.set_num_threads(1)  # small tensors: more threads only wait for each other

TOY = Path(__file__).parents[1] / "third_party" / "toy"
CONFIG = {
    "modality": "toy",
    "data": {"name": "ring", "n": 300},
    "representation": {"name": "plane"},
    "denoiser": {"name": "mlp", "width": 48},
    "process": {"*": {"name": "gaussian", "schedule": {"name": "cosine"}, "parametrization": {"name": "v"}}},
    "conditions": {"use": ["class"], "dim": 16},
    "train": {"steps": 400, "batch": 64, "lr": 5e-3, "warmup": 20, "device": "cpu"},
    "sample": {"steps": 8, "n": 6},
}


@pytest.fixture(scope="module", autouse=True)
def toy():
    sys.path.insert(0, str(TOY))
    registry._registry.cache_clear()
    yield
    sys.path.remove(str(TOY))
    registry._registry.cache_clear()


@pytest.fixture(scope="module")
def model(toy, tmp_path_factory):
    return load(train(CONFIG, tmp_path_factory.mktemp("runs") / "a").folder, "cpu")


POINTS = [np.array([2.0, 0.1], np.float32), np.array([-1.2, -1.6], np.float32), np.array([0.0, 2.0], np.float32)]


def edited(model, kind, source=POINTS, **options):
    return model.edit(kind, source, progress=False, **options)


def test_strength_0_is_the_source_and_1_is_sampling_anew(model):
    none = edited(model, "variation", strength=0.0)
    assert none.items == POINTS and none.record["nfe"] == 0
    anew = edited(model, "variation", strength=1.0, n=5, seed=7, condition="upper", guidance_scale=2.0)
    fresh = model.sample(5, 7, condition="upper", guidance_scale=2.0, progress=False)
    assert torch.equal(anew.state.parts["x"], fresh.state.parts["x"]) and anew.record["nfe"] == fresh.record["nfe"]


@pytest.mark.parametrize(("sampler", "each"), [("ddim", 8), ("heun", 15), ("dpmpp_2m", 8)])
def test_an_edit_executes_all_its_steps_at_every_strength(model, sampler, each):
    for strength in (0.05, 0.3, 0.77, 1.0):
        made = edited(model, "variation", strength=strength, sampler=sampler)
        assert made.record["nfe"] == each and made.record["edit"] == {"kind": "variation", "strength": strength}


def test_the_source_is_left_behind_steadily(model):
    source = [POINTS[0]] * 100
    away = [
        np.linalg.norm(np.stack(edited(model, "variation", source, strength=s).items) - POINTS[0], axis=1).mean()
        for s in (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
    ]
    assert away == sorted(away) and away[0] == 0 and away[-1] > 2


def test_a_variation_is_the_same_in_any_batch(model):
    together = edited(model, "variation", n=7, strength=0.6)
    apart = edited(model, "variation", n=7, strength=0.6, batch=3)
    torch.testing.assert_close(together.state.parts["x"], apart.state.parts["x"])


@pytest.mark.parametrize("options", [{}, {"sampler": "repaint"}, {"sampler": "heun"}, {"sampler": "ddpm"}])
def test_what_is_kept_is_kept_exactly(model, options):
    made = edited(model, "infill", mask="y", n=6, **options)
    assert [item[0] for item in made.items] == [POINTS[i % 3][0] for i in range(6)]
    assert all(item[1] != POINTS[i % 3][1] for i, item in enumerate(made.items))
    assert made.record["edit"] == {"kind": "infill", "mask": "y"}


def test_ways_between_seeds_end_in_their_samples(model):
    made = edited(model, "interpolate", None, seeds=[3, 8], n=5, sampler="ddim")
    for index, seed in ((0, 3), (-1, 8)):
        own = model.sample(1, seed, sampler="ddim", progress=False)
        torch.testing.assert_close(made.state.parts["x"][index], own.state.parts["x"][0])


def test_ways_between_items(model):
    made = edited(model, "interpolate", POINTS[:2], n=4, steps=60)
    np.testing.assert_allclose(made.items[0], POINTS[0], atol=0.1)
    np.testing.assert_allclose(made.items[-1], POINTS[1], atol=0.1)
    noised = edited(model, "interpolate", POINTS[:2], n=4, strength=0.3)
    source = edited(model, "variation", POINTS[:1], strength=0.3)
    torch.testing.assert_close(noised.state.parts["x"][0], source.state.parts["x"][0])


def test_encoding_and_back(model):
    coarse, fine = (edited(model, "invert", steps=steps, sampler="heun") for steps in (6, 60))
    errors = [made.record["edit"]["round_trip"]["x"] for made in (coarse, fine)]
    assert errors[1] < 0.03 < 10 * errors[0] and errors[1] < errors[0]
    assert (fine.record["nfe"], fine.record["edit"]["nfe_up"]) == (119, 120)
    np.testing.assert_allclose(np.stack(fine.items), np.stack(POINTS), atol=0.1)


def test_two_conditions_in_two_regions(model):
    made = edited(model, "compose", None, condition="upper", other="lower", mask="x", n=4, guidance_scale=2.0)
    assert made.record["nfe"] == 3 * 8 and made.record["edit"]["other"] == {"class": "lower"}
    whole_item = model.sample(4, condition="upper", guidance_scale=2.0, progress=False)
    same = edited(model, "compose", None, condition="upper", other="upper", mask="x", n=4, guidance_scale=2.0)
    torch.testing.assert_close(same.state.parts["x"], whole_item.state.parts["x"], rtol=1e-4, atol=1e-4)


def test_a_weaker_model_guides(model):
    early = model.run.checkpoints()[0].path
    made = model.sample(3, guidance={"name": "auto", "scale": 2.0, "weak": str(early)}, progress=False)
    assert made.record["nfe"] == 16 and made.record["weak"] == made.record["checkpoint"]
    own = model.sample(3, progress=False)  # the same weights: nothing to be moved away from
    torch.testing.assert_close(made.state.parts["x"], own.state.parts["x"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("variaton", {}, "Did you mean 'variation'"),
        ("variation", {"strength": 1.5}, "strength is 1.5"),
        ("variation", {"strenght": 0.5}, "Did you mean"),
        ("variation", {"source": []}, "holds no items"),
        ("variation", {"source": "nowhere.txt"}, "nowhere.txt does not exist"),
        ("variation", {"source": None}, "needs a source"),
        ("infill", {"mask": "z"}, "there is no mask 'z'"),
        ("infill", {"mask": "x:3"}, "takes no number"),
        ("interpolate", {}, "two ends"),
        ("interpolate", {"source": None, "seeds": [1]}, "two ends"),
        ("invert", {"sampler": "ddpm"}, "ddpm draws noise"),
        ("compose", {"source": None, "condition": "upper"}, "two conditions"),
        ("variation", {"guidance": {"name": "auto", "scale": 2.0}}, "needs a weaker model"),
        ("variation", {"condition": "upper", "guidance": {"interval": 3}}, "two log-SNRs"),
        ("variation", {"condition": "upper", "guidance": {"rescal": 3}}, "Did you mean"),
    ],
)
def test_what_cannot_be_is_named(model, kind, options, words):
    with pytest.raises(UserError, match=words):
        edited(model, kind, **{"source": POINTS, **options})


@pytest.mark.parametrize("schedule", [schedules.cosine(), schedules.flow(), schedules.edm()], ids=lambda s: s.name)
def test_the_code_is_where_the_probability_flow_leads(schedule):
    """Against the closed-form solution for gaussian data, and of second order."""
    denoiser = GaussianDenoiser([0.5, -1.0], torch.tensor([[0.6, 0.3], [0.3, 1.2]]), schedule)
    product = Product(Layout.tensor(2), {"x": Gaussian(schedule)})
    x0 = State.of(torch.tensor([[0.3, 0.8], [-1.0, -0.4]], dtype=torch.float64))
    low, high = schedule.t_min, float(upward(schedule, 4).t[-1])
    exact = denoiser.solution(float(schedule.alpha(low)) * x0.parts["x"], low, high)
    errors = []
    for steps in (40, 80):
        made = ascend(lambda x, t: {"x": denoiser(x.parts["x"], t["x"])}, x0, product, steps).parts["x"]
        errors.append(float((made - exact).norm() / exact.norm()))
    assert errors[1] < 0.01 and 2.5 < errors[0] / errors[1] < 6


def test_classes_have_no_code():
    toy = MixedToy()
    with pytest.raises(UserError, match="categorical: its noise is drawn"):
        ascend(toy, toy.sample(torch.tensor([2])), toy.product, 4)


def test_states_between_two_draws_of_noise_are_such_draws():
    toy, n = MixedToy(), 4000
    sizes = {"nodes": torch.full((n,), 3)}
    a, b = (toy.product.prior(Noise.of(start, n), sizes) for start in (0, n))
    share = torch.full((n,), 0.3, dtype=torch.float64)
    way = between(a, b, share, Noise.of(0, n))
    x = way.parts["position"]
    assert abs(float(x.var()) - float(a.parts["position"].var())) < 0.02
    assert abs(float(way.parts["kind"].double().mean()) - 0.5) < 0.02
    changed = (way.parts["kind"] == b.parts["kind"])[a.parts["kind"] != b.parts["kind"]]
    assert abs(float(changed.double().mean()) - 0.3) < 0.03
    edge = way.parts["edge"]
    assert torch.equal(edge, edge.transpose(1, 2))
    for end, at in ((a, 0.0), (b, 1.0)):
        same = between(a, b, torch.full((n,), at), Noise.of(0, n))
        assert all(torch.equal(same.parts[name], end.parts[name]) for name in end.parts)
    with pytest.raises(UserError, match="differ in size, nodes: 3 and 2"):
        smaller = toy.product.prior(Noise.of(0, n), {"nodes": torch.full((n,), 2)}).resize({"nodes": 3})
        between(a, smaller, share, Noise.of(0, n))


def test_turning_follows_the_great_circle():
    a, b = State.of(torch.tensor([[2.0, 0.0]])), State.of(torch.tensor([[0.0, 2.0]]))
    made = turned(a, b, torch.tensor([1 / 3])).parts["x"]
    torch.testing.assert_close(made, torch.tensor([[math.sqrt(3), 1.0]]))
    torch.testing.assert_close(turned(a, a, torch.tensor([0.4])).parts["x"], a.parts["x"])


def test_the_error_of_a_round_trip_counts_real_elements():
    layout = MixedToy().layout
    made = MixedToy().sample(torch.tensor([2, 3]), seed=1)
    off = made.replace({**made.parts, "position": made.parts["position"] + 0.5})
    spread = made.parts["position"][made.masks["nodes"]].std(correction=0)
    assert round_trip(made, off) == {"position": pytest.approx(float(0.5 / spread), rel=1e-5)} and len(layout) == 3


def test_masks_as_text():
    forms = {"after": ("SECONDS",), "between": ("FROM", "TO"), "all": ()}
    assert parse_mask("between:0.5,2", forms) == ("between", [0.5, 2.0]) == parse_mask("between:0.5:2", forms)
    assert parse_mask("all", forms) == ("all", [])
    for text, words in (
        ("afer:1", "Did you mean 'after'"), ("after", "after takes SECONDS"), ("after:x", "after takes SECONDS"),
        ("after:nan", "after takes SECONDS"), ("all:1", "takes no number"), (3, "no mask '3'"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            parse_mask(text, forms)
    assert whole("m", [2.0], [0], [4]) == [2]
    for number in (2.5, -1.0, 5.0):
        with pytest.raises(UserError, match="from 0 to 4"):
            whole("m", [number], [0], [4])


def test_a_mask_of_another_shape_is_named():
    with pytest.raises(ValueError, match=r"shape \(2, 3\), its mask \(4,\)"):
        assert Known(torch.zeros(2, 3), torch.ones(4, dtype=torch.bool)).masks


def test_walking_to_and_fro_harmonises():
    """A pair of correlated numbers, one known: replacing it under noise says too little of it where steps are few; the
    more often each stretch is walked, the closer the other comes to its conditional mean.
    """
    schedule, known_value = schedules.cosine(), 2.0
    denoiser = GaussianDenoiser([0.0, 0.0], torch.tensor([[1.0, 0.9], [0.9, 1.0]]), schedule)
    x_T = unnoise.prior((1500, 2), schedule)
    known = Known(torch.full((1500, 2), known_value), torch.tensor([True, False]))
    off = []
    for repeats in (1, 4):
        plan = unnoise.plan("repaint", schedule, 12, length=2, repeats=repeats)
        assert plan.nfe == 12 * repeats
        made = unnoise.sample(denoiser, x_T, plan, known=known)
        assert torch.equal(made[:, 0], known.clean.parts["x"][:, 0])
        off.append(abs(made[:, 1].mean().item() - 0.9 * known_value))
    assert off[1] < 0.6 * off[0]
