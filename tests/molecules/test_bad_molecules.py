"""Files of molecules as people have them: what cannot be used is skipped, counted and named, and nothing crashes."""

import csv
import gzip
import random
import time

import pytest

from unnoise.errors import UserError
from unnoise.training.data import Selection
from unnoise_molecules.chemistry import LONGEST, NotRepresentableError, canonical, graph_of, smiles_of
from unnoise_molecules.data.file import MoleculeFile
from unnoise_molecules.files import ENDINGS, read_molecules, write_sdf
from unnoise_molecules.properties import PROPERTIES, values
from unnoise_molecules.representation import MoleculeGraph

UNREADABLE = [
    "CCO>>CC=O", "CCO>Cl>CC=O", "[R1]CC", "[Xx]", "[C,N]", "c1cccc1", "C1CC", "C(C", "C..C", "C.", "[CH9]", "C\0C",
    "C–C", "name", "", " ", "C" * (LONGEST + 1), "C(" * 20_000 + "C" + ")" * 20_000, "[" * 5000, "1" * 5000,
]  # fmt: skip
"""Reactions, R-groups, queries, open rings, invalid valences, texts, and what would overflow RDKit's stack."""

GRAPHS = {
    "[Na+].[Cl-]": 2, "[CH3]": 1, "[O]O": 2, "[13CH4]": 1, "[2H]O[2H]": 1, "[H][H]": 2, "[H+]": 1, "[Cu+2]": 1,
    "[CH3:1][OH:2]": 2, "C[C@H](O)F": 4, "F/C=C/F": 4, "FS(F)(F)(F)(F)F": 7, "C%99CCCC%99": 5, "CCO |$a;b;c$|": 3,
    "[CH-]1C=CC=C1.[CH-]1C=CC=C1.[Fe+2]": 11,
}  # fmt: skip
"""Salts, radicals, isotopes, bare hydrogen, metals, atom maps, stereochemistry -> number of atoms in the graph."""

NO_GRAPH = {
    "*CC*": "wildcard", "[*:1]CC": "wildcard", "N->[Fe]": "bond", "[Re]$[Re]": "bond", "C~C": "bond",
    "CCO>>CC=O": "cannot read", "C" * (LONGEST + 1): "cannot read",
}  # fmt: skip
"""Attachment points, dative, quadruple and unspecified bonds -> a word of the reason."""


@pytest.mark.parametrize("smiles", UNREADABLE, ids=lambda s: s[:12])
def test_what_is_no_molecule_is_none_at_once(smiles):
    started = time.process_time()
    assert canonical(smiles) is None
    assert time.process_time() - started < 1


@pytest.mark.parametrize("smiles", GRAPHS)
def test_exotic_molecules_have_graphs_and_properties(smiles):
    graph = graph_of(smiles)
    assert len(graph.atoms) == GRAPHS[smiles]
    assert smiles_of(graph) == canonical(smiles) == canonical(canonical(smiles))
    assert graph_of(canonical(smiles)) == graph
    assert all(values(name, [smiles]).shape == (1,) for name in PROPERTIES)


@pytest.mark.parametrize("smiles", NO_GRAPH, ids=lambda s: s[:12])
def test_what_has_no_graph_says_why(smiles):
    with pytest.raises(NotRepresentableError, match=NO_GRAPH[smiles]):
        graph_of(smiles)


