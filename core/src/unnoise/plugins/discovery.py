"""Finding and importing plugins, each on its own, so that a broken one is a report and not a crash."""

from __future__ import annotations

import inspect
import os
import re
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import Distribution, EntryPoint, distributions
from importlib.resources import files
from textwrap import shorten
from types import ModuleType
from typing import Any

import pluggy

from unnoise.errors import UserError, did_you_mean
from unnoise.plugins.hookspecs import API_VERSION, HOOK_NAMES, REGISTRATION_HOOKS
from unnoise.plugins.specs import Kind, Modality, Spec

GROUP = "unnoise"
CONFIG_GROUP = "unnoise.configs"
ENV = "UNNOISE_PLUGINS"


@dataclass
class PluginState:
    """What became of one plugin.

    Args:
        name: of its entry point.
        dist: distribution that brings it, and its version.
        ref: module the entry point names.
        configs: packages of yaml that the distribution brings.
        api: the API version the module states, if it got so far.
        specs: what it registers.
        hooks: what else it implements: run hooks, and ``unnoise_doctor``.
        load_ms: time its import and its registration hooks took.
        error: why it was skipped; empty if it is healthy.
        fix: what to do about it.
        trace: the traceback, where an exception of the plugin's own was the reason.
        warnings: what looks like a mistake but does no harm.
    """

    name: str
    dist: str
    version: str
    ref: str
    configs: list[str] = field(default_factory=list)
    api: tuple[int, int] | None = None
    specs: list[tuple[Kind, Spec | Modality]] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)
    load_ms: float = 0.0
    error: str = ""
    fix: str = ""
    trace: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.error

    @property
    def id(self) -> str:
        """``<dist>:<name>``; two distributions may call their entry points alike."""
        return f"{self.dist}:{self.name}"

    def __str__(self) -> str:
        return f"{self.dist} {self.version}"


def wanted(dist: str, name: str) -> bool:
    """Whether ``UNNOISE_PLUGINS`` (comma-separated distributions or plugin names; unset: all) lets a plugin in.

    Read at every call, so that a test-suite can shut out what happens to be installed.
    """
    chosen = chosen_plugins()
    return chosen is None or bool({normalised(dist), normalised(name)} & set(map(normalised, chosen)))


