"""The words after a verb: checked against the schema and spelled as Hydra wants them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from shlex import quote
from typing import Any, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from unnoise import schema
from unnoise.cli.sources import modality_of, options
from unnoise.errors import UserError, did_you_mean, nearest
from unnoise.plugins import get_registry

SCHEMAS: dict[str, type] = {
    "train": schema.RunConfig,
    "sample": schema.SampleRequest,
    "edit": schema.EditRequest,
    "eval": schema.EvalRequest,
}
"""Verb -> the dataclass of its keys."""
COMPONENT_GROUPS = ("data", "representation", "codec", "denoiser")
"""Config groups whose options are named ``<modality>/<option>``; the modality may be left out on the command line."""
GROUPS = ("modality", "experiment", *COMPONENT_GROUPS)
FLAGS = {"-m": False, "--multirun": False, "--resolve": False} | dict.fromkeys(
    ("-c", "--cfg", "-i", "--info", "-p", "--package", "-cd", "--config-dir"), True
)
"""Hydra's flags that make sense here, and whether a value follows."""
STAR = re.compile(r"\+*([\w.]+)\.\*\.([\w.]+)=(.*)")
"""``process.*.schedule.name=flow``: a key below "every part"."""
SPOKEN = re.compile(r"(\+*(?:condition|negative|other)(?:\.\w+)?)=(?=[^'\"\[{])(?!\w+\()(.*(?:,\s|[()]).*)", re.DOTALL)
"""``condition.text=a (red:1.3) car, parked``: words that Hydra would take for a sweep, or not take at all."""


