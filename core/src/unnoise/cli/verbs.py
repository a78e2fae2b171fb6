"""Verbs that plugins bring."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from unnoise.errors import UserError
from unnoise.plugins.discovery import wanted

GROUP = "unnoise.verbs"
"""Of entry points ``verb = "package.module:function"``, each ``(words) -> exit code``."""


def plugin_verb(name: str) -> Callable[[list[str]], int] | None:
    """The function of a plugin's verb; None where no plugin brings it. Core's own verbs go before.

    Raises:
        UserError: if several plugins bring it, or it cannot be imported.
    """
    found = {_dist(entry): entry for entry in entry_points(group=GROUP, name=name) if wanted(_dist(entry), name)}
    if not found:
        return None
    dist, *others = sorted(found)
    if others:
        raise UserError(f"the verb {name!r} is claimed by {' and '.join(sorted(found))}", f"pip uninstall {others[-1]}")
    try:
        function: Callable[[list[str]], int] = found[dist].load()
    except (Exception, SystemExit) as error:
        message = f"the verb {name!r} ({dist}) cannot be imported: {type(error).__name__}: {error}"
        raise UserError(message, f"pip install -U {dist}") from error
    return function


def _dist(entry: EntryPoint) -> str:
    """Name of the distribution that brings an entry point."""
    return "" if entry.dist is None else entry.dist.name
