"""Methods and modifiers of guidance: identities that hold whatever the data, and exact posteriors where known."""

import math

import pytest
import torch

import unnoise
from unnoise import schedules
from unnoise.errors import UserError
from unnoise.guidance import (
    APG,
    CFG,
    AdaptiveStop,
    Auto,
    CFGPlusPlus,
    CFGZero,
    Interval,
    Moment,
    Region,
    Regions,
    Rescale,
    Threshold,
)
from unnoise.layout import Layout, Part
from unnoise.processes import Categorical
from unnoise.sampling import trajectory
from unnoise.state import State
from unnoise.testing import CategoricalDenoiser, MixtureDenoiser

FLOW = schedules.flow()
MEANS = torch.stack([torch.linspace(-1, 1, 8), torch.linspace(1.5, -0.5, 8), torch.full((8,), 0.3)])
MIXTURE = MixtureDenoiser([0.4, 0.4, 0.2], MEANS, [0.1, 0.3, 0.2], FLOW)
WEAK = MixtureDenoiser([0.4, 0.4, 0.2], MEANS, [0.5, 0.7, 0.6], FLOW)
X_T = unnoise.prior((5, 8), FLOW, dtype=torch.float64)
PLAN = unnoise.plan("dpmpp_2m", FLOW, 10)
ASKED = {"label": 1}

METHODS = {
    "cfg": lambda scale: CFG(scale),
    "apg": lambda scale: APG(scale, eta=0.3, norm=0.5),
    "cfg_zero": lambda scale: CFGZero(scale, zero_steps=1),
    "auto": lambda scale: Auto(WEAK, scale),
    "rescale": lambda scale: Rescale(CFG(scale), 0.7),
    "threshold": lambda scale: Threshold(CFG(scale), 0.9),
    "interval": lambda scale: Interval(CFG(scale), -3, 3),
    "stop": lambda scale: AdaptiveStop(CFG(scale), 0.1),
    "all": lambda scale: Interval(AdaptiveStop(Threshold(Rescale(APG(scale), 0.5)), 0.01), -6, 6),
}


def moment(x, t=0.5):
    level = {"x": torch.tensor(1 - t, dtype=torch.float64)}, {"x": torch.tensor(t, dtype=torch.float64)}
    return Moment(State.of(x), *level)


def branches(x, t=0.5, **others):
    made = {"cond": {"x": MIXTURE(x, t, 1)}, "null": {"x": MIXTURE(x, t)}}
    return made | {name: {"x": value} for name, value in others.items()}


class Counting:
    def __init__(self, denoise=MIXTURE):
        self.denoise, self.asked = denoise, 0

    def __call__(self, x, t, **condition):
        self.asked += 1
        return self.denoise(x, t, **condition)


def run(guidance, plan=PLAN, x_T=X_T, denoise=MIXTURE, **options):
    """The sample and the evaluations that the cursor counted, which are those made."""
    counting, last = Counting(denoise), []
    made = unnoise.sample(
        counting, x_T, plan, condition=ASKED, guidance=guidance, callback=lambda c: last.append(c.nfe), **options
    )
    return made, last[-1], counting.asked


@pytest.mark.parametrize("name", METHODS)
def test_scale_one_is_no_guidance_bit_for_bit_and_one_branch(name):
    plain = unnoise.sample(MIXTURE, X_T, PLAN, condition=ASKED)
    made, counted, asked = run(METHODS[name](1.0))
    assert torch.equal(made, plain) and counted == asked == PLAN.nfe


@pytest.mark.parametrize("guidance", [CFG(4.0), APG(4.0), CFGZero(4.0), Rescale(CFG(4.0), 0.7), AdaptiveStop(CFG(4.0))])
def test_a_negative_that_is_the_condition_cancels(guidance):
    own = MIXTURE(X_T, 0.5, 1)
    made = guidance.combine({"cond": {"x": own}, "null": {"x": own}}, moment(X_T))
    torch.testing.assert_close(made["x"], own, rtol=1e-9, atol=1e-9)


