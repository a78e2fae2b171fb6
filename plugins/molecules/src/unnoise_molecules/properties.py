"""Numbers that a molecule's graph determines: what a model can be told, and what its samples are judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import QED, Crippen, Descriptors, rdMolDescriptors

from unnoise.contracts import Column, Scalars
from unnoise_molecules.chemistry import parse

PROPERTIES: dict[str, tuple[Callable[[Chem.Mol], float], str]] = {
    "logp": (Crippen.MolLogP, ""),  # type: ignore[attr-defined]
    "qed": (QED.qed, ""),
    "weight": (Descriptors.MolWt, "g/mol"),  # type: ignore[attr-defined]
    "rings": (rdMolDescriptors.CalcNumRings, ""),
    "atoms": (Chem.Mol.GetNumHeavyAtoms, ""),
}
"""Name -> function of a sanitised molecule, and unit. logP: Wildman & Crippen 1999; QED, a drug-likeness in [0, 1]:
Bickerton et al. 2012; weight: average molar mass; rings: size of the smallest set of smallest rings; atoms: heavy."""


def values(name: str, items: Sequence[str]) -> NDArray[np.float64]:
    """A property of every item, NaN where there is no molecule: ``(N,)``."""
    return np.array([_value(name, smiles) for smiles in items], dtype=np.float64)


class PropertyColumns(Mapping[str, Column]):
    """Properties of a data set's molecules, computed when a column is asked for.

    Args:
        items: the molecules.
        given: further columns that the data set brings.
    """

    def __init__(self, items: Sequence[str], given: Mapping[str, Column] | None = None) -> None:
        self._items, self._known = items, dict(given or {})

    def __getitem__(self, name: str) -> Column:
        if name not in self._known:
            if name not in PROPERTIES:
                raise KeyError(name)
            self._known[name] = Scalars(values(name, self._items), PROPERTIES[name][1])
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*PROPERTIES, *self._known]))

    def __len__(self) -> int:
        return len({*PROPERTIES, *self._known})

    def __contains__(self, name: object) -> bool:
        return name in PROPERTIES or name in self._known


@lru_cache(maxsize=1 << 18)
def _value(name: str, smiles: str) -> float:
    molecule = parse(smiles)
    if molecule is None:
        return float("nan")
    with rdBase.BlockLogs():
        return float(PROPERTIES[name][0](molecule))
