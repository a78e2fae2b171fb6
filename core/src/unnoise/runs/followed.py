"""What samples are asked to be when they are judged, maps included."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from unnoise.conditions import MapCondition
from unnoise.contracts import AskedMaps, Dataset
from unnoise.plugins.registry import Registry
from unnoise.runs.controls import loaded_controls
from unnoise.runs.generate import Model
from unnoise.runs.measured import columns_of, maker_of
from unnoise.training.data import order, subset


@dataclass(frozen=True)
class Asked:
    """What n samples are asked to be.

    Args:
        raw: conditions that the model is told.
        control: of :meth:`unnoise.runs.Model.sample`.
        maps: what the samples are to follow, of the model's own conditions and of controls.
        items: the real items that the maps are of.
    """

    raw: Mapping[str, Tensor]
    control: list[dict[str, Any]] = field(default_factory=list)
    maps: Mapping[str, AskedMaps] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)

    @property
    def untold(self) -> dict[str, Tensor]:
        """The conditions without the maps."""
        return {name: value for name, value in self.raw.items() if name not in self.maps}

    def values(self, model: Model) -> dict[str, NDArray[Any]]:
        """All that the samples are asked to be, by conditions and by controls, as in a data set's columns."""
        known = model.denoiser.conditions
        told = {name: known[name].values(value) for name, value in self.raw.items()}
        for entry in self.control:
            if isinstance(entry.get("map"), Tensor):
                told[entry["run"].name] = entry["run"].control.condition.values(entry["map"])
        return told

    def restored(self, model: Model) -> list[Any]:
        """The real items, encoded and decoded."""
        made: list[Any] = []
        with torch.no_grad():
            for start in range(0, len(self.items), model.defaults.batch):
                state = model.representation.encode(self.items[start : start + model.defaults.batch])
                made += model.representation.decode(state)
        return made


def asked_of(
    model: Model,
    registry: Registry,
    config: Mapping[str, Any],
    splits: tuple[Dataset, Dataset],
    n: int,
    seed: int,
    condition: Any = None,
    control: Any = None,
    split: str = "train",
) -> Asked:
    """What n samples are asked to be: what the caller says, or else what real items are.

    Conditions are those of items of ``split``. Where there are maps, everything is of test items: to have followed a
    map of the training data says little about new ones.

    Args:
        model: the model.
        registry: where makers of maps are looked up.
        config: of the run, with the data that is judged by.
        splits: training and test data.
        n: how many.
        seed: chooses the items.
        condition, control: what the caller says; a control without a map is given those of the items.
        split: "train" or "test".
    """
    known, controls = model.denoiser.conditions, loaded_controls(model, control)
    own = [name for name in known.names if isinstance(known[name], MapCondition)]
    mapless = [entry for entry in controls if entry.get("map") is None and entry.get("of") is None]
    following = bool(mapless) or (condition is None and bool(own))
    source = splits[1] if following or split == "test" else splits[0]
    rows: list[int] = order(seed, torch.arange(n), len(source)).tolist()
    if condition is None:
        columns = columns_of(registry, config, source)
        for name in (name for name in known.names if name not in columns):
            print(f"the data has no column {name!r}: samples are made without that condition", file=sys.stderr)
        raw = {name: known[name].raw(subset(columns[name], rows)) for name in known.names if name in columns}
    else:
        raw = known.parse(model.with_maps(condition), n)
    maps: dict[str, AskedMaps] = {}
    for name in own if condition is None else ():
        _note(maps, registry, config, name, raw.get(name))
    for entry in mapless:
        loaded = entry["run"]
        own_config = {**loaded.manifest.config, "data": config["data"]}
        columns = columns_of(registry, own_config, source)
        entry["map"] = loaded.control.condition.raw(subset(columns[loaded.name], rows))
        _note(maps, registry, own_config, loaded.name, entry["map"])
    return Asked(raw, controls, maps, [source[i] for i in rows] if maps else [])


def _note(
    maps: dict[str, AskedMaps], registry: Registry, config: Mapping[str, Any], name: str, raw: Tensor | None
) -> None:
    maker = maker_of(registry, config, name)
    if maker is not None and raw is not None:
        maps[name] = AskedMaps(maker, raw.numpy())