def test_rescaling_gives_the_spread_of_the_condition_s_own_estimate():
    made = Rescale(CFG(6.0), 1.0).combine(branches(X_T), moment(X_T))["x"]
    torch.testing.assert_close(made.std(1, correction=0), MIXTURE(X_T, 0.5, 1).std(1, correction=0))
    none = Rescale(CFG(6.0), 0.0).combine(branches(X_T), moment(X_T))["x"]
    torch.testing.assert_close(none, CFG(6.0).combine(branches(X_T), moment(X_T))["x"])


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m", "heun"])
def test_the_interval_saves_exactly_the_evaluations_outside_of_it(sampler):
    plan = unnoise.plan(sampler, FLOW, 12)
    levels = [float(FLOW.log_snr(row.t)) for row in plan.rows if row.eval]
    for low, high in ((-2.0, 1.5), (None, 0.0), (3.0, None), (-math.inf, math.inf)):
        inside = sum((-math.inf if low is None else low) <= v <= (math.inf if high is None else high) for v in levels)
        _, counted, asked = run(Interval(CFG(3.0), low, high), plan)
        assert counted == asked == len(levels) + inside
    everywhere, _, _ = run(Interval(CFG(3.0)), plan)
    assert torch.equal(everywhere, run(CFG(3.0), plan)[0])


def test_an_interval_guides_within_and_not_outside():
    """Until the first guided row the states are the unguided ones, bit for bit."""
    plan = unnoise.plan("ddim", FLOW, 12)
    guided = [c.x.parts["x"] for c in trajectory(MIXTURE, X_T, plan, condition=ASKED, guidance=Interval(CFG(3.0), 0))]
    plain = [c.x.parts["x"] for c in trajectory(MIXTURE, X_T, plan, condition=ASKED)]
    first = next(k for k, row in enumerate(plan.rows) if FLOW.log_snr(row.t) >= 0)
    same = [torch.equal(a, b) for a, b in zip(guided, plain, strict=True)]
    assert same == [k <= first for k in range(len(same))]


def test_projected_guidance():
    plain = APG(4.0, eta=1.0, momentum=0.0).combine(branches(X_T), moment(X_T))["x"]
    torch.testing.assert_close(plain, CFG(4.0).combine(branches(X_T), moment(X_T))["x"])
    cond = MIXTURE(X_T, 0.5, 1)
    across = APG(4.0, eta=0.0, momentum=0.0).combine(branches(X_T), moment(X_T))["x"] - cond
    torch.testing.assert_close((across * cond).sum(1), torch.zeros(5).double(), atol=1e-9, rtol=0)
    bounded = APG(2.0, eta=1.0, norm=0.1, momentum=0.0).combine(branches(X_T), moment(X_T))["x"] - cond
    assert bounded.square().mean(1).sqrt().max() <= 0.1 + 1e-9


def test_momentum_is_part_of_the_cursor():
    """The second difference takes a share of the first; a run taken up in the middle goes on bit for bit."""
    before = moment(X_T)
    APG(4.0).combine(branches(X_T), before)
    after = Moment(before.x_t, before.alpha, before.sigma, 1, dict(before.kept))
    difference = MIXTURE(X_T, 0.5, 1) - MIXTURE(X_T, 0.5)
    made = APG(4.0, eta=1.0).combine(branches(X_T), after)["x"]
    torch.testing.assert_close(made, MIXTURE(X_T, 0.5, 1) + 3 * 0.5 * difference)
    arguments = {"condition": ASKED, "guidance": AdaptiveStop(APG(4.0), 0.01)}
    cursors = list(trajectory(MIXTURE, X_T, PLAN, **arguments))
    again = list(trajectory(MIXTURE, cursors[4], PLAN, **arguments))
    assert torch.equal(again[-1].x.parts["x"], cursors[-1].x.parts["x"]) and again[-1].nfe == cursors[-1].nfe


