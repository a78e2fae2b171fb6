"""The verbs that only look: ``plugins``, ``list`` and ``check``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from unnoise.errors import UserError, did_you_mean
from unnoise.plugins import get_registry
from unnoise.plugins.discovery import PluginState
from unnoise.plugins.hookspecs import REGISTRATION_HOOKS
from unnoise.plugins.specs import Kind

PLURALS: dict[str, Kind] = {hook.removeprefix("unnoise_"): kind for hook, kind in REGISTRATION_HOOKS.items()}
"""``"denoisers"`` -> ``"denoiser"``."""


def table(rows: Iterable[Sequence[str]], indent: str = "") -> str:
    """Rows as aligned columns; the last column is not padded."""
    lines = [list(row) for row in rows]
    if not lines:
        return ""
    widths = [max(len(row[i]) for row in lines) for i in range(len(lines[0]) - 1)]
    return "\n".join(
        (indent + "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]])).rstrip()
        for row in lines
    )


def plugins(words: list[str]) -> int:
    """unnoise plugins [--json] [--verbose]
    unnoise plugins install NAME ... [options of pip install]
    unnoise plugins uninstall NAME ...

    What is installed and whether it is healthy: name, distribution, API, time its import took, what it contributes.
    Exits with 1 if a plugin is broken or two claim one name. UNNOISE_PLUGINS=a,b restricts every command to these.
    install and uninstall run pip of this environment, whatever is wrong with plugins.
    """
    if words[:1] in (["install"], ["uninstall"]):
        from unnoise.cli import packages

        return packages.install(words[1:]) if words[0] == "install" else packages.uninstall(words[1:])
    known = ("--json", "--verbose", "install", "uninstall")
    for word in words:
        if word not in known:
            raise UserError(f"plugins takes no {word!r}.{did_you_mean(word, known)}", f"it takes: {', '.join(known)}")
    registry = get_registry()
    from unnoise.cli.sources import duplicates

    conflicts = [f"{error.message}\n  fix: {error.fix}" for error in [*registry.conflicts(), *duplicates()]]
    if "--json" in words:
        print(json.dumps({"plugins": [_facts(state) for state in registry.plugins], "conflicts": conflicts}, indent=2))
    else:
        _print_plugins(registry.plugins, conflicts, verbose="--verbose" in words)
    return 0 if not conflicts and all(state.ok for state in registry.plugins) else 1


def _facts(state: PluginState) -> dict[str, Any]:
    return {
        "name": state.name,
        "dist": state.dist,
        "version": state.version,
        "module": state.ref,
        "api": state.api,
        "ok": state.ok,
        "error": state.error,
        "fix": state.fix,
        "warnings": state.warnings,
        "load_ms": round(state.load_ms, 1),
        "hooks": state.hooks,
        "configs": state.configs,
        "registers": [{"kind": kind, "name": spec.name, "modality": spec.modality} for kind, spec in state.specs],
    }


def _print_plugins(states: Sequence[PluginState], conflicts: Sequence[str], verbose: bool) -> None:
    if not states:
        print("no plugins installed; each kind of data is one, for example: pip install unnoise-<kind>")
    rows = []
    for state in states:
        api = ".".join(map(str, state.api)) if state.api else "?"
        counts = Counter(kind for kind, _ in state.specs)
        brought = [f"{n} {_plural(kind, n)}" for kind, n in counts.items()]
        brought += [f"{len(state.hooks)} hook{'s' * (len(state.hooks) > 1)}"] if state.hooks else []
        health = "ok" if state.ok else "BROKEN"
        rows.append((health, state.name, str(state), f"API {api}", f"{state.load_ms:.0f} ms", ", ".join(brought)))
    print(table(rows))
    for state in states:
        if not state.ok:
            print(f"\n{state.name}: {state.error}\n  fix: {state.fix}")
            if verbose and state.trace:
                print("  " + state.trace.rstrip().replace("\n", "\n  "))
        for warning in state.warnings:
            print(f"\n{state.name}: {warning}")
        if verbose and state.ok:
            print(f"\n{state.name} ({state.ref}):")
            contents = [(str(kind), spec.name, spec.summary) for kind, spec in state.specs]
            contents += [("hook", hook, "") for hook in state.hooks]
            contents += [("configs", package, "") for package in state.configs]
            print(table(contents, "  "))
    for message in conflicts:
        print(f"\n{message}")


def _plural(kind: Kind, count: int) -> str:
    return kind if count == 1 else next(plural for plural, k in PLURALS.items() if k == kind)


def listing(words: list[str]) -> int:
    """unnoise list [KIND]

    What is registered: modalities, representations, codecs, denoisers, datasets, conditions, metrics, processes,
    schedules, samplers, guidances, experiments. Without a kind: all names.
    """
    registry = get_registry()
    if not words:
        for plural, kind in PLURALS.items():
            print(f"{plural:16}{', '.join(registry.names(kind)) or '-'}")
        print(f"{'experiments':16}{', '.join(_experiments()) or '-'}")
        return 0
    asked = words[0] if words[0].endswith("s") or words[0] in PLURALS else f"{words[0]}s"
    if asked == "experiments":
        print("\n".join(_experiments()) or "none here: they lie in the repository's configs/; or set UNNOISE_CONFIGS")
        return 0
    if asked not in PLURALS or len(words) > 1:
        known = [*PLURALS, "experiments"]
        raise UserError(f"no kind {' '.join(words)!r}.{did_you_mean(asked, known)}", f"there are: {', '.join(known)}")
    claims = registry.specs(PLURALS[asked])
    print(table((spec.name, spec.modality, str(state), spec.summary) for state, spec in claims))
    return 0


def _experiments() -> list[str]:
    from unnoise.cli.sources import options

    return options("experiment")


def check(words: list[str]) -> int:
    """unnoise check NAME [--only=CHECK,...] [--expect=CHECK,...] [key=value ...]

    Holds a modality to the contracts that the engine relies on, one named check each: items and files, network, seeds,
    samplers, guidance, infill, training, runs, packaging. What fails is explained: what was expected, what was seen,
    the likeliest cause, and what to do. --only runs some of them; --expect says which are known to fail, where a pass
    is a failure too. Overrides are those of `unnoise train`. Exits with 1 if a check fails.
    """
    registry = get_registry()
    if not words or "=" in words[0]:
        raise UserError("check needs the name of a modality", f"available: {', '.join(registry.names('modality'))}")
    registry.modality(words[0])
    flags = [word for word in words[1:] if word.startswith("--")]
    only, known = (_listed(flags, flag) for flag in ("--only", "--expect"))
    from unnoise.testing import explained, iter_checks, summary

    expected = dict.fromkeys(known, "as --expect says")
    results = []
    for result in iter_checks(words[0], expected, [word for word in words[1:] if word not in flags], only):
        print(result, flush=True)
        results.append(result)
    if failures := explained(results):
        print(f"\n{failures}")
    print(f"\n{summary(words[0], results)}")
    return 0 if all(result.ok for result in results) else 1


def _listed(flags: list[str], flag: str) -> list[str]:
    """The values of ``--flag=a,b``; raises :class:`UserError` for a flag that there is not."""
    known = ("--only", "--expect")
    found: list[str] = []
    for word in flags:
        name, _, value = word.partition("=")
        if name not in known:
            raise UserError(f"check takes no {name!r}.{did_you_mean(name, known)}", "it takes: --only=, --expect=")
        if name == flag:
            found += [text for text in value.split(",") if text]
    return found
