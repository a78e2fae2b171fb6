"""Guidance from a config: a method by name, and modifiers as further keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from unnoise.errors import UserError
from unnoise.guidance.base import Condition, Guidance
from unnoise.guidance.modifiers import AdaptiveStop, Interval, Rescale, Threshold
from unnoise.plugins.registry import Registry
from unnoise.plugins.signature import parameters

Modify = Callable[[Guidance, Any], Guidance]


def _interval(inner: Guidance, value: Any) -> Guidance:
    if not (isinstance(value, (list, tuple)) and len(value) == 2 and all(_is_number(x, True) for x in value)):
        raise UserError(f"guidance.interval={value}", "two log-SNRs, e.g. guidance.interval=[-2,4]; null is open")
    return Interval(inner, *value)


def _threshold(inner: Guidance, value: Any) -> Guidance:
    options = value if isinstance(value, Mapping) else {"quantile": value}
    if not set(options) <= {"quantile", "limit"} or not all(_is_number(x, True) for x in options.values()):
        fix = "a quantile, e.g. guidance.threshold=0.995, or guidance.threshold.quantile and .limit"
        raise UserError(f"guidance.threshold={value}", fix)
    return Threshold(inner, **options)


def _number(name: str, example: float, made: Callable[[Guidance, float], Guidance]) -> Modify:
    def modified(inner: Guidance, value: Any) -> Guidance:
        if not _is_number(value):
            raise UserError(f"guidance.{name}={value}", f"a number, e.g. guidance.{name}={example}")
        return made(inner, value)

    return modified


def _is_number(value: Any, or_none: bool = False) -> bool:
    return (or_none and value is None) or (isinstance(value, (int, float)) and not isinstance(value, bool))


MODIFIERS: Mapping[str, Modify] = {
    "rescale": _number("rescale", 0.7, Rescale),
    "threshold": _threshold,
    "stop": _number("stop", 0.02, AdaptiveStop),
    "interval": _interval,
}
"""Key of a guidance's config -> the modifier it stands for; those further down are put around those further up."""


WEAK = "weak"
"""Key of a guidance's config that says where the weaker model is from; the model is loaded by who builds."""


def split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The node of the method, with a name, and what modifiers are asked for."""
    own = {key: value for key, value in options.items() if key not in MODIFIERS and key != WEAK}
    method = {"name": "cfg", **own}
    return method, {key: options[key] for key in MODIFIERS if options.get(key) is not None}


def check_guidance(registry: Registry, options: Mapping[str, Any]) -> None:
    """What can be judged of a guidance's config before there is a model.

    Raises:
        UserError: for an unknown name or option, or a value out of range.
    """
    method, modifiers = split(options)
    registry.check("guidance", method)
    for key, value in modifiers.items():
        MODIFIERS[key](_STAND_IN, value)


def build_guidance(
    registry: Registry, options: Mapping[str, Any], negative: Condition | None = None, weak: Any = None
) -> Guidance:
    """The guidance that a config's options describe.

    Args:
        registry: where the method is looked up.
        options: ``{"name": ..., **options}`` of the method ("cfg" without a name), and keys of :data:`MODIFIERS`.
        negative: condition of the null branch.
        weak: the weaker denoiser, for a method that takes one.

    Raises:
        UserError: for an unknown name or option, a value out of range, or a negative condition that the method has no
            use for.
    """
    method, modifiers = split(options)
    takes = parameters(registry.load("guidance", method["name"]))
    if "weak" in takes and weak is None:
        raise UserError(
            f"guidance {method['name']!r} needs a weaker model",
            "name one: guidance.weak=<a run, or an early checkpoint of this one>",
        )
    if negative and "negative" not in takes:
        message = f"guidance {method['name']!r} has no null branch that a negative condition could stand in for"
        raise UserError(message, "Leave negative out, or take guidance.name=cfg.")
    given = {"negative": negative or None, "weak": weak}
    made: Guidance = registry.build("guidance", method, None, **{k: v for k, v in given.items() if k in takes})
    for key, value in modifiers.items():
        made = MODIFIERS[key](made, value)
    return made


class _StandIn(Guidance):
    """Something to try a modifier's options on."""

    def branches(self, condition: Condition) -> dict[str, Condition]:
        return {"cond": condition}

    def combine(self, branches: Any, moment: Any) -> dict[str, Any]:
        return dict(branches["cond"])


_STAND_IN = _StandIn()
