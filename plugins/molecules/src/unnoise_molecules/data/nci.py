"""The small file of NCI molecules that comes with RDKit."""

from __future__ import annotations

from pathlib import Path

from rdkit import RDConfig

from unnoise.errors import UserError
from unnoise_molecules.data.base import Molecules, is_test, usable
from unnoise_molecules.files import read_molecules
from unnoise_molecules.properties import values


class Nci(Molecules):
    """The first 5,000 molecules of the National Cancer Institute's open collection, as RDKit ships them.

    Varied, with up to some 70 heavy atoms: ``max_atoms`` keeps the small ones. A tenth, chosen by a hash of the SMILES,
    is the test split.

    Args:
        split: "train" or "test".
        seed: has no effect.
        max_atoms: leave out molecules with more heavy atoms than this; 0 keeps all.

    Raises:
        UserError: if RDKit came without the file.
    """

    def __init__(self, split: str, seed: int = 0, *, max_atoms: int = 0) -> None:
        path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
        if not path.is_file():
            raise UserError(
                "this RDKit came without its file of NCI molecules", "use another: data.name=file data.path=..."
            )
        molecules, notes = usable(read_molecules(path), "nci")
        if max_atoms:
            small = [s for s, n in zip(molecules, values("atoms", molecules), strict=True) if n <= max_atoms]
            notes.append(f"nci: left out {len(molecules) - len(small)} with more than {max_atoms} heavy atoms")
            molecules = small
        super().__init__([s for s in molecules if is_test(s, 0.1) == (split == "test")], notes)
