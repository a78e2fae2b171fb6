"""What a run is made of, as JSON: all that is needed to rebuild its model without its training data."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from unnoise.errors import UserError
from unnoise.layout import Layout
from unnoise.reading import (
    DAMAGED,
    flag,
    items,
    number,
    one_of,
    optional,
    plain,
    read_json,
    record,
    table,
    text,
    typed,
    whole,
)
from unnoise.reading.shape import refuse
from unnoise.schema import RunConfig
from unnoise.writing import write_json

FORMAT = 1
CODEC_KEYS = ("run", "train")
"""What a codec's node in a config holds beside its name and options."""

MOST_ELEMENTS = 1 << 28
"""Of one part of one item, over its fixed axes."""
_MOST = 1 << 20  # classes of a part; size of an axis
_NAME = text(r"\w[\w+-]*", most=200, what="a registered or plain name")
_COMPONENT = record({"name": _NAME}, rest=plain)
_SIZE = whole(1, _MOST)


def _axis(value: Any, where: str) -> None:
    """The size of a fixed axis, or the name of a variable one."""
    (_NAME if isinstance(value, str) else _SIZE)(value, where)


_PART = record(
    {"name": _NAME, "kind": one_of("gaussian", "categorical"), "shape": items(_axis, most=8)},
    {"classes": whole(0, _MOST), "absorbing": flag, "symmetric": flag, "com_free": flag},
)
_PROCESS = record({"name": _NAME}, {"schedule": _COMPONENT, "marginal": optional(items(number(0), _MOST))}, rest=plain)
_PARAMETRIZATION = record({"name": _NAME}, {"data_std": number(above=0), "scale_input": flag})
_CONDITION = record({"kind": _NAME, "tokens": flag}, rest=plain)
_SHAPE = record(
    {
        "format": whole(),
        "config": typed(RunConfig),
        # Names and versions are printed in commands to paste.
        "versions": table(text(r"[0-9A-Za-z][\w.+!-]*", most=100), key=text(r"[A-Za-z][\w.-]*", most=100)),
        "settings": table(plain),
    },
    {
        "codec": optional(table(plain)),
        "layout": items(_PART, most=64),
        "processes": record({}, {"parts": table(_PROCESS), "warps": table(_COMPONENT)}),
        "parametrizations": table(_PARAMETRIZATION),
        "conditions": record({"dim": whole(0, 1 << 16), "items": table(_CONDITION, most=1000)}),
        "notes": items(text()),
        "control": optional(
            record(
                {
                    "condition": _CONDITION,
                    "fingerprint": table(text(r"[0-9a-f]{16}")),
                    "sha256": text(r"[0-9a-f]{64}"),
                    "step": whole(0),
                }
            )
        ),
    },
    rest=plain,
)
_MODEL = ("layout", "processes", "parametrizations", "conditions")
_NEEDED = {"diffusion": _MODEL, "codec": (), "control": (*_MODEL, "control")}
"""Stage -> keys that are optional, but not in such a run."""


