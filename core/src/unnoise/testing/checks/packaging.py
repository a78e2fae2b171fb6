"""The distribution: what its entry points import, and what is in its wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path

from unnoise.plugins.discovery import CONFIG_GROUP, GROUP, normalised
from unnoise.testing.checking import NotApplicableError, check, expect
from unnoise.testing.subject import Subject

LIGHT = frozenset({"unnoise", "pluggy", "packaging"})
"""What a plugin module may import beside the standard library."""
_IMPORTING = """\
import importlib, sys
import unnoise.plugins
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""
_BUILDING = """\
import importlib, sys
module, _, attribute = sys.argv[1].partition(":")
backend = importlib.import_module(module)
(getattr(backend, attribute) if attribute else backend).build_wheel(sys.argv[2])
"""
_JUNK = shutil.ignore_patterns("build", "dist", "runs", "__pycache__", "*.egg-info", "*.dist-info", ".*")


@check
def entry_point_is_light(subject: Subject) -> None:
    """Importing the plugin module, and its package of configs, imports no library: every command imports every plugin
    that is installed.
    """
    state = subject.plugin
    modules = [module.partition(":")[0] for module in [state.ref, *state.configs]]
    own = {module.partition(".")[0] for module in modules}
    done = _python(_IMPORTING, *modules)
    expect(done.returncode == 0, _last_line(done.stderr), "it cannot be imported on its own", f"import {modules[0]}")
    found = set(done.stdout.split()) - own - LIGHT - sys.stdlib_module_names
    names = sorted(name for name in found if not name.startswith("_"))
    expect(
        not names,
        f"importing {' and '.join(modules)} imports {', '.join(names)}",
        "an import at the top of the module, or of a module that it imports",
        "name classes by text, Spec(name, 'package.module:Class'), and keep them in modules of their own",
    )


@check
def configs_in_the_wheel(subject: Subject) -> None:
    """A wheel of the distribution holds every yaml file of its configs, with the entry points that find them."""
    state, name = subject.plugin, f"modality/{subject.name}.yaml"
    wanted = {path for package in state.configs for path in _yaml(files(package), package.replace(".", "/"))}
    cause = f"no entry point of group {CONFIG_GROUP!r} names a package that holds it"
    fix = f'[project.entry-points."{CONFIG_GROUP}"] {subject.name} = "package.conf", and conf/{name}'
    expect(any(path.endswith(f"/{name}") for path in wanted), f"there is no {name}", cause, fix)
    source = _source_of(state.dist, state.ref.partition(".")[0])
    if source is None:
        if not _from_wheel(state.dist):
            raise NotApplicableError(f"{state.dist} is neither from a wheel nor beside its pyproject.toml")
        return  # what was found above, the wheel has brought
    held, entries = _wheel(source, subject.folder / "wheel")
    missing = sorted(wanted - held)
    package = state.configs[0]
    cause = "pyproject.toml does not say that yaml files belong to the package"
    fix = f'setuptools: [tool.setuptools.package-data] "{package}" = ["**/*.yaml"], and {package} has an __init__.py'
    expect(not missing, f"{len(missing)} of {len(wanted)} are missing: {', '.join(missing[:3])}", cause, fix)
    for group, values in {GROUP: [state.ref], CONFIG_GROUP: state.configs}.items():
        gone = sorted(set(values) - set(entries[group].values() if entries.has_section(group) else ()))
        fix = f'[project.entry-points."{group}"] in pyproject.toml'
        expect(not gone, f"the wheel has no entry point {', '.join(gone)}", f"group {group!r} lacks it", fix)


def _python(script: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    words = [sys.executable, "-c", script, *arguments]
    return subprocess.run(words, capture_output=True, text=True, env=environ, cwd=cwd, check=False)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing was said"])[-1]


def _yaml(folder: Traversable, prefix: str) -> Iterator[str]:
    """Paths of the yaml files below a package, as a wheel names them."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _yaml(entry, f"{prefix}/{entry.name}")
        elif entry.name.endswith(".yaml"):
            yield f"{prefix}/{entry.name}"


def _source_of(dist: str, package: str) -> Path | None:
    """The folder of a distribution's ``pyproject.toml``, where its package lies in that folder or in its ``src``."""
    spec = find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec else []:
        for folder in list(Path(place).parents)[:2]:
            try:
                project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
            except (OSError, ValueError):
                continue
            if normalised(project.get("name", "")) == normalised(dist):
                return folder
    return None


def _from_wheel(dist: str) -> bool:
    """Whether pip has unpacked a wheel, and so knows every file of it."""
    try:
        return distribution(dist).files is not None
    except PackageNotFoundError:
        return False


def _wheel(source: Path, folder: Path) -> tuple[set[str], ConfigParser]:
    """Build the wheel of a source folder: the files it holds, and its entry points."""
    settings = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8")).get("build-system", {})
    backend = settings.get("build-backend", "setuptools.build_meta:__legacy__")
    if find_spec(backend.partition(":")[0].partition(".")[0]) is None:
        needs = " ".join(map(repr, settings.get("requires", ["setuptools"])))
        raise NotApplicableError(f"to build a wheel, pip install {needs}")
    shutil.copytree(source, folder / "source", ignore=_JUNK)
    done = _python(_BUILDING, backend, str(folder), cwd=folder / "source")
    wheels = list(folder.glob("*.whl"))
    expect(bool(wheels), _last_line(done.stderr), "the wheel cannot be built", f"python -m pip wheel {source}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        entries = ConfigParser(delimiters=("=",))
        named = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
        if named:
            entries.read_string(wheel.read(named[0]).decode())
        return set(wheel.namelist()), entries
