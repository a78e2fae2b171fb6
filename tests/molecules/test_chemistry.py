"""SMILES <-> graphs."""

from __future__ import annotations

import random

import pytest
from rdkit import Chem

from unnoise_molecules.chemistry import (
    AtomType,
    Graph,
    NotRepresentableError,
    assemble,
    canonical,
    graph_of,
    parse,
    smiles_of,
)


@pytest.mark.parametrize("aromatic", [False, True])
def test_molecules_come_back(smiles, aromatic):
    for text in smiles:
        assert smiles_of(graph_of(text, aromatic)) == canonical(text)


@pytest.mark.parametrize("aromatic", [False, True])
def test_every_spelling_of_a_molecule_has_the_same_graph(smiles, aromatic):
    for text in smiles:
        molecule = Chem.MolFromSmiles(canonical(text))
        for spelling in Chem.MolToRandomSmilesVect(molecule, 5, randomSeed=1):
            assert graph_of(spelling, aromatic) == graph_of(canonical(text), aromatic), spelling


def test_rings_are_written_as_alternating_bonds():
    assert sorted(index for _, _, index in graph_of("c1ccccc1").bonds) == [1, 1, 1, 2, 2, 2]


def test_types_may_tell_of_aromatic_rings():
    graph = graph_of("Cc1ccn[nH]1", aromatic=True)
    assert sorted(str(kind) for kind in graph.atoms) == ["C", "c", "c", "c", "n", "n"]
    assert graph.bonds == graph_of("Cc1ccn[nH]1").bonds


@pytest.mark.parametrize("text", ["[CH2]C", "[O]", "C[SiH2]"])
def test_hydrogens_that_valence_does_not_imply_are_part_of_the_type(text):
    graph = graph_of(text)
    assert smiles_of(graph) == canonical(text)
    assert any(kind.hydrogens is not None for kind in graph.atoms)


def test_stereochemistry_and_isotopes_are_dropped():
    assert smiles_of(graph_of("F/C=C/[C@H](O)[13CH3]")) == canonical("FC=CC(O)C")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("nonsense", "cannot read"), ("", "cannot read"), ("C(C)(C)(C)(C)C", "cannot read"), ("C->[Fe]", "bond")],
)
def test_what_cannot_be_represented_says_why(text, reason):
    with pytest.raises(NotRepresentableError, match=reason):
        graph_of(text)


@pytest.mark.parametrize(
    "kind",
    [
        AtomType("C"),
        AtomType("N", 1),
        AtomType("O", -1, 0),
        AtomType("Cl", 0, 2),
        AtomType("Se", aromatic=True),
        AtomType("N", 1, 1, True),
    ],
)
def test_atom_types_are_written_and_read(kind):
    assert AtomType.parse(str(kind)) == kind


def test_an_illegal_graph_never_becomes_a_legal_molecule():
    rng = random.Random(0)
    kinds = [AtomType.parse(text) for text in ("C", "N", "O", "F", "N+1", "O-1", "C-1")]
    illegal = 0
    for _ in range(500):
        n = rng.randint(1, 9)
        bonds = [(i, j, rng.choice([0, 0, 0, 1, 1, 2, 3])) for i in range(n) for j in range(i + 1, n)]
        graph = Graph(tuple(rng.choice(kinds) for _ in range(n)), tuple(bond for bond in bonds if bond[2]))
        legal = Chem.SanitizeMol(assemble(graph), catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE
        illegal += not legal
        assert (parse(smiles_of(graph)) is not None) == legal
    assert 0 < illegal < 500
