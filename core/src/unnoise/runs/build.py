"""From names and options to objects. A model is always built from a manifest, in training as when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from unnoise.conditions import Conditions
from unnoise.contracts import Codec, Dataset, MapShape, Network, Representation
from unnoise.denoiser import Denoiser
from unnoise.errors import UserError, did_you_mean
from unnoise.layout import Layout, Part
from unnoise.parametrization import Parametrization
from unnoise.plugins.registry import Registry, get_registry
from unnoise.plugins.signature import check_options, parameters
from unnoise.plugins.specs import Kind
from unnoise.processes import Process, Product
from unnoise.progress import Bar
from unnoise.runs.manifest import CODEC_KEYS, Manifest
from unnoise.schedules import from_config as schedule_from_config
from unnoise.schema import RunConfig
from unnoise.training.data import EncodedData

_COMPONENTS: dict[str, Kind] = {
    "data": "dataset",
    "representation": "representation",
    "codec": "codec",
    "denoiser": "denoiser",
}
"""Key of the config -> kind of component."""
_DEFAULTS = {
    "gaussian": {"name": "gaussian", "schedule": {"name": "cosine"}, "parametrization": "v"},
    "categorical": {"name": "categorical", "schedule": {"name": "cosine"}, "kernel": "marginal"},
}
"""The process of a part that the config says nothing of, by kind."""


def build_dataset(registry: Registry, config: Mapping[str, Any], split: str) -> Dataset:
    """The data set of a resolved run config; ``split`` is "train" or "test"."""
    data: Dataset = registry.build("dataset", config["data"], config["modality"], split=split, seed=config["seed"])
    return data


def build_splits(registry: Registry, config: Mapping[str, Any]) -> tuple[Dataset, Dataset]:
    """Training and test data of a resolved run config. Reading them may take a while, which is shown."""
    with Bar("reading the data", 2) as bar:
        train = build_dataset(registry, config, "train")
        bar.advance(1)
        test = build_dataset(registry, config, "test")
        bar.advance(1)
    return train, test


def build_codec(registry: Registry, config: Mapping[str, Any]) -> Codec:
    """The codec of a resolved run config, neither fitted nor restored."""
    node = {key: value for key, value in (config["codec"] or {}).items() if key not in CODEC_KEYS}
    codec: Codec = registry.build("codec", node, config["modality"])
    return codec


def needs_codec(registry: Registry, config: Mapping[str, Any]) -> bool:
    """Whether the representation of a resolved run config is made with a codec."""
    name = config["representation"].get("name", "")
    return bool(registry.load("representation", name, config["modality"]).needs_codec)


def build_representation(registry: Registry, config: Mapping[str, Any], codec: Codec | None) -> Representation:
    """The representation of a resolved run config, neither fitted nor restored."""
    given = {} if codec is None else {"codec": codec}
    made: Representation = registry.build("representation", config["representation"], config["modality"], **given)
    return made


def measured_processes(config: RunConfig, layout: Layout, data: EncodedData) -> tuple[dict[str, Any], dict[str, Any]]:
    """The processes and parametrizations of a config with what they need to know of the data filled in.

    Returns:
        config of the product, ``{"parts": ..., "warps": ...}``; and gaussian part -> config of its parametrization.

    Raises:
        UserError: if the config names a part that the layout lacks.
    """
    unknown = set(config.process) - set(layout.names) - {"*"}
    if unknown:
        fix = f"The parts are: {', '.join(layout.names)}; '*' means all others."
        raise UserError(f"process: there is no part {min(unknown)!r}.{did_you_mean(min(unknown), layout.names)}", fix)
    parts, warps, parametrizations = {}, {}, {}
    for part in layout:
        given = config.process.get(part.name, config.process.get("*", {}))
        own = given.get("name", part.kind) != part.kind  # somebody else's process has options of its own
        defaults = {key: value for key, value in _DEFAULTS[part.kind].items() if not (own and key == "kernel")}
        entry = {**defaults, **given}
        _check_kind(part, entry["name"])
        check_process(f"process of part {part.name!r}", entry)
        if "warp" in entry:
            warps[part.name] = entry.pop("warp")
        if part.kind == "gaussian":
            chosen = entry.pop("parametrization")
            options = {"name": chosen} if isinstance(chosen, str) else dict(chosen)
            check_options(f"process of part {part.name!r}: parametrization", Parametrization, options, ("schedule",))
            options.setdefault("data_std", data.std(part.name))
            parametrizations[part.name] = options
        elif entry.get("kernel") == "marginal" and entry.get("marginal") is None:
            entry["marginal"] = data.marginals(part.name).tolist()
        parts[part.name] = entry
    return {"parts": parts, "warps": warps}, parametrizations


def build_denoiser(registry: Registry, manifest: Manifest) -> Denoiser:
    """The denoiser that a manifest describes, with fresh weights."""
    config = manifest.config
    product = Product.from_config(Layout.from_json([*manifest.layout]), manifest.processes)
    conditions = Conditions.from_config(manifest.conditions)
    parametrizations = {}
    for name, options in manifest.parametrizations.items():
        check_options(f"parametrization of part {name!r}", Parametrization, options, ("schedule",))
        parametrizations[name] = Parametrization(schedule=product.processes[name].schedule, **options)
    network = build_network(
        registry, config["denoiser"], manifest.modality, product.layout, conditions.dim, conditions.maps
    )
    return Denoiser(network, conditions, product, parametrizations, config["train"]["self_conditioning"] > 0)


def build_network(
    registry: Registry,
    node: Mapping[str, Any],
    modality: str,
    layout: Layout,
    context_dim: int,
    maps: Mapping[str, MapShape],
) -> Network:
    """A denoiser network with fresh weights.

    Args:
        registry: where its name is looked up.
        node: its config.
        modality: of the run.
        layout: of noised states.
        context_dim: width of the embedded conditions; 0 for none.
        maps: those that it is to join, by name.

    Raises:
        UserError: if it has no such options, or takes no maps.
    """
    registry.check("denoiser", node, modality)
    given: dict[str, Any] = {"layout": layout, "context_dim": context_dim}
    if "maps" in parameters(registry.load("denoiser", node["name"], modality)):
        given["maps"] = tuple(maps.values())
    elif maps:
        name, shape = next(iter(maps.items()))
        raise UserError(
            f"condition {name!r} is a {'curve' if len(shape.points) == 1 else 'map'}, which denoiser {node['name']!r} "
            "does not take",
            "choose another denoiser, or leave the condition out of conditions.use",
        )
    network: Network = registry.build("denoiser", node, modality, **given)
    return network


def check_process(where: str, node: Mapping[str, Any]) -> None:
    """Refuse keys of a process that nothing would read, and a schedule that does not exist.

    Args:
        where: how messages call the node.
        node: of the config; without a name it may be of any kind, as the part decides.
    """
    known = [key for name in ([node["name"]] if "name" in node else _DEFAULTS) for key in _keys(name)]
    for key in node:
        if key not in known:
            message = f"{where} has no option {key!r}.{did_you_mean(key, known)}"
            raise UserError(message, f"It has: {', '.join(dict.fromkeys(known))}")
    schedule = node.get("schedule", {"name": "cosine"})
    if not isinstance(schedule, Mapping):
        raise UserError(f"{where}.schedule is {schedule!r}", f"Write {where}.schedule.name={schedule}")
    schedule_from_config(schedule)


def _keys(process: str) -> list[str]:
    """What the config of a process of this name may say."""
    made: type[Process] = get_registry().load("process", process)
    return ["name", *parameters(made), "warp", *(["parametrization"] if made.kind == "gaussian" else [])]


def _check_kind(part: Part, process: str) -> None:
    """Refuse the process of another kind of part."""
    if get_registry().load("process", process).kind != part.kind:
        raise UserError(
            f"part {part.name!r} is {part.kind}; a {process!r} process cannot noise it",
            f"Give it one that can: process.{part.name}.name={part.kind}",
        )


class Assembly(nn.Module):
    """All of a model that has state. Its tensors have the names they have in a checkpoint of its training task."""

    def __init__(self, registry: Registry, manifest: Manifest) -> None:
        super().__init__()
        codec = None
        if manifest.codec is not None:
            codec = build_codec(registry, manifest.config)
            codec.restore(manifest.codec)
        self.representation = build_representation(registry, manifest.config, codec)
        self.representation.restore(manifest.settings)
        self.denoiser = build_denoiser(registry, manifest)


def versions(registry: Registry, config: Mapping[str, Any]) -> dict[str, str]:
    """Distribution -> version of everything a run's result depends on."""
    found = {"unnoise": version("unnoise"), "torch": torch.__version__}
    for key, kind in _COMPONENTS.items():
        node = config.get(key)
        if node:
            state, _ = registry.find(kind, node["name"], config["modality"])
            found[state.dist] = state.version
    return found
