"""Frechet ChemNet distance (Preuer et al. 2018)."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from rdkit import rdBase
from torch import Tensor

from unnoise.contracts import Evidence, Metric, Score
from unnoise.errors import UserError
from unnoise.metrics import frechet_distance, moments
from unnoise_molecules.chemistry import canonical
from unnoise_molecules.metrics.validity import sample_of

Moments = tuple[Tensor, Tensor]


class FcdMetric(Metric):
    """Distance of the valid items to real test molecules in ChemNet's features.

    It is biased upwards for few molecules, so the floor is measured at the same N: training molecules against the same
    test molecules.

    Args:
        reference: largest number of test molecules that are the reference.
        batch: molecules in one call of ChemNet.

    Raises:
        UserError: when called, if fcd_torch is not installed.
    """

    def __init__(self, reference: int = 10_000, batch: int = 256) -> None:
        self.reference, self.batch = reference, batch
        self._net: Any = None

    def __call__(self, evidence: Evidence) -> list[Score]:
        if find_spec("fcd_torch") is None:
            raise UserError("metric 'fcd' needs the package fcd_torch", "pip install 'unnoise-molecules[fcd]'")
        made = [smiles for smiles in map(canonical, evidence.generated) if smiles]
        if len(made) < 2:
            return []
        known = sample_of(evidence.train, len(made), evidence.seed)
        test = sample_of(evidence.test, self.reference, evidence.seed)
        real = self.moments(test, evidence.cache)
        floor = frechet_distance(self.moments(known, evidence.cache), real)
        noise = [smiles for smiles in map(canonical, evidence.noise) if smiles]
        ceiling = frechet_distance(self.moments(noise), real) if len(noise) > 1 else None
        note = f"N={len(made)} valid against {len(test)} test molecules; floor: {len(known)} training molecules"
        return [Score("fcd", frechet_distance(self.moments(made), real), floor, ceiling, "lower", note)]

    def moments(self, items: Sequence[str], cache: Path | None = None) -> Moments:
        """Mean and covariance of the features of molecules, read from ``cache`` where they lie there undamaged."""
        digest = hashlib.blake2b("\n".join(items).encode(), digest_size=8).hexdigest()
        path = None if cache is None else cache / f"fcd-{digest}.npz"
        if path is not None and path.is_file():
            damage = (OSError, EOFError, ValueError, KeyError, BadZipFile)
            with suppress(*damage), np.load(path, allow_pickle=False) as stored:
                return torch.as_tensor(stored["mean"]), torch.as_tensor(stored["covariance"])
        mean, covariance = moments(self.features(items))
        if path is not None:
            np.savez(path, mean=mean.numpy(), covariance=covariance.numpy())
        return mean, covariance

    def features(self, items: Sequence[str]) -> Tensor:
        """ChemNet's features of valid SMILES: ``(N, 512)``."""
        with warnings.catch_warnings(), rdBase.BlockLogs():
            warnings.simplefilter("ignore")  # its old way of loading weights
            if self._net is None:
                from fcd_torch import FCD

                self._net = FCD(device="cpu", n_jobs=1, batch_size=self.batch)
            return torch.as_tensor(np.asarray(self._net.get_predictions(list(items))))
