"""Options against a signature: the signature of a registered class is the schema of its config node."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from unnoise.errors import UserError, did_you_mean

_LISTS = (list, tuple, Sequence)


def parameters(component: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a class or function, without ``self``."""
    return dict(inspect.signature(component).parameters)


def check_options(where: str, component: Callable[..., Any], options: Mapping[str, Any], given: Iterable[str]) -> None:
    """Check the names and the plain types of ``options``.

    Args:
        where: how messages call the component, e.g. ``"denoiser 'unet'"``.
        component: the class or function to be called.
        options: what the config says.
        given: names of arguments that the engine passes itself.

    Raises:
        UserError: for an unknown option, one that the engine sets, or a value of the wrong type.
    """
    known = parameters(component)
    taken = set(given)
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    own = [
        name
        for name, p in known.items()
        if name not in taken and p.kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    ]
    hints = _hints(component)
    for name, value in options.items():
        if name in taken:
            raise UserError(f"{where}: option {name!r} is set by the engine", f"remove {name!r} from the config")
        if name not in own and not open_ended:
            raise UserError(
                f"{where} has no option {name!r}.{did_you_mean(name, own)}",
                f"its options: {', '.join(own) or 'none'}",
            )
        if name in hints and not fits(value, hints[name]):
            raise UserError(f"{where}: {name}={value!r} does not fit", f"{name} takes {_describe(hints[name])}")


def check_complete(where: str, component: Callable[..., Any], names: Iterable[str], prefix: str = "") -> None:
    """Check that every parameter without a default is among ``names``; ``prefix`` is what its key begins with.

    Raises:
        UserError: naming what is missing.
    """
    have = set(names)
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for name, parameter in parameters(component).items():
        if parameter.kind in plain and parameter.default is inspect.Parameter.empty and name not in have:
            raise UserError(f"{where} needs a value for {name!r}", f"give it: {prefix}{name}=...")


def fits(value: Any, hint: Any) -> bool:
    """Whether a config value (null, bool, number, text, list, mapping) fits a type hint.

    Hints that are no plain types are not judged: the component itself will.
    """
    if hint in (Any, inspect.Parameter.empty):
        return True
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if origin in _LISTS:
        return isinstance(value, (list, tuple)) and _entries_fit(value, get_args(hint))
    if origin in (dict, Mapping):
        return isinstance(value, Mapping)
    if hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is str:
        return isinstance(value, str)
    return True


def _entries_fit(values: Sequence[Any], hints: tuple[Any, ...]) -> bool:
    """Whether the entries of a list fit ``X``, ``X, ...`` or, one by one, ``X, Y``."""
    if len(hints) == 1 or hints[1:] == (Ellipsis,):
        return all(fits(value, hints[0]) for value in values)
    return len(values) == len(hints) and all(fits(value, hint) for value, hint in zip(values, hints, strict=True))


def _hints(component: Callable[..., Any]) -> dict[str, Any]:
    function = component.__init__ if inspect.isclass(component) else component
    try:
        return get_type_hints(function)
    except (NameError, TypeError):  # a hint that exists for type-checkers only
        return {}


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_describe(option) for option in get_args(hint))
    if get_origin(hint) in _LISTS:
        return "a list of " + ", ".join("..." if arg is Ellipsis else _describe(arg) for arg in get_args(hint))
    return "null" if hint is type(None) else getattr(hint, "__name__", str(hint))
