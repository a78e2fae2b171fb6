"""``unnoise doctor``: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from packaging.requirements import Requirement

from unnoise._version import __version__
from unnoise.cli.inspect import table
from unnoise.cli.sources import duplicates
from unnoise.errors import UserError
from unnoise.plugins import Finding, get_registry
from unnoise.plugins.discovery import PluginState, normalised
from unnoise.plugins.registry import MissingPackageError, Registry, import_component
from unnoise.plugins.report import skipped


def doctor(words: list[str]) -> int:
    """unnoise doctor

    Looks at Python, torch, the devices, every package that is needed, every plugin and every component it brings,
    optional packages and the folder for runs. Exits with 1 if something is broken; an optional package that is not
    installed is no fault.
    """
    if words:
        raise UserError(f"doctor takes no {words[0]!r}", "type: unnoise doctor")
    findings = list(examine(get_registry()))
    rows = []
    for finding in findings:
        mark = "!!" if not finding.ok else "--" if finding.fix else "ok"
        rows.append((mark, finding.text + (f"   ->  {finding.fix}" if finding.fix else "")))
    print(table(rows))
    return 0 if all(finding.ok for finding in findings) else 1


def examine(registry: Registry) -> Iterator[Finding]:
    """All findings; one with ``ok`` and a ``fix`` is an option that is not installed."""
    yield Finding(True, f"unnoise {__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield from _torch()
    yield from _packages("unnoise")
    said = list(registry.findings())
    for state in registry.plugins:
        if not state.ok:
            yield Finding(False, f"plugin {skipped(state)}", state.fix)
            continue
        yield Finding(True, f"plugin {state.name!r} ({state}), loaded in {state.load_ms:.0f} ms")
        yield from (Finding(False, f"plugin {state.name!r}: {text}") for text in state.warnings)
        yield from _components(state)
        # What the plugin itself says of an option is worth more than its metadata.
        yield from (finding for finding in _packages(state.dist) if finding.fix not in {own.fix for own in said})
    yield from (Finding(False, error.message, error.fix) for error in [*registry.conflicts(), *duplicates()])
    yield from said
    yield _writable(Path("runs"))


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a broken installation fails in many ways
        yield Finding(False, f"torch cannot be imported: {type(error).__name__}: {error}", "pip install -U torch")
        return
    supported = next((str(need.specifier) for need in _requirements("unnoise") if need.name == "torch"), "")
    yield Finding(True, f"torch {torch.__version__} (supported: {supported})")
    yield Finding(True, f"{torch.get_num_threads()} threads of {os.cpu_count()} CPUs")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield Finding(True, f"devices: {', '.join(['cpu', *devices])}")


def _components(state: PluginState) -> Iterator[Finding]:
    """What of a plugin's components cannot be imported."""
    for kind, spec in state.specs:
        if getattr(spec, "ref", "") or getattr(spec, "reader", ""):
            try:
                import_component(state, kind, spec)
            except UserError as error:
                yield Finding(isinstance(error, MissingPackageError), error.message, error.fix)


def _packages(dist: str) -> Iterator[Finding]:
    """Packages that a distribution needs, or has a use for, and that are missing or of another version."""
    for need in _requirements(dist):
        have = _version(need.name)
        if normalised(need.name) == normalised(dist) or (have and need.specifier.contains(have, prereleases=True)):
            continue
        state = f"installed is {have}" if have else "which is not installed"
        extra = next((e for e in _extras(dist) if need.marker and need.marker.evaluate({"extra": e})), None)
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            yield Finding(
                False, f"{dist} needs {need.name}{need.specifier}, {state}", _pip(f"{need.name}{need.specifier}")
            )
        elif extra:
            yield Finding(True, f"{dist} has a use for {need.name}, {state}", _pip(f"{dist}[{extra}]"))


def _requirements(dist: str) -> list[Requirement]:
    try:
        return [Requirement(text) for text in distribution(dist).requires or ()]
    except PackageNotFoundError:  # a half-removed installation
        return []


def _extras(dist: str) -> list[str]:
    return distribution(dist).metadata.get_all("Provides-Extra") or []


def _pip(requirement: str) -> str:
    return f"pip install '{requirement}'"


def _version(dist: str) -> str | None:
    try:
        return version(dist)
    except PackageNotFoundError:
        return None


def _writable(folder: Path) -> Finding:
    """Whether runs can be written below the working folder; leaves nothing behind."""
    existing = folder if folder.is_dir() else folder.absolute().parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            return Finding(True, f"runs go to {folder.absolute()}")
    except OSError as error:
        return Finding(
            False, f"cannot write to {existing.absolute()}: {error.strerror}", "work elsewhere, or run=<folder>"
        )
