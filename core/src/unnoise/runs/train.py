"""From a config to a finished run folder."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from unnoise.conditions import Conditions, check_columns
from unnoise.contracts import Codec, Dataset
from unnoise.errors import UserError
from unnoise.plugins.registry import Registry, get_registry
from unnoise.progress import Bar
from unnoise.runs.build import (
    Assembly,
    build_codec,
    build_dataset,
    build_representation,
    measured_processes,
    needs_codec,
    versions,
)
from unnoise.runs.config import as_config, check, check_kept, complete
from unnoise.runs.generate import Model, captions
from unnoise.runs.load import check_resumable, load_codec
from unnoise.runs.lock import locked
from unnoise.runs.manifest import Manifest
from unnoise.runs.measured import columns_of
from unnoise.runs.run import Run
from unnoise.runs.train_control import start_control
from unnoise.sampling import plan
from unnoise.schema import RunConfig
from unnoise.training.checkpoint import load_weights
from unnoise.training.data import Columns, EncodedData, Items, Selection, Unencoded
from unnoise.training.device import choose_device
from unnoise.training.tasks import Coding, Diffusion
from unnoise.training.trainer import Events, Trainer
from unnoise.writing import write_json, write_text

_QUALITY_ITEMS = 512
_CHUNK = 1024
_PREVIEWED = 64
"""Most samples of a preview while a model trains: a run may be set to draw thousands when it is done."""


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
        UserError: if a name, an option or the data is no good, the folder holds a run and ``resume`` is false, another
            process trains there, or it cannot be written.
        Interrupted: after Ctrl-C or SIGTERM; the run can be resumed.
    """
    run, registry = Run(Path(folder)), registry or get_registry()
    config = complete(as_config(config), run)
    check(config, registry)
    known = run.config_path.exists()
    with locked(run.folder):
        if not config.resume and (run.checkpoints() or Run(run.codec_folder).checkpoints()):
            fix = "Go on with it by resume=true, or name another folder by run=..."
            raise UserError(f"{run.folder} holds a run already", fix)
        if run.checkpoints():
            check_resumable(run, registry)
            check_kept(config, run)
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        try:
            _train(replace(config, resume=False), run, registry)
        except UserError:
            if not (known or run.manifest_path.exists() or run.codec_folder.exists()):
                with suppress(OSError):
                    run.config_path.unlink()  # of a run that never was
            raise
    return run


def _train(config: RunConfig, run: Run, registry: Registry) -> None:
    """From the first file in a run folder to the last; or from where the run has stopped."""
    before = run.config_path.read_text(encoding="utf-8") if run.checkpoints() else None
    write_text(run.config_path, OmegaConf.to_yaml(OmegaConf.create(asdict(config))))
    try:
        trainer = _start(config, run, registry)
        if run.checkpoints():
            trainer.resume(run.checkpoints()[-1])
    except UserError:
        if before is not None:  # a change that did not work is not kept for the next time
            write_text(run.config_path, before)
        raise
    registry.notify("unnoise_run_start", run=run)
    try:
        trainer.run()
    except BaseException as error:
        registry.notify("unnoise_run_end", run=run, error=error)
        raise
    registry.notify("unnoise_run_end", run=run, error=None)
    if isinstance(trainer.task, Coding):
        _judge_codec(config, run, registry, trainer)


def _start(config: RunConfig, run: Run, registry: Registry) -> Trainer:
    if config.stage == "control":
        return start_control(config, run, registry, _events(run, registry))
    return (_start_codec if config.stage == "codec" else _start_diffusion)(config, run, registry)


def _start_diffusion(config: RunConfig, run: Run, registry: Registry) -> Trainer:
    """Everything up to the first step: codec, fit, manifest, encoding."""
    plain, wanted, resumed = asdict(config), config.conditions, bool(run.checkpoints())
    data = _training_data(registry, plain)
    known = columns_of(registry, plain, data)
    check_columns(known, wanted.use)
    codec = _finished_codec(config, run, registry) if needs_codec(registry, plain) else None
    started = time.monotonic()
    representation = build_representation(registry, plain, codec)
    device = choose_device(config.train.device)
    if resumed:
        # Statistics come from the checkpoint, not from a second measurement.
        representation.restore(run.manifest.settings)
        saved, prefix = run.checkpoint().tensors("model"), "representation."
        own = {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}
        load_weights(representation, own, f"the representation in {run.checkpoint().path}")
    else:
        with Bar("measuring the data", len(data)) as bar:
            representation.fit(Items(data, reached=bar.update))
    representation.eval().to(device)

    with Bar("choosing items", len(data)) as bar:
        chosen = Selection.of(data, representation, advance=bar.advance)
    notes = [*data.notes(), *chosen.notes()]
    columns = Columns(known, chosen.index)
    if resumed:
        conditions = Conditions.from_config(run.manifest.conditions)
    else:
        conditions = Conditions.from_columns(columns, wanted.use, wanted.dim, wanted.tokens, wanted.options)

    def described(data: EncodedData) -> Manifest:
        if resumed:
            return replace(run.manifest, config=plain)
        processes, parametrizations = measured_processes(config, representation.layout, data)
        return Manifest(
            config=plain,
            versions=versions(registry, plain),
            settings=representation.settings(),
            codec=None if codec is None else codec.settings(),
            layout=representation.layout.to_json(),
            processes=processes,
            parametrizations=parametrizations,
            conditions=conditions.config(),
            notes=[f"{len(data)} training items", *notes],
        )

    unencoded = Unencoded(representation.layout)
    _task(config, registry, described(unencoded), unencoded)  # what is wrong with it shall not show after encoding
    raw = {name: conditions[name].raw(columns[name]) for name in conditions.names}
    with Bar("encoding", len(chosen.index)) as bar:
        for note in notes:
            bar.say(note)
        items = Items(data, chosen.index)
        encoded = EncodedData.encode(items, representation, raw, _CHUNK, bar.advance)
    manifest = described(encoded)
    manifest.save(run.manifest_path)
    task = _task(config, registry, manifest, encoded)
    task.representation.load_state_dict(representation.state_dict())
    task.to(device)
    for name, values in raw.items():
        task.denoiser.conditions[name].prepare(values, run.cache)
    if config.train.compile:
        task.denoiser.network.compile()
    events = _events(run, registry, lambda step: _preview(config, run, task, encoded, step))
    facts = {"model": manifest.fingerprint()}
    return Trainer(task, config.train, config.seed, run.folder, events, started=started, facts=facts)


