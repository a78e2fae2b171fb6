"""A trained model from its run folder."""

from __future__ import annotations

from pathlib import Path

from unnoise.errors import UserError
from unnoise.plugins.registry import Registry, get_registry
from unnoise.runs.build import Assembly
from unnoise.runs.generate import Model
from unnoise.runs.run import Run
from unnoise.training.checkpoint import load_weights
from unnoise.training.trainer import choose_device


def load(path: str | Path, device: str = "auto", registry: Registry | None = None) -> Model:
    """Load a trained model, with averaged weights.

    Args:
        path: a run folder (its last checkpoint), or the folder of one of its checkpoints.
        device: "auto", "cpu", "cuda", ...
        registry: where the manifest's names are looked up.

    Raises:
        UserError: if there is no run, a component is not installed, or the checkpoint does not fit; in particular if
            it lacks statistics that its representation measured.
    """
    run, registry = Run.open(path), registry or get_registry()
    if run.manifest.stage != "diffusion":
        fix = f"Train on it: unnoise train ... codec.run={run.folder}"
        raise UserError(f"{run.folder} is the run of a codec, which cannot be sampled", fix)
    checkpoint = run.checkpoint()
    model = Assembly(registry, run.manifest)
    ours = {name: value for name, value in checkpoint.tensors("ema").items() if not name.startswith("weightings.")}
    load_weights(model, ours, f"checkpoint {checkpoint.path}")
    model.requires_grad_(False).eval().to(choose_device(device))
    return Model(run, model.representation, model.denoiser, checkpoint)
