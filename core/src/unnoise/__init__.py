"""One diffusion engine for any kind of data. ``import unnoise`` is cheap: torch is imported when a name needs it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unnoise._version import __version__
from unnoise.plugins import API_VERSION, Finding, Modality, Spec, hookimpl

if TYPE_CHECKING:
    from unnoise import guidance, nn, schedules, testing
    from unnoise.guidance import CFG
    from unnoise.layout import Layout, Part
    from unnoise.prediction import Prediction
    from unnoise.runs import load
    from unnoise.sampling import Plan, plan, prior, sample, samplers
    from unnoise.state import State

_LAZY: dict[str, str] = {
    "schedules": "unnoise.schedules",
    "testing": "unnoise.testing",
    "guidance": "unnoise.guidance",
    "nn": "unnoise.nn",
    "plan": "unnoise.sampling:plan",
    "prior": "unnoise.sampling:prior",
    "sample": "unnoise.sampling:sample",
    "samplers": "unnoise.sampling:samplers",
    "Plan": "unnoise.sampling:Plan",
    "load": "unnoise.runs:load",
    "Layout": "unnoise.layout:Layout",
    "Part": "unnoise.layout:Part",
    "State": "unnoise.state:State",
    "Prediction": "unnoise.prediction:Prediction",
    "CFG": "unnoise.guidance:CFG",
}
"""Public name -> ``"module"`` or ``"module:attribute"``."""

__all__ = [
    "API_VERSION",
    "CFG",
    "Finding",
    "Layout",
    "Modality",
    "Part",
    "Plan",
    "Prediction",
    "Spec",
    "State",
    "__version__",
    "guidance",
    "hookimpl",
    "load",
    "nn",
    "plan",
    "prior",
    "sample",
    "samplers",
    "schedules",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'unnoise' has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    value = import_module(module)
    if attribute:
        value = getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
