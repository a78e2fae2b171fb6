"""Masks of molecules, and edits of them by an untrained model: what is kept does not depend on what a model knows."""

import pytest
import torch
from rdkit import Chem

from unnoise.cli.main import main
from unnoise.errors import UserError
from unnoise.runs import load
from unnoise_molecules.chemistry import BONDS, graph_of

SMILES = ["CCO", "c1ccccc1", "CC#N", "CCN", "OC1CC1F", "CCCO", "CC(=O)O", "C1CCCC1", "Nc1ccccc1", "CCCCCCCC"]
SMALL = "denoiser.width=24 denoiser.heads=2 denoiser.depth=1 train.steps=2 train.batch=4 train.device=cpu"
STEPS = "sample.steps=4"


@pytest.fixture(scope="module", params=["marginal", "absorbing"])
def model(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("edits")
    (root / "few.smi").write_text("\n".join(SMILES * 4))
    words = f"train modality=molecules data=molecules/file data.path={root / 'few.smi'} run={root / 'run'}"
    kernel = f"process.atoms.kernel={request.param} process.bonds.kernel={request.param}"
    assert main(f"{words} {kernel} {SMALL} {STEPS}".split()) == 0
    return load(root / "run", "cpu")


def held(model, smiles, made):
    """Whether every result begins with the molecule's atoms, with all there is and is not between them."""
    graph = graph_of(smiles, True)
    n = len(graph.atoms)
    kinds = torch.tensor([model.representation.vocabulary.index(kind) for kind in graph.atoms])
    bonds = torch.zeros(n, n, dtype=torch.int64)
    for i, j, order in graph.bonds:
        bonds[i, j] = bonds[j, i] = order
    parts = made.state.parts
    return bool((parts["atoms"][:, :n] == kinds).all() and (parts["bonds"][:, :n, :n] == bonds).all())


@pytest.mark.parametrize("options", [{}, {"sampler": "renoise"}, {"sampler": "repaint"}, {"categorical": "tau_leap"}])
def test_a_decorated_scaffold_is_there_every_time(model, options):
    made = model.edit("infill", ["OC1CC1"], mask="extend:3", n=20, progress=False, **options)
    assert held(model, "OC1CC1", made) and made.state.sizes["nodes"].tolist() == [7] * 20
    assert len(BONDS) > int(made.state.parts["bonds"].max())
    query = Chem.MolFromSmarts("OC1CC1")
    valid = [molecule for molecule in map(Chem.MolFromSmiles, made.items) if molecule is not None]
    assert all(molecule.HasSubstructMatch(query) for molecule in valid)


def test_a_model_that_was_shown_scaffolds_is_shown_them(tmp_path):
    """What is kept is told to the network as being without noise, and is there in every result."""
    (tmp_path / "few.smi").write_text("\n".join(SMILES * 4))
    words = f"train modality=molecules data=molecules/file data.path={tmp_path / 'few.smi'} run={tmp_path / 'run'}"
    assert main(f"{words} {SMALL} {STEPS} train.time_sampling.known=0.5 denoiser.own_levels=true".split()) == 0
    model = load(tmp_path / "run", "cpu")
    told = []
    model.denoiser.network.register_forward_pre_hook(lambda _, args: told.append(args[1].t["bonds"]))
    made = model.edit("infill", ["OC1CC1"], mask="extend:3", n=5, progress=False)
    assert model.known_level == 0 and held(model, "OC1CC1", made)
    assert all(t.shape == (5, 7, 7) and float(t[:, :4, :4].max()) < 0.01 < float(t[:, 4:].min()) for t in told[:2])


def test_scaffolds_of_several_sizes_go_together(model):
    made = model.edit("infill", ["CCO", "OC1CC1"], mask="extend:2", progress=False)
    assert made.state.sizes["nodes"].tolist() == [5, 6]
    for index, smiles in enumerate(["CCO", "OC1CC1"]):
        alone = model.edit("infill", [smiles], mask="extend:2", seed=index, progress=False)
        assert alone.items[0] == made.items[index] and held(model, smiles, alone)


def test_atoms_by_pattern(model):
    graph = graph_of("Nc1ccccc1", True)
    ring = torch.tensor([kind.aromatic for kind in graph.atoms])
    kept = model.edit("infill", ["Nc1ccccc1"], mask="keep:c1ccccc1", n=8, progress=False).state
    other = model.edit("infill", ["Nc1ccccc1"], mask="replace:[NH2]", n=8, progress=False).state
    source = model.representation.encode(["Nc1ccccc1"])
    for state in (kept, other):
        assert (state.parts["atoms"][:, ring] == source.parts["atoms"][:, ring]).all()
        assert (state.parts["bonds"][:, ring][:, :, ring] == source.parts["bonds"][:, ring][:, :, ring]).all()
    assert all(torch.equal(kept.parts[name], other.parts[name]) for name in kept.parts)


def test_variations_and_their_ends(model):
    none = model.edit("variation", SMILES[:3], strength=0, progress=False)
    assert none.items == SMILES[:3] and none.record["nfe"] == 0
    anew = model.edit("variation", SMILES[:3], strength=1, seed=5, progress=False)
    sizes = [len(graph_of(smiles).atoms) for smiles in SMILES[:3]]
    assert anew.items == model.sample(3, 5, sizes={"nodes": sizes}, progress=False).items
    near, far = (model.edit("variation", ["CCCCCCCC"], strength=s, n=40, progress=False).state for s in (0.05, 0.9))
    source = model.representation.encode(["CCCCCCCC"])
    changed = [(state.parts["atoms"] != source.parts["atoms"]).double().mean() for state in (near, far)]
    assert changed[0] < changed[1]


def test_a_file_is_a_source(model, tmp_path):
    (tmp_path / "scaffold.smi").write_text("CCO\n")
    made = model.edit("infill", tmp_path / "scaffold.smi", mask="extend:1", n=3, progress=False)
    assert held(model, "CCO", made)


@pytest.mark.parametrize(
    ("source", "mask", "words"),
    [
        ("CCO", "exted:3", "Did you mean 'extend'"),
        ("CCO", "extend:6", "3 atoms and 6 more"),
        ("CCO", "extend:0", "out of range"),
        ("CCO", "keep:(", "no SMARTS pattern"),
        ("CCO", "keep:c1ccccc1", "no atoms of CCO match"),
        ("CCO", "replace:*", "all atoms of CCO match"),
        ("CCBr", "extend:2", "does not fit the model: atom type Br is too rare"),
        ("C1CC", "extend:2", "RDKit cannot read it"),
    ],
)
def test_what_does_not_fit(model, source, mask, words):
    with pytest.raises(UserError, match=words):
        model.edit("infill", [source], mask=mask, progress=False)


def test_what_categories_cannot_do(model):
    with pytest.raises(UserError, match="'atoms' is categorical: its noise is drawn"):
        model.edit("invert", ["CCO"], progress=False)
    with pytest.raises(UserError, match="'atoms' is categorical"):
        model.edit("interpolate", ["CCO", "CCN"], progress=False)
    made = model.edit("interpolate", ["CCO", "CCN"], strength=0.1, n=3, progress=False)
    assert len(made.items) == 3
    with pytest.raises(UserError, match="differ in size, nodes: 3 and 4"):
        model.edit("interpolate", ["CCO", "OC1CC1"], strength=0.1, progress=False)
