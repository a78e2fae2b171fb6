"""Data sets and files of molecules."""

from __future__ import annotations

import gzip
from importlib.util import find_spec

import numpy as np
import pytest

from unnoise.contracts import Scalars
from unnoise.errors import UserError
from unnoise_molecules.data.file import MoleculeFile
from unnoise_molecules.data.nci import Nci
from unnoise_molecules.data.qm9 import Qm9
from unnoise_molecules.files import read_molecules, write_sdf


def items_of(data):
    return [data[i] for i in range(len(data))]


def test_smiles_files_are_read_line_by_line(tmp_path):
    path = tmp_path / "some.smi"
    path.write_text("# made elsewhere\nCCO ethanol\n\nnonsense\nc1ccccc1\tbenzene\n")
    assert read_molecules(path) == ["CCO", "", "nonsense", "c1ccccc1"]


def test_tables_gz_and_sdf(tmp_path):
    with gzip.open(tmp_path / "some.csv.gz", "wt") as file:
        file.write("name,SMILES\nethanol,CCO\nwater,O\n")
    assert read_molecules(tmp_path / "some.csv.gz") == ["CCO", "O"]
    write_sdf(["CCO", "nonsense", "c1ccccc1"], tmp_path / "some.sdf", {})
    assert read_molecules(tmp_path / "some.sdf") == ["CCO", "c1ccccc1"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("some.xyz", "", "no file of molecules ends in '.xyz'"),
        ("some.csv", "a,b\n1,2\n", "no column of SMILES"),
        ("some.smi", "", "holds no molecule"),
    ],
)
def test_files_that_are_no_good(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_molecules(tmp_path / name)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="not a file"):
        read_molecules(tmp_path / "none.smi")


def test_a_file_is_split_by_hash_and_cleaned(tmp_path):
    path = tmp_path / "some.smi"
    path.write_text("\n".join(["C" * n for n in range(1, 101)] + ["CC", "bad", "worse"]))
    train, test = (MoleculeFile(split, path=str(path), test_fraction=0.2) for split in ("train", "test"))
    assert len(train) + len(test) == 100
    assert not set(items_of(train)) & set(items_of(test))
    assert 5 <= len(test) <= 40
    assert list(train.notes()) == [
        "some.smi: skipped 2 of 103 that RDKit cannot read: bad, worse",
        "some.smi: 1 repeated molecules were taken once",
    ]


def test_a_test_file_of_its_own(tmp_path):
    (tmp_path / "train.smi").write_text("CCO\nCCN\nCCC\n")
    (tmp_path / "test.smi").write_text("OCC\nCCF\n")
    paths = {"path": str(tmp_path / "train.smi"), "test_path": str(tmp_path / "test.smi")}
    assert items_of(MoleculeFile("train", **paths)) == ["CCN", "CCC"]
    assert items_of(MoleculeFile("test", **paths)) == ["CCO", "CCF"]


def test_columns_are_properties(tmp_path):
    path = tmp_path / "some.smi"
    path.write_text("c1ccccc1\nCCO\n")
    columns = MoleculeFile("train", path=str(path), test_fraction=1e-9).columns()
    assert {"logp", "qed", "weight", "rings", "atoms"} <= set(columns)
    assert "charm" not in columns
    rings, weight = columns["rings"], columns["weight"]
    assert isinstance(weight, Scalars)
    np.testing.assert_allclose(rings.values, [1, 0])
    np.testing.assert_allclose(weight.values, [78.11, 46.07], atol=0.01)
    assert weight.unit == "g/mol"


def test_nci_is_split_and_cut():
    train, test = Nci("train", max_atoms=12), Nci("test", max_atoms=12)
    assert len(train) > 5 * len(test) > 0
    assert max(train.columns()["atoms"].values) <= 12
    assert any("cannot read" in note for note in train.notes())


@pytest.mark.skipif(find_spec("qm9pack") is None, reason="qm9pack is not installed")
def test_qm9():
    train, test = Qm9("train", limit=50), Qm9("test", limit=50)
    assert len(train) == len(test) == 50
    assert not set(items_of(train)) & set(items_of(test))
    assert max(train.columns()["atoms"].values) <= 9
    assert np.isfinite(train.columns()["gap"].values).all()


def test_qm9_says_what_to_install(monkeypatch):
    monkeypatch.setattr("unnoise_molecules.data.qm9.find_spec", lambda name: None)
    with pytest.raises(UserError, match="qm9pack"):
        Qm9("train")
