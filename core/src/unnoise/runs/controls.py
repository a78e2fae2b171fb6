"""Controls of a model: from their own run folders, and from what a call asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unnoise.conditions import Conditions, condition_from
from unnoise.control import Acting, Control
from unnoise.errors import UserError, did_you_mean
from unnoise.layout import Layout
from unnoise.plugins.registry import Registry, get_registry
from unnoise.processes import Product
from unnoise.runs.build import build_network
from unnoise.runs.load import Rebuilding, without_weightings
from unnoise.runs.manifest import Manifest
from unnoise.runs.measured import read_map
from unnoise.runs.recipe import short
from unnoise.runs.run import Run
from unnoise.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from unnoise.runs.generate import Model

_KEYS = ("run", "map", "of", "strength", "interval")


class ControlAssembly(nn.Module):
    """All of a control that has state. Its tensors have the names they have in a checkpoint of its training."""

    def __init__(self, registry: Registry, manifest: Manifest) -> None:
        super().__init__()
        assert manifest.control is not None
        config, told = manifest.config, Conditions.from_config(manifest.conditions)
        condition = condition_from(
            config["control"]["map"], manifest.control["condition"], told.dim or config["conditions"]["dim"]
        )
        layout = Product.from_config(Layout.from_json([*manifest.layout]), manifest.processes).layout
        maps = {**told.maps, **({} if condition.map_shape is None else {condition.name: condition.map_shape})}
        network = build_network(registry, config["denoiser"], manifest.modality, layout, told.dim, maps)
        self.control = Control(network, condition, config["control"]["blocks"])


@dataclass(frozen=True)
class LoadedControl:
    """A control and what is known of it.

    Args:
        control: the branch.
        manifest: of its run.
        facts: whose weights they are, as records say.
    """

    control: Control
    manifest: Manifest
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the map is called."""
        return self.control.condition.name


def base_of(model: Model) -> dict[str, Any]:
    """What tells one base from another: what its weights mean, and their digest."""
    assert model.checkpoint is not None
    digest = model.checkpoint.state["sha256"]["ema.safetensors"]
    return {"fingerprint": model.manifest.fingerprint(), "sha256": digest, "step": model.checkpoint.step}


def load_control(path: str | Path, model: Model, registry: Registry | None = None) -> LoadedControl:
    """The control in a run folder, or a checkpoint's folder inside of one, with averaged weights.

    Args:
        path: where it is.
        model: the base that it is for.
        registry: where names are looked up.

    Raises:
        UserError: if there is no control, it was trained for another base, or a file is damaged.
    """
    run, registry = Run.open(path), registry or get_registry()
    manifest = run.manifest
    if manifest.stage != "control":
        message = f"{run.folder} is the run of a {_WHAT[manifest.stage]}, not of a control"
        raise UserError(message, "train one: unnoise train control.base=<run> control.map=<map>")
    check_base(manifest, model, f"control {run.folder}")
    checkpoint = run.checkpoint()
    rebuilding = Rebuilding(run, manifest, checkpoint, registry)
    parts = rebuilding.module(
        lambda: ControlAssembly(registry, manifest), without_weightings(checkpoint.tensors("ema"))
    )
    parts.requires_grad_(False).eval().to(model.device)
    return LoadedControl(parts.control, manifest, _facts(checkpoint))


_WHAT = {"diffusion": "model", "codec": "codec"}


def _facts(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"step": checkpoint.step, "sha256": checkpoint.state["sha256"]["ema.safetensors"]}


def check_base(manifest: Manifest, model: Model, what: str) -> None:
    """Raise :class:`UserError` unless a control's manifest says that ``model`` is its base."""
    assert manifest.control is not None
    noted, own = manifest.control, base_of(model)
    differ = [k for k, v in own["fingerprint"].items() if noted["fingerprint"].get(k) != v]
    trained = manifest.config["control"]["base"]
    if differ:
        message = f"{what} was trained for another base: {', '.join(differ)} of {model.run.folder} differ"
        raise UserError(message, f"its base was {trained}: run={trained}; or train a control for this one")
    if noted["sha256"] != own["sha256"]:
        message = f"{what} was trained for other weights than those of step {own['step']} in {model.run.folder}"
        fix = f"its base was step {noted['step']} of {trained}: name that checkpoint, or train a control for this one"
        raise UserError(message, fix)


