"""Methods of guidance where everything is known: `python guidance.py`

A model that is not quite right is guided, and what comes out is held against the truth. Real values: a mixture of
gaussians in 16 dimensions, three classes of two components; the model has widened components and mistakes the class in
a fifth of the mass. Classes: 4 sites of 4 values, three classes; the model mixes in a fifth of all classes. Accuracy is
that of the true posterior; the distance to the true conditional law is the sliced Wasserstein distance (64 directions),
or half the L1 distance by enumeration. Evaluations are those of the network for a sample.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

import unnoise
from unnoise import schedules
from unnoise.guidance import (
    APG,
    CFG,
    AdaptiveStop,
    Auto,
    CFGPlusPlus,
    CFGZero,
    Guidance,
    Interval,
    Rescale,
    Threshold,
)
from unnoise.noise import Noise
from unnoise.processes import Categorical
from unnoise.state import State
from unnoise.testing import CategoricalDenoiser, MixtureDenoiser

SCHEDULE = schedules.cosine()
CLASSES, DIMENSIONS, SITES, VALUES, MIXED = 3, 16, 4, 4, 0.2
Denoise = Callable[..., Any]


def components(seed: int = 0) -> tuple[Tensor, list[int]]:
    """Means ``(6, 16)`` of unit scale, and each one's class."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, 1, DIMENSIONS, generator=generator, dtype=torch.float64)
    around = 0.4 * torch.randn(CLASSES, 2, DIMENSIONS, generator=generator, dtype=torch.float64)
    return (0.6 * centres + around).flatten(0, 1), [k for k in range(CLASSES) for _ in range(2)]


class Blurred:
    """A mixture as a model knows it: components widened, and a share of every class's mass on all of them.

    Args:
        width: factor on the deviations.
        mixed: that share.
    """

    def __init__(self, width: float = 1.3, mixed: float = MIXED) -> None:
        means, labels = components()
        variance = 0.09 * width**2
        self.all = MixtureDenoiser([1.0] * 6, means, variance, SCHEDULE, labels)
        self.of = []
        for k in range(CLASSES):
            weights = [mixed / 6 + (1 - mixed) / 2 * (label == k) for label in labels]
            self.of.append(MixtureDenoiser(weights, means, variance, SCHEDULE, labels))

    def __call__(self, x: Tensor, t: Tensor, label: int | None = None) -> Tensor:
        return (self.all if label is None else self.of[label])(x, t)