def test_the_fitted_null_leaves_a_rest_across_it():
    """The least-squares fit of the null's velocity, by its normal equation; and a first step that stands still."""
    fitted = (X_T - CFGZero(0.0).combine(branches(X_T), moment(X_T))["x"]) / 0.5  # v = (x - x0) / t on a flow
    own = (X_T - MIXTURE(X_T, 0.5, 1)) / 0.5
    torch.testing.assert_close(((own - fitted) * fitted).sum(1), torch.zeros(5).double(), atol=1e-9, rtol=0)
    plan = unnoise.plan("euler", FLOW, 6)
    guidance = CFGZero(3.0, zero_steps=2)
    cursors = list(trajectory(MIXTURE, X_T, plan, condition=ASKED, guidance=guidance))
    torch.testing.assert_close(cursors[2].x.parts["x"], X_T)
    assert not torch.allclose(cursors[3].x.parts["x"], X_T)


@pytest.mark.parametrize("schedule", [FLOW, schedules.cosine(), schedules.edm()], ids=lambda s: s.name)
@pytest.mark.parametrize("name", ["ddim", "euler"])
def test_noise_of_the_null_branch(name, schedule):
    """Against the algorithm as the paper has it, written out (Chung et al. 2024, algorithm 2)."""
    mixture = MixtureDenoiser([0.4, 0.4, 0.2], MEANS, [0.1, 0.3, 0.2], schedule)
    x = unnoise.prior((5, 8), schedule, dtype=torch.float64)
    plan = unnoise.plan(name, schedule, 9)
    made, counted, asked = run(CFGPlusPlus(0.4), plan, x, mixture)
    assert counted == asked == 2 * plan.nfe
    for row in plan.rows:
        (a, s), (b, r) = ((float(schedule.alpha(t)), float(schedule.sigma(t))) for t in (row.t, row.s))
        null = mixture(x, row.t)
        guided = null + 0.4 * (mixture(x, row.t, **ASKED) - null)
        x = b * guided + r * (x - a * null) / s
    torch.testing.assert_close(made, x, rtol=1e-9, atol=1e-9)


def test_where_the_noise_has_no_branch_it_is_refused():
    for sampler in ("heun", "dpmpp_2m", "adams", "unipc"):
        with pytest.raises(UserError, match=f"{sampler} also uses other estimates"):
            run(CFGPlusPlus(0.4), unnoise.plan(sampler, FLOW, 4))
    for sampler in ("ddpm", "renoise", "lcm", "euler_ancestral"):
        assert run(CFGPlusPlus(0.4), unnoise.plan(sampler, FLOW, 4))[0].isfinite().all()
    toy = CategoricalDenoiser(torch.rand(3, 3), Categorical(FLOW, "uniform"))
    x_T = toy.product.prior(unnoise.noise.Noise.of(0, 2))
    with pytest.raises(UserError, match="categorical"):
        unnoise.sample(toy, x_T, unnoise.plan("ddim", toy.product, 3), guidance=CFGPlusPlus())
    with pytest.raises(UserError, match="not evaluated"):
        run(Interval(CFGPlusPlus(0.4), 0, 1), unnoise.plan("ddim", FLOW, 4))


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.5])
def test_autoguidance_is_the_tilted_density_of_two_models(scale):
    """``grad (w log p_own(x | c) + (1 - w) log p_weak(x | c))``, by autograd of the exact densities."""
    t, x = 0.5, X_T[:2].clone().requires_grad_()
    tilted = scale * MIXTURE.log_density(x, t, 1) + (1 - scale) * WEAK.log_density(x, t, 1)
    (score,) = torch.autograd.grad(tilted.sum(), x)
    plan, seen = unnoise.plan("ddim", FLOW, 1, spacing=[0.5, 0.25]), []
    weak = Counting(WEAK)
    unnoise.sample(
        MIXTURE, x.detach(), plan, condition=ASKED, guidance=Auto(weak, scale),
        callback=lambda c: seen.append(c.previous),
    )  # fmt: skip
    torch.testing.assert_close(seen[-1].x0["x"], (x + t**2 * score).detach() / (1 - t), rtol=1e-8, atol=1e-8)
    assert weak.asked == 1