def acting(model: Model, asked: Any, n: int) -> tuple[list[Acting], list[dict[str, Any]]]:
    """The controls that a call asks for, of n samples, and what a record says of them.

    Args:
        model: the base.
        asked: None; one control ``{"run": ..., "map": ..., "strength": ..., "interval": ...}``; a mapping of names to
            such; or a list of them. ``run`` is a path or a :class:`LoadedControl`. ``map`` is a map, or several that
            are repeated to fill n, or a file; ``of`` in its place items, or a file of items, that it is made of.
        n: how many samples.

    Raises:
        UserError: for a control of another base, a map of another size, or what is missing or out of range.
    """
    made, facts = [], []
    for entry in loaded_controls(model, asked):
        loaded = entry["run"]
        raw = _maps(loaded, entry, n)
        strength, (low, high) = _number(entry.get("strength", 1.0)), _interval(entry.get("interval"))
        made.append(Acting(loaded.control, raw, strength, low, high))
        facts.append(
            {
                "map": loaded.name,
                **loaded.facts,
                "strength": strength,
                "interval": entry.get("interval"),
                "maps": short(loaded.control.condition.describe(raw)),
            }
        )
    return made, facts


def loaded_controls(model: Model, asked: Any) -> list[dict[str, Any]]:
    """The controls that a call asks for (:func:`acting`), each with its ``run`` loaded.

    Raises:
        UserError: as :func:`acting`.
    """
    made = []
    for entry in _entries(asked):
        unknown = [key for key in entry if key not in _KEYS]
        if unknown:
            message = f"control.{unknown[0]} is not read by anything.{did_you_mean(str(unknown[0]), _KEYS)}"
            raise UserError(message, f"a control takes {', '.join(_KEYS)}")
        if entry.get("run") is None:
            raise UserError("which control? no run is given", "name it: control.run=<run of a control>")
        run = entry["run"]
        made.append({**entry, "run": run if isinstance(run, LoadedControl) else load_control(run, model)})
    return made


def _entries(asked: Any) -> list[Mapping[str, Any]]:
    if asked is None:
        return []
    if isinstance(asked, Mapping) and not set(asked) & set(_KEYS):
        asked = list(asked.values())
    entries = list(asked) if isinstance(asked, Sequence) and not isinstance(asked, str) else [asked]
    if not all(isinstance(entry, Mapping) for entry in entries):
        raise UserError(f"control={asked}", "write control.run=<run of a control> control.map=<file>")
    return entries


def _maps(loaded: LoadedControl, entry: Mapping[str, Any], n: int) -> Tensor:
    """Raw maps of n samples."""
    given = [key for key in ("map", "of") if entry.get(key) is not None]
    if len(given) != 1:
        fix = f"give one of control.map=<{loaded.name}> and control.of=<item that it is made of>"
        raise UserError(f"which {loaded.name} shall the control follow?", fix)
    value = entry["map"] if given == ["map"] else {"of": entry["of"]}
    condition = loaded.control.condition
    if isinstance(value, Tensor) and value.shape == condition.absent(n).shape:
        return value
    return condition.parse(read_map(get_registry(), loaded.manifest.config, loaded.name, value), n)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"control.strength={value}", "a finite number: 1 as trained, 0 is off")
    return float(value)


def _interval(value: Any) -> tuple[float, float]:
    if value is None:
        return -torch.inf, torch.inf
    plain = isinstance(value, (list, tuple)) and len(value) == 2
    if not plain or not all(x is None or (isinstance(x, (int, float)) and not isinstance(x, bool)) for x in value):
        raise UserError(f"control.interval={value}", "two log-SNRs, e.g. control.interval=[-2,4]; null is open")
    low, high = value
    return -torch.inf if low is None else float(low), torch.inf if high is None else float(high)