def test_a_mixed_file_is_skipped_counted_and_named_once(tmp_path):
    path = tmp_path / "mixed.smi"
    lines = ["CCO", "OCC", "[Na+].[Cl-]", "*CC*", "N->[Fe]", "C" * 300, "C" * 10_000, "CCO>>CC=O", "x\x07y" * 40, "CCC"]
    path.write_text("\n".join(lines))
    data = MoleculeFile("train", path=str(path), test_fraction=1e-9)
    assert data.notes() == [
        f"mixed.smi: skipped 1 of 10 of over 2000 characters: {'C' * 60}...",
        f"mixed.smi: skipped 2 of 10 that RDKit cannot read: CCO>>CC=O, {('x?y' * 20)}...",
        "mixed.smi: 1 repeated molecules were taken once",
    ]
    representation = MoleculeGraph()
    representation.fit([data[i] for i in range(len(data))])
    assert Selection.of(data, representation).notes() == [
        "left out 1 of 6 items: several pieces: [Cl-].[Na+]",
        "left out 1 of 6 items: it has a wildcard in place of an atom: *CC*",
        "left out 1 of 6 items: it has a bond that is not single, double or triple: [NH3]->[Fe]",
        f"left out 1 of 6 items: more than 128 heavy atoms: {'C' * 60}",
    ]
    again = MoleculeGraph()
    again.restore(representation.settings())
    assert again.vocabulary == representation.vocabulary


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.smi", b"\xef\xbb\xbfCCO\r\nCCN\r\n"),
        ("a.smi", b"SMILES name\nCCO alcohol\nCCN amine\n"),
        ("a.smi", b"CCO caf\xe9\nCCN na\xefve\n"),
        ("a.SMI.GZ", gzip.compress(b"CCO\nCCN\n")),
        ("a.csv", b'\xef\xbb\xbfName,"SMILES"\r\n"one, with\r\ntwo lines",CCO\r\nx,CCN,extra\r\n\r\n'),
        ("a.tsv", b"id\tcanonical_smiles\n1\tCCO\n2\tCCN\n"),
        ("a.csv.gz", gzip.compress(b"smiles\nCCO\nCCN\n")),
    ],
)
def test_files_as_people_write_them(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert read_molecules(tmp_path / name) == ["CCO", "CCN"]


def test_unicode_and_spaces_in_names(tmp_path):
    path = tmp_path / "mein Ordner ☃" / "moléculas α.smi"
    path.parent.mkdir()
    path.write_text("CCO\nCCN\n")
    assert len(MoleculeFile("train", path=str(path), test_fraction=1e-9)) == 2


@pytest.fixture
def sdf(tmp_path):
    write_sdf(["CCO", "c1ccccc1", "CCN"], tmp_path / "good.sdf", {})
    return (tmp_path / "good.sdf").read_text().split("$$$$\n")[:3]


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: "hello\nworld\n",
        lambda record: "\n\n\n",
        lambda record: record.replace("  6  6", "  6 99"),
        lambda record: record.replace("  6  6", "999999"),
        lambda record: record.replace("  6  6", "xxxxxx"),
        lambda record: record[:150] + "\n",
        lambda record: record.replace(" C ", " Xx"),
    ],
)
def test_a_broken_sdf_record_costs_itself_alone(tmp_path, sdf, damage):
    first, second, third = sdf
    path = tmp_path / "some.sdf"
    path.write_text(f"{first}$$$$\n{damage(second)}$$$$\n{third}$$$$\n")
    found = read_molecules(path)
    assert [smiles for smiles in found if smiles] == ["CCO", "CCN"]
    assert len(found) in (2, 3)


def test_damaged_sdf_files_are_read_or_refused(tmp_path, sdf):
    draw, text, path = random.Random(0), "$$$$\n".join(sdf), tmp_path / "some.sdf"
    for _ in range(150):
        damaged = list(text[: draw.choice((len(text), draw.randrange(len(text))))])
        for _ in range(draw.choice((1, 5, 30))):
            damaged[draw.randrange(len(damaged))] = chr(draw.randrange(1, 256))
        path.write_text("".join(damaged))
        try:
            assert all(smiles == "" or canonical(smiles) for smiles in read_molecules(path))
        except UserError as error:
            assert "holds no molecule" in error.message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.smi.gz", gzip.compress(b"CCO\n" * 999)[:-9], "cannot be read"),
        ("a.smi.gz", b"CCO\n", "cannot be read"),
        ("a.csv", b"id;smiles\n1;CCO\n", "has no column of SMILES; its first line holds 'id;smiles'"),
        ("a.csv", b"", "its first line holds nothing"),
        ("a.sdf", b"", "holds no molecule"),
        ("a.xlsx", b"PK", "no file of molecules ends in '.xlsx'"),
    ],
)
def test_files_that_are_refused_say_why(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_molecules(tmp_path / name)
    assert message in caught.value.message
    assert caught.value.fix


def test_a_table_with_an_endless_cell(tmp_path):
    (tmp_path / "a.csv").write_text(f'smiles\n"{"C" * 2000}\n')
    limit = csv.field_size_limit(1000)
    try:
        with pytest.raises(UserError, match="is no table: field larger than field limit"):
            read_molecules(tmp_path / "a.csv")
    finally:
        csv.field_size_limit(limit)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (
            "nonsense\nCCO>>C\n",
            "found 0 that can be read; a.smi: skipped 2 of 2 that RDKit cannot read: nonsense, CCO>>C",
        ),
        ("\n\n", "found 0 that can be read; a.smi: skipped 2 of 2 that RDKit cannot read: (empty), (empty)"),
    ],
)
def test_an_empty_data_set_says_what_was_found_and_what_is_read(tmp_path, lines, found):
    path = tmp_path / "a.smi"
    path.write_text(lines)
    with pytest.raises(UserError) as caught:
        MoleculeFile("train", path=str(path))
    assert caught.value.message == f"{path} holds no molecule for the train split: {found}"
    assert all(ending in caught.value.fix for ending in ENDINGS)


def test_one_molecule_is_a_data_set_of_one_split(tmp_path):
    path = tmp_path / "a.smi"
    path.write_text("CCO\n")
    sizes = []
    for split in ("train", "test"):
        try:
            sizes.append(len(MoleculeFile(split, path=str(path))))
        except UserError as error:
            assert "found 1 that can be read" in error.message
            sizes.append(0)
    assert sorted(sizes) == [0, 1]
