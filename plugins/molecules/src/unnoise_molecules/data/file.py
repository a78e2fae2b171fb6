"""Any file of molecules."""

from __future__ import annotations

from pathlib import Path

from unnoise.errors import UserError
from unnoise_molecules.data.base import Molecules, is_test, usable
from unnoise_molecules.files import ENDINGS, read_molecules


class MoleculeFile(Molecules):
    """The distinct molecules of a SMILES, CSV or SDF file, without stereochemistry.

    A molecule belongs to the test split by a hash of its canonical SMILES, so that adding molecules moves none.

    Args:
        split: "train" or "test".
        seed: has no effect.
        path: the file; see :func:`unnoise_molecules.files.read_molecules`.
        test_path: another file that is the whole test split; ``path`` is then the whole training split, without what
            the test split holds.
        test_fraction: share of molecules that belong to the test split, where there is no ``test_path``.

    Raises:
        UserError: if a file is missing or cannot be read, or no molecule is left.
    """

    def __init__(
        self, split: str, seed: int = 0, *, path: str, test_path: str | None = None, test_fraction: float = 0.1
    ) -> None:
        if not 0 < test_fraction < 1:
            raise UserError(f"data.test_fraction={test_fraction}", "it lies between 0 and 1")
        molecules, notes = usable(read_molecules(Path(path).expanduser()), Path(path).name)
        readable = len(molecules)
        if test_path is None:
            molecules = [s for s in molecules if is_test(s, test_fraction) == (split == "test")]
        else:
            test, test_notes = usable(read_molecules(Path(test_path).expanduser()), Path(test_path).name)
            held_out = set(test)
            molecules, notes = (
                (test, test_notes) if split == "test" else ([s for s in molecules if s not in held_out], notes)
            )
        if not molecules:
            found = "; ".join([f"found {readable} that can be read", *notes])
            fix = f"one SMILES a line, or {', '.join(ENDINGS)}; or change data.test_fraction={test_fraction}"
            raise UserError(f"{path} holds no molecule for the {split} split: {found}", fix)
        super().__init__(molecules, notes)
