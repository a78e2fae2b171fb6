"""``unnoise doctor``: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from unnoise._version import __version__
from unnoise.cli.inspect import table
from unnoise.errors import UserError
from unnoise.plugins import Finding, get_registry
from unnoise.plugins.discovery import PluginState
from unnoise.plugins.registry import Registry


def doctor(words: list[str]) -> int:
    """unnoise doctor

    Looks at Python, torch, the devices, every plugin, optional packages and the folder for runs. Exits with 1 if
    something is broken; a missing optional package is no fault.
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
    for state in registry.plugins:
        if not state.ok:
            yield Finding(False, f"plugin {state.name!r} ({state}) was skipped: {state.error}", state.fix)
            continue
        yield Finding(True, f"plugin {state.name!r} ({state}), loaded in {state.load_ms:.0f} ms")
        yield from (Finding(False, f"plugin {state.name!r}: {text}") for text in state.warnings)
        yield from _extras(state)
    yield from (Finding(False, text) for text in registry.conflicts())
    yield from registry.findings()
    yield _writable(Path("runs"))


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a broken installation fails in many ways
        yield Finding(False, f"torch cannot be imported: {type(error).__name__}: {error}", "pip install -U torch")
        return
    yield Finding(True, f"torch {torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} CPUs")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("Apple GPU (mps)")
    yield Finding(True, f"devices: {', '.join(['cpu', *devices])}")


def _extras(state: PluginState) -> Iterator[Finding]:
    """Optional packages of a plugin's distribution that are not installed, from its metadata."""
    for requirement in distribution(state.dist).requires or ():
        extra = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", requirement)
        name = re.match(r"[\w.-]+", requirement)
        if extra and name and name[0] != state.dist and not _installed(name[0]):
            fix = f"pip install '{state.dist}[{extra[1]}]'"
            yield Finding(True, f"{state.dist}: optional {name[0]} is not installed", fix)


def _installed(dist: str) -> bool:
    try:
        version(dist)
    except PackageNotFoundError:
        return False
    return True


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
