"""Trained models from their run folders, which may be damaged or somebody else's: everything is checked first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration

from unnoise.contracts import Codec
from unnoise.errors import UserError
from unnoise.plugins.registry import Registry, get_registry
from unnoise.reading import number, plain, record, table, whole
from unnoise.reading.files import reason
from unnoise.runs.averages import averaged
from unnoise.runs.build import Assembly, build_codec
from unnoise.runs.generate import Model
from unnoise.runs.manifest import Manifest
from unnoise.runs.run import Run
from unnoise.runs.versions import check_versions, missing
from unnoise.training.checkpoint import Checkpoint, check_fit, load_weights
from unnoise.training.device import choose_device
from unnoise.training.tasks import Coding

M = TypeVar("M", bound=nn.Module)
Tensors = Mapping[str, Tensor]

_LOG = record({"steps": whole(0), "sums": table(number()), "means": table(number())}, rest=plain)
_RESUMABLE = record({"seed": whole(), "seconds": number(0), "ema_updates": whole(0)}, {"log": _LOG}, rest=plain)
"""What ``state.json`` must also hold for a run to go on from it."""


def load(path: str | Path, device: str = "auto", registry: Registry | None = None, ema: float | None = None) -> Model:
    """Load a trained model, with averaged weights.

    Args:
        path: a run folder (its last checkpoint), or the folder of one of its checkpoints.
        device: "auto", "cpu", "cuda", ...
        registry: where the manifest's names are looked up.
        ema: length of the average, as a share of the run, where it kept snapshots (``train.ema.lengths``); the usual
            average if left out.

    Raises:
        UserError: if there is no run, a component is not installed, a file is damaged, or the checkpoint does not fit
            the manifest; in particular if it lacks statistics that its representation measured.
    """
    run, registry = Run.open(path), registry or get_registry()
    manifest = run.manifest
    if manifest.stage == "control":
        base = manifest.config["control"]["base"]
        fix = f"Sample its base with it: run={base} control.run={run.folder} control.map=..."
        raise UserError(f"{run.folder} is the run of a control, which is no model", fix)
    if manifest.stage != "diffusion":
        fix = f"Train on it: unnoise train ... codec.run={run.folder}"
        raise UserError(f"{run.folder} is the run of a codec, which cannot be sampled", fix)
    checkpoint = run.checkpoint()
    rebuilding = Rebuilding(run, manifest, checkpoint, registry)
    tensors = checkpoint.tensors("ema") if ema is None else averaged(run, checkpoint, ema)
    model = rebuilding.module(lambda: Assembly(registry, manifest), without_weightings(tensors))
    model.requires_grad_(False).eval().to(choose_device(device))
    return Model(run, model.representation, model.denoiser, checkpoint, ema)


def load_codec(folder: str | Path, registry: Registry | None = None, weights: str = "ema") -> Codec:
    """The codec that a codec run trained, with averaged weights ("ema") or those of the last step ("model").

    Raises:
        UserError: if it is no codec run, has no checkpoint, or is damaged; as :func:`load`.
    """
    run, registry = Run.open(folder), registry or get_registry()
    manifest = run.manifest
    if manifest.stage != "codec":
        message = f"{run.folder} is not a codec's run, but one of stage {manifest.stage!r}"
        raise UserError(message, "Train one: unnoise train stage=codec ...")
    checkpoint = run.checkpoint()
    rebuilding = Rebuilding(run, manifest, checkpoint, registry)
    return rebuilding.module(lambda: _coding(registry, manifest), checkpoint.tensors(weights)).codec


def check_resumable(run: Run, registry: Registry) -> None:
    """Refuse to go on with a run whose manifest or last checkpoint is damaged or belongs to another run.

    Raises:
        UserError: as :func:`load`; also if the optimiser's state or what a run goes on from is missing.
    """
    manifest, checkpoint = run.manifest, run.checkpoint()
    state, where = checkpoint.state, str(checkpoint.path / "state.json")
    _RESUMABLE(state, where)
    if state["seed"] != manifest.config["seed"]:
        message = f"{where}: seed: it is {state['seed']}, that of manifest.json {manifest.config['seed']}"
        raise UserError(message, "Put the manifest.json back that it was trained with.")
    checkpoint.tensors("optimizer")
    rebuilding = Rebuilding(run, manifest, checkpoint, registry)
    from unnoise.runs.controls import ControlAssembly

    for name in ("model", "ema"):
        if manifest.stage == "control":
            tensors = without_weightings(checkpoint.tensors(name))
            rebuilding.check(lambda: ControlAssembly(registry, manifest), tensors)
        elif manifest.stage == "codec":
            rebuilding.check(lambda: _coding(registry, manifest), checkpoint.tensors(name))
        else:
            rebuilding.check(lambda: Assembly(registry, manifest), without_weightings(checkpoint.tensors(name)))


class Rebuilding:
    """Modules from a manifest, with the tensors of a checkpoint.

    Args:
        run: whose they are.
        manifest: the run's.
        checkpoint: the run's.
        registry: where the manifest's names are looked up.

    Raises:
        UserError: if the run was made with something newer than is installed.
    """

    def __init__(self, run: Run, manifest: Manifest, checkpoint: Checkpoint, registry: Registry) -> None:
        check_versions(manifest.versions, run.folder)
        self.run, self.manifest, self.checkpoint, self.registry = run, manifest, checkpoint, registry
        noted = checkpoint.state.get("model", {})  # older checkpoints note nothing
        own = manifest.fingerprint()
        self._others = [name for name in own if isinstance(noted, Mapping) and noted.get(name, own[name]) != own[name]]

    def module(self, make: Callable[[], M], tensors: Tensors) -> M:
        """The module that ``make`` builds from the manifest, with the values of ``tensors``.

        Raises:
            UserError: if it cannot be built, or the tensors are those of another one.
        """
        self.check(make, tensors)
        with self._blaming():
            module = make()
        load_weights(module, tensors, self._what)
        return module

    def check(self, make: Callable[[], nn.Module], tensors: Tensors) -> None:
        """As :meth:`module`, without memory for the module: whatever sizes a manifest claims, they are compared with
        those of the checkpoint's tensors before anything is allocated.
        """
        with self._blaming():
            outline = _outline(make, len(tensors))
        if outline is not None:
            check_fit(outline, tensors, self._what)
        if self._others:
            message = f"checkpoint {self.checkpoint.path} is of another model than manifest.json; {self._differ}"
            raise UserError(message, "Put the manifest.json back that it was trained with, or name a run of its own.")

    @property
    def _what(self) -> str:
        differing = f", of another model ({self._differ})," if self._others else ""
        return f"checkpoint {self.checkpoint.path}{differing}"

    @property
    def _differ(self) -> str:
        return f"they differ in {', '.join(self._others)}"

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        """What goes wrong while a model is rebuilt lies with the manifest: it was built from it before."""
        command = missing(self.manifest.versions)
        try:
            yield
        except UserError as error:
            raise UserError(f"{self.run.manifest_path}: {error.message}", command or error.fix) from error
        except Exception as error:
            message = f"{self.run.manifest_path}: its model cannot be built: {type(error).__name__}: {reason(error)}"
            made = ", ".join(f"{dist} {version}" for dist, version in self.manifest.versions.items())
            raise UserError(message, command or f"Restore it from a copy of the run, which {made} made.") from error


def _coding(registry: Registry, manifest: Manifest) -> Coding:
    codec = build_codec(registry, manifest.config)
    codec.restore(manifest.settings)
    return Coding(codec, torch.empty(0), 0)


def without_weightings(tensors: Tensors) -> dict[str, Tensor]:
    """What a checkpoint holds beside the weights of a learned loss weighting, which only training needs."""
    return {name: value for name, value in tensors.items() if not name.startswith("weightings.")}


def _outline(make: Callable[[], nn.Module], tensors: int) -> dict[str, Tensor] | None:
    """Names, shapes and types of a module's state, made without memory; None for a module that needs real tensors to
    be built (a rate read back from a tensor, say).
    """
    try:
        with torch.device("meta"), _at_most(16 * tensors + 1000):
            return make().state_dict()
    except (RuntimeError, NotImplementedError) as error:
        if "meta" in str(error):
            return None
        raise


@contextmanager
def _at_most(count: int) -> Iterator[None]:
    """Stop the building of modules that register more parameters, buffers and modules than ``count``."""
    left = count

    def register(*arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise UserError(
                f"its model has more than {count:,} pieces, far more than the checkpoint holds",
                "Restore manifest.json from a copy of the run.",
            )

    hooks = [
        registration.register_module_parameter_registration_hook(register),
        registration.register_module_buffer_registration_hook(register),
        registration.register_module_module_registration_hook(register),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