def test_a_sample_stops_by_itself_whatever_its_batch():
    guidance = AdaptiveStop(CFG(3.0), 0.05)
    together, counted, asked = run(guidance)
    apart = [run(guidance, x_T=X_T[i : i + 1]) for i in range(5)]
    assert torch.equal(together, torch.cat([made for made, _, _ in apart]))
    assert counted == asked == max(nfe for _, nfe, _ in apart) and min(nfe for _, nfe, _ in apart) < 2 * PLAN.nfe
    _at_once, counted, asked = run(AdaptiveStop(CFG(3.0), 1e9))
    assert counted == asked == PLAN.nfe + 1  # the first look is guided
    never, counted, _ = run(AdaptiveStop(CFG(3.0), 0.0), unnoise.plan("ddim", FLOW, 3, stop=0.5))
    assert counted == 6
    torch.testing.assert_close(never, run(CFG(3.0), unnoise.plan("ddim", FLOW, 3, stop=0.5))[0])


def test_classes_that_agree_stop_too():
    layout = Layout((Part("kind", "categorical", (2,), classes=2),))
    state = State(layout, {"kind": torch.zeros(2, 2, dtype=torch.int64)})
    cond = torch.tensor([[[0.5, 0.5], [0.9, 0.1]], [[0.5, 0.5], [0.5, 0.5]]]).log()
    null = torch.tensor([[[0.5, 0.5], [0.1, 0.9]], [[0.5, 0.5], [0.5, 0.5]]]).log()
    at = Moment(state)
    AdaptiveStop(CFG(2.0), 0.39).combine({"cond": {"kind": cond}, "null": {"kind": null}}, at)
    assert at.kept["stopped"].tolist() == [False, True]  # (0 + 0.8) / 2 = 0.4
    at = Moment(state)
    AdaptiveStop(CFG(2.0), 0.41).combine({"cond": {"kind": cond}, "null": {"kind": null}}, at)
    assert at.kept["stopped"].tolist() == [True, True]


def two_conditions(x, t, a=0.0, b=0.0):
    """Linear in what it is told, so that every scale can be read off the result."""
    return 0 * x + torch.tensor([1.0, a, b, 10 * a * b]).to(x)


def test_every_condition_has_its_own_scale():
    plan, x_T = unnoise.plan("ddim", FLOW, 1), torch.zeros(1, 4)
    both = {"a": 1.0, "b": 1.0}
    seen = []

    def read(guidance):
        made = unnoise.sample(two_conditions, x_T, plan, condition=both, guidance=guidance, callback=seen.append)
        return made[0].tolist(), seen[-1].nfe

    assert read(CFG(scales={"a": 3.0, "b": 2.0})) == ([1, 3, 2, 20], 3)
    assert read(CFG(2.0, scales={"a": 3.0})) == ([1, 3, 2, 20], 3)
    assert read(CFG(scales={"b": 2.0, "a": 3.0})) == ([1, 3, 2, 30], 3)
    assert read(CFG(scales={"a": 2.0, "b": 2.0})) == read(CFG(2.0)) == ([1, 2, 2, 20], 2)
    assert read(CFG(scales={"a": 1.0, "b": 1.0})) == ([1, 1, 1, 10], 1)
    assert read(CFG(1.0, scales={"a": 4.0})) == ([1, 4, 1, 10], 3)
    assert read(CFG(scales={"a": 0.0, "b": 0.0})) == ([1, 0, 0, 0], 1)
    with pytest.raises(UserError, match="no condition 'c'"):
        read(CFG(scales={"c": 2.0}))