def _training_data(registry: Registry, config: Mapping[str, Any]) -> Dataset:
    """The training split. Reading it may take a while, which is shown."""
    with Bar("reading the data", None):
        return build_dataset(registry, config, "train")


def _task(config: RunConfig, registry: Registry, manifest: Manifest, data: EncodedData) -> Diffusion:
    """A model as it is before its first step, of the run's seed. Everything of the config has been read then."""
    torch.manual_seed(config.seed)
    parts, sampling = Assembly(registry, manifest), config.sample
    options = {"categorical": sampling.categorical, **sampling.sampler_options}
    spacing = {"name": sampling.spacing, **sampling.spacing_options}
    plan(sampling.sampler, parts.denoiser.product, sampling.steps, spacing, **options)
    return Diffusion(parts.representation, parts.denoiser, data, config.train, config.conditions, config.seed)


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


def _start_codec(config: RunConfig, run: Run, registry: Registry) -> Trainer:
    started, plain = time.monotonic(), asdict(config)
    data = _training_data(registry, plain)
    device = choose_device(config.train.device)
    torch.manual_seed(config.seed)
    if run.checkpoints():
        codec = load_codec(run.folder, registry, "model")  # its statistics are needed to prepare the items
    else:
        codec = build_codec(registry, plain)
        with Bar("measuring the data", len(data)) as bar:
            codec.fit(Items(data, reached=bar.update))
        notes = [f"{len(data)} training items", *data.notes()]
        Manifest(plain, versions(registry, plain), codec.settings(), notes=notes).save(run.manifest_path)
    task = Coding(codec, _prepared(codec, data), config.seed).to(device)
    facts, events = {"model": run.manifest.fingerprint()}, _events(run, registry)
    return Trainer(task, config.train, config.seed, run.folder, events, "training codec", started, facts)


def _prepared(codec: Codec, data: Dataset, limit: int | None = None) -> torch.Tensor:
    items = Items(data)[:limit]
    return torch.cat([codec.prepare(list(items[i : i + _CHUNK])) for i in range(0, len(items), _CHUNK)])


def _judge_codec(config: RunConfig, run: Run, registry: Registry, trainer: Trainer) -> None:
    """Write how well the averaged codec reconstructs held-out items to ``quality.json``; null is no finite number."""
    assert isinstance(trainer.task, Coding)
    test = build_dataset(registry, asdict(config), "test")
    trainer.task.eval()
    with trainer.ema.applied(), torch.no_grad():
        quality = trainer.task.codec.quality(_prepared(trainer.task.codec, test, _QUALITY_ITEMS).to(trainer.device))
    finite = {name: value if math.isfinite(value) else None for name, value in quality.items()}
    write_json(run.folder / "quality.json", finite)
    print("codec on held-out items: " + ", ".join(f"{name} {value:.4g}" for name, value in quality.items()))


def _events(run: Run, registry: Registry, preview: Callable[[int], None] = lambda step: None) -> Events:
    return Events(
        train_step=lambda step, metrics: registry.notify("unnoise_train_step", run=run, step=step, metrics=metrics),
        saved=lambda path, step: registry.notify("unnoise_checkpoint_saved", run=run, path=path),
        preview=preview,
    )


def _preview(config: RunConfig, run: Run, task: Diffusion, data: EncodedData, step: int) -> None:
    """Samples of the model as it is now, asked for what the first training items are.

    A picture that cannot be made is no reason to end a run.
    """
    model = Model(run, task.representation, task.denoiser)
    n = min(config.sample.n, _PREVIEWED)
    raw = {name: column[torch.arange(n) % len(column)] for name, column in data.columns.items()}
    path = run.folder / "previews" / f"step_{step:08d}.png"
    try:
        path.parent.mkdir(exist_ok=True)
        samples = model.sample(n, seed=config.seed, raw=raw, progress=False)
        task.representation.preview(samples.items, path, captions(samples.record))
    except Exception as error:
        print(f"unnoise: {path} could not be made: {type(error).__name__}: {error}", file=sys.stderr)
