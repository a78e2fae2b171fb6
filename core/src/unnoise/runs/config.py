"""What a config says, checked as far as that goes before any data is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unnoise.errors import UserError
from unnoise.guidance import check_guidance
from unnoise.plugins.registry import Registry
from unnoise.runs.build import check_process
from unnoise.runs.manifest import CODEC_KEYS
from unnoise.runs.measured import check_maps
from unnoise.runs.run import Run
from unnoise.sampling.descents import descent
from unnoise.schema import RunConfig, TrainConfig, check_numbers
from unnoise.training import elements
from unnoise.training.device import choose_device
from unnoise.training.pairing import Pairing
from unnoise.training.times import TimeSampling
from unnoise.training.trainer import check_training


def as_config(config: RunConfig | Mapping[str, Any]) -> RunConfig:
    """A typed config; raises :class:`UserError` for a key or value that does not fit."""
    if isinstance(config, RunConfig):
        return config
    try:
        made = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RunConfig), OmegaConf.create(dict(config))))
    except OmegaConfBaseException as error:
        raise UserError(f"the config is no good: {str(error).splitlines()[0]}") from error
    assert isinstance(made, RunConfig)
    return made


def complete(config: RunConfig, run: Run) -> RunConfig:
    """The config that a run is trained with: what it says of a codec, or of a control's base, spelled out.

    Raises:
        UserError: if the stage does not exist, or ``codec.run`` or ``control.base`` names no run.
    """
    if config.stage not in ("diffusion", "codec", "control"):
        raise UserError(f"stage {config.stage!r} does not exist", "There is: diffusion, codec, control")
    if config.control.base is not None or config.stage == "control":
        return _with_base(config)
    if config.codec.get("run") is not None:
        config = _with_named_codec(config, run)
    return _with_codec_training(config) if config.stage == "codec" else config


def check(config: RunConfig, registry: Registry) -> None:
    """Every name and option that can be judged without data.

    Raises:
        UserError: naming the key and what would be right.
    """
    modality = config.modality
    registry.modality(modality)
    check_numbers(config)
    registry.check("dataset", config.data, modality)
    if config.codec:
        registry.check("codec", {k: v for k, v in config.codec.items() if k not in CODEC_KEYS}, modality)
    stages = [config.train]
    if config.stage != "codec":
        registry.check("representation", config.representation, modality)
        registry.check("denoiser", config.denoiser, modality)
        registry.find("sampler", config.sample.sampler)
        descent(config.sample.categorical)
        check_guidance(registry, config.sample.guidance)
        check_maps(registry, modality, config.conditions.maps)
        for name, node in config.process.items():
            check_process(f"process.{name}", node)
        TimeSampling.from_config(elements.split(config.train.time_sampling)[1])
        Pairing.from_config(config.train.pairing)
        if config.codec.get("train"):
            stages.append(_with_codec_training(config).train)
    if config.stage == "control":
        _check_control(config)
    for stage in stages:
        check_training(stage)
        choose_device(stage.device)


def check_kept(config: RunConfig, run: Run) -> None:
    """Refuse to resume with a config that describes another model than the one in the checkpoints.

    It is done before anything is written, so that the run stays as it is.
    """
    before, now = (_model_of(c) for c in (run.manifest.config, json.loads(json.dumps(asdict(config)))))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            message = f"a resumed run keeps its {key}, which is {before.get(key)!r}, not {now.get(key)!r}"
            raise UserError(message, "Leave it out, or start a new run in another folder.")


def _model_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run may not change half-way, as dotted keys. The data is not among it: they may have moved."""
    codec = {key: value for key, value in (config["codec"] or {}).items() if key not in CODEC_KEYS}
    kept = {"modality": config["modality"], "stage": config["stage"], "seed": config["seed"], "codec": codec}
    kept["train.optimizer"] = config["train"]["optimizer"]  # its moments are in the checkpoint
    if config["stage"] == "control":
        kept |= {f"control.{key}": config["control"][key] for key in ("map", "blocks")}
    if config["stage"] != "codec":
        kept |= {key: config[key] for key in ("representation", "denoiser", "process")}
        kept["conditions"] = {key: config["conditions"][key] for key in ("use", "dim", "tokens", "options")}
    return _flat(kept)


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _with_named_codec(config: RunConfig, run: Run) -> RunConfig:
    """A config that names a finished codec run, with that codec's own name and options.

    A run with checkpoints knows them itself and has the codec's weights: the other folder may have gone.
    """
    named = str(config.codec["run"])
    source = run if run.checkpoints() else Run.open(named)
    node = {key: value for key, value in source.manifest.config["codec"].items() if key not in CODEC_KEYS}
    return replace(config, codec={**node, "run": named})


def _with_base(config: RunConfig) -> RunConfig:
    """The config of a control's run: the model is its base's."""
    if config.stage == "codec":
        raise UserError("control.base does not go with stage=codec", "leave one of the two out")
    if config.control.base is None:
        raise UserError("which model is to be controlled?", "name its run: control.base=<folder>")
    manifest = Run.open(config.control.base).manifest
    if manifest.stage != "diffusion":
        message = f"control.base={config.control.base} is the run of a {manifest.stage}, not of a model"
        raise UserError(message, "name a run that can be sampled")
    own = manifest.config
    if own["modality"] != config.modality:
        raise UserError(f"control.base={config.control.base} is of modality {own['modality']!r}", "name one of yours")
    model = {key: own[key] for key in ("representation", "codec", "denoiser", "process")}
    told = {key: own["conditions"][key] for key in ("use", "dim", "tokens")}
    maps = {**own["conditions"]["maps"], **config.conditions.maps}
    conditions = replace(config.conditions, **told, maps=maps)
    return replace(config, stage="control", conditions=conditions, **model)


def _check_control(config: RunConfig) -> None:
    control, every = config.control, config.train.log_every
    if not control.map:
        raise UserError("which map is the control to follow?", "name it: control.map=...")
    if control.map in config.conditions.use:
        raise UserError(f"the base is told {control.map!r} already", "choose another: control.map=...")
    if control.judge_every % every:
        message = f"control.judge_every={control.judge_every} is no multiple of train.log_every={every}"
        raise UserError(message, "agreement is written into the lines of metrics.jsonl: choose a multiple")


def _with_codec_training(config: RunConfig) -> RunConfig:
    """The config of a codec's own run: what ``codec.train`` says goes before ``train``."""
    node = dict(config.codec)
    changes = node.pop("train", None) or {}
    try:
        own = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(config.train), changes))
    except OmegaConfBaseException as error:
        raise UserError(f"codec.train is no good: {str(error).splitlines()[0]}") from error
    assert isinstance(own, TrainConfig)
    return replace(config, codec=node, train=own)