def keys_of(node: type, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Every key of a schema, dotted, and whether anything may stand below it."""
    hints = get_type_hints(node)
    for field in fields(node):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield f"{prefix}{field.name}", False
            yield from keys_of(hint, f"{prefix}{field.name}.")  # type: ignore[arg-type]
        else:
            yield f"{prefix}{field.name}", hint is Any or "dict" in str(hint)


def _names(node: Any, prefix: str = "") -> Iterator[str]:
    """Every key that a schema's defaults show, dotted; for suggestions."""
    entries = node.items() if isinstance(node, dict) else [(f.name, getattr(node, f.name)) for f in fields(node)]
    for name, value in entries:
        yield prefix + name
        if is_dataclass(value) or isinstance(value, dict):
            yield from _names(value, f"{prefix}{name}.")


def prepare(verb: str, words: Sequence[str]) -> list[str]:
    """The words after a verb as Hydra is to see them.

    Hydra's flags pass untouched, and go first: Hydra does not find them among overrides. An option of a component group
    may leave out its modality; an option of a component (``denoiser.depth=8``) needs no ``+``, as the signature of the
    registered class decides later whether it exists; any other key must be in the schema, with or without ``+``.

    Raises:
        UserError: for a key, an option or a flag that nothing would read, naming the nearest right one.
    """
    overrides = list(_read(verb, words))
    modality = chosen_modality([entry for entry in overrides if isinstance(entry, Override)])
    flags = [entry for entry in overrides if not isinstance(entry, Override)]
    return [*flags, *(prepared(verb, entry, modality) for entry in overrides if isinstance(entry, Override))]


def _read(verb: str, words: Sequence[str]) -> Iterator[Override | str]:
    """Overrides, parsed, and flags with their values as they are; raises UserError for any other word."""
    value_follows = False
    for word in words:
        flag, equals, _ = word.partition("=")
        if value_follows:
            value_follows = False
            yield word
        elif flag in FLAGS:
            value_follows = FLAGS[flag] and not equals
            yield word
        elif word.startswith("-"):
            key = flag.lstrip("-")
            fix = f"keys are written without dashes: {key}=..." if key in dict(keys_of(SCHEMAS[verb])) else "see --help"
            raise UserError(f"{verb} takes no {flag!r}.{did_you_mean(flag, FLAGS)}", fix)
        elif equals:
            yield parsed(word)
        elif word.startswith("~"):  # takes a group out
            yield word
        else:
            raise UserError(f"{word!r} is not of the form key=value", _meant(verb, word))


def _meant(verb: str, word: str) -> str:
    """What a word without a key may have been meant to be."""
    if verb != "train" and Path(word).is_dir():
        return f"type: {quote(f'run={word}')}"
    for group in ("modality", "experiment") if verb == "train" else ():
        if word in options(group):
            return f"type: {group}={word}"
    return f"type: key=value; {keys_hint(verb)}"


def parsed(word: str) -> Override:
    """One override. ``process.*.key=value`` is spelled as a mapping, since Hydra's keys know no star; words with
    brackets, or a comma and a space, are quoted where a condition is asked for.
    """
    if match := SPOKEN.fullmatch(word):
        value = match[2].replace("'", "\\'")
        word = f"{match[1]}='{value}'"
    match = STAR.fullmatch(word)
    if match:
        head, tail, values = match[1], match[2].split("."), match[3].split(",")
        opening, closing = "{*:" + "".join("{" + key + ":" for key in tail), "}" * (len(tail) + 1)
        word = f"++{head}=" + ",".join(opening + value + closing for value in values)
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise UserError(
            f"cannot read {word!r}: {str(error).splitlines()[0]}", "write key=value; quote the whole word in the shell"
        ) from error


def _values(override: Override) -> list[str]:
    """The text of an override's value, or of each value of a sweep."""
    if override.is_sweep_override():
        return [str(value) for value in override.sweep_string_iterator()]
    return [override.get_value_string()]


def chosen_modality(overrides: Sequence[Override]) -> str | None:
    """The modality that overrides choose, themselves or by an experiment; None where they choose none, or several."""
    chosen = {override.key_or_group: _values(override) for override in overrides}
    if "modality" in chosen:
        return chosen["modality"][0] if len(chosen["modality"]) == 1 else None
    if "experiment" in chosen:
        found = {modality_of(experiment) for experiment in chosen["experiment"]}
        return found.pop() if len(found) == 1 else None
    return None


def prepared(verb: str, override: Override, modality: str | None) -> str:
    """One override as Hydra is to see it; see :func:`prepare`."""
    key, word = override.key_or_group, override.input_line or ""
    if key.split("/")[0].split(".")[0] == "hydra" or override.is_delete():
        return word
    if verb == "train" and key in GROUPS:
        return _group_choice(override, modality)
    keys = dict(keys_of(SCHEMAS[verb]))
    if keys.get(key) or any(is_open and key.startswith(f"{k}.") for k, is_open in keys.items()):
        return "++" + word.lstrip("+")  # merged into what is there
    if key in keys:
        return word.lstrip("+")
    raise unknown_key(verb, key, modality, added=override.is_add() or override.is_force_add())


def _group_choice(override: Override, modality: str | None) -> str:
    group = override.key_or_group
    known = options(group)
    chosen = []
    for value in _values(override):
        if group == "codec" and value not in known and Path(value).is_dir():
            return f"++codec.run={value}"
        if value == "null" and not known:
            return f"++{group}={{}}"  # no plugin brings such a group
        scoped = group in COMPONENT_GROUPS and modality is not None
        full = f"{modality}/{value}" if scoped and value not in known else value
        if group == "modality":
            get_registry().modality(value)
        elif full not in known and value != "null":
            own = f"{modality}/" if scoped else ""
            near = [name.removeprefix(own) for name in known if name.startswith(own)]
            fix = f"available: {', '.join(near) or 'none'}"
            if group == "experiment" and not near:
                fix += "; they lie in the repository's configs/: work there, or set UNNOISE_CONFIGS=<that folder>"
            raise UserError(f"no {group} named {value!r}.{did_you_mean(value, near)}", fix)
        chosen.append(value if value == "null" else full)
    return f"{group}={','.join(chosen)}"


def keys_hint(verb: str, modality: str | None = None) -> str:
    """How to see all keys."""
    scope = f"modality={modality or 'NAME'} " if verb == "train" else ""
    return f"all keys: unnoise {verb} {scope}--cfg job"


def unknown_key(verb: str, key: str, modality: str | None = None, added: bool = False) -> UserError:
    """The answer to a key that nothing reads."""
    keys = list(_names(SCHEMAS[verb]()))
    below = [name for name in keys if name.endswith(f".{key}")]
    close = below[0] if below else nearest(key, keys)
    hint = f" Did you mean {close!r}?" if close else ""
    if added:
        own = "own values go under 'extra.'" if "extra" in keys else keys_hint(verb, modality)
        return UserError(f"config key {key!r} (added with +) is not read by anything.{hint}", own)
    return UserError(f"no config key {key!r}.{hint}", keys_hint(verb, modality))
