"""What steering does to trained models: `python steering.py negative|variation|border|scaffold RUN`

negative: of pictures or sounds with classes, the share that a classifier takes for each class, of unconditional
samples and of samples that are steered away from that class, with the same seeds. variation: how far results are from
their sources against strength, in standard deviations of the data, and evaluations. border: of pictures whose lower
half is made anew, how much grey levels change across the border, beside real pictures and halves of two pictures.
scaffold: of molecules, the share of decorated scaffolds that hold the scaffold, and that are valid.
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

SCAFFOLDS = ("c1ccccc1", "C1CCNC1", "O=C1CCCO1")
WALKS: dict[str, dict[str, Any]] = {
    "ddpm": {"sampler": "ddpm"},
    "repaint": {"sampler": "repaint"},
    "repaint, repeats 4": {"sampler": "repaint", "sampler_options": {"repeats": 4}},
}
"""How scaffolds are decorated."""
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
    source = [test[i] for i in range(min(n, len(test)))]
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


def border(model: Model, n: int, steps: int) -> None:
    """Print the mean change across the border, of 255 grey levels."""
    _, test = build_splits(get_registry(), model.manifest.config)
    real = np.stack([test[i] for i in range(min(n, len(test)))]).astype(np.float64)
    half = real.shape[1] // 2
    column = test.columns()["class"]
    labels = [column.names[column.values[i]] for i in range(len(real))]  # type: ignore[union-attr]

    def change(pictures: Any) -> float:
        return float(np.abs(pictures[:, half] - pictures[:, half - 1]).mean())

    pasted = np.concatenate([real[:, :half], np.roll(real, 1, 0)[:, half:]], 1)
    print("| lower halves | change across the border |\n|---|---|")
    print(f"| real | {change(real):.1f} |\n| of another picture | {change(pasted):.1f} |")
    for name, sampler in {"adams": {"sampler": "adams"}, **WALKS}.items():
        how = {"steps": steps, "progress": False, "condition": labels, **sampler}
        made = model.edit("infill", list(real.astype(np.uint8)), mask=f"bottom:{real.shape[1] - half}", **how)
        print(f"| {name} | {change(np.stack(made.items).astype(np.float64)):.1f} |", flush=True)


def distance(kind: str, made: Any, clean: Any, name: str) -> float:
    """Root mean square difference of real elements; of classes, the share that differs."""
    a, b, mask = made.parts[name], clean.parts[name], clean.mask(name)
    real = torch.ones_like(b, dtype=torch.bool) if mask is None else mask.expand_as(b)
    if kind == "categorical":
        return float((a != b)[real].double().mean())
    return float((a - b)[real].square().mean().sqrt())


def scaffold(model: Model, n: int, steps: int, more: int) -> None:
    """Print the shares of results that hold the scaffold, and that are valid and in one piece."""
    from rdkit import Chem, rdBase

    print("| scaffold | sampler | held | valid | valid, one piece |\n|---|---|---|---|---|")
    for smiles in SCAFFOLDS:
        for name, sampler in WALKS.items():
            how = {"steps": steps, "progress": False, **sampler}
            made = model.edit("infill", [smiles], mask=f"extend:{more}", n=n, **how)
            source = model.representation.encode([smiles])
            count = int(source.sizes["nodes"][0])
            held = [
                bool(
                    torch.equal(made.state.parts["atoms"][i, :count], source.parts["atoms"][0])
                    and torch.equal(made.state.parts["bonds"][i, :count, :count], source.parts["bonds"][0])
                )
                for i in range(n)
            ]
            with rdBase.BlockLogs():
                found = [Chem.MolFromSmiles(item) for item in made.items]
            valid = [molecule is not None for molecule in found]
            whole = [molecule is not None and "." not in item for molecule, item in zip(found, made.items, strict=True)]
            shares = " | ".join(f"{100 * np.mean(x):.1f} %" for x in (held, valid, whole))
            print(f"| {smiles} | {name} | {shares} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("negative", "variation", "border", "scaffold"))
    parser.add_argument("run", type=Path)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--scale", type=float, default=3.0)
    parser.add_argument("--more", type=int, default=3, help="atoms added to a scaffold")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = load(asked.run, "cpu")
    if asked.what == "negative":
        negative(model, asked.n, asked.scale, asked.steps)
    elif asked.what == "variation":
        variation(model, asked.n, asked.steps)
    elif asked.what == "border":
        border(model, asked.n, asked.steps)
    else:
        scaffold(model, asked.n, asked.steps, asked.more)


if __name__ == "__main__":
    main()
