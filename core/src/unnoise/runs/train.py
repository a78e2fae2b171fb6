"""From a config to a finished run folder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unnoise.conditions import Conditions
from unnoise.contracts import Codec, Dataset
from unnoise.errors import UserError
from unnoise.plugins.registry import Registry, get_registry
from unnoise.progress import Bar
from unnoise.runs.build import (
    CODEC_KEYS,
    Assembly,
    build_codec,
    build_dataset,
    build_representation,
    measured_processes,
    needs_codec,
    versions,
)
from unnoise.runs.generate import Model, captions
from unnoise.runs.manifest import Manifest
from unnoise.runs.run import Run
from unnoise.schema import RunConfig, TrainConfig
from unnoise.training.checkpoint import load_weights, write_json, write_text
from unnoise.training.data import Columns, EncodedData, Items, Selection
from unnoise.training.tasks import Coding, Diffusion
from unnoise.training.trainer import Events, Trainer, choose_device

_QUALITY_ITEMS = 512
_CHUNK = 1024


def train(config: RunConfig | Mapping[str, Any], folder: str | Path, registry: Registry | None = None) -> Run:
    """Train what a config describes.

    A diffusion run whose representation needs a codec, and that names no finished codec run, first trains one in
    ``<folder>/codec``. Both stages go on where they stopped with ``resume``.

    Args:
        config: resolved; a mapping may leave out what has a default.
        folder: of the run; made if need be.
        registry: where names are looked up.

    Returns:
        the run, finished.

    Raises:
        UserError: if a name, an option or the data is no good, or the folder holds a run and ``resume`` is false.
        KeyboardInterrupt: after Ctrl-C; the run can be resumed.
    """
    config, registry, run = _with_named_codec(as_config(config)), registry or get_registry(), Run(Path(folder))
    if config.stage not in ("diffusion", "codec"):
        raise UserError(f"stage {config.stage!r} does not exist", "There is: diffusion, codec")
    if config.stage == "codec":
        config = _with_codec_training(config)
    if not config.resume and (run.checkpoints() or Run(run.codec_folder).checkpoints()):
        fix = "Go on with it by resume=true, or name another folder by run=..."
        raise UserError(f"{run.folder} holds a run already", fix)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    if run.checkpoints():
        _check_kept(config, run)
    run.folder.mkdir(parents=True, exist_ok=True)
    config = replace(config, resume=False)
    write_text(run.config_path, OmegaConf.to_yaml(OmegaConf.create(asdict(config))))
    start = _start_codec if config.stage == "codec" else _start_diffusion
    trainer = start(config, run, registry)
    if run.checkpoints():
        trainer.resume(run.checkpoints()[-1])
    registry.hook.unnoise_run_start(run=run)
    try:
        trainer.run()
    except BaseException as error:
        registry.hook.unnoise_run_end(run=run, error=error)
        raise
    registry.hook.unnoise_run_end(run=run, error=None)
    if isinstance(trainer.task, Coding):
        _judge_codec(config, run, registry, trainer)
    return run


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


def _check_kept(config: RunConfig, run: Run) -> None:
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
    if config["stage"] == "diffusion":
        kept |= {key: config[key] for key in ("representation", "denoiser", "process")}
        kept["conditions"] = {key: config["conditions"][key] for key in ("use", "dim", "tokens")}
    return _flat(kept)


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _with_named_codec(config: RunConfig) -> RunConfig:
    """A config that names a finished codec run, with that codec's own name and options."""
    named = config.codec.get("run")
    if named is None:
        return config
    node = {key: value for key, value in Run.open(named).manifest.config["codec"].items() if key not in CODEC_KEYS}
    return replace(config, codec={**node, "run": str(named)})


def _with_codec_training(config: RunConfig) -> RunConfig:
    """The config of a codec's own run: what ``codec.train`` says goes before ``train``."""
    node = dict(config.codec)
    changes = node.pop("train", None) or {}
    own = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(config.train), changes))
    assert isinstance(own, TrainConfig)
    return replace(config, codec=node, train=own)


def _start_diffusion(config: RunConfig, run: Run, registry: Registry) -> Trainer:
    """Everything up to the first step: codec, fit, manifest, encoding."""
    plain = asdict(config)
    codec = _finished_codec(config, run, registry) if needs_codec(registry, plain) else None
    started = time.monotonic()
    data = build_dataset(registry, plain, "train")
    representation = build_representation(registry, plain, codec)
    device = choose_device(config.train.device)
    resumed = bool(run.checkpoints())
    if resumed:
        # Statistics come from the checkpoint, not from a second measurement.
        representation.restore(run.manifest.settings)
        saved, prefix = run.checkpoint().tensors("model"), "representation."
        own = {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}
        load_weights(representation, own, f"the representation in {run.checkpoint().path}")
    else:
        representation.fit(Items(data))
    representation.eval().to(device)

    chosen = Selection.of(data, representation)
    notes = [*data.notes(), *chosen.notes()]
    columns = Columns(data.columns(), chosen.index)
    wanted = config.conditions
    if resumed:
        conditions = Conditions.from_config(run.manifest.conditions)
    else:
        conditions = Conditions.from_columns(columns, wanted.use, wanted.dim, wanted.tokens)
    raw = {name: conditions[name].raw(columns[name]) for name in conditions.names}
    with Bar("encoding", len(chosen.index)) as bar:
        for note in notes:
            bar.say(note)
        items = Items(data, chosen.index)
        encoded = EncodedData.encode(items, representation, raw, _CHUNK, bar.advance)

    if resumed:
        manifest = replace(run.manifest, config=plain)
    else:
        processes, parametrizations = measured_processes(config, representation.layout, encoded)
        manifest = Manifest(
            config=plain,
            versions=versions(registry, plain),
            settings=representation.settings(),
            codec=None if codec is None else codec.settings(),
            layout=representation.layout.to_json(),
            processes=processes,
            parametrizations=parametrizations,
            conditions=conditions.config(),
            notes=[f"{len(encoded)} training items", *notes],
        )
    manifest.save(run.manifest_path)
    torch.manual_seed(config.seed)
    parts = Assembly(registry, manifest)
    parts.representation.load_state_dict(representation.state_dict())
    parts.to(device)
    Model(run, parts.representation, parts.denoiser).plan()  # what is wrong with it shall not show after training
    if config.train.compile:
        parts.denoiser.network.compile()
    task = Diffusion(parts.representation, parts.denoiser, encoded, config.train, config.conditions, config.seed)
    events = _events(run, registry, lambda step: _preview(config, run, parts, encoded, step))
    return Trainer(task, config.train, config.seed, run.folder, events, started=started)


