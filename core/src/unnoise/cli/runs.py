"""The verbs that compute: ``train``, ``sample`` and ``eval``."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from unnoise.cli.compose import compose, controlling_config, run_hydra, saved_config
from unnoise.cli.explain import enough_memory
from unnoise.cli.grid import Grid
from unnoise.cli.overrides import parsed
from unnoise.errors import Interrupted, UserError
from unnoise.plugins import get_registry
from unnoise.plugins.report import warn_skipped
from unnoise.schema import EvalRequest, RunConfig, SampleRequest, SamplingRequest, check_numbers
from unnoise.writing import output_folder

if TYPE_CHECKING:
    from unnoise.contracts import Samples, Score
    from unnoise.runs import Model


def train(words: list[str]) -> int:
    """unnoise train [modality=NAME | experiment=NAME] [key=value ...]

    Trains a model and writes a run folder: config, manifest, checkpoints, metrics, previews.

      experiment=image/demo      a named experiment; `unnoise list experiments` shows all
      modality=image             the modality's defaults
      denoiser=dit data=digits   choose components; denoiser.depth=4 sets an option of one
      train.steps=5000 train.lr=3e-4 train.minutes=10 seed=1
      run=<folder>               where to; runs/<modality>-<date>-<time> if not given
      run=<folder> resume=true   go on from the last checkpoint
      stage=codec                train the codec alone; codec=<its run folder> uses it
      control.base=<run> control.map=edges    train a control of a finished model, on its own data
      -m seed=0,1                a sweep: one run folder for every combination of values
      --cfg job                  print the composed config and stop
    """
    saved = saved_config(words) or controlling_config(words)
    if saved is None:
        return composed(
            "train", words, lambda config: _train(config, _folder(config.run, f"runs/{config.modality}-{_now()}"))
        )
    _train(saved, Path(saved.run or f"runs/{saved.modality}-{_now()}"))
    return 0


def sample(words: list[str]) -> int:
    """unnoise sample run=FOLDER [key=value ...]

    Makes samples: native files, one picture, and a JSON record that reproduces them.

      n=16 seed=0                sample i uses seed + i
      sampler=heun steps=20 spacing=karras
      sampler_options.eta=0.5 spacing_options.rho=5    of the sampler and the spacing
      condition.class=3          or condition=3 where the model knows one condition
      condition.text="a (red:1.3) car"    words, with weights where wanted
      negative.class=5           steer away from this
      control.run=<folder> control.map=<file>    follow a map; control.of=<item> makes the map of an item;
                                 control.strength=0.8, control.interval=[-2,4]; of several: control.a.run=...
      guidance.scale=3           1 is off; guidance.name=apg, guidance.interval=[-2,4], guidance.rescale=0.7, ...
      out=<folder> batch=64
      -m guidance.scale=1,3 steps=5,20    a sweep: one folder for every combination, and one picture of all
    """
    grid = Grid()
    code = composed("sample", words, lambda request: _sample(request, grid))
    if picture := grid.draw():
        print(f"all together: {picture}")
    return code


def evaluate(words: list[str]) -> int:
    """unnoise eval run=FOLDER [key=value ...] | unnoise eval modality=NAME items=PATH [key=value ...]

    Measures a run's samples, or items that somebody else made, beside floor (real against real) and ceiling.

      n=1000 seed=0              how many samples
      sampler=... steps=... spacing=... guidance.scale=... condition...    as for `unnoise sample`
      metrics=[name,...]         some of the modality's metrics only
      split=test                 ask for what test items are, not training items
      data=<option> data.key=value   other real data to compare with
      out=<folder>               where scores.json goes
      samples=true               keep the samples beside it
    """
    real = [word for word in words if re.match(r"\+*(data[.=]|modality=)", word)]  # composed as for training
    others = [word for word in words if word not in real]
    return composed("eval", others, lambda request: _evaluate(request, real))


def composed(verb: str, words: list[str], task: Callable[[Any], None]) -> int:
    """Compose and run. A sweep goes on after a job that fails for a user's error, and then exits with 2."""
    warn_skipped(get_registry())
    return 0 if run_hydra(verb, words, task) else 2


def _train(config: RunConfig, folder: Path) -> None:
    from unnoise.runs import train as run_training

    try:
        with enough_memory("lower train.batch, or raise train.accumulate"):
            run = run_training(config, folder)
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, Interrupted) else signal.SIGINT
        again = f"go on with: unnoise train {_word('run', folder)} resume=true"
        raise Interrupted(number, again if (folder / "config.yaml").exists() else "") from None
    use = {
        "codec": f"train ... {_word('codec', run.folder)}",
        "control": f"sample {_word('run', Path(str(config.control.base)))} {_word('control.run', run.folder)} "
        "control.map=...",
    }.get(run.manifest.stage, f"sample {_word('run', run.folder)}")
    print(f"run folder: {run.folder}\nnext: unnoise {use}")


def _word(key: str, path: Path) -> str:
    """``key=path`` as it is typed in a shell."""
    return quote(f"{key}={path}")


def _folder(given: str | None, default: str | Path) -> Path:
    """Where a job writes: ``given``, else ``default``; in a sweep, a numbered folder for every job."""
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        print(f"job {hydra.job.num}: {' '.join(hydra.overrides.task)}")
        return Path(given or hydra.sweep.dir) / str(hydra.job.num)
    return Path(given or default)


def _now() -> str:
    return datetime.now().strftime("%Y%m%d-%H%M%S")


