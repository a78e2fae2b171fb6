"""What every data set of molecules shares."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from unnoise.contracts import Column, Dataset
from unnoise_molecules.chemistry import LONGEST, canonical
from unnoise_molecules.properties import PropertyColumns


class Molecules(Dataset):
    """SMILES in memory, with their properties as columns.

    Args:
        items: SMILES, all readable.
        notes: what a user should know.
        columns: what is known of each beside the properties that its graph determines.
    """

    def __init__(
        self, items: Sequence[str], notes: Sequence[str] = (), columns: Mapping[str, Column] | None = None
    ) -> None:
        self._items, self._notes = list(items), list(notes)
        self._columns = PropertyColumns(self._items, columns)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> str:
        return self._items[index]

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def notes(self) -> Sequence[str]:
        return self._notes


def usable(lines: Sequence[str], source: str) -> tuple[list[str], list[str]]:
    """The distinct readable molecules among SMILES, canonical and without stereochemistry, in the order of first use.

    Returns:
        the molecules, and notes on what was left out.
    """
    found: dict[str, None] = {}
    skipped: dict[str, list[str]] = {}
    repeated = 0
    for line in lines:
        smiles = canonical(line)
        if smiles is None:
            reason = f"of over {LONGEST} characters" if len(line) > LONGEST else "that RDKit cannot read"
            skipped.setdefault(reason, []).append(line or "(empty)")
        elif smiles in found:
            repeated += 1
        else:
            found[smiles] = None
    notes = []
    for reason, texts in skipped.items():
        shown = ", ".join(map(_short, texts[:3])) + (", ..." if len(texts) > 3 else "")
        notes.append(f"{source}: skipped {len(texts)} of {len(lines)} {reason}: {shown}")
    if repeated:
        notes.append(f"{source}: {repeated} repeated molecules were taken once")
    return list(found), notes


def _short(text: str) -> str:
    """The beginning of a text of any kind, on one line."""
    return "".join(c if c.isprintable() else "?" for c in text[:60]) + ("..." if len(text) > 60 else "")


def is_test(smiles: str, fraction: float) -> bool:
    """Whether a molecule belongs to the test split: by a hash of its text, so that adding molecules moves none."""
    digest = hashlib.blake2b(smiles.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64 < fraction