def _finished_codec(config: RunConfig, run: Run, registry: Registry) -> Codec:
    """The codec of a diffusion run: inside its own checkpoint, from a named run, or trained now."""
    plain = asdict(config)
    if run.checkpoints():
        assert run.manifest.codec is not None
        codec = build_codec(registry, plain)
        codec.restore(run.manifest.codec)
        return codec  # its weights are part of the representation's
    node = dict(config.codec or {})
    if not node:
        message = f"representation {config.representation.get('name')!r} needs a codec"
        raise UserError(message, "Choose one by codec=..., or name a finished codec run by codec.run=<folder>.")
    named = node.pop("run", None)
    if named is None:
        inner = replace(config, stage="codec", codec=node, resume=True, run=None)
        named = train(inner, run.codec_folder, registry).folder
    return load_codec(named, registry)


def load_codec(folder: str | Path, registry: Registry | None = None, weights: str = "ema") -> Codec:
    """The codec that a codec run trained, with averaged weights ("ema") or those of the last step ("model").

    Raises:
        UserError: if it is no codec run, or has no checkpoint.
    """
    run, registry = Run.open(folder), registry or get_registry()
    if run.manifest.stage != "codec":
        message = f"{run.folder} is not a codec's run, but one of stage {run.manifest.stage!r}"
        raise UserError(message, "Train one: unnoise train stage=codec ...")
    codec = build_codec(registry, run.manifest.config)
    codec.restore(run.manifest.settings)
    task = Coding(codec, torch.empty(0), 0)
    load_weights(task, run.checkpoint().tensors(weights), f"checkpoint {run.checkpoint().path}")
    return codec


def _start_codec(config: RunConfig, run: Run, registry: Registry) -> Trainer:
    started, plain = time.monotonic(), asdict(config)
    data = build_dataset(registry, plain, "train")
    device = choose_device(config.train.device)
    torch.manual_seed(config.seed)
    if run.checkpoints():
        codec = load_codec(run.folder, registry, "model")  # its statistics are needed to prepare the items
    else:
        codec = build_codec(registry, plain)
        codec.fit(Items(data))
        notes = [f"{len(data)} training items", *data.notes()]
        Manifest(plain, versions(registry, plain), codec.settings(), notes=notes).save(run.manifest_path)
    task = Coding(codec, _prepared(codec, data), config.seed).to(device)
    return Trainer(task, config.train, config.seed, run.folder, _events(run, registry), "training codec", started)


def _prepared(codec: Codec, data: Dataset, limit: int | None = None) -> torch.Tensor:
    items = Items(data)[:limit]
    return torch.cat([codec.prepare(list(items[i : i + _CHUNK])) for i in range(0, len(items), _CHUNK)])


def _judge_codec(config: RunConfig, run: Run, registry: Registry, trainer: Trainer) -> None:
    """Write how well the averaged codec reconstructs held-out items to ``quality.json``."""
    assert isinstance(trainer.task, Coding)
    test = build_dataset(registry, asdict(config), "test")
    trainer.task.eval()
    with trainer.ema.applied(), torch.no_grad():
        quality = trainer.task.codec.quality(_prepared(trainer.task.codec, test, _QUALITY_ITEMS).to(trainer.device))
    write_json(run.folder / "quality.json", quality)
    print("codec on held-out items: " + ", ".join(f"{name} {value:.4g}" for name, value in quality.items()))


def _events(run: Run, registry: Registry, preview: Any = lambda step: None) -> Events:
    hook = registry.hook
    return Events(
        train_step=lambda step, metrics: hook.unnoise_train_step(run=run, step=step, metrics=metrics),
        saved=lambda path, step: hook.unnoise_checkpoint_saved(run=run, path=path),
        preview=preview,
    )


def _preview(config: RunConfig, run: Run, parts: Assembly, data: EncodedData, step: int) -> None:
    """Samples of the model as it is now, asked for what the first training items are."""
    model = Model(run, parts.representation, parts.denoiser)
    n = config.sample.n
    raw = {name: column[torch.arange(n) % len(column)] for name, column in data.columns.items()}
    folder = run.folder / "previews"
    folder.mkdir(exist_ok=True)
    samples = model.sample(n, seed=config.seed, raw=raw, progress=False)
    parts.representation.preview(samples.items, folder / f"step_{step:08d}.png", captions(samples.record))
