"""What a plugin returns from its hooks: names with lazy references. Nothing here imports a heavy library."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, get_args

Kind = Literal[
    "modality",
    "representation",
    "codec",
    "denoiser",
    "dataset",
    "condition",
    "map",
    "metric",
    "process",
    "schedule",
    "sampler",
    "guidance",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Spec:
    """One registered component.

    Args:
        name: how configs and checkpoints call it.
        ref: ``"package.module:Attribute"``, imported on first use.
        summary: one line for ``unnoise list``.
        modality: the modality it belongs to; ``"*"`` for any.
    """

    name: str
    ref: str
    summary: str = ""
    modality: str = "*"

    def load(self) -> Any:
        """Import what ``ref`` points at.

        Raises:
            ImportError, AttributeError: if it is not there.
        """
        return load_ref(self.ref)


@dataclass(frozen=True)
class Modality:
    """One kind of data. Its defaults are the plugin's ``conf/modality/<name>.yaml``.

    Args:
        name: e.g. ``"toy"``; equal to the name of the yaml file.
        summary: one line for ``unnoise list``.
        reader: ``"package.module:function"`` with signature ``(path: Path) -> Sequence[item]``, which lets
            ``unnoise eval modality=<name> items=<path>`` judge files that somebody else made. Optional.
    """

    name: str
    summary: str = ""
    reader: str = ""

    @property
    def modality(self) -> str:
        """Itself; every spec says to which modality it belongs."""
        return self.name


@dataclass(frozen=True)
class Finding:
    """One line of ``unnoise doctor``.

    Args:
        ok: False where something is broken. An option that is not installed is no fault: True, with a ``fix``.
        text: what was looked at and found.
        fix: what to do if not; something that can be pasted.
    """

    ok: bool
    text: str
    fix: str = ""


def load_ref(ref: str) -> Any:
    """Import ``"package.module:Attribute"``. Only for references that installed code gives, never for configs."""
    module, _, attribute = ref.partition(":")
    return getattr(import_module(module), attribute)
