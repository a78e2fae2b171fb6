import numpy as np
import pytest
import torch

import unnoise
from unnoise import CFG, schedules
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.processes import Categorical, Gaussian, Product
from unnoise.sampling import SAMPLERS, SamplerInfo, Table, step, trajectory
from unnoise.sampling.evaluate import Evaluator
from unnoise.state import State
from unnoise.testing import CategoricalDenoiser, MixedToy, MixtureDenoiser

torch.set_num_threads(1)  # small tensors: more threads only wait for each other

SCHEDULE = schedules.cosine()
MIXTURE = MixtureDenoiser([0.6, 0.4], [[-0.8, 0.5], [0.9, -0.2]], [0.3, 0.5], SCHEDULE)
every_sampler = pytest.mark.parametrize("name", sorted(SAMPLERS))


@every_sampler
def test_a_sample_depends_on_its_own_seed_alone(name):
    """Alone, in a batch of seven, at another position. Noise is bit-equal; sums differ by rounding at most, as
    vectorised arithmetic may treat the elements of a batch unlike."""
    plan, seeds = unnoise.plan(name, SCHEDULE, 6), [3, 17, 5, 11, 8, 2, 40]

    def run(seeds):
        return unnoise.sample(MIXTURE, unnoise.prior((len(seeds), 2), SCHEDULE, seeds), plan, seed=seeds)

    batch = run(seeds)
    for position, seed in enumerate(seeds):
        torch.testing.assert_close(run([seed])[0], batch[position], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(run(seeds[::-1]), batch.flip(0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kernel", ["uniform", "absorbing"])
def test_a_graph_depends_on_its_own_seed_alone(kernel):
    """The same with classes, masks and padding: three nodes, beside graphs of two and four."""
    toy = MixedToy(kernel=kernel)
    plan = unnoise.plan("ddpm", toy.product, 6)

    def run(seeds, sizes):
        noise = Noise.of(seeds, len(seeds))
        return unnoise.sample(toy, toy.product.prior(noise, {"nodes": torch.tensor(sizes)}), plan, seed=seeds)

    alone, batch = run([9], [3]), run([1, 2, 9, 4, 5, 6, 7], [2, 4, 3, 2, 4, 1, 3])
    inside = batch[2:3].trim()
    for part in toy.layout:
        if part.kind == "categorical":
            assert torch.equal(alone.parts[part.name], inside.parts[part.name])
        else:
            torch.testing.assert_close(alone.parts[part.name], inside.parts[part.name], rtol=1e-6, atol=1e-6)


@every_sampler
def test_states_stay_legal_after_every_row(name):
    layout = Layout(
        (
            Part("position", "gaussian", ("nodes", 3), com_free=True),
            Part("matrix", "gaussian", ("nodes", "nodes"), symmetric=True),
            Part("edge", "categorical", ("nodes", "nodes"), classes=3, symmetric=True),
        )
    )
    processes = {"position": Gaussian(SCHEDULE), "matrix": Gaussian(SCHEDULE), "edge": Categorical(SCHEDULE, "uniform")}
    product = Product(layout, processes)
    noise = Noise.of(0, 3)
    x_T = product.prior(noise, {"nodes": torch.tensor([2, 5, 3])})

    def careless(x, t):
        """Estimates that are neither symmetric nor centred nor masked."""
        n = x.masks["nodes"].shape[1]
        ramp = torch.arange(1.0, n * n + 1).reshape(1, n, n).expand(3, n, n)
        edge = torch.stack([ramp, 0 * ramp, -ramp], -1).log_softmax(-1)
        return {"position": x.parts["position"] + 1, "matrix": ramp, "edge": edge}

    seen = []
    unnoise.sample(careless, x_T, unnoise.plan(name, product, 5), callback=seen.append)
    assert len(seen) == len(unnoise.plan(name, product, 5).rows) + 1
    for cursor in seen:
        for register in ["x", *cursor.registers]:
            state = cursor.state(register)
            torch.testing.assert_close(state.parts["position"].sum(1), torch.zeros(3, 3), atol=1e-4, rtol=0)
            for part in ("matrix", "edge"):
                assert torch.equal(state.parts[part], state.parts[part].transpose(1, 2))
            for part in layout.names:
                assert not state.parts[part].masked_select(~state.mask(part)).any()


@pytest.mark.parametrize(
    ("name", "kernel"), [("ddpm", "uniform"), ("ddpm", "marginal"), ("ddpm", "absorbing"), ("heun", "uniform")]
)
def test_finite_states_reach_the_joint_distribution(name, kernel):
    """Sites are drawn independently within a step, so the joint is exact in the limit of many steps."""
    joint = torch.tensor([[[0.20, 0.02], [0.03, 0.15]], [[0.05, 0.10], [0.25, 0.20]]])
    frequencies = (0.4, 0.6) if kernel == "marginal" else None
    denoiser = CategoricalDenoiser(joint, Categorical(SCHEDULE, kernel, frequencies))
    count = 5000

    def distance(steps):
        x_T = denoiser.product.prior(Noise.of(0, count))
        made = unnoise.sample(denoiser, x_T, unnoise.plan(name, denoiser.product, steps))
        return 0.5 * (denoiser.frequencies(made.parts["x"]) - denoiser.joint).abs().sum().item()

    assert distance(30) < 0.03  # of 5,000 exact draws: 0.015 on average
    assert distance(2) > 0.05


@pytest.mark.parametrize("name", ["ddpm", "heun", "dpmpp_2m", "unipc", "dpmpp_sde", "restart"])
def test_a_mixed_state_reaches_its_joint_distribution(name):
    """Classes, positions given classes, edges given both classes, in graphs of two sizes, in one run."""
    toy, count = MixedToy(), 1500
    sizes = torch.tensor([2, 3]).repeat(count // 2)
    x_T = toy.product.prior(Noise.of(0, count), {"nodes": sizes})
    made = unnoise.sample(toy, x_T, unnoise.plan(name, toy.product, 25))
    true = toy.sample(sizes, seed=9)

    def statistics(state):
        kind, position, edge = (state.parts[name] for name in ("kind", "position", "edge"))
        real = state.mask("kind")
        pairs = torch.stack([edge[:, 0, 1], kind[:, 0] + kind[:, 1]], 1).float()
        means = [position[real & (kind == k)].mean(0) for k in range(2)]
        linked = [pairs[pairs[:, 1] == both, 0].mean() for both in range(3)]
        return torch.cat([kind[real].float().mean().reshape(1), *means, torch.stack(linked)])

    torch.testing.assert_close(statistics(made), statistics(true), atol=0.1, rtol=0)


def saved(value, path):
    torch.save(value, path)
    return torch.load(path, weights_only=False)


@every_sampler
def test_a_run_can_be_taken_up_anywhere(name, tmp_path):
    toy = MixedToy()
    plan = unnoise.plan(name, toy.product, 4)
    x_T = toy.product.prior(Noise.of(0, 2), {"nodes": torch.tensor([2, 3])})
    cursors = list(trajectory(toy, x_T, plan, seed=5))
    for cursor in cursors[:-1]:
        resumed = unnoise.sample(toy, saved(cursor, tmp_path / "cursor.pt"), plan, seed=5)
        for part in toy.layout.names:
            assert torch.equal(resumed.parts[part], cursors[-1].x.parts[part])


def test_a_step_is_pure():
    plan, x_T = unnoise.plan("dpmpp_2m", SCHEDULE, 4), unnoise.prior((2, 2), SCHEDULE)
    noise = Noise.of(0, 2)
    cursor = list(trajectory(MIXTURE, x_T, plan))[2]
    before = {name: x.clone() for name, x in cursor.x.parts.items()}
    evaluate = Evaluator(MIXTURE, plan, cursor)
    first, second = (step(plan, cursor, evaluate(cursor), noise) for _ in range(2))
    assert torch.equal(first.x.parts["x"], second.x.parts["x"])
    assert torch.equal(cursor.x.parts["x"], before["x"]) and list(cursor.predictions) == [1]
    with pytest.raises(ValueError, match="needs its prediction"):
        step(plan, cursor, None, noise)


def test_predictions_are_forgotten_when_no_row_needs_them():
    plan = unnoise.plan("dpmpp_2m", SCHEDULE, 6)
    held = [sorted(c.predictions) for c in trajectory(MIXTURE, unnoise.prior((2, 2), SCHEDULE), plan)]
    assert held == [[], [0], [1], [2], [3], [], []]  # the jump to data uses its own only


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_dtypes_come_back_and_sums_are_wide(dtype):
    seen = set()

    def denoise(x, t):
        seen.add((x.dtype, t.dtype, t.shape))
        return MIXTURE(x, t)

    plan, x_T = unnoise.plan("heun", SCHEDULE, 5), unnoise.prior((3, 2), SCHEDULE, dtype=dtype)
    made = unnoise.sample(denoise, x_T, plan)
    assert seen == {(dtype, torch.float64, torch.Size([]))} and made.dtype == dtype
    cursor = list(trajectory(denoise, x_T, plan))[1]
    assert cursor.x.parts["x"].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    wide = unnoise.sample(MIXTURE, x_T.double(), plan)
    torch.testing.assert_close(
        made.double(), wide, atol={torch.bfloat16: 0.05, torch.float16: 5e-3}.get(dtype, 1e-5), rtol=0
    )
    as_state = unnoise.sample(lambda x, t: {"x": MIXTURE(x.parts["x"], t)}, State.of(x_T), plan)
    assert isinstance(as_state, State) and torch.equal(as_state.parts["x"], made)


def test_levels_may_differ_within_a_batch():
    """One table for samples at levels of their own: the same as one run for each."""
    grids = [np.array([0.9, 0.5, 0.2, 0.0]), np.array([0.7, 0.6, 0.1, 0.0])]
    x_T = unnoise.prior((2, 2), SCHEDULE, dtype=torch.float64)
    together = unnoise.sample(MIXTURE, x_T, unnoise.plan("ddpm", SCHEDULE, 3, np.stack(grids, 1)))
    for i, times in enumerate(grids):
        alone = unnoise.sample(MIXTURE, x_T[i : i + 1], unnoise.plan("ddpm", SCHEDULE, 3, times), seed=i)
        torch.testing.assert_close(together[i : i + 1], alone)


def test_the_plan_runs_without_gradients_and_the_trajectory_with():
    plan, x_T = unnoise.plan("ddim", SCHEDULE, 3), unnoise.prior((2, 2), SCHEDULE).requires_grad_()
    assert not unnoise.sample(MIXTURE, x_T, plan).requires_grad
    *_, last = trajectory(MIXTURE, x_T, plan)
    (gradient,) = torch.autograd.grad(last.result().sum(), x_T)
    assert gradient.abs().sum() > 0


def custom(function, **facts):
    return SamplerInfo(function.__name__, function, **facts)


def restart(schedule, grid):
    """Down, back up without an evaluation, down again (in the manner of Xu et al. 2023)."""
    table = Table(schedule, grid)
    first, second = table.points[0], table.points[1]
    for here, there in [(first, second), (second, first), (first, second), (second, table.points[2])]:
        x = table.x
        if there is first:
            keep = there.alpha / here.alpha
            fresh = np.sqrt(there.sigma**2 - (keep * here.sigma) ** 2)
            table.advance(there, order=1, x=keep * x + fresh * table.draw())
            continue
        x0 = table.predict()
        table.advance(there, order=1, x=there.alpha * x0 + there.sigma * (x - here.alpha * x0) / here.sigma)
    return tuple(table.rows)


def test_rows_may_renoise_without_an_evaluation():
    toy = MixedToy()
    plan = unnoise.plan(custom(restart), toy.product, 2, spacing=[0.8, 0.4, 0.0])
    assert plan.nfe == 3 and [row.cat for row in plan.rows] == ["bridge", "forward", "bridge", "bridge"]
    sizes = torch.tensor([2, 3]).repeat(500)
    clean = toy.sample(sizes, seed=1)
    noise = Noise.of(0, 1000)
    x_T = toy.product.corrupt(clean, toy.product.times(0.8), noise)
    cursors = list(trajectory(toy, x_T, plan))
    # Back at 0.8 a graph is as noisy as when first noised there.
    for name in ("kind", "position"):
        spread = [state.parts[name].double().std().item() for state in (cursors[0].x, cursors[2].x)]
        assert spread[1] == pytest.approx(spread[0], rel=0.08)
    assert not torch.equal(cursors[2].x.parts["kind"], cursors[0].x.parts["kind"])


def cfgpp(schedule, grid):
    """CFG++ (Chung et al. 2024): the noise is that of the null branch."""
    table = Table(schedule, grid)
    for here, there in table.steps():
        x, guided = table.x, table.predict()
        slope = (x - here.alpha * table.branch("null")) / here.sigma
        table.advance(there, order=1, x=there.alpha * guided + there.sigma * slope)
    return tuple(table.rows)


def test_rows_may_name_a_branch():
    plan, x_T = unnoise.plan(custom(cfgpp), SCHEDULE, 3), unnoise.prior((4, 2), SCHEDULE, dtype=torch.float64)
    made = unnoise.sample(MIXTURE, x_T, plan, condition={"label": 1}, guidance=CFG(0.6))
    x = x_T
    for t, s in zip(plan.t, plan.t[1:], strict=False):
        null, cond = MIXTURE(x, t), MIXTURE(x, t, 1)
        slope = (x - float(SCHEDULE.alpha(t)) * null) / float(SCHEDULE.sigma(t))
        x = float(SCHEDULE.alpha(s)) * (0.4 * null + 0.6 * cond) + float(SCHEDULE.sigma(s)) * slope
    torch.testing.assert_close(made, x)
    with pytest.raises(UserError, match="branch 'null'"):
        unnoise.sample(MIXTURE, x_T, plan, condition={"label": 1}, guidance=CFG(1.0))


def reuse(schedule, grid):
    """Draws one noise, adds it, and takes it away a row later."""
    table = Table(schedule, grid)
    z = table.draw()
    table.predict()
    table.advance(table.points[0], order=1, x=table.x + z)
    table.predict()
    table.advance(table.points[0], order=1, x=table.x - z)
    return tuple(table.rows)


def test_rows_may_reuse_a_draw():
    x_T = unnoise.prior((4, 2), SCHEDULE, dtype=torch.float64)
    cursors = list(trajectory(MIXTURE, x_T, unnoise.plan(custom(reuse), SCHEDULE, 1), seed=3))
    assert (cursors[1].x.parts["x"] - x_T).std() > 0.3
    torch.testing.assert_close(cursors[2].x.parts["x"], x_T)


def test_prior_is_at_the_schedules_start():
    for schedule in (schedules.edm(), schedules.cosine(), schedules.flow()):
        x = unnoise.prior((4000, 3), schedule, seed=1)
        assert x.std().item() == pytest.approx(float(schedule.sigma(schedule.t_max)), rel=0.03)
    one = unnoise.prior((1, 5), schedules.flow(), seed=[2])
    assert torch.equal(one[0], unnoise.prior((3, 5), schedules.flow(), seed=[0, 1, 2])[2])


def test_arguments_that_do_not_fit():
    plan = unnoise.plan("ddim", SCHEDULE, 3)
    with pytest.raises(ValueError, match="2 samples need 2 seeds"):
        unnoise.sample(MIXTURE, torch.zeros(2, 2), plan, seed=[1, 2, 3])
    with pytest.raises(ValueError, match="floating-point"):
        unnoise.sample(MIXTURE, torch.zeros(2, 2, dtype=torch.int64), plan)
