"""What a value from a file has to look like: small checks that compose, and errors that name the key.

A check takes a value and where it stands (``"manifest.json: layout[1].classes"``), returns nothing, and raises
:class:`UserError` where the value does not fit. It builds nothing.
"""

from __future__ import annotations

import math
import re
import reprlib
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

from unnoise.errors import UserError, did_you_mean
from unnoise.schema import Between, range_of

Check = Callable[[Any, str], None]
Checks = Mapping[str, Check]

DAMAGED = "The file is damaged or was changed by hand; restore it from a copy of the run."
"""What to do about a file that does not fit."""
_INT64 = Between(-(1 << 63), (1 << 63) - 1)
_ANY_NUMBER = Between()


def shown(value: Any) -> str:
    """A value in a message: one short line, whatever it is."""
    return reprlib.repr(value)


def refuse(where: str, text: str, fix: str = DAMAGED) -> NoReturn:
    """Raise the error of the key ``where``."""
    raise UserError(f"{where}: {text}", fix)


def below(where: str, key: str) -> str:
    """The place of an entry: ``"m.json"`` -> ``"m.json: config"`` -> ``"m.json: config.train"``."""
    name = key if key.isidentifier() else shown(key)
    return f"{where}.{name}" if ": " in where else f"{where}: {name}"


def flag(value: Any, where: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        refuse(where, f"{shown(value)} is not true or false")


def whole(low: float = _INT64.low, high: float = _INT64.high) -> Check:
    """An integer within bounds, both included."""
    return _bounded("a whole number", Between(low, high))


def number(low: float = -math.inf, high: float = math.inf, above: float = -math.inf) -> Check:
    """A finite number within bounds, ``above`` excluded."""
    return _bounded("a number", Between(low, high, above=above))


def _bounded(kind: str, allowed: Between) -> Check:
    def check(value: Any, where: str) -> None:
        fits = isinstance(value, int) or (isinstance(value, float) and kind == "a number")
        if isinstance(value, bool) or not fits:
            refuse(where, f"{shown(value)} is not {kind}")
        if value not in allowed:
            refuse(where, f"{shown(value)} is not {allowed}")

    return check


def text(pattern: str = "", most: int = 10_000, what: str = "a text that may stand here") -> Check:
    """A string, all of which matches ``pattern`` if one is given; never an interpolation, which would be evaluated."""
    expression = re.compile(pattern) if pattern else None

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str):
            refuse(where, f"{shown(value)} is not text")
        if "${" in value:
            refuse(where, f"{shown(value)} is an interpolation, which a finished run holds none of")
        if len(value) > most or (expression and not expression.fullmatch(value)):
            refuse(where, f"{shown(value)} is not {what}")

    return check


def one_of(*options: str) -> Check:
    """One of some strings."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or value not in options:
            refuse(where, f"{shown(value)} is not one of {', '.join(options)}")

    return check


def optional(of: Check) -> Check:
    """What fits ``of``, or null."""
    return lambda value, where: None if value is None else of(value, where)


def items(of: Check, most: int = 1 << 20, least: int = 0) -> Check:
    """A list whose entries fit ``of``."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list):
            refuse(where, f"{shown(value)} is not a list")
        if not least <= len(value) <= most:
            refuse(where, f"it has {len(value)} entries, not {Between(least, most)}")
        for i, entry in enumerate(value):
            of(entry, f"{where}[{i}]")

    return check


def table(of: Check, key: Check | None = None, most: int = 1 << 16) -> Check:
    """A mapping of any keys (that fit ``key``) to values that fit ``of``."""
    key = key or text(most=1000)

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            refuse(where, f"{shown(value)} is not a mapping")
        if len(value) > most:
            refuse(where, f"it has {len(value)} entries, which is above {most}")
        for name, entry in value.items():
            key(name, f"{where}: key" if ": " not in where else f"{where}, key")
            of(entry, below(where, name))

    return check


def record(required: Checks, others: Checks | None = None, rest: Check | None = None) -> Check:
    """A mapping with known keys.

    Args:
        required: must be there.
        others: may be there.
        rest: what any other key must hold; None refuses other keys.
    """
    known = {**required, **(others or {})}

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            refuse(where, f"{shown(value)} is not a mapping")
        for name in required:
            if name not in value:
                refuse(below(where, name), "it is missing")
        for name, entry in value.items():
            if not isinstance(name, str) or (name not in known and rest is None):
                refuse(below(where, str(name)), f"there is no such key.{did_you_mean(str(name), known)}")
            (known.get(name) or rest or plain)(entry, below(where, name))

    return check


def plain(value: Any, where: str) -> None:
    """Any value of null, true, false, numbers, text, lists and mappings, without interpolations."""
    if isinstance(value, Mapping):
        for name, entry in value.items():
            plain(name, where)
            plain(entry, below(where, str(name)))
    elif isinstance(value, list):
        for i, entry in enumerate(value):
            plain(entry, f"{where}[{i}]")
    elif isinstance(value, str):
        _TEXT(value, where)
    elif value is not None and not isinstance(value, (bool, int, float)):
        refuse(where, f"{shown(value)} is not a plain value")


_TEXT = text(most=1 << 20)


def typed(cls: type) -> Check:
    """A mapping that a dataclass can be made of, by the type hints and ranges of its fields. Keys may be missing."""
    hints = get_type_hints(cls)
    return record({}, {field.name: _hinted(hints[field.name], range_of(field)) for field in fields(cls)})


def _hinted(hint: Any, allowed: Between | None) -> Check:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return plain
    if origin in (Union, types.UnionType):
        (inner,) = [a for a in arguments if a is not type(None)]
        return optional(_hinted(inner, allowed))
    if origin is list:
        return items(_hinted(arguments[0], allowed))
    if origin is dict:
        return table(_hinted(arguments[1], allowed))
    if isinstance(hint, type) and is_dataclass(hint):
        return typed(hint)
    if hint is bool:
        return flag
    if hint is int:
        return _bounded("a whole number", allowed or _INT64)
    if hint is float:
        return _bounded("a number", allowed or _ANY_NUMBER)
    assert hint is str, hint
    return text()
