"""Look-up of everything that has a name: core's own components and those of plugins."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import pluggy

from unnoise._version import __version__
from unnoise.errors import UserError, nearest
from unnoise.plugins import builtin
from unnoise.plugins.discovery import ENV, GROUP, PluginState, entries, load_plugin, register
from unnoise.plugins.hookspecs import API_VERSION, HookSpecs
from unnoise.plugins.signature import check_complete, check_options
from unnoise.plugins.specs import KINDS, Finding, Kind, Modality, Spec, load_ref

FIRST_PARTY = {name: f"unnoise-{name}" for name in ("image", "audio", "video", "points", "fields", "molecules")}
"""Modalities of this project -> the distribution that brings each, for the message when it is not installed."""

GIVEN: dict[str, tuple[str, ...]] = {
    "dataset": ("split", "seed"),
    "representation": ("codec",),
    "denoiser": ("layout", "context_dim"),
}
"""Arguments that the engine passes itself; see :mod:`unnoise.contracts`."""

Claim = tuple[PluginState, Spec | Modality]


class Registry:
    """All plugins and all components.

    Building it imports every plugin module (cheap by contract) and no component. A name that two plugins claim is an
    error for whoever asks for that name, and for nobody else.
    """

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("unnoise")
        self._manager.add_hookspecs(HookSpecs)
        core = PluginState("core", "unnoise", __version__, builtin.__name__, API_VERSION)
        register(builtin, core, self._manager)
        self.core = core
        self.plugins = [load_plugin(*entry, self._manager) for entry in entries(GROUP)]
        self._claims: dict[tuple[Kind, str, str], list[Claim]] = defaultdict(list)
        for state in [core, *self.plugins]:
            for kind, spec in state.specs:
                self._claims[kind, spec.name, spec.modality].append((state, spec))

    @property
    def hook(self) -> pluggy.HookRelay:
        """Callers of the run hooks, e.g. ``registry.hook.unnoise_run_start(run=run)``."""
        return self._manager.hook

    def findings(self) -> Iterator[Finding]:
        """What the plugins' ``unnoise_doctor`` hooks say; one that raises is a finding itself."""
        for impl in self._manager.hook.unnoise_doctor.get_hookimpls():
            try:
                findings: Iterable[Finding] = impl.function()  # type: ignore[assignment]
                yield from findings
            except Exception as error:
                yield Finding(False, f"{impl.plugin_name}: unnoise_doctor raised {type(error).__name__}: {error}")

    def conflicts(self) -> list[str]:
        """One message per name that several plugins claim."""
        return [self._conflict(key, claims).message for key, claims in self._claims.items() if len(claims) > 1]

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
            UserError: if the name is unknown or claimed twice, or if its import fails for want of a package.
        """
        state, spec = self.find(kind, name, modality)
        if isinstance(spec, Modality):
            return spec
        try:
            return load_ref(spec.ref)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith(spec.ref.partition(".")[0]):
                raise  # the plugin's own module: a bug, not a missing package
            raise UserError(
                f"{kind} {name!r} ({state}) needs the package {error.name!r}, which is not installed",
                f"pip install {error.name}",
            ) from error

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
        check_complete(where, component, [*options, *given])
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
        if close is not None:
            message += f" Did you mean {close!r}?"
        elif broken:
            return UserError(f"{message} Plugin {skipped(broken[0])}", fix_line(broken[0]))
        elif kind == "modality" and name in FIRST_PARTY:
            return UserError(f"{message} It is not installed", f"pip install {FIRST_PARTY[name]}")
        available = ", ".join(f"{spec.name} ({state})" if kind == "modality" else spec.name for state, spec in claims)
        return UserError(message, f"available: {available or 'none'}")

    @staticmethod
    def _conflict(key: tuple[Kind, str, str], claims: list[Claim]) -> UserError:
        kind, name, _ = key
        owners = " and ".join(str(state) for state, _ in claims)
        keep = next((state.dist for state, _ in claims if state.dist != "unnoise"), "unnoise")
        return UserError(f"{kind} {name!r} is claimed by {owners}; keep one", f"{ENV}={keep} unnoise ...")


def skipped(state: PluginState) -> str:
    """``"'broken' (unnoise-broken 0.3.0) was skipped: ..."``."""
    return f"{state.name!r} ({state}) was skipped: {state.error}"


def fix_line(state: PluginState) -> str:
    """What to do about a skipped plugin."""
    return f"{state.fix}   |   details: unnoise plugins --verbose"


def get_registry() -> Registry:
    """The registry under the present ``UNNOISE_PLUGINS`` and import path; built once for each."""
    return _registry(os.environ.get(ENV), tuple(sys.path))


@lru_cache(maxsize=8)
def _registry(*key: object) -> Registry:
    return Registry()


def warn_skipped(registry: Registry, strict: bool = False) -> None:
    """Name every unhealthy plugin on stderr.

    Raises:
        UserError: the same text, if ``strict``.
    """
    present = {name for state in registry.plugins for name in (state.name, state.dist)}
    chosen = [name.strip() for name in os.environ.get(ENV, "").split(",")]
    lines = [
        f"unnoise: {ENV} names {name!r}, which is not installed" for name in chosen if name and name not in present
    ]
    for state in registry.plugins:
        if not state.ok:
            lines += [f"unnoise: plugin {skipped(state)}", f"         fix: {fix_line(state)}"]
        lines += [f"unnoise: plugin {state.name!r} ({state}): {text}" for text in state.warnings]
    if not lines:
        return
    if strict:
        raise UserError("\n".join(lines).removeprefix("unnoise: "), "")
    print("\n".join(lines), file=sys.stderr)