def sampling_options(request: SamplingRequest) -> dict[str, Any]:
    """What both requests say of sampling, as arguments of :meth:`unnoise.runs.Model.sample`."""
    return {
        "sampler": request.sampler,
        "sampler_options": request.sampler_options,
        "categorical": request.categorical,
        "steps": request.steps,
        "spacing": {**({"name": request.spacing} if request.spacing else {}), **request.spacing_options},
        "guidance": {key: value for key, value in request.guidance.items() if value is not None},
        "condition": request.condition,
        "control": request.control,
        "batch": request.batch,
    }


def _load(request: SamplingRequest) -> Model:
    import torch

    from unnoise.runs import load
    from unnoise.runs.run import runs_near

    if not request.run:
        raise UserError("which model? no run is given", runs_near(Path("runs")))
    if request.threads:
        torch.set_num_threads(request.threads)
    return load(request.run, request.device, ema=request.ema)


def _sample(request: SampleRequest, grid: Grid) -> None:
    def make(model: Model) -> Samples:
        return model.sample(request.n, request.seed, negative=request.negative, **sampling_options(request))

    make_samples(request, make, grid)


def make_samples(request: SamplingRequest, make: Callable[[Model], Samples], grid: Grid) -> None:
    """Load the model of a request, make samples, write them and say so."""
    from unnoise.runs import write_samples

    check_numbers(request)
    model = _load(request)
    with output_folder(_folder(request.out, model.run.folder / "samples" / _now()), fresh=not request.out) as folder:
        started = time.monotonic()
        with enough_memory("lower batch"):
            samples = make(model)
        seconds = time.monotonic() - started
        written = write_samples(samples, model.representation, folder)
    grid.add(samples, model.representation, folder)
    rate = f"{len(samples.items)} samples in {seconds:.1f} s, {samples.record['nfe']} network evaluations each"
    lines = [rate, model.representation.facts(samples.items), f"{len(written)} files in {folder}"]
    print("\n".join(filter(None, [*lines, f"look at {folder / 'preview.png'}"])))


def _evaluate(request: EvalRequest, real: list[str]) -> None:
    from unnoise.runs import evaluate as evaluate_run
    from unnoise.runs import show_scores, write_samples, write_scores

    check_numbers(request)
    if bool(request.run) == bool(request.items):
        raise UserError(
            "eval judges either a run or a file of items", "give run=<folder>, or modality=<name> items=<path>"
        )
    model = None if request.items else _load(request)
    default = model.run.folder / "eval" / _now() if model else ""
    target = _folder(request.out, default) if model or request.out else None
    with nullcontext() if target is None else output_folder(target, fresh=not request.out) as folder:
        if model is None:
            scores, record = _judge_items(request, *_real_data(real))
        else:
            data = _other_data(model, real) if real else None
            n = 1000 if request.n is None else request.n
            options = {**sampling_options(request), "split": request.split}
            with enough_memory("lower batch"):
                samples, scores = evaluate_run(model, n, request.seed, request.metrics, data=data, **options)
            record = samples.record
            if request.samples and folder is not None:
                write_samples(samples, model.representation, folder / "samples")
        show_scores(scores)
        if folder is not None:
            write_scores(scores, record, folder / "scores.json")
            print(f"scores: {folder / 'scores.json'}")


def _real_data(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The modality and the data node that training with these words would use."""
    if not any(word.startswith("modality=") for word in words):
        known = ", ".join(get_registry().names("modality")) or "none"
        raise UserError("items of which modality?", f"give modality=<name>; available: {known}")
    config = compose("train", words)
    return config.modality, config.data


def _other_data(model: Model, words: list[str]) -> dict[str, Any]:
    """The data node that ``words`` ask for: another data set, or the run's own with other options."""
    modality = f"modality={model.manifest.modality}"
    if any(word.startswith("modality=") and word != modality for word in words):
        raise UserError("a run has its own modality", "leave out modality=...")
    changes = [parsed(word) for word in words if word != modality]
    if any(change.key_or_group == "data" for change in changes):
        return _real_data([modality, *(word for word in words if word != modality)])[1]
    node = OmegaConf.create({"data": dict(model.manifest.config["data"])})
    for change in changes:
        OmegaConf.update(node, change.key_or_group, change.value(), force_add=True)
    return dict(OmegaConf.to_container(node)["data"])  # type: ignore[call-overload,index,arg-type]


def _judge_items(request: EvalRequest, name: str, data: dict[str, Any]) -> tuple[list[Score], dict[str, Any]]:
    """Scores of items from a file, against the modality's real data."""
    import torch

    from unnoise.contracts import Evidence
    from unnoise.runs import judge
    from unnoise.runs.build import build_splits

    if request.threads:
        torch.set_num_threads(request.threads)
    registry = get_registry()
    read, path = registry.reader(name), Path(str(request.items))
    if read is None:
        raise UserError(f"modality {name!r} cannot read items from files", "judge a run instead: run=<folder>")
    if not path.exists():
        raise UserError(f"items={path} does not exist", "give a file or folder of items")
    items = list(read(path))[: request.n]
    if not items:
        raise UserError(f"{path} holds no items", "give a file or folder with at least one")
    config = {"modality": name, "seed": request.seed, "data": data}
    train, test = build_splits(registry, config)
    evidence = Evidence(items, {}, train, test, seed=request.seed)
    scores = judge(evidence, name, request.metrics)
    return scores, {"items": str(path), "n": len(items), "seed": request.seed, "data": data}
