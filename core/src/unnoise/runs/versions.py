"""Which versions can read a run: the one rule.

A run is read by the same *series* of ``unnoise`` and of each plugin it was made with, or a newer one. A series is the
major version, and the minor one as well while the major is 0 (semantic versioning, section 4). A newer one reads an
older run as far as names, options and shapes still fit, which is checked piece by piece. What is read is tensors and
JSON, so the version of torch does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from unnoise._version import __version__
from unnoise.errors import UserError

_IGNORED = "torch"
_LOADED = {"unnoise": __version__, "torch": torch.__version__}


def series(number: str) -> tuple[int, ...]:
    """``"1.4.2" -> (1,)``, ``"0.4.2" -> (0, 4)``; what is no version is of the oldest series."""
    found = re.match(r"(\d{1,9})(?:\.(\d{1,9}))?", number)
    major, minor = (int(found[1]), int(found[2] or 0)) if found else (0, 0)
    return (major,) if major else (0, minor)


def installed(recorded: Mapping[str, str]) -> dict[str, str]:
    """The distributions of a record that are installed -> their version here."""
    found = {}
    for dist in recorded:
        try:
            found[dist] = _LOADED[dist] if dist in _LOADED else version(dist)
        except (PackageNotFoundError, ValueError):
            continue
    return found


def missing(recorded: Mapping[str, str]) -> str:
    """The command that installs what a record names and is not installed; empty if nothing is."""
    here = installed(recorded)
    lacking = [f'"{dist}=={number}"' for dist, number in recorded.items() if dist not in here and dist != _IGNORED]
    return f"pip install {' '.join(lacking)}" if lacking else ""


def check_versions(recorded: Mapping[str, str], folder: Path) -> None:
    """Refuse a run that was made with a newer series of something than is installed.

    Raises:
        UserError: naming the distribution and the command.
    """
    for dist, here in installed(recorded).items():
        made = recorded[dist]
        if dist != _IGNORED and series(made) > series(here):
            message = f"{folder} was made with {dist} {made}, which is newer than the installed {dist} {here}"
            raise UserError(message, f'pip install "{dist}=={made}"')
