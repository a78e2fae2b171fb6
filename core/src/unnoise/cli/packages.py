"""``unnoise plugins install`` and ``uninstall``: pip of this environment, whatever state the plugins are in.

Nothing here imports a plugin: which are installed is read from metadata alone.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

from unnoise.errors import UserError, did_you_mean
from unnoise.plugins.discovery import Brought, installed, normalised
from unnoise.plugins.registry import FIRST_PARTY


def install(words: list[str]) -> int:
    """Install distributions, and show what is there then.

    Args:
        words: what ``pip install`` takes: names, folders, wheels, addresses and options. A kind of data of this project
            may be named in place of its distribution.

    Returns:
        pip's exit code if it fails; else that of ``unnoise plugins`` in a new process.

    Raises:
        UserError: if nothing is named, or there is no pip.
    """
    if not words:
        raise UserError("install what?", "unnoise plugins install <name, folder or wheel>, with any options of pip")
    code = _pip("install", *(FIRST_PARTY.get(word, word) for word in words))
    return code or subprocess.run([sys.executable, "-m", "unnoise", "plugins"], check=False).returncode


def uninstall(words: list[str]) -> int:
    """Remove plugins, named as ``unnoise plugins`` lists them or by their distributions. What else they have brought,
    their own requirements, stays.

    Raises:
        UserError: for what is no plugin, or is brought by several distributions.
    """
    if not words:
        raise UserError("uninstall what?", "unnoise plugins uninstall NAME; unnoise plugins lists them")
    there = installed()
    return _pip("uninstall", "--yes", *dict.fromkeys(_dist(word, there) for word in words))


def names(brought: Brought) -> set[str]:
    """What a plugin may be called: its distribution, and its entry points."""
    return {normalised(name) for name in (brought.dist, *(e.name for e in [*brought.plugins, *brought.configs]))}


def _dist(word: str, there: list[Brought]) -> str:
    """The distribution of a plugin."""
    found = [brought.dist for brought in there if normalised(word) in names(brought)]
    exact = [dist for dist in found if normalised(dist) == normalised(word)]
    if not found:
        known = sorted(set().union(*map(names, there)))
        dists = ", ".join(brought.dist for brought in there)
        raise UserError(f"no plugin {word!r} is installed.{did_you_mean(word, known)}", f"there are: {dists or 'none'}")
    if len(found) > 1 and not exact:
        raise UserError(f"plugin {word!r} is brought by {' and '.join(found)}", "name the one to remove")
    return (exact or found)[0]


def _pip(*words: str) -> int:
    if find_spec("pip") is None:
        fix = f"{sys.executable} -m ensurepip; or use what made the environment, such as uv pip"
        raise UserError("this environment has no pip", fix)
    return subprocess.run([sys.executable, "-m", "pip", *words], check=False).returncode
