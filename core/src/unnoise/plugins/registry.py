"""Look-up of everything that has a name: core's own components and those of plugins."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import pluggy

from unnoise._version import __version__
from unnoise.errors import UserError, nearest
from unnoise.plugins import builtin
from unnoise.plugins.discovery import ENV, PluginState, load_plugins, register
from unnoise.plugins.hookspecs import HookSpecs
from unnoise.plugins.report import conflict, fix_line, skipped
from unnoise.plugins.signature import check_complete, check_options
from unnoise.plugins.specs import KINDS, Finding, Kind, Modality, Spec, load_ref

FIRST_PARTY = {name: f"unnoise-{name}" for name in ("image", "audio", "video", "points", "molecules")}
"""Modalities of this project -> the distribution that brings each, for the message when it is not installed."""

GIVEN: dict[str, tuple[str, ...]] = {
    "dataset": ("split", "seed"),
    "representation": ("codec",),
    "denoiser": ("layout", "context_dim", "maps"),
    "guidance": ("negative", "weak"),
}
"""Arguments that the engine passes itself; see :mod:`unnoise.contracts`."""

CONFIG_KEYS: dict[str, str] = {
    "dataset": "data.",
    "representation": "representation.",
    "codec": "codec.",
    "denoiser": "denoiser.",
}
"""Kind -> what its options begin with in a config and on the command line."""

Claim = tuple[PluginState, Spec | Modality]


class MissingPackageError(UserError):
    """A component is there, and a package that it imports is not."""


class Registry:
    """All plugins and all components.

    Building it imports every plugin module (cheap by contract) and no component. A name that two plugins claim is an
    error for whoever asks for that name, and for nobody else.
    """

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("unnoise")
        self._manager.add_hookspecs(HookSpecs)
        core = PluginState("core", "unnoise", __version__, builtin.__name__)
        register(builtin, core, self._manager)
        self.core = core
        self.plugins = load_plugins(self._manager)
        self._reported: set[tuple[str, str]] = set()  # plugin and hook
        self._claims: dict[tuple[Kind, str, str], list[Claim]] = defaultdict(list)
        for state in [core, *self.plugins]:
            for kind, spec in state.specs:
                self._claims[kind, spec.name, spec.modality].append((state, spec))

    @property
    def hook(self) -> pluggy.HookRelay:
        """Callers of the hooks, as pluggy makes them; :meth:`notify` calls run hooks."""
        return self._manager.hook

    def findings(self) -> Iterator[Finding]:
        """What the plugins' ``unnoise_doctor`` hooks say; one that raises is a finding itself."""
        for impl in self._manager.hook.unnoise_doctor.get_hookimpls():
            state = self._state(impl.plugin_name)
            where, fix = f"plugin {state.name!r} ({state}): unnoise_doctor", f"pip install -U {state.dist}"
            try:
                found = list(impl.function())  # type: ignore[call-overload]
            except (Exception, SystemExit) as error:
                yield Finding(False, f"{where} raised {type(error).__name__}: {error}", fix)
                continue
            for finding in found:
                if isinstance(finding, Finding):
                    yield finding
                else:
                    yield Finding(False, f"{where} returned {type(finding).__name__}, not Finding", fix)

    def notify(self, hook: str, **facts: Any) -> None:
        """Call a run hook of every plugin, e.g. ``registry.notify("unnoise_run_start", run=run)``.

        One that raises ends nothing: it is named on stderr, the first time.
        """
        for impl in getattr(self._manager.hook, hook).get_hookimpls():
            try:
                impl.function(*(facts[name] for name in impl.argnames))
            except Exception as error:
                state = self._state(impl.plugin_name)
                if (state.id, hook) not in self._reported:
                    self._reported.add((state.id, hook))
                    print(
                        f"unnoise: plugin {state.name!r} ({state}): {hook} raised {type(error).__name__}: {error}; "
                        f"the run goes on\n         fix: pip install -U {state.dist}",
                        file=sys.stderr,
                    )

    def _state(self, plugin_id: str) -> PluginState:
        return next(state for state in [self.core, *self.plugins] if state.id == plugin_id)

    def conflicts(self) -> list[UserError]:
        """One error per name that is claimed more than once."""
        return [self._conflict(key, claims) for key, claims in self._claims.items() if len(claims) > 1]

    def specs(self, kind: Kind, modality: str | None = None) -> list[Claim]:
        """What is registered of a kind, sorted by name; with ``modality``, only what it can use."""
        fits = {modality, "*"}
        found = [
            claim
            for (k, _, m), claims in self._claims.items()
            for claim in claims
            if k == kind and (modality is None or m in fits)
        ]
        return sorted(found, key=lambda claim: (claim[1].modality, claim[1].name))

    def names(self, kind: Kind, modality: str | None = None) -> list[str]:
        """The registered names of a kind, sorted; with ``modality``, only those it can use."""
        return sorted({spec.name for _, spec in self.specs(kind, modality)})

    def find(self, kind: Kind, name: str, modality: str | None = None) -> Claim:
        """The spec of a name and the plugin it comes from. Components of the modality go before general ones.

        Raises:
            UserError: if nothing of that name is registered, or several plugins claim it.
        """
        if kind not in KINDS:
            raise ValueError(f"no kind of component {kind!r}; there are {', '.join(KINDS)}")
        scopes = [name] if kind == "modality" else [modality, "*"] if modality is not None else None
        keys = [key for key in self._claims if key[:2] == (kind, name) and (scopes is None or key[2] in scopes)]
        if not keys:
            raise self._unknown(kind, name, modality)
        claims = [claim for key in sorted(keys, key=lambda key: key[2] == "*")[:1] for claim in self._claims[key]]
        if scopes is None and len(keys) > 1:
            raise UserError(
                f"{kind} {name!r} exists for several modalities", "say which: " + ", ".join(sorted(k[2] for k in keys))
            )
        if len(claims) > 1:
            raise self._conflict(keys[0], claims)
        return claims[0]

    def modality(self, name: str) -> Modality:
        """The modality of that name.

        Raises:
            UserError: as :meth:`find`.
        """
        spec = self.find("modality", name)[1]
        assert isinstance(spec, Modality)
        return spec

    def load(self, kind: Kind, name: str, modality: str | None = None) -> Any:
        """Import the registered class or function.

        Raises:
            UserError: if the name is unknown or claimed twice, or cannot be imported; see :func:`import_component`.
        """
        state, spec = self.find(kind, name, modality)
        return spec if isinstance(spec, Modality) else import_component(state, kind, spec)

    def reader(self, modality: str) -> Callable[..., Any] | None:
        """The function of a modality that reads items from files; None where it has none. Raises as :meth:`load`."""
        state, spec = self.find("modality", modality)
        return import_component(state, "modality", spec) if isinstance(spec, Modality) and spec.reader else None

    def check(self, kind: Kind, node: Mapping[str, Any], modality: str | None = None) -> None:
        """Check what a config says of a component without building it: its name, its options and their plain types.

        Raises:
            UserError: naming the nearest right name.
        """
        name, options = self._split(kind, node, modality)
        check_options(f"{kind} {name!r}", self.load(kind, name, modality), options, GIVEN.get(kind, ()))

    def build(self, kind: Kind, node: Mapping[str, Any], modality: str | None = None, **given: Any) -> Any:
        """Call the registered class with the options of a config node.

        Args:
            kind: kind of component.
            node: ``{"name": X, **options}``.
            modality: the modality of the run.
            given: arguments from the engine.

        Raises:
            UserError: if the name or an option is unknown, of the wrong type, or missing.
        """
        name, options = self._split(kind, node, modality)
        component, where = self.load(kind, name, modality), f"{kind} {name!r}"
        check_options(where, component, options, given)
        check_complete(where, component, [*options, *given], CONFIG_KEYS.get(kind, ""))
        return component(**given, **options)

    def _split(self, kind: Kind, node: Mapping[str, Any], modality: str | None) -> tuple[str, dict[str, Any]]:
        options = dict(node)
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise UserError(
                f"the config names no {kind}",
                f"choose one: {', '.join(self.names(kind, modality)) or 'none installed'}",
            )
        return name, options

    def _unknown(self, kind: Kind, name: str, modality: str | None) -> UserError:
        claims = self.specs(kind, modality)
        scope = f" for modality {modality!r}" if modality is not None and kind != "modality" else ""
        message = f"no {kind} named {name!r}{scope}."
        close = nearest(name, [spec.name for _, spec in claims])
        broken = [state for state in self.plugins if not state.ok and name in (state.name, state.dist)]
        if broken:
            return UserError(f"{message} Plugin {skipped(broken[0])}", fix_line(broken[0]))
        if close is not None:
            message += f" Did you mean {close!r}?"
        elif kind == "modality" and name in FIRST_PARTY:
            return UserError(f"{message} It is not installed", f"pip install {FIRST_PARTY[name]}")
        available = ", ".join(f"{spec.name} ({state})" if kind == "modality" else spec.name for state, spec in claims)
        nothing = "none; install a plugin, e.g. pip install unnoise-image" if kind == "modality" else "none"
        return UserError(message, f"available: {available or nothing}")

    def _conflict(self, key: tuple[Kind, str, str], claims: list[Claim]) -> UserError:
        states = [state for state, _ in claims]
        return conflict(f"{key[0]} {key[1]!r} is claimed by", states, self.plugins)


