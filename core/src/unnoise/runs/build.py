"""From names and options to objects. A model is always built from a manifest, in training as when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from unnoise.conditions import Conditions
from unnoise.contracts import Codec, Dataset, Network, Representation
from unnoise.denoiser import Denoiser
from unnoise.errors import UserError, did_you_mean
from unnoise.layout import Layout, Part
from unnoise.parametrization import Parametrization
from unnoise.plugins.registry import Registry, get_registry
from unnoise.plugins.signature import check_options, parameters
from unnoise.plugins.specs import Kind
from unnoise.processes import Process, Product
from unnoise.runs.manifest import Manifest
from unnoise.schema import RunConfig
from unnoise.training.data import EncodedData

_COMPONENTS: dict[str, Kind] = {
    "data": "dataset",
    "representation": "representation",
    "codec": "codec",
    "denoiser": "denoiser",
}
"""Key of the config -> kind of component."""
CODEC_KEYS = ("run", "train")
"""What a codec's node holds beside its name and options."""
_DEFAULTS = {
    "gaussian": {"name": "gaussian", "schedule": {"name": "cosine"}, "parametrization": "v"},
    "categorical": {"name": "categorical", "schedule": {"name": "cosine"}, "kernel": "marginal"},
}
"""The process of a part that the config says nothing of, by kind."""


def build_dataset(registry: Registry, config: Mapping[str, Any], split: str) -> Dataset:
    """The data set of a resolved run config; ``split`` is "train" or "test"."""
    data: Dataset = registry.build("dataset", config["data"], config["modality"], split=split, seed=config["seed"])
    return data


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
        _check_process(part, entry)
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
    parametrizations = {
        name: Parametrization(schedule=product.processes[name].schedule, **options)
        for name, options in manifest.parametrizations.items()
    }
    network: Network = registry.build(
        "denoiser", config["denoiser"], manifest.modality, layout=product.layout, context_dim=conditions.dim
    )
    return Denoiser(network, conditions, product, parametrizations, config["train"]["self_conditioning"] > 0)


def _check_process(part: Part, entry: Mapping[str, Any]) -> None:
    """Refuse the process of another kind of part, and keys that nothing would read."""
    process: type[Process] = get_registry().load("process", entry["name"])
    if process.kind != part.kind:
        raise UserError(
            f"part {part.name!r} is {part.kind}; a {entry['name']!r} process cannot noise it",
            f"Give it one that can: process.{part.name}.name={part.kind}",
        )
    known = ["name", *parameters(process), "warp", *(["parametrization"] if part.kind == "gaussian" else [])]
    for key in entry:
        if key not in known:
            message = f"process of part {part.name!r} has no option {key!r}.{did_you_mean(key, known)}"
            raise UserError(message, f"It has: {', '.join(known)}")


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
