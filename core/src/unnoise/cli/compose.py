"""Hydra composes; this file tells it what, and turns the result into the schema's dataclasses."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf, open_dict

from unnoise.cli.explain import CONFIG_ERRORS, explain
from unnoise.cli.main import report
from unnoise.cli.overrides import COMPONENT_GROUPS, SCHEMAS, parsed, prepare, prepared
from unnoise.cli.sources import UnnoiseSearchPath, duplicates
from unnoise.errors import UserError
from unnoise.reading import read_yaml
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
        composed = hydra.compose(verb, prepare(verb, words), return_hydra_config=True)
        check_choices(composed.hydra.runtime.choices)
        with open_dict(composed):
            del composed["hydra"]
        return OmegaConf.to_object(composed)


def check_choices(choices: Mapping[str, Any]) -> None:
    """Refuse a config that several plugins bring, where it was chosen.

    Args:
        choices: group -> option, as Hydra made them.
    """
    for error in duplicates(f"{group}/{option}" for group, option in choices.items()):
        raise error


def saved_config(words: Sequence[str]) -> RunConfig | None:
    """The config of the run that ``run=<folder> resume=true`` goes on with, with further overrides applied.

    None where the words say something else, or name a modality or an experiment to compose anew.

    Raises:
        UserError: if there is no such run, its config is damaged, or a component is to be exchanged, which a run cannot
            do half-way.
    """
    overrides = {o.key_or_group: o for o in (parsed(word) for word in words if "=" in word and word[0] != "-")}
    if {"modality", "experiment"} & set(overrides) or not {"run", "resume"} & set(overrides):
        return None
    if "run" not in overrides:
        raise UserError("resume which run?", "name its folder: run=runs/<name> resume=true")
    file = Path(str(overrides["run"].value())) / "config.yaml"
    if "resume" not in overrides or not overrides["resume"].value():
        if not file.is_file():
            return None
        raise UserError(f"{file.parent} holds a run already", "go on with it: resume=true; or name another folder")
    if not file.is_file():
        fix = "name the folder of one, or begin one: modality=... or experiment=... beside run=..."
        raise UserError(f"{file.parent} holds no run to resume", fix)
    return _changed(_read_config(file), overrides, "a run keeps its {0}", "leave out {0}=..., or start a new run")


def controlling_config(words: Sequence[str]) -> RunConfig | None:
    """The config of a control that ``control.base=<run>`` asks for: its base's, with further overrides applied.

    None where the words name no base, or a modality or an experiment to compose.

    Raises:
        UserError: if there is no such run, or a component of the base is to be exchanged.
    """
    overrides = {o.key_or_group: o for o in (parsed(word) for word in words if "=" in word and word[0] != "-")}
    if {"modality", "experiment"} & set(overrides) or "control.base" not in overrides:
        return None
    from unnoise.runs.run import Run

    base = Run.open(str(overrides["control.base"].value())).manifest.config
    start = {**base, "stage": "control", "run": None, "resume": False}
    fix = "other data: modality=... data=... beside control.base"
    return _changed(start, overrides, "a control of this base keeps its {0}", fix)


def _changed(content: Any, overrides: Mapping[str, Any], message: str, fix: str) -> RunConfig:
    """A run's config with overrides applied; a component that is to be exchanged is refused by ``message``."""
    with explained("train"):
        config = OmegaConf.merge(OmegaConf.structured(RunConfig), content)
        for key, override in overrides.items():
            if key in COMPONENT_GROUPS:
                raise UserError(message.format(key), fix.format(key))
            prepared("train", override, config.modality)  # refuses unknown keys
            OmegaConf.update(config, key, override.value(), merge=True, force_add=True)
        made = OmegaConf.to_object(config)
    assert isinstance(made, RunConfig)
    return made


def _read_config(file: Path) -> Any:
    """The content of a run's ``config.yaml``, as plain values of the right types."""
    from unnoise.runs.manifest import check_config

    content = read_yaml(file)
    check_config(content, str(file))
    return content


def run_hydra(verb: str, words: Sequence[str], task: Callable[[Any], None]) -> bool:
    """Compose the config of ``verb`` and call ``task`` with its dataclass, once per job of a sweep.

    Returns:
        whether every job went well. A :class:`UserError` in one is reported, and a sweep goes on with the next.

    Raises:
        UserError: for words that make no config.
    """
    return call_hydra(verb, prepare(verb, words), task)


def call_hydra(verb: str, words: Sequence[str], task: Callable[[Any], None] = lambda config: None) -> bool:
    """As :func:`run_hydra`, with the words as they are."""
    register_with_hydra()
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["unnoise", *words]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of being printed
    well = True

    def job(cfg: Any) -> None:
        nonlocal well
        try:  # in here: Hydra would print a line of its own above the message
            with explained(verb):
                check_choices(HydraConfig.get().runtime.choices)
                config = OmegaConf.to_object(cfg)
            task(config)
        except UserError as error:
            well = False
            report(error)

    try:
        with explained(verb):
            main = hydra.main(version_base=VERSION_BASE, config_path="pkg://unnoise.conf", config_name=verb)
            main(job)()
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error
    return well
