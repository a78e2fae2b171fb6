"""What is said of plugins that are broken, or that claim the same name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from unnoise.errors import UserError
from unnoise.plugins.discovery import ENV, PluginState, chosen_plugins, normalised

if TYPE_CHECKING:
    from unnoise.plugins.registry import Registry


def skipped(state: PluginState) -> str:
    """``"'broken' (unnoise-broken 0.3.0) was skipped: ..."``."""
    return f"{state.name!r} ({state}) was skipped: {state.error}"


def fix_line(state: PluginState) -> str:
    """What to do about a skipped plugin."""
    return f"{state.fix}   |   details: unnoise plugins --verbose"


def conflict(what: str, claimants: list[PluginState], everyone: list[PluginState]) -> UserError:
    """The error of a name that is claimed more than once, and how to keep one.

    Args:
        what: e.g. ``"modality 'toy' is claimed by"``.
        claimants: who claims it, at least two.
        everyone: all plugins.
    """
    owners = list(dict.fromkeys(map(str, claimants)))
    if len(owners) == 1:
        return UserError(f"{what} {owners[0]} twice", f"pip install -U {claimants[0].dist}")
    if claimants[0].dist == "unnoise":  # core cannot be shut out, so the others are
        out = {state.dist for state in claimants}
        keep = ",".join(dict.fromkeys(state.dist for state in everyone if state.ok and state.dist not in out))
    else:
        keep = claimants[0].dist
    return UserError(f"{what} {' and '.join(owners)}; keep one", f"{ENV}={keep} unnoise ...")


def warn_skipped(registry: Registry, strict: bool = False) -> None:
    """Name every unhealthy plugin on stderr.

    Raises:
        UserError: the same text and what is claimed more than once, if ``strict``.
    """
    present = {normalised(name) for state in registry.plugins for name in (state.name, state.dist)}
    chosen = chosen_plugins() or ()
    lines = []
    for name in chosen:
        if normalised(name) not in present:
            lines.append(f"unnoise: {ENV} names {name!r}, which is not installed")
            lines.append(f"         fix: pip install {name}, or leave it out of {ENV}")
    for state in registry.plugins:
        if not state.ok:
            lines += [f"unnoise: plugin {skipped(state)}", f"         fix: {fix_line(state)}"]
        lines += [f"unnoise: plugin {state.name!r} ({state}): {text}" for text in state.warnings]
    if strict:
        for error in registry.conflicts():
            lines += [f"unnoise: {error.message}", f"         {error.fix}"]
    if not lines:
        return
    if strict:
        raise UserError("\n".join(lines).removeprefix("unnoise: "), "")
    print("\n".join(lines), file=sys.stderr)
