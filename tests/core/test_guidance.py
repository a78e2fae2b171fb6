import math

import pytest
import torch

import unnoise
from unnoise import CFG, schedules
from unnoise.errors import UserError
from unnoise.guidance import Moment
from unnoise.layout import Layout, Part
from unnoise.processes import Categorical, Gaussian, Product
from unnoise.state import State
from unnoise.testing import MixtureDenoiser

torch.set_num_threads(1)  # small tensors: more threads only wait for each other

SCHEDULE = schedules.cosine()
MIXTURE = MixtureDenoiser([0.4, 0.4, 0.2], [[-1.0, 0.5], [1.2, 0.0], [0.2, -1.5]], [0.1, 0.3, 0.2], SCHEDULE)
X_T = unnoise.prior((6, 2), SCHEDULE, dtype=torch.float64)
PLAN = unnoise.plan("dpmpp_2m", SCHEDULE, 8)


class Counting:
    def __init__(self):
        self.asked = []

    def __call__(self, x, t, **condition):
        self.asked.append(condition)
        return MIXTURE(x, t, **condition)


def test_scale_one_costs_one_branch_and_changes_no_bit():
    plain, guided = Counting(), Counting()
    a = unnoise.sample(plain, X_T, PLAN, condition={"label": 1})
    b = unnoise.sample(guided, X_T, PLAN, condition={"label": 1}, guidance=CFG(1.0, negative={"label": 0}))
    assert torch.equal(a, b)
    assert guided.asked == plain.asked == [{"label": 1}] * PLAN.nfe


def test_scale_zero_is_the_null_branch():
    counting = Counting()
    made = unnoise.sample(counting, X_T, PLAN, condition={"label": 1}, guidance=CFG(0.0))
    assert torch.equal(made, unnoise.sample(MIXTURE, X_T, PLAN))
    assert counting.asked == [{}] * PLAN.nfe
    negative = unnoise.sample(MIXTURE, X_T, PLAN, condition={"label": 1}, guidance=CFG(0.0, negative={"label": 2}))
    assert torch.equal(negative, unnoise.sample(MIXTURE, X_T, PLAN, condition={"label": 2}))


@pytest.mark.parametrize("scale", [-1.0, 0.5, 3.0])
def test_guided_score_is_the_tilted_density(scale):
    """``grad log p(x | c)^w p(x)^(1 - w)``, by autograd of the exact densities."""
    t, x = 0.5, torch.tensor([[0.3, 0.8], [-1.0, 0.2]], dtype=torch.float64, requires_grad=True)
    tilted = scale * MIXTURE.log_density(x, t, 1) + (1 - scale) * MIXTURE.log_density(x, t)
    (score,) = torch.autograd.grad(tilted.sum(), x)
    alpha, sigma = float(SCHEDULE.alpha(t)), float(SCHEDULE.sigma(t))
    made = CFG(scale).combine({"cond": {"x": MIXTURE(x, t, 1)}, "null": {"x": MIXTURE(x, t)}}, Moment(State.of(x)))
    torch.testing.assert_close(made["x"], (x + sigma**2 * score) / alpha, rtol=1e-9, atol=1e-9)


def test_guidance_pulls_towards_the_class():
    x_T = unnoise.prior((500, 2), SCHEDULE)
    shares = []
    for scale in (0.0, 1.0, 4.0):
        x = unnoise.sample(MIXTURE, x_T, PLAN, condition={"label": 1}, guidance=CFG(scale))
        shares.append((x[:, 0] > 0.4).double().mean().item())
    assert shares[0] < 0.6 and 0.9 < shares[1] < shares[2]


def classes(probabilities):
    return torch.tensor(probabilities, dtype=torch.float64).log()


LAYOUT = Layout((Part("kind", "categorical", (1,), classes=3),))
STATE = State(LAYOUT, {"kind": torch.zeros(1, 1, dtype=torch.int64)})


def combine(scale, cond, null):
    branches = {"cond": {"kind": classes([[cond]])}, "null": {"kind": classes([[null]])}}
    return CFG(scale).combine(branches, Moment(STATE))["kind"][0, 0].exp()


