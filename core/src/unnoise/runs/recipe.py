"""From what a call asks for to samples: every choice made, then batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from unnoise.conditions import Raw
from unnoise.contracts import Samples
from unnoise.control import Acting, Controlled
from unnoise.denoiser import Denoiser
from unnoise.guidance import Guidance, build_guidance
from unnoise.noise import Noise
from unnoise.plugins.registry import get_registry
from unnoise.progress import Bar
from unnoise.runs.versions import installed
from unnoise.sampling import Cursor, Known, Plan, sample
from unnoise.state import State

if TYPE_CHECKING:
    from unnoise.runs.generate import Model


@dataclass(frozen=True)
class Recipe:
    """What a call of :meth:`unnoise.runs.Model.sample` or :meth:`~unnoise.runs.Model.edit` asks for.

    Args:
        n: number of samples.
        seed: sample i uses ``seed + i``.
        batch: samples computed at once.
        plan: of sampling.
        guidance: its options.
        given, against: raw conditions of the n samples, and what to steer away from.
        weak: the weaker denoiser of a guidance that has one.
        weights: whose that one's weights are.
        spacing, sampler_options: what the plan was made with.
        same_seed: whether all samples use ``seed``, as on a way between two.
        guided: changes the guidance of a batch, given its rows; None keeps it.
        extra: what the record says beside the rest.
        controls: of the n samples.
    """

    n: int
    seed: int
    batch: int
    plan: Plan
    guidance: Mapping[str, Any]
    given: Raw
    against: Raw
    weak: Any = None
    weights: Mapping[str, Any] | None = None
    spacing: Mapping[str, Any] = field(default_factory=dict)
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    same_seed: bool = False
    guided: Callable[[Guidance, slice], Guidance] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    controls: Sequence[Acting] = ()

    def denoiser(self, base: Denoiser, rows: slice) -> Denoiser | Controlled:
        """What is asked in a batch."""
        device = next(base.parameters()).device
        return Controlled(base, [control[rows].to(device) for control in self.controls]) if self.controls else base

    def guide(self, rows: slice) -> Guidance:
        """The guidance of a batch."""
        against = {name: value[rows] for name, value in self.against.items()}
        made = build_guidance(get_registry(), self.guidance, against, self.weak)
        return made if self.guided is None else self.guided(made, rows)

    def noise(self, rows: slice) -> Noise:
        """The noise of a batch."""
        if self.same_seed:
            return Noise(torch.full((rows.stop - rows.start,), self.seed, dtype=torch.int64))
        return Noise.of(self.seed + rows.start, rows.stop - rows.start)

    def record(self, model: Model, nfe: float) -> dict[str, Any]:
        """What reproduces the samples, as JSON. It holds no time and no path."""
        known, chosen = model.denoiser.conditions, self.plan
        weak = {} if self.weights is None else {"weak": dict(self.weights)}
        return {
            "modality": model.manifest.modality,
            "checkpoint": model.weights,
            "n": self.n,
            "seed": self.seed,
            "sampler": chosen.sampler.name,
            "steps": chosen.steps,
            "spacing": dict(self.spacing),
            "sampler_options": dict(self.sampler_options),
            "categorical": chosen.categorical.config(),
            "guidance": {key: value for key, value in self.guidance.items() if key != "weak"},
            **weak,
            "condition": {name: short(known[name].describe(value)) for name, value in self.given.items()},
            "negative": {name: short(known[name].describe(value)) for name, value in self.against.items()},
            "nfe": int(nfe) if float(nfe).is_integer() else nfe,
            **self.extra,
            "versions": {"trained": model.manifest.versions, "sampled": installed(model.manifest.versions)},
        }


@dataclass(frozen=True)
class Beginning:
    """Where the sampling of a batch begins: the state at the plan's first level, and what is known of its end."""

    x: State
    known: Known | None = None


def draw(model: Model, recipe: Recipe, start: Callable[[Noise, slice], Beginning], progress: bool = True) -> Samples:
    """Samples, batch by batch; a sample depends on its own seed and beginning, not on the batch around it.

    Args:
        model: what is sampled from.
        recipe: every choice.
        start: the noise of some rows of the call, and those rows -> where they begin.
        progress: show a progress bar.
    """
    items: list[Any] = []
    states: list[State] = []
    spent, starts = 0, range(0, recipe.n, recipe.batch)
    with Bar("sampling", max(len(starts) * len(recipe.plan.rows), 1)) if progress else _Silent() as bar:
        for first in starts:
            rows = slice(first, min(first + recipe.batch, recipe.n))
            noise = recipe.noise(rows)
            here = {name: value[rows].to(model.device) for name, value in recipe.given.items()}
            begin = start(noise, rows)
            count = _Count(bar)
            x0 = sample(
                recipe.denoiser(model.denoiser, rows), begin.x, recipe.plan, noise.seeds.to(model.device), here,
                recipe.guide(rows), begin.known, count,
            )  # fmt: skip
            spent += count.nfe * (rows.stop - first)
            clean = x0.with_layout(model.representation.layout)
            with torch.no_grad():
                items += model.representation.finish(model.representation.decode(clean), here)
            states.append(clean.to("cpu"))
    layout = model.representation.layout
    empty = State.zeros(layout, 0, {axis: torch.zeros(0) for axis in layout.variable_axes})
    whole = State.cat(states) if states else empty
    record = recipe.record(model, round(spent / recipe.n, 3) if recipe.n else 0)
    record["sizes"] = {axis: short(size.tolist()) for axis, size in whole.sizes.items()}
    return Samples(items, whole, record)


def extended(samples: Samples, **facts: Any) -> Samples:
    """Samples with more in their record."""
    return replace(samples, record={**samples.record, **facts})


def short(values: list[Any]) -> Any:
    """One value where all are the same; a list of one where the value is a list itself."""
    if not values or any(value != values[0] for value in values):
        return values
    return values[:1] if isinstance(values[0], list) else values[0]


class _Count:
    """Moves a bar on with every row, and knows how many evaluations there were."""

    def __init__(self, bar: Bar | _Silent) -> None:
        self.bar, self.nfe = bar, 0

    def __call__(self, cursor: Cursor) -> None:
        self.nfe = cursor.nfe
        self.bar.advance(cursor.row > 0)


@dataclass
class _Silent:
    """A bar that shows nothing."""

    done: float = field(default=0.0)

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def advance(self, amount: float) -> None:
        self.done += amount
