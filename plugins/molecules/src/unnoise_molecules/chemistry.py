"""Molecules as graphs: SMILES <-> types of atoms and classes of bonds.

An item of this plugin is a SMILES string. That also holds for what a model makes: a graph that breaks the rules of
valence still has a SMILES, one that does not parse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from rdkit import Chem, rdBase

BONDS = {
    Chem.BondType.ZERO: 0.0,
    Chem.BondType.SINGLE: 1.0,
    Chem.BondType.DOUBLE: 2.0,
    Chem.BondType.TRIPLE: 3.0,
}
"""RDKit's type of every bond class, in the order of classes -> its bond order; class 0 is no bond."""

_KINDS = tuple(BONDS)
_CLASS = {kind: index for index, kind in enumerate(_KINDS) if index}
_TYPE = re.compile(r"([A-Za-z][a-z]?)([+-]\d+)?(?:H(\d+))?")

LONGEST = 2000
"""Characters of a SMILES that is read. RDKit needs quadratic time, and at some tens of thousands of atoms its recursion
ends the process."""


class NotRepresentableError(Exception):
    """Why a molecule has no graph of this kind; the text is for people."""


@dataclass(frozen=True)
class AtomType:
    """One kind of atom.

    Args:
        symbol: of its element.
        charge: formal charge.
        hydrogens: number of implicit hydrogens, where it is not what the atom's valence asks for (radicals, some
            metals); None where it is.
        aromatic: whether it says of itself that it is in an aromatic ring. That is its bonds' affair: nothing is built
            from what it says.
    """

    symbol: str
    charge: int = 0
    hydrogens: int | None = None
    aromatic: bool = False

    def __str__(self) -> str:
        charge = f"{self.charge:+d}" if self.charge else ""
        symbol = self.symbol.lower() if self.aromatic else self.symbol
        return symbol + charge + ("" if self.hydrogens is None else f"H{self.hydrogens}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of ``str``: ``"N+1"``, ``"CH2"`` or ``"c"``."""
        match = _TYPE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no atom type")
        symbol, charge, hydrogens = match.groups()
        count = None if hydrogens is None else int(hydrogens)
        return cls(symbol.capitalize(), int(charge or 0), count, symbol.islower())


@dataclass(frozen=True)
class Graph:
    """A molecule without stereochemistry.

    Args:
        atoms: the type of every atom.
        bonds: ``(i, j, class)`` with i < j and class a position in :data:`BONDS`.
    """

    atoms: tuple[AtomType, ...]
    bonds: tuple[tuple[int, int, int], ...]


def parse(smiles: str) -> Chem.Mol | None:
    """The sanitised molecule of a SMILES, or None where there is none. The empty string is no molecule, and a text of
    more than :data:`LONGEST` characters is not read.
    """
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles) if 0 < len(smiles) <= LONGEST else None
    return molecule if molecule is not None and molecule.GetNumAtoms() else None


@lru_cache(maxsize=1 << 18)
def graph_of(smiles: str, aromatic: bool = False) -> Graph:
    """The graph of a SMILES. Its atoms are in RDKit's canonical order: every SMILES of a molecule has the same graph.
    Aromatic rings are written as alternating bonds.

    Args:
        smiles: of the molecule.
        aromatic: whether types of atoms tell of aromatic rings.

    Raises:
        NotRepresentableError: if it does not parse, or :func:`smiles_of` does not give the same molecule back.
    """
    molecule = parse(smiles)
    if molecule is None:
        raise NotRepresentableError("RDKit cannot read it")
    plain = _without_stereo(molecule)
    expected = Chem.MolToSmiles(plain)
    # Which atom stands where in the SMILES just written; RDKit keeps it as a private property only.
    plain = Chem.RenumberAtoms(plain, list(plain.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"]))
    if any(atom.GetAtomicNum() == 0 for atom in plain.GetAtoms()):
        raise NotRepresentableError("it has a wildcard in place of an atom")
    rings = [atom.GetIsAromatic() for atom in plain.GetAtoms()]
    with rdBase.BlockLogs():
        Chem.Kekulize(plain, clearAromaticFlags=True)
    for bond in plain.GetBonds():
        if bond.GetBondType() not in _CLASS:
            raise NotRepresentableError("it has a bond that is not single, double or triple")
    bonds = tuple(sorted(_edge(bond) for bond in plain.GetBonds()))
    bare = Graph(tuple(AtomType(a.GetSymbol(), a.GetFormalCharge()) for a in plain.GetAtoms()), bonds)
    # Where RDKit's own count of hydrogens differs from the molecule's, the count becomes part of the type.
    guess = assemble(bare)
    guess.UpdatePropertyCache(strict=False)
    wanted = [atom.GetTotalNumHs() for atom in plain.GetAtoms()]
    guessed = [atom.GetTotalNumHs() for atom in guess.GetAtoms()]
    atoms = tuple(
        AtomType(kind.symbol, kind.charge, None if have == want else want, aromatic and ring)
        for kind, have, want, ring in zip(bare.atoms, guessed, wanted, rings, strict=True)
    )
    graph = Graph(atoms, bonds)
    if smiles_of(graph) != expected:
        raise NotRepresentableError("its graph gives another molecule back")
    return graph


def assemble(graph: Graph) -> Chem.RWMol:
    """The RDKit molecule of a graph, legal or not, not yet sanitised."""
    molecule = Chem.RWMol()
    for kind in graph.atoms:
        atom = Chem.Atom(kind.symbol)
        atom.SetFormalCharge(kind.charge)
        if kind.hydrogens is not None:
            atom.SetNoImplicit(True)
            atom.SetNumExplicitHs(kind.hydrogens)
        molecule.AddAtom(atom)
    for i, j, index in graph.bonds:
        molecule.AddBond(i, j, _KINDS[index])
    return molecule


def smiles_of(graph: Graph) -> str:
    """The canonical SMILES of a graph; of an illegal one a SMILES that does not parse. Nothing is repaired."""
    molecule = assemble(graph)
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(molecule)
        except (Chem.MolSanitizeException, ValueError):
            return str(Chem.MolToSmiles(assemble(graph)))
    return str(Chem.MolToSmiles(molecule))


def canonical(smiles: str) -> str | None:
    """The canonical SMILES without stereochemistry, or None for what does not parse."""
    molecule = parse(smiles)
    return None if molecule is None else str(Chem.MolToSmiles(_without_stereo(molecule)))


def _edge(bond: Chem.Bond) -> tuple[int, int, int]:
    i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    return min(i, j), max(i, j), _CLASS[bond.GetBondType()]


def _without_stereo(molecule: Chem.Mol) -> Chem.Mol:
    """A copy that says nothing of stereochemistry, isotopes or atom maps."""
    plain = Chem.Mol(molecule)
    Chem.RemoveStereochemistry(plain)
    hydrogens = any(atom.GetAtomicNum() == 1 for atom in plain.GetAtoms())
    for atom in plain.GetAtoms():
        atom.SetAtomMapNum(0)
        atom.SetIsotope(0)
    # A hydrogen is an atom of its own as long as it has an isotope.
    return Chem.RemoveHs(plain) if hydrogens else plain