@pytest.mark.parametrize("scale", [-0.5, 0.3, 2.0, 7.5])
def test_categorical_guidance_is_a_power_of_probabilities(scale):
    cond, null = torch.tensor([0.2, 0.5, 0.3]).double(), torch.tensor([0.6, 0.3, 0.1]).double()
    expected = cond**scale * null ** (1 - scale)
    torch.testing.assert_close(combine(scale, cond.tolist(), null.tolist()), expected / expected.sum())


def test_impossible_classes():
    """Excluded by the condition: excluded. Excluded by both: excluded. Excluded by the negative alone: preferred."""
    torch.testing.assert_close(combine(3.0, [0.0, 0.4, 0.6], [0.5, 0.2, 0.3])[0], torch.tensor(0.0).double())
    both = combine(3.0, [0.0, 0.4, 0.6], [0.0, 0.5, 0.5])
    torch.testing.assert_close(both, torch.tensor([0.0, 0.064 / 0.28, 0.216 / 0.28]).double())
    torch.testing.assert_close(combine(3.0, [0.2, 0.4, 0.4], [0.0, 0.5, 0.5]), torch.tensor([1.0, 0.0, 0.0]).double())
    torch.testing.assert_close(combine(-1.0, [0.0, 0.5, 0.5], [0.2, 0.4, 0.4]), torch.tensor([1.0, 0.0, 0.0]).double())
    # No class is left: the heavier branch decides.
    torch.testing.assert_close(combine(0.7, [0.0, 0.0, 1.0], [0.5, 0.5, 0.0]), torch.tensor([0.0, 0.0, 1.0]).double())


def test_half_precision_estimates_are_combined_in_float32():
    x = torch.full((1, 1), 1.0, dtype=torch.bfloat16)
    made = CFG(5.0).combine({"cond": {"x": x}, "null": {"x": 0.99 * x}}, Moment(State.of(x)))["x"]
    assert made.dtype == torch.float32
    torch.testing.assert_close(made.item(), 5 - 4 * float(0.99 * x), rtol=1e-6, atol=0)


def test_fused_branches_share_one_call():
    """A denoiser of branches is asked once per row, with all conditions; and sees its earlier estimates."""
    calls = []

    class Fused:
        product = Product(Layout.tensor(2), {"x": Gaussian(SCHEDULE)})
        self_conditioning = True

        def predict(self, x_t, times, conditions, previous=None):
            calls.append((dict(times), list(conditions), previous))
            t = float(times["x"])
            one = torch.ones(())
            estimates = [MIXTURE(x_t.parts["x"], t, **c) for c in conditions]
            return [unnoise.Prediction({"x": x0}, x_t, {"x": one}, {"x": one}) for x0 in estimates]

    plan = unnoise.plan("dpmpp_2m", Fused.product, 8)
    guidance = CFG(3.0, negative={"label": 2})
    fused = unnoise.sample(Fused(), State.of(X_T), plan, condition={"label": 1}, guidance=guidance)
    apart = unnoise.sample(MIXTURE, X_T, PLAN, condition={"label": 1}, guidance=guidance)
    assert torch.equal(fused.parts["x"], apart)
    assert [conditions for _, conditions, _ in calls] == [[{"label": 1}, {"label": 2}]] * plan.nfe
    assert [previous is None for _, _, previous in calls] == [True] + [False] * (plan.nfe - 1)
    first, second = calls[1][2]
    t = float(calls[0][0]["x"])
    torch.testing.assert_close(first.x0["x"], MIXTURE(X_T, t, 1))
    torch.testing.assert_close(second.x0["x"], MIXTURE(X_T, t, 2))


def test_scales_that_are_no_numbers():
    with pytest.raises(UserError, match="nan"):
        CFG(math.nan)


def test_categorical_parts_need_their_process():
    plan = unnoise.plan("ddim", SCHEDULE, 3)
    with pytest.raises(UserError, match="product process"):
        unnoise.sample(lambda x, t: {}, STATE, plan)
    product = Product(LAYOUT, {"kind": Categorical(SCHEDULE, "uniform")})
    made = unnoise.sample(lambda x, t: {"kind": classes([[[0.0, 1.0, 0.0]]])}, STATE, unnoise.plan("ddim", product, 3))
    assert made.parts["kind"].item() == 1