def real_values(samples: int, steps: int) -> dict[str, tuple[float, float, float]]:
    """Method -> accuracy, distance, evaluations."""
    means, labels = components()
    truth = MixtureDenoiser([1.0] * 6, means, 0.09, SCHEDULE, labels)
    model, weak = Blurred(), Blurred(1.8, 0.5)
    directions = torch.nn.functional.normalize(
        torch.randn(64, DIMENSIONS, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=1
    )
    exact = [MixtureDenoiser([1.0] * 2, means[2 * k : 2 * k + 2], 0.09, SCHEDULE) for k in range(CLASSES)]
    x_T = unnoise.prior((samples, DIMENSIONS), SCHEDULE)
    methods: Mapping[str, tuple[str, Guidance | None]] = {
        "none": ("dpmpp_2m", None),
        "cfg 1.5": ("dpmpp_2m", CFG(1.5)),
        "cfg 3": ("dpmpp_2m", CFG(3.0)),
        "cfg 6": ("dpmpp_2m", CFG(6.0)),
        "cfg 3, rescale 0.7": ("dpmpp_2m", Rescale(CFG(3.0), 0.7)),
        "cfg 3, threshold 0.9": ("dpmpp_2m", Threshold(CFG(3.0), 0.9)),
        "cfg 3, interval [-3, 1]": ("dpmpp_2m", Interval(CFG(3.0), -3, 1)),
        "cfg 3, stop 0.02": ("dpmpp_2m", AdaptiveStop(CFG(3.0), 0.02)),
        "apg 3": ("dpmpp_2m", APG(3.0, momentum=0.0)),
        "apg 3, momentum -0.5": ("dpmpp_2m", APG(3.0)),
        "cfg_zero 3": ("dpmpp_2m", CFGZero(3.0)),
        "cfg_pp 0.3, ddim": ("ddim", CFGPlusPlus(0.3)),
        "cfg_pp 0.6, ddim": ("ddim", CFGPlusPlus(0.6)),
        "auto 1.5": ("dpmpp_2m", Auto(weak, 1.5)),
        "auto 3": ("dpmpp_2m", Auto(weak, 3.0)),
        "auto 3, interval [-3, 1]": ("dpmpp_2m", Interval(Auto(weak, 3.0), -3, 1)),
    }
    rows = {}
    for name, (sampler, guidance) in methods.items():
        plan, right, away, spent = unnoise.plan(sampler, SCHEDULE, steps), [], [], 0
        for label in range(CLASSES):
            made, spent = sampled(model, x_T, plan, {"label": label}, guidance)
            real = exact[label].sample(samples, seed=10_000)[0]
            posterior = torch.stack([truth.log_density(made, 0.0, k) for k in range(CLASSES)])
            right.append((posterior.argmax(0) == label).double().mean().item())
            a, b = ((x.double() @ directions.T).sort(0).values for x in (made, real))
            away.append((a - b).abs().mean().item())
        rows[name] = (sum(right) / CLASSES, sum(away) / CLASSES, spent)
    return rows


def joints(mixed: float, seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    """The law of all classes together and of each, of which a share ``mixed`` is the former."""
    generator = torch.Generator().manual_seed(seed)
    own = []
    for _ in range(CLASSES):
        logits = 2.0 * torch.randn(*[VALUES] * SITES, generator=generator, dtype=torch.float64)
        own.append(logits.flatten().softmax(0).reshape(logits.shape))
    whole = torch.stack(own).mean(0)
    return whole, [mixed * whole + (1 - mixed) * law for law in own]


def classes(samples: int, steps: int) -> dict[str, tuple[float, float, float]]:
    """Method -> accuracy, distance, evaluations."""
    process = Categorical(SCHEDULE, "absorbing")

    def model_of(mixed: float) -> Denoise:
        whole, own = joints(mixed)
        every = CategoricalDenoiser(whole, process)
        each = [CategoricalDenoiser(law, process) for law in own]
        return lambda x, t, label=None: (every if label is None else each[label])(x, t)

    model, weak = model_of(MIXED), model_of(0.6)
    _, truth = joints(0.0)
    toy = CategoricalDenoiser(truth[0], process)
    x_T: State = toy.product.prior(Noise.of(0, samples))
    plan = unnoise.plan("ddpm", toy.product, steps, spacing="linear")
    methods: Mapping[str, Guidance | None] = {
        "none": None,
        "cfg 1.25": CFG(1.25),
        "cfg 1.5": CFG(1.5),
        "cfg 3": CFG(3.0),
        "cfg 1.5, interval [-3, 3]": Interval(CFG(1.5), -3, 3),
        "cfg 1.5, stop 0.02": AdaptiveStop(CFG(1.5), 0.02),
        "auto 1.25": Auto(weak, 1.25),
        "auto 1.5": Auto(weak, 1.5),
        "auto 3": Auto(weak, 3.0),
    }
    rows = {}
    for name, guidance in methods.items():
        right, away, spent = [], [], 0
        for label in range(CLASSES):
            made, spent = sampled(model, x_T, plan, {"label": label}, guidance)
            x = made.parts["x"]
            posterior = torch.stack([law[tuple(x.T)] for law in truth])
            right.append((posterior.argmax(0) == label).double().mean().item())
            away.append(0.5 * (toy.frequencies(x) - truth[label]).abs().sum().item())
        rows[name] = (sum(right) / CLASSES, sum(away) / CLASSES, spent)
    return rows


def sampled(model: Denoise, x_T: Any, plan: unnoise.Plan, condition: Any, guidance: Guidance | None) -> tuple[Any, int]:
    """Samples, and the evaluations that they cost."""
    spent = []
    made = unnoise.sample(
        model, x_T, plan, condition=condition, guidance=guidance, callback=lambda cursor: spent.append(cursor.nfe)
    )
    return made, spent[-1]


def show(title: str, rows: Mapping[str, tuple[float, float, float]]) -> None:
    """A table in Markdown."""
    print(f"| {title} | accuracy | distance | evaluations |\n|---|---|---|---|")
    for name, (right, away, spent) in rows.items():
        print(f"| {name} | {100 * right:.1f} % | {away:.4f} | {spent:g} |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=20)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    show("real values", real_values(asked.samples, asked.steps))
    print()
    show("classes", classes(asked.samples, asked.steps))


if __name__ == "__main__":
    main()