def import_component(state: PluginState, kind: Kind, spec: Spec | Modality) -> Any:
    """Import what a spec refers to; of a modality, its reader.

    Raises:
        MissingPackageError: if it needs a package that is not installed.
        UserError: if its module, or what is named in it, does not exist or cannot be imported.
    """
    what = f"{'reader of ' if kind == 'modality' else ''}{kind} {spec.name!r} ({state})"
    ref = spec.reader if isinstance(spec, Modality) else spec.ref
    module = ref.partition(":")[0]
    try:
        found = load_ref(ref)
    except (Exception, SystemExit) as error:
        package = error.name if isinstance(error, ModuleNotFoundError) else None
        if package and package.split(".")[0] != module.split(".")[0]:
            message = f"{what} needs the package {package!r}, which is not installed"
            raise MissingPackageError(message, f"pip install {package}") from error
        raise UserError(
            f"{what} cannot be imported: {type(error).__name__}: {error}",
            f"pip install -U {state.dist}   |   details: python -c 'import {module}'",
        ) from error
    if not callable(found):
        raise UserError(f"{what}: {ref} is no class or function", f"pip install -U {state.dist}")
    return found


def get_registry() -> Registry:
    """The registry under the present ``UNNOISE_PLUGINS`` and import path; built once for each."""
    return _registry(os.environ.get(ENV), tuple(sys.path))


@lru_cache(maxsize=8)
def _registry(*key: object) -> Registry:
    return Registry()
