"""Hydra composes; this file tells it what, and turns the result into the schema's dataclasses."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from unnoise.cli.explain import CONFIG_ERRORS, explain
from unnoise.cli.overrides import COMPONENT_GROUPS, SCHEMAS, parsed, prepare, prepared
from unnoise.cli.sources import UnnoiseSearchPath
from unnoise.errors import UserError
from unnoise.schema import RunConfig

VERSION_BASE = "1.3" if hydra.__version__.startswith("1.3") else None
"""Newer versions deprecate the argument."""


def register_with_hydra() -> None:
    """Make our search path and schemas known to Hydra. May be called again."""
    Plugins.instance().register(UnnoiseSearchPath)
    for verb, node in SCHEMAS.items():
        ConfigStore.instance().store(group="schema", name=verb, node=node, provider="unnoise")


@contextmanager
def explained(verb: str) -> Iterator[None]:
    """Turn what Hydra and OmegaConf raise into a :class:`UserError`."""
    try:
        yield
    except CONFIG_ERRORS as error:
        raise explain(verb, error) from error


def compose(verb: str, words: Sequence[str]) -> Any:
    """The config that ``unnoise <verb> <words>`` would run with, as the verb's dataclass.

    Raises:
        UserError: for words that make no config.
    """
    register_with_hydra()
    outside = not GlobalHydra.instance().is_initialized()  # else within a task of run_hydra
    start = hydra.initialize_config_module("unnoise.conf", version_base=VERSION_BASE) if outside else nullcontext()
    with explained(verb), start:
        return OmegaConf.to_object(hydra.compose(verb, prepare(verb, words)))


def saved_config(words: Sequence[str]) -> RunConfig | None:
    """The config of the run that ``run=<folder> resume=true`` goes on with, with further overrides applied.

    None where the words say something else, or name a modality or an experiment to compose anew.

    Raises:
        UserError: if there is no such run, or a component is to be exchanged, which a run cannot do half-way.
    """
    overrides = {o.key_or_group: o for o in (parsed(word) for word in words if "=" in word and word[0] != "-")}
    if not {"run", "resume"} <= set(overrides) or {"modality", "experiment"} & set(overrides):
        return None
    file = Path(str(overrides["run"].value())) / "config.yaml"
    if not overrides["resume"].value():
        return None
    if not file.is_file():
        fix = "name the folder of one, or begin one: modality=... or experiment=... beside run=..."
        raise UserError(f"{file.parent} holds no run to resume", fix)
    with explained("train"):
        config = OmegaConf.merge(OmegaConf.structured(RunConfig), OmegaConf.load(file))
        for key, override in overrides.items():
            if key in COMPONENT_GROUPS:
                raise UserError(f"a run keeps its {key}", f"leave out {key}=..., or start a new run")
            prepared("train", override, config.modality)  # refuses unknown keys
            OmegaConf.update(config, key, override.value(), merge=True, force_add=True)
        made = OmegaConf.to_object(config)
    assert isinstance(made, RunConfig)
    return made


def run_hydra(verb: str, words: Sequence[str], task: Callable[[Any], None]) -> None:
    """Compose the config of ``verb`` and call ``task`` with its dataclass, once per job of a sweep.

    Raises:
        UserError: for words that make no config.
    """
    call_hydra(verb, prepare(verb, words), task)


def call_hydra(verb: str, words: Sequence[str], task: Callable[[Any], None] = lambda config: None) -> None:
    """As :func:`run_hydra`, with the words as they are."""
    register_with_hydra()
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["unnoise", *words]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of being printed
    try:
        with explained(verb):
            main = hydra.main(version_base=VERSION_BASE, config_path="pkg://unnoise.conf", config_name=verb)
            main(lambda cfg: task(OmegaConf.to_object(cfg)))()
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error
