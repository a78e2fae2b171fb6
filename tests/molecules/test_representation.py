"""Dense graphs: round trips, statistics, what is left out, files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from rdkit import Chem
from scipy.stats import norm

from unnoise.errors import UserError
from unnoise.noise import Noise
from unnoise_molecules.chemistry import canonical
from unnoise_molecules.representation import MoleculeGraph


@pytest.fixture
def fitted(smiles):
    representation = MoleculeGraph()
    representation.fit(smiles)
    return representation


def test_molecules_round_trip(fitted, smiles):
    state = fitted.encode(smiles)
    assert fitted.decode(state) == [canonical(text) for text in smiles]
    bonds = state.parts["bonds"]
    assert torch.equal(bonds, bonds.transpose(1, 2))
    assert torch.equal(state.project().parts["bonds"], bonds)


def test_padding_changes_nothing(fitted, smiles):
    state = fitted.encode(smiles)
    assert fitted.decode(state.resize({"nodes": 20})) == fitted.decode(state)
    assert fitted.decode(fitted.encode(smiles[:1])) == ["C"]


def test_frequent_atom_types_come_first(fitted):
    kinds = [str(kind) for kind in fitted.vocabulary]
    assert kinds[0] == "c"
    assert {"C", "N+1", "n", "O-1"} <= set(kinds)
    assert fitted.layout["atoms"].classes == len(kinds)


def test_elements_alone_are_fewer_kinds_of_the_same_molecules(smiles):
    plain = MoleculeGraph(aromatic=False)
    plain.fit(smiles)
    assert {str(kind) for kind in plain.vocabulary} == {"C", "O", "N", "F", "N+1", "O-1"}
    assert plain.decode(plain.encode(smiles)) == [canonical(text) for text in smiles]


def test_bonds_decide_not_what_atoms_say_of_them(fitted):
    state = fitted.encode(["OC1CC1F", "c1ccccc1"])
    kinds = {str(kind): index for index, kind in enumerate(fitted.vocabulary)}
    atoms = state.parts["atoms"]
    swapped = torch.where(atoms == kinds["C"], kinds["c"], torch.where(atoms == kinds["c"], kinds["C"], atoms))
    assert not torch.equal(swapped, atoms)
    assert fitted.decode(state.replace({**state.parts, "atoms": swapped})) == fitted.decode(state)


def test_it_is_rebuilt_from_settings_and_buffers(fitted, smiles):
    copy = MoleculeGraph()
    copy.restore(json.loads(json.dumps(fitted.settings())))
    copy.load_state_dict(fitted.state_dict())
    assert copy.layout == fitted.layout
    assert copy.decode(copy.encode(smiles)) == fitted.decode(fitted.encode(smiles))
    noise = Noise.of(0, 50)
    assert torch.equal(copy.sizes(noise)["nodes"], fitted.sizes(noise)["nodes"])


def test_sizes_follow_the_training_data():
    representation = MoleculeGraph()
    representation.fit(["CC", "CC", "CC", "CCCC"])
    sizes = representation.sizes(Noise.of(0, 4000))["nodes"]
    assert set(sizes.tolist()) == {2, 4}
    assert (sizes == 2).double().mean() == pytest.approx(0.75, abs=0.03)


def test_a_molar_mass_makes_sizes_likelier_and_a_number_of_atoms_decides_them():
    representation = MoleculeGraph()
    items = ["CO", "CCl", "CCl", "CCC", "CCF"]
    representation.fit(items)
    masses = {2: [32.042, 50.489, 50.489], 3: [44.097, 48.060]}  # g/mol, from a table of atomic masses
    n, nan = 4000, float("nan")
    noise = Noise.of(0, n)
    drawn = representation.sizes(noise)
    assert representation.asked_sizes(drawn, {}, noise)["nodes"].tolist() == drawn["nodes"].tolist()
    for asked in (35.0, 44.0, 47.0):
        # Bayes: the share of a size times the density of its normal distribution.
        density = {k: len(w) * norm(np.mean(w), np.std(w)).pdf(asked) for k, w in masses.items()}
        made = representation.asked_sizes(drawn, {"weight": torch.full((n,), asked)}, noise)["nodes"]
        share = density[2] / sum(density.values())
        assert (made == 2).double().mean() == pytest.approx(share, abs=0.03)
    some = {"weight": torch.tensor([44.0, nan, 44.0]), "atoms": torch.tensor([1.0, 3.0, nan])}
    three = {"nodes": drawn["nodes"][:3]}
    sizes = representation.asked_sizes(three, some, Noise.of(0, 3))["nodes"].tolist()
    both = representation.asked_sizes(three, {"weight": some["weight"]}, Noise.of(0, 3))["nodes"].tolist()
    assert sizes[:2] == [1, 3] and sizes[2] == both[2] and both[1] == three["nodes"][1]
    for wrong in (0.0, 4.0):
        with pytest.raises(UserError, match=f"condition.atoms={wrong:g} is a size that the model cannot make"):
            representation.asked_sizes(three, {"atoms": torch.full((3,), wrong)}, Noise.of(0, 3))


def test_what_is_left_out_is_named_and_not_measured():
    items = ["CCO", "CCCCCC", "CC.O", "CCBr", "what"]
    representation = MoleculeGraph(max_atoms=5, min_count=2, aromatic=False)
    representation.fit([*items, "OCC"])
    assert representation.unfit(items) == {
        1: "more than 5 heavy atoms",
        2: "several pieces",
        3: "atom type Br is too rare",
        4: "RDKit cannot read it",
    }
    assert [str(kind) for kind in representation.vocabulary] == ["C", "O"]
    assert representation.sizes_seen.tolist() == [0, 0, 0, 2]


def test_several_pieces_are_kept_where_wanted():
    representation = MoleculeGraph(connected=False)
    representation.fit(["CC.O"])
    assert representation.unfit(["CC.O"]) == {}
    assert representation.decode(representation.encode(["CC.O"])) == ["CC.O"]


def test_user_errors(fitted):
    with pytest.raises(UserError, match="none of the 1 molecules"):
        MoleculeGraph().fit(["nonsense"])
    with pytest.raises(UserError, match="min_count"):
        MoleculeGraph(min_count=0)
    with pytest.raises(UserError, match="'CCBr' cannot be represented"):
        fitted.encode(["CCBr"])


def test_files_and_preview(fitted, tmp_path):
    items = ["CCO", "C(C)(C)(C)(C)C", "c1ccccc1"]
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        paths = fitted.save(items, folder, {"seed": 1})
    assert [path.name for path in paths] == ["molecules.smi", "molecules.sdf"]
    assert paths[0].read_text().split() == items
    records = list(Chem.SDMolSupplier(str(paths[1])))
    assert [record.GetProp("_Name") for record in records] == ["00000", "00002"]
    assert json.loads(records[0].GetProp("unnoise")) == {"seed": 1}
    for path in paths:
        assert path.read_bytes() == (folders[0] / path.name).read_bytes()
    fitted.preview(items, tmp_path / "preview.png")
    with Image.open(tmp_path / "preview.png") as picture:
        assert picture.size == (600, 200)
