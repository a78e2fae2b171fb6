import pytest
import torch

import unnoise
from unnoise import CFG, schedules
from unnoise.noise import Noise
from unnoise.sampling import SAMPLERS, Known, trajectory
from unnoise.testing import GaussianDenoiser, MixedToy

torch.set_num_threads(1)  # small tensors: more threads only wait for each other

every_sampler = pytest.mark.parametrize("name", sorted(SAMPLERS))


@every_sampler
@pytest.mark.parametrize("schedule", [schedules.cosine(), schedules.edm(), schedules.flow()], ids=lambda s: s.name)
def test_known_values_come_out_exactly(name, schedule):
    denoiser = GaussianDenoiser([0.5, -1.0], torch.tensor([[0.6, 0.3], [0.3, 1.2]]), schedule)
    clean, mask = torch.tensor([[0.123456789, 9.0]]).expand(3, 2), torch.tensor([True, False])
    x_T = unnoise.prior((3, 2), schedule)
    made = unnoise.sample(denoiser, x_T, unnoise.plan(name, schedule, 7), known=Known(clean, mask))
    assert torch.equal(made[:, 0], clean[:, 0])
    assert (made[:, 1] - 9).abs().min() > 1


@every_sampler
@pytest.mark.parametrize("kernel", ["uniform", "absorbing"])
def test_known_parts_of_graphs_come_out_exactly(name, kernel):
    toy = MixedToy(kernel=kernel)
    sizes = torch.tensor([2, 3, 3])
    clean = toy.sample(sizes, seed=4)
    first = torch.tensor([True, False, False])
    mask = {
        "kind": first,
        "position": first[:, None],
        "edge": first[:, None] & first.roll(1) | first.roll(1)[:, None] & first,
    }
    x_T = toy.product.prior(Noise.of(0, 3), {"nodes": sizes})
    made = unnoise.sample(toy, x_T, unnoise.plan(name, toy.product, 5), known=Known(clean, mask))
    for part, known in mask.items():
        same = made.parts[part] == clean.parts[part]
        assert same[known.expand_as(same)].all()
    assert not torch.equal(made.parts["position"], clean.parts["position"])


def test_known_elements_are_at_the_level_of_the_rest():
    """On the way, known elements are the known values under the noise of the level: with deterministic rows always the
    same noise."""
    schedule = schedules.flow()
    denoiser = GaussianDenoiser([0.5, -1.0], [1.0, 1.0], schedule)
    clean, mask = torch.tensor([[2.0, 0.0]]).expand(4, 2), torch.tensor([True, False])
    plan = unnoise.plan("dpmpp_2m", schedule, 6, start=0.8)
    cursors = list(trajectory(denoiser, torch.zeros(4, 2), plan, known=Known(clean, mask)))
    noise = [(c.x.parts["x"][:, 0] - (1 - t) * 2.0) / t for c, t in zip(cursors, plan.t[:-1], strict=False)]
    for later in noise[1:]:
        torch.testing.assert_close(later, noise[0], atol=1e-4, rtol=1e-4)
    assert noise[0].std() > 0.1


def test_the_rest_is_sampled_given_what_is_known():
    """Of a correlated pair, the known half shifts the other; as the estimate is pinned and the noised value is exact,
    the denoiser sees the right evidence."""
    schedule = schedules.cosine()
    denoiser = GaussianDenoiser([0.0, 0.0], torch.tensor([[1.0, 0.9], [0.9, 1.0]]), schedule)
    means = []
    for value in (-2.0, 2.0):
        known = Known(torch.full((500, 2), value), torch.tensor([True, False]))
        x_T = unnoise.prior((500, 2), schedule)
        made = unnoise.sample(denoiser, x_T, unnoise.plan("ddpm", schedule, 60), known=known)
        means.append(made[:, 1].mean().item())
    assert means[0] < -1 and means[1] > 1


def test_guided_infill_pins_every_branch():
    schedule = schedules.flow()
    seen = []

    def denoise(x, t, **condition):
        return x * 0 + (5.0 if condition else -5.0)

    known = Known(torch.zeros(2, 3), torch.tensor([True, False, False]))
    plan = unnoise.plan("dpmpp_2m", schedule, 4)
    x_T = unnoise.prior((2, 3), schedule)
    made = unnoise.sample(denoise, x_T, plan, condition={"a": 1}, guidance=CFG(2.0), known=known, callback=seen.append)
    assert torch.equal(made, torch.tensor([[0.0, 15.0, 15.0]]).expand(2, 3))
    branches = seen[1].previous.branches
    assert [branches[name]["x"][0].tolist() for name in ("cond", "null")] == [[0.0, 5.0, 5.0], [0.0, -5.0, -5.0]]


def test_malformed_masks_are_named():
    plan = unnoise.plan("ddim", schedules.flow(), 2)
    with pytest.raises(ValueError, match="boolean"):
        unnoise.sample(lambda x, t: x, torch.zeros(1, 2), plan, known=Known(torch.zeros(1, 2), torch.ones(2)))
    with pytest.raises(KeyError, match="no part 'y'"):
        clean = unnoise.State.of(torch.zeros(1, 2))
        mask = {"y": torch.ones(2, dtype=torch.bool)}
        unnoise.sample(lambda x, t: x, clean, plan, known=Known(clean, mask))
