"""Metrics of a model's samples, or of anybody's items, each beside what can be expected of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from unnoise.contracts import Evidence, Samples, Score
from unnoise.errors import UserError
from unnoise.layout import Part
from unnoise.noise import Noise
from unnoise.parametrization import Parametrization
from unnoise.plugins.registry import Registry, get_registry
from unnoise.progress import Bar
from unnoise.runs.build import build_splits
from unnoise.runs.followed import asked_of
from unnoise.runs.generate import Model
from unnoise.writing import write_json, writing


def evaluate(
    model: Model,
    n: int = 1000,
    seed: int = 0,
    metrics: Sequence[str] = (),
    condition: Any = None,
    control: Any = None,
    data: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
    split: str = "train",
    **options: Any,
) -> tuple[Samples, list[Score]]:
    """Sample a model and judge the samples.

    Args:
        model: the model.
        n: number of samples.
        seed: of the samples, and of whatever the metrics draw.
        metrics: names; all of the modality's if empty.
        condition: what to ask for; if None, conditions are those of random items of ``split``. One of which the data
            knows nothing is left out, and said to be.
        control: as for :meth:`Model.sample`; one without a map follows those of random test items.
        data: another data set's node; the run's own if None.
        registry: where names are looked up.
        split: "train", or "test" for conditions that the model need not have met.
        options: of :meth:`Model.sample`.

    Raises:
        UserError: as :meth:`Model.sample` and :func:`judge`, and for the name of no split.
    """
    if split not in ("train", "test"):
        raise UserError(f"split={split!r} does not exist", "split=train or split=test")
    registry = registry or get_registry()
    for name in metrics:
        registry.find("metric", name, model.manifest.modality)  # before the samples are made
    config = {**model.manifest.config, **({"data": dict(data)} if data else {})}
    train, test = build_splits(registry, config)
    asked = asked_of(model, registry, config, (train, test), n, seed, condition, control, split)
    samples = model.sample(n, seed, raw=asked.raw, control=asked.control or None, **options)
    untold = model.sample(n, seed, raw=asked.untold, **options).items if asked.maps else []
    evidence = Evidence(
        generated=samples.items,
        conditions=asked.values(model),
        train=train,
        test=test,
        noise=noise_items(model, n, seed),
        seed=seed,
        cache=model.run.cache,
        maps=asked.maps,
        restored=asked.restored(model),
        untold=untold,
    )
    return samples, judge(evidence, model.manifest.modality, metrics, registry)


def judge(
    evidence: Evidence, modality: str, metrics: Sequence[str] = (), registry: Registry | None = None
) -> list[Score]:
    """The scores of some evidence under metrics of a modality; all that can be had if none is named.

    Raises:
        UserError: if a metric that was named cannot be had (for want of an optional package, say), or none at all.
    """
    registry = registry or get_registry()
    scores: list[Score] = []
    errors: list[UserError] = []
    names = metrics or registry.names("metric", modality)
    with Bar("judging", max(len(names), 1)) as bar:
        for i, name in enumerate(names):
            bar.update(i, name)
            try:
                scores += registry.build("metric", {"name": name}, modality)(evidence)
            except UserError as error:
                errors.append(error)
                if not metrics:
                    bar.say(f"metric {name!r} is left out: {error.message} ({error.fix})")
        bar.update(max(len(names), 1), "")
    if errors and (metrics or not scores):
        raise errors[0]
    return scores


def noise_items(model: Model, n: int, seed: int) -> list[Any]:
    """Items decoded from states that hold nothing but noise of the data's scale: what an untrained model is worth."""
    layout, batch = model.representation.layout, model.defaults.batch
    product, parametrizations = model.denoiser.product, model.denoiser.parametrizations
    items: list[Any] = []
    for start in range(0, n, batch):
        noise = Noise.of(seed + start, min(batch, n - start))
        state = product.prior(noise, model.representation.sizes(noise))
        state = state.map(partial(_rescale, noise, parametrizations)).project().with_layout(layout)
        with torch.no_grad():
            items += model.representation.decode(state.to(model.device))
    return items


def _rescale(noise: Noise, parametrizations: Mapping[str, Parametrization], part: Part, x: Tensor) -> Tensor:
    """Noise as a representation can read it: of the data's deviation, and without mask tokens."""
    if part.kind == "gaussian":
        return noise.normal(part, x.shape[1:], purpose="ceiling") * parametrizations[part.name].data_std
    drawn = (noise.uniform(part, x.shape[1:], purpose="ceiling") * part.classes).long()
    return torch.where(x < part.classes, x, drawn)


def show_scores(scores: Sequence[Score], console: Console | None = None) -> None:
    """Print a table, and below it how each number was come by."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("metric", "value", "floor", "ceiling", "better"):
        table.add_column(title, justify="right" if title in ("value", "floor", "ceiling") else "left")
    notes: dict[str, list[str]] = {}
    for score in scores:
        numbers = ("" if x is None else f"{x:.4g}" for x in (score.value, score.floor, score.ceiling))
        table.add_row(score.name, *numbers, score.better)
        notes.setdefault(score.note, []).append(score.name)
    console.print(table)
    for note, names in notes.items():
        if note:
            console.print(f"{', '.join(names)}: {note}", highlight=False, markup=False)


def write_scores(scores: Sequence[Score], record: Mapping[str, Any], path: Path) -> None:
    """Write scores, and the record of what was judged, as JSON; a number that is not finite becomes null."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    table = [{key: plain(value) for key, value in asdict(score).items()} for score in scores]
    write_json(path, {"scores": table, "samples": dict(record)})
