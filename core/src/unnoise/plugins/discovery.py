"""Finding and importing plugins, each on its own, so that a broken one is a report and not a crash."""

from __future__ import annotations

import inspect
import os
import time
import traceback
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
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
        api: the API version the module states, if it got so far.
        specs: what it registers.
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
    api: tuple[int, int] | None = None
    specs: list[tuple[Kind, Spec | Modality]] = field(default_factory=list)
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
    chosen = os.environ.get(ENV)
    return chosen is None or bool({dist, name} & {entry.strip() for entry in chosen.split(",")})


def entries(group: str) -> list[tuple[EntryPoint, str, str]]:
    """The wanted entry points of a group with their distribution and version, in a fixed order."""
    found = []
    for entry in entry_points(group=group):
        dist, version = (entry.dist.name, entry.dist.version) if entry.dist else ("?", "?")
        if wanted(dist, entry.name):
            found.append((entry, dist, version))
    return sorted(found, key=lambda item: (item[1], item[0].name))


def load_plugin(entry: EntryPoint, dist: str, version: str, manager: pluggy.PluginManager) -> PluginState:
    """Import one plugin and register it; whatever goes wrong ends up in the state."""
    state = PluginState(entry.name, dist, version, entry.value)
    started = time.perf_counter()
    try:
        module = entry.load()
        register(module, state, manager)
    except UserError as error:
        state.error, state.fix = error.message, error.fix
    except (Exception, SystemExit) as error:
        state.error = f"{type(error).__name__}: {error}"
        state.fix, state.trace = f"pip install -U {dist}", traceback.format_exc()
    if not state.ok:
        state.specs = []
        if manager.has_plugin(state.id):
            manager.unregister(name=state.id)
    state.load_ms = 1000 * (time.perf_counter() - started)
    return state


def register(module: ModuleType, state: PluginState, manager: pluggy.PluginManager) -> None:
    """Check a plugin module, hand it to pluggy and collect its specs into ``state``.

    Raises:
        UserError: naming what a plugin author has to correct.
    """
    state.api = _api_of(module, state.dist)
    _check_hooks(module, state)
    manager.register(module, name=state.id)
    for caller in manager.get_hookcallers(module) or []:
        if caller.name in REGISTRATION_HOOKS:
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
            state.warnings.append(f"{name} is not marked with @hookimpl, so it is never called")


def _specs_of(hook: str, function: Any) -> list[tuple[Kind, Spec | Modality]]:
    kind = REGISTRATION_HOOKS[hook]
    wanted_type = Modality if kind == "modality" else Spec
    specs = list(function())
    for spec in specs:
        if not isinstance(spec, wanted_type):
            raise UserError(
                f"{hook} returned {type(spec).__name__}, not {wanted_type.__name__}",
                f"return unnoise.{wanted_type.__name__}(...) objects from {hook}",
            )
    return [(kind, spec) for spec in specs]
