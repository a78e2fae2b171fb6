"""Where configs lie: core, the user's project, plugins. Hydra learns of it through one search-path plugin."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from unnoise.errors import UserError
from unnoise.plugins import get_registry
from unnoise.plugins.discovery import PluginState
from unnoise.plugins.report import conflict

ENV = "UNNOISE_CONFIGS"


@dataclass(frozen=True)
class Source:
    """A folder of yaml files: ``provider`` for people, ``url`` for Hydra, ``root`` to look into it ourselves.

    ``plugin`` brings it; None for the user's own project.
    """

    provider: str
    url: str
    root: Traversable
    plugin: PluginState | None = None


def project_configs(start: Path | None = None) -> Path | None:
    """The user's own ``configs`` folder.

    ``UNNOISE_CONFIGS`` names it; otherwise it stands beside the nearest ``pyproject.toml``, from ``start`` (the working
    folder) upwards, that has a ``[tool.unnoise]`` table.
    """
    chosen = os.environ.get(ENV)
    if chosen:
        folder = Path(chosen).absolute()
        if not folder.is_dir():
            raise UserError(f"{ENV}={chosen} is not a folder", f"unset {ENV}, or point it at a folder of yaml files")
        return folder
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        project = folder / "pyproject.toml"
        if project.is_file() and (folder / "configs").is_dir() and _is_ours(project):
            return folder / "configs"
    return None


def _is_ours(project: Path) -> bool:
    try:
        return "unnoise" in tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {})
    except (OSError, ValueError):
        return False


def sources() -> list[Source]:
    """Where configs come from, in order of precedence: core, the project's own folder, healthy plugins."""
    registry = get_registry()
    found = [Source("unnoise", "pkg://unnoise.conf", files("unnoise.conf"), registry.core)]
    project = project_configs()
    if project is not None:
        found.append(Source("project", f"file://{project}", project))
    packages = {package: state for state in registry.plugins if state.ok for package in state.configs}
    for package, state in packages.items():
        found.append(Source(f"plugin:{state.dist}", f"pkg://{package}", files(package), state))
    return found


class UnnoiseSearchPath(SearchPathPlugin):
    """Adds :func:`sources` to Hydra's search path; registered at run time, so other Hydra programs never see it."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for source in sources()[1:]:  # core itself is Hydra's primary source
            search_path.append(source.provider, source.url)


def _configs_below(folder: Traversable, prefix: str = "") -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _configs_below(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield prefix + entry.name.removesuffix(".yaml")


def options(group: str) -> list[str]:
    """The options of a config group, e.g. ``["image/dit", "image/unet"]``, over all sources."""
    roots = [source.root / group for source in sources()]
    return sorted({option for root in roots if root.is_dir() for option in _configs_below(root)})


def duplicates(paths: Iterable[str] | None = None) -> list[UserError]:
    """An error for every config that several plugins bring; Hydra would take the first silently.

    A project may shadow a plugin's config; that is what it is for.

    Args:
        paths: which to look at, e.g. ``"modality/toy"``; all if left out.
    """
    asked = None if paths is None else set(paths)
    owners: dict[str, list[PluginState]] = {}
    for source in sources():
        if source.plugin is not None:
            for path in _configs_below(source.root):
                if asked is None or path in asked:
                    owners.setdefault(path, []).append(source.plugin)
    everyone = get_registry().plugins
    return [
        conflict(f"config {path!r} is shipped by", states, everyone) for path, states in owners.items() if states[1:]
    ]


def modality_of(experiment: str) -> str | None:
    """The modality that an experiment's defaults list chooses, following the experiments it builds upon."""
    for source in sources():
        file = source.root / "experiment" / f"{experiment}.yaml"
        if file.is_file():
            content: Any = OmegaConf.to_container(OmegaConf.create(file.read_text(encoding="utf-8")))
            for entry in content.get("defaults", []):
                if (
                    isinstance(entry, str)
                    and entry != "_self_"
                    and (found := modality_of(entry.split("experiment/")[-1]))
                ):
                    return found
                for key, value in entry.items() if isinstance(entry, dict) else ():
                    if key.split()[-1].lstrip("/") == "modality":
                        return str(value)
    return None
