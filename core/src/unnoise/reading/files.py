"""JSON and YAML as plain values: bounded in size and depth, without duplicates, references, tags or odd numbers."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unnoise.errors import UserError
from unnoise.reading.shape import DAMAGED, shown

JSON_BYTES = 16 << 20
YAML_BYTES = 1 << 18
"""Largest files that are read. YAML is read a thousand times more slowly."""
DEPTH = 32
"""Deepest nesting of values."""
_INT64 = range(-(1 << 63), 1 << 63)


def check_file(path: Path, most: int | None = None, fix: str = DAMAGED) -> None:
    """Refuse what is no regular file (a pipe or a device may never end), and what is larger than ``most`` bytes.

    Raises:
        UserError: naming the file.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}", fix) from error
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path} cannot be read: it is no regular file", fix)
    if most is not None and found.st_size > most:
        raise UserError(f"{path} cannot be read: it has {found.st_size} bytes, which is above {most}", fix)


def read_json(path: Path, fix: str = DAMAGED, most: int = JSON_BYTES) -> Any:
    """The value of a JSON file (RFC 8259, UTF-8) of at most ``most`` bytes.

    Raises:
        UserError: if there is none, it is broken, or it holds a duplicated key, a number that is not finite or no
            64-bit integer, a lone surrogate, or values nested more than ``DEPTH`` deep.
    """
    try:
        value = json.loads(
            _text(path, most, fix),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_int=_integer,
        )
        _check_values(value)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}", fix) from error
    return value


def read_yaml(path: Path, fix: str = DAMAGED, most: int = YAML_BYTES) -> Any:
    """The value of a YAML file of at most ``most`` bytes, made of JSON's kinds of values.

    Raises:
        UserError: as :func:`read_json`; also for tags, which could name Python objects, and for references, which
            could unfold to any size.
    """
    content = _text(path, most, fix)
    try:
        for depth, event in _nesting(yaml.parse(content, Loader=yaml.SafeLoader)):
            if getattr(event, "tag", None) is not None:
                raise ValueError(f"it holds the tag {shown(event.tag)}")
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                raise ValueError("it holds references")
            if depth > DEPTH:
                raise ValueError(f"it is nested more than {DEPTH} deep")
        value = OmegaConf.to_container(OmegaConf.create(content), resolve=False)
        _check_values(value)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}", fix) from error
    return value


def reason(error: BaseException) -> str:
    """What an exception says, in one line."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, RecursionError):
        return f"it is nested more than {DEPTH} deep"
    said = error.strerror if isinstance(error, OSError) else str(error)
    return next((line.strip() for line in (said or "").splitlines() if line.strip()), type(error).__name__)[:200]


def _text(path: Path, most: int, fix: str) -> str:
    check_file(path, most, fix)
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}", fix) from error


def _nesting(events: Iterator[Any]) -> Iterator[tuple[int, Any]]:
    """YAML's events with the number of collections that are open."""
    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        yield depth, event


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"it holds the key {shown(twice)} twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no number")


def _integer(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("it holds an integer of more than 64 bits")
    return int(digits)


def _check_values(value: Any) -> None:
    """Refuse numbers and strings that no later step expects, and deep nesting; without recursion."""
    todo = [(value, 0)]
    while todo:
        node, depth = todo.pop()
        if depth > DEPTH:
            raise ValueError(f"it is nested more than {DEPTH} deep")
        if isinstance(node, dict):
            todo += [(entry, depth + 1) for pair in node.items() for entry in pair]
        elif isinstance(node, list):
            todo += [(entry, depth + 1) for entry in node]
        elif isinstance(node, str):
            if not node.isascii() and any("\ud800" <= character <= "\udfff" for character in node):
                raise ValueError("it holds a lone surrogate, which is no text")
        elif isinstance(node, float) and not math.isfinite(node):
            raise ValueError(f"it holds {node}, which is no finite number")
        elif isinstance(node, int) and node not in _INT64:
            raise ValueError("it holds an integer of more than 64 bits")