@dataclass(frozen=True)
class Manifest:
    """The config of a run and what was measured when it started.

    Args:
        config: the resolved config, as plain values; see :class:`unnoise.schema.RunConfig`.
        versions: distribution -> version, of unnoise, torch and the plugins whose components the run uses.
        settings: of the representation; of the codec in a codec run.
        codec: settings of the codec inside the representation, or None.
        layout: of clean states.
        processes: part -> config of its process, with measured marginals.
        parametrizations: gaussian part -> config, with measured deviations.
        conditions: config of the conditions, with class names and measured means.
        control: of a control, config of its condition, and whose it is: fingerprint of the base, digest and step of its
            weights.
        notes: what a user should know of the data, a line each.
        format: of this file.
    """

    config: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    codec: dict[str, Any] | None = None
    layout: list[dict[str, Any]] = field(default_factory=list)
    processes: dict[str, Any] = field(default_factory=dict)
    parametrizations: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=lambda: {"dim": 0, "items": {}})
    control: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    format: int = FORMAT

    @property
    def modality(self) -> str:
        return str(self.config["modality"])

    @property
    def stage(self) -> str:
        """What was trained: "diffusion", "codec" or "control"."""
        return str(self.config["stage"])

    def fingerprint(self) -> dict[str, str]:
        """What weights mean nothing without, section -> a digest. Every checkpoint notes it, so that the manifest of
        another model is noticed where the shapes of the weights fit (other classes, another parametrization).
        """
        config = self.config
        codec = {key: value for key, value in (config["codec"] or {}).items() if key not in CODEC_KEYS}
        sections = {
            "modality": config["modality"],
            "stage": config["stage"],
            "representation": [config["representation"], self.settings],
            "codec": [codec, self.codec],
            "denoiser": config["denoiser"],
            "layout": self.layout,
            "processes": self.processes,
            "parametrizations": self.parametrizations,
            "conditions": self.conditions,
            **({} if self.control is None else {"control": [config["control"]["blocks"], self.control]}),
        }
        return {name: _digest(value) for name, value in sections.items()}

    def save(self, path: Path) -> None:
        """Write the file, complete or not at all."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read the file and hold it against its shape; nothing is built from it.

        What the config lacks is at its default.

        Raises:
            UserError: if it is missing, broken, of another format, or holds what cannot be; naming the key.
        """
        value, where = read_json(path), str(path)
        if not isinstance(value, Mapping):
            refuse(where, "it is not a mapping")
        if "format" in value and value["format"] != FORMAT:
            made = value.get("versions")
            version = str(made.get("unnoise", "unknown"))[:40] if isinstance(made, Mapping) else "unknown"
            raise UserError(
                f"{path} has format {str(value['format'])[:40]}, this version reads format {FORMAT}",
                f"Use the unnoise it was made with: {version}",
            )
        _SHAPE(value, where)
        names = {f.name for f in fields(cls)}
        own = {name: entry for name, entry in value.items() if name in names}
        found = cls(**{**own, "config": _complete(own["config"])})
        _check_consistent(found, value, where)
        return found


def check_config(value: Any, where: str) -> None:
    """Hold plain values against the keys, types and ranges of a run's config; raises :class:`UserError`."""
    typed(RunConfig)(value, where)


def _complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with defaults for what it lacks: sections by key, all else as it is."""
    full = asdict(RunConfig())
    for key, value in config.items():
        section = key in ("conditions", "control", "train", "sample")
        full[key] = {**full[key], **value} if section else value
    if "ema" in config.get("train", {}):
        full["train"]["ema"] = {**asdict(RunConfig())["train"]["ema"], **config["train"]["ema"]}
    return full


def _check_consistent(manifest: Manifest, value: Mapping[str, Any], where: str) -> None:
    """Refuse parts of the manifest that contradict each other."""
    if manifest.stage not in _NEEDED:
        refuse(f"{where}: config.stage", f"{manifest.stage!r} is not one of {', '.join(_NEEDED)}")
    for key in _NEEDED[manifest.stage]:
        if key not in value:
            refuse(f"{where}: {key}", "it is missing")
    if manifest.stage == "codec":
        return
    if manifest.stage == "control" and manifest.control is None:
        refuse(f"{where}: control", "it is missing")
    try:
        layout = Layout.from_json([*manifest.layout])
    except ValueError as error:
        raise UserError(f"{where}: layout: {error}", DAMAGED) from error
    gaussian = [part.name for part in layout if part.kind == "gaussian"]
    parts, warps = manifest.processes.get("parts", {}), manifest.processes.get("warps", {})
    for i, part in enumerate(layout):
        if math.prod(part.fixed_shape) * max(part.classes, 1) > MOST_ELEMENTS:
            refuse(f"{where}: layout[{i}].shape", f"{list(part.shape)} has more than {MOST_ELEMENTS:,} elements")
    for key, names, known in (
        ("processes.parts", parts, layout.names),
        ("parametrizations", manifest.parametrizations, gaussian),
    ):
        if set(names) != set(known):
            refuse(f"{where}: {key}", f"it is for {_listed(names)}, the layout needs it for {_listed(known)}")
    if not set(warps) <= set(layout.names):
        refuse(f"{where}: processes.warps", f"it is for {_listed(warps)}, the layout has {_listed(layout.names)}")


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _digest(value: Any) -> str:
    """Of a JSON value; 1 and 1.0 are the same number."""

    def number(digits: str) -> float:
        return int(float(digits)) if float(digits).is_integer() else float(digits)

    canonical = json.dumps(json.loads(json.dumps(value), parse_float=number), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
