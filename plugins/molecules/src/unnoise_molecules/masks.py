"""What an edit makes anew of a molecule: atoms added to a scaffold, or those that match a pattern or do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from rdkit import Chem, rdBase

from unnoise.contracts import Kept
from unnoise.errors import UserError
from unnoise.masks import parse_mask, whole
from unnoise.state import State
from unnoise_molecules.chemistry import assemble, graph_of
from unnoise_molecules.representation import MoleculeGraph

FORMS = {"extend": ("ATOMS",)}
PATTERNS = ("replace", "keep")
_ALSO = "replace:SMARTS, atoms that are made anew; keep:SMARTS, those that are not"


def keep(representation: MoleculeGraph, items: Sequence[str], mask: Any) -> Kept:
    """What an edit keeps of molecules; see :meth:`unnoise.contracts.Representation.kept`.

    ``extend:3`` decorates: a molecule stays as a scaffold, its atoms and all there is and is not between them, and
    three atoms are added. ``replace:[OH]`` and ``keep:c1ccccc1`` name atoms of a molecule by a SMARTS pattern, of which
    all matches count.

    Raises:
        UserError: for another mask, one that fits no atom or all of them, or a molecule that would grow too large.
    """
    state = representation.encode(items).to("cpu")
    word, _, pattern = str(mask).partition(":")
    if word in PATTERNS:
        known = _matching(representation, items, state, pattern, str(mask))
        known = known if word == "keep" else state.masks["nodes"] & ~known
    else:
        _, numbers = parse_mask(mask, FORMS, _ALSO)
        most = len(representation.sizes_seen) - 1
        (more,) = whole(mask, numbers, [1], [most])
        known = state.masks["nodes"]
        if int(state.sizes["nodes"].max()) + more > most:
            largest = int(state.sizes["nodes"].max())
            fix = f"at most {most} atoms, so mask=extend:{most - largest} or less"
            raise UserError(f"{largest} atoms and {more} more are more than any training molecule has", fix)
        state = _grown(state, more)
        known = torch.nn.functional.pad(known, (0, state.masks["nodes"].shape[1] - known.shape[1]))
    pairs = known[:, :, None] & known[:, None, :]
    return Kept(state, {"atoms": known, "bonds": pairs})


def _grown(state: State, more: int) -> State:
    """Molecules with atoms added, which are of the first type and bound to nothing."""
    sizes = state.sizes["nodes"] + more
    grown = State.zeros(state.layout, state.batch, {"nodes": sizes})
    size = grown.masks["nodes"].shape[1]
    return grown.replace(state.resize({"nodes": size}).parts)


def _matching(
    representation: MoleculeGraph, items: Sequence[str], state: State, pattern: str, text: str
) -> torch.Tensor:
    """Atoms that are part of a match, bool ``(B, n)``."""
    with rdBase.BlockLogs():
        query = Chem.MolFromSmarts(pattern) if pattern else None
    if query is None:
        raise UserError(f"mask={text}: {pattern!r} is no SMARTS pattern", "e.g. mask=keep:c1ccccc1")
    found = torch.zeros_like(state.masks["nodes"])
    for row, smiles in zip(found, items, strict=True):
        molecule = assemble(graph_of(smiles, representation.aromatic))
        Chem.SanitizeMol(molecule)
        atoms = sorted({index for match in molecule.GetSubstructMatches(query) for index in match})
        if not atoms or len(atoms) == molecule.GetNumAtoms():
            how = "all" if atoms else "no"
            raise UserError(f"mask={text}: {how} atoms of {smiles} match", "name some of them")
        row[atoms] = True
    return found
