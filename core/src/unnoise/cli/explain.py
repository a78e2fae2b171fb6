"""What Hydra and OmegaConf say, in our words: two lines that name the thing and the fix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from unnoise.cli.overrides import keys_hint, unknown_key
from unnoise.cli.sources import options
from unnoise.errors import UserError, did_you_mean

CONFIG_ERRORS = (HydraException, OmegaConfBaseException)
"""What composing may raise."""


def explain(verb: str, error: Exception) -> UserError:
    """The user's version of a composition error. The original stays reachable as ``__cause__``."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for found in chain:
        if isinstance(found, (ConfigAttributeError, ConfigKeyError)) and found.full_key:
            return unknown_key(verb, str(found.full_key))
        if isinstance(found, MissingMandatoryValue) and found.full_key:
            return UserError(f"{found.full_key} has no value", f"give it: {found.full_key}=...")
    text = _first_line(error)
    if match := re.match(r"You must specify '(\w+)'", text):
        group = match[1]
        choices = ", ".join(options(group))
        return UserError(
            f"{verb} needs {group}=<name> or experiment=<name>", f"available: {choices or 'none; install a plugin'}"
        )
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing(str(error.missing_cfg_file), error)
    reasons = [str(link).splitlines()[0] for link in chain if isinstance(link, OmegaConfBaseException)]
    reason = next((r for r in reasons if "$" not in r), "")  # the innermost one is a template
    if match := re.match(r"Error merging override \+*(.*)", text):
        return UserError(f"{match[1]}: {_lower(reason)}" if reason else text, keys_hint(verb))
    if isinstance(error, ConfigCompositionException) and reason:
        text = f"{text}: {_lower(reason)}"
    return UserError(_lower(text), keys_hint(verb))


@contextmanager
def enough_memory(fix: str) -> Iterator[None]:
    """Turn what is raised for want of memory into a :class:`UserError` with that fix."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
            raise UserError("there is not enough memory", fix) from error
        raise


def _missing(file: str, error: MissingConfigException) -> UserError:
    group, _, option = file.rpartition("/")
    known = [str(name) for name in error.options or ()] or options(group)
    message = f"no config {file!r}.{did_you_mean(option, known)}"
    return UserError(message, f"available: {', '.join(known) or 'none'}")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
