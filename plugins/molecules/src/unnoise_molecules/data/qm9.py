"""QM9, from the package qm9pack."""

from __future__ import annotations

import csv
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unnoise.contracts import Scalars
from unnoise.errors import UserError
from unnoise_molecules.data.base import Molecules

_ROWS = 130_831
_TRAIN, _VALIDATION = 100_000, 15_000
_INSTALL = "pip install 'unnoise-molecules[qm9]'"
_QUANTITIES = {
    "dipole": ("Dipole_debye", "D"),
    "homo": ("HOMO_au", "hartree"),
    "lumo": ("LUMO_au", "hartree"),
    "gap": ("HOMO_LUMO_gap_au", "hartree"),
}
"""Column name -> the table's, and its unit."""


class Qm9(Molecules):
    """QM9 (Ramakrishnan et al. 2014): 130,831 molecules of at most 9 heavy atoms (C, N, O, F) with computed properties.

    The split does not depend on the seed: rows are permuted by ``numpy.random.RandomState(0).permutation(130831)``; the
    first 100,000 train, the next 15,000 are kept back, the last 15,831 test.

    Args:
        split: "train" or "test"; "validation" gives what is kept back.
        seed: has no effect.
        limit: use only so many molecules of the split; 0 uses all.

    Raises:
        UserError: if qm9pack is not installed, or its table is not the one expected.
    """

    def __init__(self, split: str, seed: int = 0, *, limit: int = 0) -> None:
        smiles, quantities = _read(_folder())
        if len(smiles) != _ROWS:
            raise UserError(f"qm9pack holds {len(smiles)} molecules, not {_ROWS}", _INSTALL)
        order = np.random.RandomState(0).permutation(_ROWS)
        first, last = {
            "train": (0, _TRAIN),
            "validation": (_TRAIN, _TRAIN + _VALIDATION),
            "test": (_TRAIN + _VALIDATION, _ROWS),
        }[split]
        rows = order[first:last][: limit or None]
        columns = {name: Scalars(quantities[name][rows], unit) for name, (_, unit) in _QUANTITIES.items()}
        super().__init__([smiles[i] for i in rows], ["qm9: Ramakrishnan et al. 2014, CC0, from qm9pack (MIT)"], columns)


def _folder() -> Path:
    # Not imported: its own loader needs a module that setuptools has dropped.
    spec = find_spec("qm9pack")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "data 'qm9' needs the package qm9pack", f"{_INSTALL}; or choose data=nci, which needs nothing more"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _read(folder: Path) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
    """All SMILES, and the quantities, of the table's three files."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    smiles: list[str] = []
    columns: dict[str, list[float]] = {name: [] for name in _QUANTITIES}
    for part in (1, 2, 3):
        try:
            with (folder / f"qm9_part{part}.csv").open(newline="", encoding="utf-8") as file:
                rows = csv.reader(file)
                header = next(rows)
                text = header.index("SMILES")
                places = {name: header.index(column) for name, (column, _) in _QUANTITIES.items()}
                for row in rows:
                    smiles.append(row[text])
                    for name, place in places.items():
                        columns[name].append(float(row[place]))
        except (OSError, ValueError) as error:
            raise UserError(f"qm9pack cannot be read: {error}", _INSTALL) from error
    return smiles, {name: np.array(column) for name, column in columns.items()}
