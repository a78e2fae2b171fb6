"""Where configs lie: core, the user's project, plugins. Hydra learns of it through one search-path plugin."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
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
from unnoise.plugins.discovery import CONFIG_GROUP, entries

ENV = "UNNOISE_CONFIGS"


@dataclass(frozen=True)
class Source:
    """A folder of yaml files: ``provider`` for people, ``url`` for Hydra, ``root`` to look into it ourselves."""

    provider: str
    url: str
    root: Traversable


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
    found = [Source("unnoise", "pkg://unnoise.conf", files("unnoise.conf"))]
    project = project_configs()
    if project is not None:
        found.append(Source("project", f"file://{project}", project))
    broken = {state.dist for state in get_registry().plugins if not state.ok}
    for entry, dist, _ in entries(CONFIG_GROUP):
        if dist not in broken:
            found.append(Source(f"plugin:{dist}", f"pkg://{entry.value}", files(entry.value)))
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


def duplicates() -> dict[str, list[str]]:
    """Configs that several plugins bring -> who brings them. Hydra takes the first silently."""
    owners: dict[str, list[str]] = {}
    for source in sources():
        if source.provider != "project":  # a project may shadow a plugin's config; that is what it is for
            for path in _configs_below(source.root):
                owners.setdefault(path, []).append(source.provider.removeprefix("plugin:"))
    return {path: providers for path, providers in owners.items() if len(providers) > 1}


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
