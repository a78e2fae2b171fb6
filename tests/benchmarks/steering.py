"""What steering does to trained models: `python steering.py negative|variation RUN`

negative: of pictures or sounds with classes, the share that a classifier takes for each class, of unconditional
samples and of samples that are steered away from that class, with the same seeds. variation: how far results are from
their sources against strength, in standard deviations of the data, and evaluations.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unnoise import load
from unnoise.contracts import Dataset, Labels, Samples
from unnoise.plugins import get_registry
from unnoise.runs import Model
from unnoise.runs.build import build_splits

STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def picture_judge(train: Dataset, column: Labels, cache: Path) -> Callable[[Sequence[Any]], Tensor]:
    """Names the class of pictures."""
    from unnoise_image.classifier import Recipe, predict, train_classifier
    from unnoise_image.pictures import stack

    real = stack([train[i] for i in range(len(train))])
    net = train_classifier(real, torch.from_numpy(column.values), len(column.names), Recipe(), cache)
    return lambda items: predict(net, stack(items))[1]


def sound_judge(train: Dataset, column: Labels, cache: Path) -> Callable[[Sequence[Any]], Tensor]:
    """Names the class of sounds."""
    from unnoise_audio.metrics.features import AudioRecipe, Canvas
    from unnoise_audio.metrics.judged import listener

    canvas = Canvas.of(train)
    net = listener(train, column, canvas, AudioRecipe(), cache)
    return lambda items: net.predict(canvas.bands(items))[1]


JUDGES = {"image": picture_judge, "audio": sound_judge}


def negative(model: Model, n: int, scale: float, steps: int) -> None:
    """Print the shares of every class."""
    train, _ = build_splits(get_registry(), model.manifest.config)
    columns = train.columns()
    name, column = next(
        (key, found) for key in ("class", "instrument") if isinstance(found := columns.get(key), Labels)
    )
    judge = JUDGES[model.manifest.modality](train, column, model.run.cache)

    def share(samples: Samples, index: int) -> float:
        return float((judge(samples.items) == index).double().mean())

    plain = model.sample(n, 0, steps=steps, progress=False)
    print(f"| {name} | without | negative, scale {scale:g} |\n|---|---|---|")
    before, after = [], []
    for index, value in enumerate(column.names):
        steered = model.sample(n, 0, steps=steps, negative={name: value}, guidance_scale=scale, progress=False)
        before.append(share(plain, index))
        after.append(share(steered, index))
        print(f"| {value} | {100 * before[-1]:.1f} % | {100 * after[-1]:.1f} % |", flush=True)
    print(f"| mean | {100 * np.mean(before):.1f} % | {100 * np.mean(after):.1f} % |")


def variation(model: Model, n: int, steps: int) -> None:
    """Print mean distance and evaluations at every strength."""
    _, test = build_splits(get_registry(), model.manifest.config)
    source = [ready(test[i], model) for i in range(min(n, len(test)))]
    with torch.no_grad():
        clean = model.representation.encode(source).to("cpu")
    print("| strength | distance | evaluations, ddim | evaluations, heun |\n|---|---|---|---|")
    for strength in STRENGTHS:
        made = {
            name: model.edit("variation", source, strength=strength, steps=steps, sampler=name, progress=False)
            for name in ("ddim", "heun")
        }
        away = [distance(part.kind, made["ddim"].state, clean, part.name) for part in clean.layout]
        spent = " | ".join(str(samples.record["nfe"]) for samples in made.values())
        print(f"| {strength:g} | {', '.join(f'{x:.3f}' for x in away)} | {spent} |")


def ready(item: Any, model: Model) -> Any:
    """A test item as the model makes them: of a surface's pool of points, as many as its clouds have."""
    points = getattr(model.representation, "points", None)
    return item if points is None else item.take(np.arange(points))


def distance(kind: str, made: Any, clean: Any, name: str) -> float:
    """Root mean square difference of real elements; of classes, the share that differs."""
    a, b, mask = made.parts[name], clean.parts[name], clean.mask(name)
    real = torch.ones_like(b, dtype=torch.bool) if mask is None else mask.expand_as(b)
    if kind == "categorical":
        return float((a != b)[real].double().mean())
    return float((a - b)[real].square().mean().sqrt())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("negative", "variation"))
    parser.add_argument("run", type=Path)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--scale", type=float, default=3.0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = load(asked.run, "cpu")
    if asked.what == "negative":
        negative(model, asked.n, asked.scale, asked.steps)
    else:
        variation(model, asked.n, asked.steps)


if __name__ == "__main__":
    main()
