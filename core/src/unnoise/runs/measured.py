"""Maps: those that are made of items as columns of a data set, and those that users name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unnoise.conditions import MapCondition
from unnoise.conditions.base import Condition
from unnoise.contracts import Column, Dataset, MapMaker, Maps
from unnoise.errors import UserError
from unnoise.plugins.registry import Registry
from unnoise.progress import Bar
from unnoise.reading.files import reason

_CHUNK = 512


def columns_of(registry: Registry, config: Mapping[str, Any], data: Dataset) -> Mapping[str, Column]:
    """A data set's columns, and the maps that can be made of its items, which is done when one is asked for.

    Args:
        registry: where makers of maps are looked up.
        config: of the run.
        data: its training or test data.
    """
    return _Columns(registry, config, data)


def maker_of(registry: Registry, config: Mapping[str, Any], name: str) -> MapMaker | None:
    """What makes the map ``name`` in a run with this config; None where nothing does.

    Raises:
        UserError: for an option that it does not have, or a package that it needs.
    """
    node = config["conditions"].get("maps", {}).get(name)
    if node is None:
        if name not in registry.names("map", config["modality"]):
            return None
        node = {"name": name}
    made: MapMaker = registry.build("map", node, config["modality"])
    return made


class _Columns(Mapping[str, Column]):
    def __init__(self, registry: Registry, config: Mapping[str, Any], data: Dataset) -> None:
        self._registry, self._config, self._data, self._own = registry, config, data, data.columns()
        asked = config["conditions"].get("maps", {})
        self._makers = [n for n in (*asked, *registry.names("map", config["modality"])) if n not in self._own]
        self._made: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name in self._own:
            return self._own[name]
        if name not in self._makers:
            raise KeyError(name)
        if name not in self._made:
            self._made[name] = Maps(self._measured(name))
        return self._made[name]

    def _measured(self, name: str) -> NDArray[np.float32]:
        maker = maker_of(self._registry, self._config, name)
        assert maker is not None
        made = []
        with Bar(f"making {name}", len(self._data)) as bar:
            for start in range(0, len(self._data), _CHUNK):
                items = [self._data[i] for i in range(start, min(start + _CHUNK, len(self._data)))]
                made.append(np.asarray(maker(items), np.float32))
                bar.advance(len(items))
        return np.concatenate(made)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._own, *self._makers]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._makers


def read_map(registry: Registry, config: Mapping[str, Any], name: str, value: Any) -> Any:
    """Maps that a user wrote, as arrays: a path to files of maps, ``{"of": ...}`` with a path to items or items, of
    which they are made; anything else is returned as it is.

    Raises:
        UserError: if they cannot be read, or made.
    """
    if isinstance(value, Mapping) and set(value) == {"of"}:
        maker = maker_of(registry, config, name)
        if maker is None:
            raise UserError(f"nothing makes the map {name!r} of items", f"give the map itself: {name}=<file>")
        return maker(_items(registry, config["modality"], value["of"]))
    if not isinstance(value, (str, Path)):
        return value
    path = Path(value)
    if not path.exists():
        raise UserError(f"the map {name}={path} does not exist", "give a file, or {of: <item>} to make it of an item")
    if path.suffix == ".npy":
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{path} cannot be read: {reason(error)}", "give an array of numbers") from error
    maker = maker_of(registry, config, name)
    if maker is None:
        raise UserError(f"{path} cannot be read as the map {name!r}", "give an array in a file .npy")
    return maker.read(path)


def with_maps_read(registry: Registry, config: Mapping[str, Any], conditions: Sequence[Condition], asked: Any) -> Any:
    """What a user wrote of conditions, with the maps among them as arrays (:func:`read_map`)."""
    if not isinstance(asked, Mapping):
        if len(conditions) != 1 or not isinstance(conditions[0], MapCondition):
            return asked
        return read_map(registry, config, conditions[0].name, asked)
    maps = {one.name for one in conditions if isinstance(one, MapCondition)}
    if len(conditions) == 1 and maps and set(asked) == {"of"}:
        return read_map(registry, config, conditions[0].name, asked)
    return {k: read_map(registry, config, k, value) if k in maps else value for k, value in asked.items()}


def _items(registry: Registry, modality: str, source: Any) -> list[Any]:
    if not isinstance(source, (str, Path)):
        return list(source)
    reader = registry.reader(modality)
    if reader is None:
        raise UserError(f"modality {modality!r} cannot read items from files", "give items in Python")
    if not Path(source).exists():
        raise UserError(f"{source} does not exist", "give a file or folder of items")
    return list(reader(Path(source)))


def check_maps(registry: Registry, modality: str, maps: Mapping[str, Any]) -> None:
    """Check what a config says of makers of maps; raises :class:`UserError`."""
    for name, node in maps.items():
        if not isinstance(node, Mapping):
            known = registry.names("map", modality)
            raise UserError(f"conditions.maps.{name}={node}", f"write conditions.maps.{name}.name=...{_one_of(known)}")
        registry.check("map", node, modality)


def _one_of(names: Sequence[str]) -> str:
    return f"; there is: {', '.join(names)}" if names else ""
