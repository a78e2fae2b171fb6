"""From a config to a trained control."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unnoise.conditions import Condition, check_columns, condition_from, condition_on
from unnoise.contracts import Column, MapMaker
from unnoise.plugins.registry import Registry
from unnoise.progress import Bar
from unnoise.runs.build import build_dataset, versions
from unnoise.runs.controls import ControlAssembly, LoadedControl, base_of, check_base
from unnoise.runs.generate import Model, captions
from unnoise.runs.load import load
from unnoise.runs.manifest import Manifest
from unnoise.runs.measured import columns_of, maker_of
from unnoise.runs.run import Run
from unnoise.schema import RunConfig
from unnoise.training.controlling import Controlling
from unnoise.training.data import Columns, EncodedData, Items, Selection, Unencoded, subset
from unnoise.training.tasks import Diffusion
from unnoise.training.trainer import Events, Trainer

_CHUNK = 1024
_PREVIEWED = 16


def start_control(config: RunConfig, run: Run, registry: Registry, events: Events) -> Trainer:
    """Everything up to the first step: the base, the maps, the manifest, encoding.

    Args:
        config: of the control's run, its base's model spelled out.
        run: the control's.
        registry: where names are looked up.
        events: whom the loop is to tell; previews and agreement are put in.

    Raises:
        UserError: if there is no such base, it takes no control, or the data has no such map.
    """
    started, plain, resumed = time.monotonic(), asdict(config), bool(run.checkpoints())
    base = load(str(config.control.base), config.train.device, registry)
    if resumed:
        check_base(run.manifest, base, f"control {run.folder}")
    with Bar("reading the data", None):
        data = build_dataset(registry, plain, "train")
    known = columns_of(registry, plain, data)
    check_columns(known, [*config.conditions.use, config.control.map])
    with Bar("choosing items", len(data)) as bar:
        chosen = Selection.of(data, base.representation, advance=bar.advance)
    columns, notes = Columns(known, chosen.index), [*data.notes(), *chosen.notes()]
    condition = _condition(config, run if resumed else None, base, columns)

    def described(n: int) -> Manifest:
        noted = {"condition": condition.config(), **base_of(base)}
        own = replace(base.manifest, config=plain, versions=versions(registry, plain), control=noted)
        return run.manifest if resumed else replace(own, notes=[f"{n} training items", *notes])

    manifest = described(len(chosen.index))
    torch.manual_seed(config.seed)
    control = ControlAssembly(registry, manifest).control
    control.begin(base.denoiser.network)
    _task(config, control, base, Unencoded(base.representation.layout))  # what is wrong shall not show after encoding
    raw = {name: base.denoiser.conditions[name].raw(columns[name]) for name in base.denoiser.conditions.names}
    raw[condition.name] = condition.raw(columns[condition.name])
    with Bar("encoding", len(chosen.index)) as bar:
        for note in notes:
            bar.say(note)
        items = Items(data, chosen.index)
        encoded = EncodedData.encode(items, base.representation, raw, _CHUNK, bar.advance)
    (replace(manifest, config=plain) if resumed else manifest).save(run.manifest_path)
    task = _task(config, control, base, encoded).to(base.device)
    if config.train.compile:
        base.denoiser.network.compile()
    loaded = LoadedControl(control, manifest)
    watched = replace(events, preview=lambda step: _preview(run, base, loaded, encoded, config, step))
    if config.control.judge_every:
        watched = replace(watched, judged=_Judge(config, run, registry, base, loaded))
    facts = {"model": manifest.fingerprint()}
    return Trainer(task, config.train, config.seed, run.folder, watched, "training control", started, facts)


def _condition(config: RunConfig, resumed: Run | None, base: Model, columns: Mapping[str, Column]) -> Condition:
    """The condition on the map, of the width of the base's."""
    dim = base.denoiser.conditions.dim or config.conditions.dim
    if resumed is None:
        return condition_on(config.control.map, columns[config.control.map], dim)
    noted = resumed.manifest.control
    assert noted is not None
    return condition_from(config.control.map, noted["condition"], dim)


def _task(config: RunConfig, control: Any, base: Model, data: EncodedData) -> Controlling:
    diffusion = Diffusion(base.representation, base.denoiser, data, config.train, config.conditions, config.seed)
    return Controlling(control, diffusion.to(base.device), config.control.dropout)


def _preview(run: Run, base: Model, loaded: LoadedControl, data: EncodedData, config: RunConfig, step: int) -> None:
    """Samples that follow the maps of the first training items. A picture that cannot be made ends no run."""
    n = min(config.sample.n, _PREVIEWED)
    raw = {name: column[torch.arange(n) % len(column)] for name, column in data.columns.items()}
    asked = {"run": loaded, "map": raw.pop(loaded.name)}
    path = run.folder / "previews" / f"step_{step:08d}.png"
    try:
        path.parent.mkdir(exist_ok=True)
        samples = base.sample(n, seed=config.seed, raw=raw, control=asked, progress=False)
        base.representation.preview(samples.items, path, captions(samples.record))
    except Exception as error:
        print(f"unnoise: {path} could not be made: {type(error).__name__}: {error}", file=sys.stderr)


class _Judge:
    """How well samples follow the maps of held-out items, at the steps that ask for it."""

    def __init__(self, config: RunConfig, run: Run, registry: Registry, base: Model, loaded: LoadedControl) -> None:
        self.config, self.base, self.loaded = config, base, loaded
        plain = asdict(config)
        self.maker: MapMaker | None = maker_of(registry, plain, loaded.name)
        self.train = build_dataset(registry, plain, "train")
        test = build_dataset(registry, plain, "test")
        rows: list[int] = np.linspace(0, len(test) - 1, min(config.control.judged, len(test))).astype(int).tolist()
        columns, known = columns_of(registry, plain, test), base.denoiser.conditions
        self.raw = {n: known[n].raw(subset(columns[n], rows)) for n in known.names if n in columns}
        self.maps = loaded.control.condition.raw(subset(columns[loaded.name], rows))
        self.cache: Path = run.folder / "cache"

    def __call__(self, step: int) -> dict[str, float]:
        if step % self.config.control.judge_every or self.maker is None:
            return {}
        self.cache.mkdir(exist_ok=True)
        asked = {"run": self.loaded, "map": self.maps}
        made = self.base.sample(len(self.maps), self.config.seed, raw=self.raw, control=asked, progress=False)
        found = self.maker.agreement(self.maps.numpy(), made.items, self.train, self.cache)
        return {f"agreement/{self.loaded.name}": float(np.mean(found))}