def chosen_plugins() -> list[str] | None:
    """What ``UNNOISE_PLUGINS`` names; None where it is not set."""
    text = os.environ.get(ENV)
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def normalised(name: str) -> str:
    """A distribution's name as pip compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Brought:
    """What one distribution brings: its entry points of ours."""

    dist: str
    version: str
    plugins: list[EntryPoint]
    configs: list[EntryPoint]


def installed() -> list[Brought]:
    """Every distribution with an entry point of ours, in a fixed order.

    A distribution whose metadata cannot be read is nobody's plugin; ``importlib.metadata.entry_points`` would raise.
    """
    found: dict[str, Brought] = {}
    for distribution in distributions():
        try:
            ours = [entry for entry in distribution.entry_points if entry.group in (GROUP, CONFIG_GROUP)]
        except Exception:
            continue
        if ours:
            dist, version = _identity(distribution, ours[0])
            plugins, configs = ([e for e in ours if e.group == group] for group in (GROUP, CONFIG_GROUP))
            found.setdefault(normalised(dist), Brought(dist, version, plugins, configs))  # the first on the path counts
    return sorted(found.values(), key=lambda brought: brought.dist)


def _identity(distribution: Distribution, entry: EntryPoint) -> tuple[str, str]:
    """Name and version; a half-removed installation may have lost the file that says so."""
    facts: dict[str, str | None] = {}
    with suppress(Exception):
        facts = {key: distribution.metadata[key] for key in ("Name", "Version")}
    return facts.get("Name") or entry.value.partition(".")[0], facts.get("Version") or "?"


def load_plugins(manager: pluggy.PluginManager) -> list[PluginState]:
    """Load everything that is installed and wanted. A distribution of configs alone counts as a plugin, too."""
    states = []
    for brought in installed():
        configs = [entry.value for entry in brought.configs]
        chosen = [entry for entry in brought.plugins or brought.configs[:1] if wanted(brought.dist, entry.name)]
        states += [
            _load(PluginState(e.name, brought.dist, brought.version, e.value, configs), e, manager) for e in chosen
        ]
    return states


def _load(state: PluginState, entry: EntryPoint, manager: pluggy.PluginManager) -> PluginState:
    """Import one plugin and register it; whatever goes wrong ends up in the state."""
    started = time.perf_counter()
    try:
        if not entry.pattern.match(entry.value):
            raise UserError(f"its entry point {entry.value!r} names no module", f"pip install -U {state.dist}")
        _check_configs(state.configs)
        if entry.group == GROUP:
            register(entry.load(), state, manager)
    except UserError as error:
        state.error, state.fix = error.message, error.fix
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit and the like are no less the plugin's own
        state.error = f"{type(error).__name__}: {_in_a_line(error)}"
        state.fix, state.trace = f"pip install -U {state.dist}", traceback.format_exc()
    if not state.ok:
        state.specs, state.hooks = [], []
        if manager.has_plugin(state.id):
            manager.unregister(name=state.id)
    state.load_ms = 1000 * (time.perf_counter() - started)
    return state


def _check_configs(packages: Iterable[str]) -> None:
    """Import the packages of yaml, as Hydra will; raises what a package that is missing or broken raises."""
    for package in packages:
        if not files(package).is_dir():
            raise ModuleNotFoundError(f"no package {package!r} of configs")


def _in_a_line(error: BaseException) -> str:
    return shorten(str(error), 300, placeholder=" ...")


def register(module: ModuleType, state: PluginState, manager: pluggy.PluginManager) -> None:
    """Check a plugin module, hand it to pluggy and collect its specs into ``state``.

    Raises:
        UserError: naming what a plugin author has to correct.
    """
    state.api = _api_of(module, state.dist)
    _check_hooks(module, state)
    manager.register(module, name=state.id)
    for caller in manager.get_hookcallers(module) or []:
        if caller.name not in REGISTRATION_HOOKS:
            state.hooks = sorted([*state.hooks, caller.name])
        else:
            for impl in caller.get_hookimpls():
                if impl.plugin is module:
                    state.specs += _specs_of(caller.name, impl.function)


def _api_of(module: ModuleType, dist: str) -> tuple[int, int]:
    api = getattr(module, "UNNOISE_API", None)
    ours = ".".join(map(str, API_VERSION))
    try:
        major, minor = api  # type: ignore[misc]
        major, minor = int(major), int(minor)
    except (TypeError, ValueError):
        raise UserError(
            f"states no API version (UNNOISE_API is {api!r})", f"write UNNOISE_API = {API_VERSION} in {module.__name__}"
        ) from None
    if major < API_VERSION[0]:
        raise UserError(f"built for API {major}.{minor}, this unnoise has {ours}", f"pip install -U {dist}")
    if (major, minor) > API_VERSION:
        raise UserError(f"needs API {major}.{minor}, this unnoise has {ours}", "pip install -U unnoise")
    return major, minor


def _check_hooks(module: ModuleType, state: PluginState) -> None:
    """pluggy takes unknown hooks silently and cannot see unmarked ones."""
    for name, value in vars(module).items():
        if hasattr(value, "unnoise_impl"):
            if name not in HOOK_NAMES:
                hint = did_you_mean(name, HOOK_NAMES)
                raise UserError(f"unknown hook {name}.{hint}", f"pip install -U {state.dist}")
        elif name.startswith("unnoise_") and inspect.isfunction(value):
            state.warnings.append(f"{name} is never called: put @unnoise.hookimpl above it in {module.__name__}")


def _specs_of(hook: str, function: Any) -> list[tuple[Kind, Spec | Modality]]:
    kind = REGISTRATION_HOOKS[hook]
    wanted_type = Modality if kind == "modality" else Spec
    made = function()
    specs = list(made) if isinstance(made, Iterable) and not isinstance(made, str) else [made]
    for spec in specs:
        if not isinstance(spec, wanted_type):
            raise UserError(
                f"{hook} returned {type(spec).__name__}, not {wanted_type.__name__}",
                f"return a list of unnoise.{wanted_type.__name__}(...) from {hook}",
            )
        if not all(isinstance(text, str) for text in vars(spec).values()) or not spec.name:
            raise UserError(f"{hook} returned {spec}", "give every field a text, and the name one that is not empty")
    return [(kind, spec) for spec in specs]