def test_regions_hold_each_their_own_condition():
    plan, x_T, seen = unnoise.plan("dpmpp_2m", FLOW, 3), torch.zeros(2, 4), []
    left = torch.tensor([1.0, 1.0, 0.5, 0.0])

    def denoise(x, t, label=0.0):
        return torch.zeros_like(x) + label

    regions = (Region({"label": 2.0}, {"x": left}), Region({"label": -2.0}, {"x": 1 - left}))
    made = unnoise.sample(denoise, x_T, plan, condition={}, guidance=Regions(CFG(3.0), regions), callback=seen.append)
    assert made.tolist() == [[6.0, 6.0, 0.0, -6.0]] * 2
    assert seen[-1].nfe == 3 * plan.nfe  # the null is shared
    off = unnoise.sample(denoise, x_T, plan, guidance=Regions(CFG(1.0), regions), callback=seen.append)
    assert off.tolist() == [[2.0, 2.0, 0.0, -2.0]] * 2 and seen[-1].nfe == 2 * plan.nfe


def test_padding_changes_nothing():
    layout = Layout((Part("x", "gaussian", ("nodes", 3)),))

    def state(size, nodes, fill):
        x = torch.full((1, size, 3), fill)
        x[:, :nodes] = torch.linspace(-1, 2, nodes * 3).reshape(1, nodes, 3)
        return x, torch.arange(size)[None] < nodes

    for guidance in (APG(4.0, eta=0.2, norm=0.3), CFGZero(4.0), Rescale(CFG(4.0), 1.0), Threshold(CFG(4.0), 0.8),
                     AdaptiveStop(CFG(4.0), 0.1)):  # fmt: skip
        made = []
        for size in (4, 9):
            x, mask = state(size, 4, 0.0)
            rubbish = torch.where(mask[..., None], 0.0, 7.0)
            level = {"x": torch.tensor([0.6])}
            at = Moment(State(layout, {"x": x}, {"nodes": mask}), level, level)
            estimates = {"cond": {"x": x.sin() + rubbish}, "null": {"x": 0.5 * x.cos() - rubbish}}
            made.append(guidance.combine(estimates, at)["x"][:, :4])
        torch.testing.assert_close(made[0], made[1])


def test_thresholding_keeps_the_quantile_within_the_limit():
    x = torch.linspace(-8, 8, 33, dtype=torch.float64)[None]
    estimates = {"cond": {"x": x}, "null": {"x": 0 * x}}
    made = Threshold(CFG(2.0), 0.75, limit=1.0).combine(estimates, moment(x))["x"]
    reach = (2 * x).abs().quantile(0.75)
    torch.testing.assert_close(made, (2 * x).clamp(-reach, reach) / reach)
    within = Threshold(CFG(2.0), 1.0, limit=100.0).combine(estimates, moment(x))["x"]
    torch.testing.assert_close(within, 2 * x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Interval(CFG(2.0), 2, 1), "holds no level"),
        (lambda: Rescale(CFG(2.0), 1.5), "a share"),
        (lambda: Threshold(CFG(2.0), 0.0), "quantile"),
        (lambda: AdaptiveStop(CFG(2.0), -1.0), "a distance"),
        (lambda: CFGPlusPlus(2.0), "from 0 to 1"),
        (lambda: APG(2.0, momentum=1.0), "momentum"),
        (lambda: CFGZero(2.0, zero_steps=-1), "zero_steps"),
        (lambda: CFG(scales={"a": math.inf}), "scale of a"),
        (lambda: Regions(CFG(2.0), ()), "no region"),
    ],
)
def test_numbers_out_of_range(make, words):
    with pytest.raises(UserError, match=words):
        make()


def test_what_acts_on_no_part_is_refused():
    toy = CategoricalDenoiser(torch.rand(3, 3), Categorical(FLOW, "uniform"))
    x_T = toy.product.prior(unnoise.noise.Noise.of(0, 2))
    plan = unnoise.plan("ddim", toy.product, 3)
    for guidance in (APG(2.0), CFGZero(2.0), Rescale(CFG(2.0)), Threshold(CFG(2.0))):
        with pytest.raises(UserError, match="acts on gaussian parts alone; x is categorical"):
            unnoise.sample(toy, x_T, plan, guidance=guidance)
