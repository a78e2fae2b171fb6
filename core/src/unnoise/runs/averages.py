"""Weights of an average whose length is chosen after training."""

from __future__ import annotations

from torch import Tensor

from unnoise.errors import UserError
from unnoise.runs.run import Run
from unnoise.training.checkpoint import Checkpoint, checkpoints
from unnoise.training.posthoc import Profile, file_of, gamma_of, mixture

TOLERABLE = 0.05
"""Share of a wanted profile that snapshots may miss."""


def averaged(run: Run, checkpoint: Checkpoint, length: float) -> dict[str, Tensor]:
    """The weights of a run's model, averaged over a share of the steps up to a checkpoint, from snapshots.

    Args:
        run: with snapshots.
        checkpoint: until when; its usual average gives what is no trained weight.
        length: standard deviation of the average's profile, over the number of steps.

    Raises:
        UserError: if the run kept no snapshots, a file is damaged, or the snapshots cannot give that length.
    """
    wanted = Profile(gamma_of(length), checkpoint.step)
    found = [snapshot for snapshot in checkpoints(run.averages_folder) if snapshot.step <= checkpoint.step]
    if not found:
        message = f"run {run.folder} kept no snapshots of power-function averages, so there is no ema={length:g}"
        raise UserError(message, "Leave ema out; or train with train.ema.lengths=[0.05,0.1].")
    entries = [
        (snapshot, index, Profile(gamma_of(kept), snapshot.step))
        for snapshot in found
        for index, kept in enumerate(_lengths(snapshot))
    ]
    weights, missed = mixture([profile for _, _, profile in entries], wanted)
    if missed > TOLERABLE:
        raise UserError(
            f"the snapshots of run {run.folder} miss {missed:.0%} of an average of length {length:g}",
            "Choose a length between those tracked, or train with a smaller train.ema.snapshot_every.",
        )
    total: dict[str, Tensor] = {}
    for (snapshot, index, _), weight in zip(entries, weights.tolist(), strict=True):
        for name, value in snapshot.tensors(file_of(index)).items():
            part = value.double() * weight
            total[name] = total[name].add_(part) if name in total else part
    rest = checkpoint.tensors("ema")
    if strange := sorted(total.keys() - rest.keys()):
        raise UserError(f"snapshots of run {run.folder} have a weight {strange[0]!r}, its checkpoint has none", "")
    return {name: total[name].to(value.dtype) if name in total else value for name, value in rest.items()}


def _lengths(snapshot: Checkpoint) -> list[float]:
    lengths = snapshot.state.get("lengths")
    if not isinstance(lengths, list) or not all(isinstance(x, (int, float)) for x in lengths):
        raise UserError(f"{snapshot.path / 'state.json'}: lengths: it is no list of numbers", "remove that snapshot")
    return [float(x) for x in lengths]
