"""The verb ``new-plugin``: a complete distribution to begin with."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from string import Template

from unnoise._version import __version__
from unnoise.errors import UserError, did_you_mean
from unnoise.plugins import API_VERSION, get_registry
from unnoise.plugins.discovery import normalised
from unnoise.plugins.registry import FIRST_PARTY
from unnoise.writing import writing

KINDS = {
    "gaussian": "arrays of real numbers",
    "categorical": "texts, and other symbols one after the other",
    "mixed": "rows of a table with numbers and categories",
}
"""What a scaffold may begin with -> what its items are."""
_OPTIONS = ("--kind", "--out")
_ENDING = ".txt"
"""Of every template, so that nothing takes it for code."""


def new_plugin(words: list[str]) -> int:
    """unnoise new-plugin NAME --kind gaussian|categorical|mixed [--out FOLDER]

    Writes a complete distribution for a new kind of data into a new folder, unnoise-NAME if no other is given: data
    set, representation, network, configs, an experiment, tests. It installs, passes `unnoise check NAME` and trains as
    it is; then put your own data in place of the example.

      gaussian                   arrays of real numbers
      categorical                texts, and other symbols one after the other
      mixed                      rows of a table with numbers and categories
    """
    name, options = _parsed(words)
    kind = options.get("--kind")
    if kind not in KINDS:
        asked = "" if kind is None else f"there is no kind {kind!r}.{did_you_mean(kind, KINDS)} "
        raise UserError(f"{asked}Which kind of data?".strip(), f"--kind {'|'.join(KINDS)}")
    dist = "unnoise-" + normalised(name)
    _check_name(name, dist)
    folder = Path(options.get("--out", dist))
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder} is there already, and nothing was written", "name a new folder: --out <folder>")
    _write(folder, kind, _facts(name, dist, kind))
    where = folder.as_posix()
    print(f"{where}: a plugin for {KINDS[kind]}\nnext: pip install -e {where} && unnoise check {name}")
    return 0


def _parsed(words: list[str]) -> tuple[str, dict[str, str]]:
    """The name, and the options that were given."""
    names: list[str] = []
    options: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        key, equals, value = word.partition("=")
        if key in _OPTIONS:
            options[key] = value if equals else next(rest, "")
        elif word.startswith("-"):
            raise UserError(
                f"new-plugin takes no {word!r}.{did_you_mean(word, _OPTIONS)}", f"it takes: {', '.join(_OPTIONS)}"
            )
        else:
            names.append(word)
    if len(names) != 1:
        said = f"one name, not {' '.join(names)!r}" if names else "a name"
        raise UserError(f"new-plugin needs {said}", f"unnoise new-plugin NAME --kind {'|'.join(KINDS)}")
    return names[0], options


def _check_name(name: str, dist: str) -> None:
    """Raise :class:`UserError` unless a plugin can be called so, and none is."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name.endswith("_") or "__" in name or keyword.iskeyword(name):
        message = f"{name!r} cannot be the name of a plugin"
        raise UserError(message, "small letters, digits and single underscores, beginning with a letter: wind_speed")
    registry = get_registry()
    claims = [state for state, spec in registry.specs("modality") if spec.name == name]
    installed = [state for state in registry.plugins if normalised(state.dist) == dist or state.name == name]
    taken = str((claims or installed)[0]) if claims or installed else FIRST_PARTY.get(name, "")
    if not taken and (name in sys.stdlib_module_names or find_spec(f"unnoise_{name}")):
        taken = f"the package {name if name in sys.stdlib_module_names else f'unnoise_{name}'}"
    if taken:
        raise UserError(f"the name {name!r} is taken by {taken}", "choose another name")


def _facts(name: str, dist: str, kind: str) -> dict[str, str]:
    """What the templates' placeholders stand for."""
    major, minor = (int(part) for part in __version__.split(".")[:2])
    return {
        "name": name,
        "dist": dist,
        "package": f"unnoise_{name}",
        "title": name.replace("_", " ").capitalize(),
        "what": f"{KINDS[kind]}.",
        "api": str(API_VERSION),
        "series": f"{major}.{minor}",
        "next_series": f"{major}.{minor + 1}" if major == 0 else f"{major + 1}",
    }


def _write(folder: Path, kind: str, facts: dict[str, str]) -> None:
    """Write all files beside the folder first, so that it is complete or not there."""
    root = files("unnoise").joinpath("templates")
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            for part in ("common", kind):
                for path, text in _templates(root.joinpath(part)):
                    target = partial / path.replace("PACKAGE", facts["package"]).replace("NAME", facts["name"])
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_text(Template(text).substitute(facts), encoding="utf-8", newline="\n")
            partial.chmod(0o755)
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _templates(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Path and text of every template below a folder; ``dot_x`` becomes ``.x``."""
    for entry in folder.iterdir():
        name = re.sub("^dot_", ".", entry.name)
        if entry.is_dir():
            yield from _templates(entry, f"{prefix}{name}/")
        else:
            yield prefix + name.removesuffix(_ENDING), entry.read_text(encoding="utf-8")
