"""The graph transformer: equivariance, padding, features."""

from __future__ import annotations

import pytest
import torch

from unnoise.contracts import Context
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.level import Level
from unnoise.state import State
from unnoise_molecules.features import features, one_hot
from unnoise_molecules.pairs import pairs_of
from unnoise_molecules.representation import MoleculeGraph
from unnoise_molecules.transformer import GraphTransformer

TOLERANCE = 1e-4


@pytest.fixture
def state(smiles):
    representation = MoleculeGraph()
    representation.fit(smiles)
    return representation.encode(smiles)


def make(layout, context_dim=0, **options):
    network = GraphTransformer(layout, context_dim, **{"width": 24, "heads": 4, "depth": 2, **options})
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def level(batch):
    log_snr = torch.linspace(-4, 4, batch)
    return Level({}, {"atoms": log_snr, "bonds": log_snr.flip(0)}, {})


def guess(state, extra=0):
    made = {}
    for part in state.layout:
        x = state.parts[part.name]
        made[part.name] = (x[..., None] * torch.linspace(0.1, 1, part.classes)).sin().square()
    return made


def largest_difference(a, b, state):
    return max(
        float((a[part.name] - b[part.name]).detach().masked_fill(~state.mask(part.name)[..., None], 0).abs().max())
        for part in state.layout
    )


def test_padding_changes_nothing(state):
    network = make(state.layout)
    padded = state.resize({"nodes": 14})
    size = state.masks["nodes"].shape[1]
    plain = network(state, level(state.batch), None, guess(state))
    wide = network(padded, level(state.batch), None, guess(padded))
    cut = {"atoms": wide["atoms"][:, :size], "bonds": wide["bonds"][:, :size, :size]}
    assert largest_difference(plain, cut, state) < TOLERANCE


def test_it_follows_the_order_of_atoms(state):
    network = make(state.layout)
    whole = state[state.sizes["nodes"] == state.sizes["nodes"].max()]
    order = torch.randperm(whole.masks["nodes"].shape[1])
    turned = whole.replace(
        {"atoms": whole.parts["atoms"][:, order], "bonds": whole.parts["bonds"][:, order][:, :, order]}
    )
    plain = network(whole, level(whole.batch), None, guess(whole))
    other = network(turned, level(whole.batch), None, guess(turned))
    expected = {"atoms": plain["atoms"][:, order], "bonds": plain["bonds"][:, order][:, :, order]}
    assert largest_difference(expected, other, turned) < TOLERANCE


def own_levels(state, seed=0):
    """A level for every atom, and for every pair that of its noisier end."""
    noise = torch.rand(state.masks["nodes"].shape, generator=torch.Generator().manual_seed(seed)) * 8 - 4
    return Level({}, {"atoms": noise, "bonds": torch.minimum(noise[:, :, None], noise[:, None])}, {})


def test_atoms_with_levels_of_their_own(state):
    """Padding still changes nothing, the order of atoms goes on to the result, and a level at one atom matters."""
    network, size = make(state.layout, own_levels=True), state.masks["nodes"].shape[1]
    padded = state.resize({"nodes": size + 3})
    levels, wider = own_levels(state), own_levels(padded)
    for name, shape in (("atoms", (slice(None), slice(size))), ("bonds", (slice(None), slice(size), slice(size)))):
        wider.log_snr[name][shape] = levels.log_snr[name]
    plain, wide = network(state, levels, None), network(padded, wider, None)
    cut = {"atoms": wide["atoms"][:, :size], "bonds": wide["bonds"][:, :size, :size]}
    assert largest_difference(plain, cut, state) < TOLERANCE

    whole = state.sizes["nodes"] == size
    order = torch.arange(size).flip(0)
    x, log_snr = state[whole], {name: value[whole] for name, value in levels.log_snr.items()}
    parts = {"atoms": x.parts["atoms"][:, order], "bonds": x.parts["bonds"][:, order][:, :, order]}
    turned = {"atoms": log_snr["atoms"][:, order], "bonds": log_snr["bonds"][:, order][:, :, order]}
    one, other = network(x, Level({}, log_snr, {}), None), network(x.replace(parts), Level({}, turned, {}), None)
    expected = {"atoms": one["atoms"][:, order], "bonds": one["bonds"][:, order][:, :, order]}
    assert largest_difference(expected, other, x) < 10 * TOLERANCE  # sums in another order, of numbers of about 3
    assert largest_difference(plain, network(state, own_levels(state, 1), None), state) > 0.1


def test_one_level_is_that_of_all_atoms(state):
    network, batch, size = make(state.layout, own_levels=True), state.batch, state.masks["nodes"].shape[1]
    one = level(batch)
    atoms, bonds = one.log_snr["atoms"][:, None].expand(-1, size), one.log_snr["bonds"][:, None, None]
    each = Level({}, {"atoms": atoms, "bonds": bonds.expand(-1, size, size)}, {})
    assert largest_difference(network(state, one, None), network(state, each, None), state) == 0
    with pytest.raises(UserError, match="atoms have their own"):
        make(state.layout)(state, each, None)


def test_bonds_are_symmetric(state):
    bonds = make(state.layout)(state, level(state.batch), None)["bonds"]
    torch.testing.assert_close(bonds, bonds.transpose(1, 2), atol=0, rtol=0)


def test_context_and_guess_are_used(state):
    network = make(state.layout, context_dim=5)
    here = level(state.batch)
    plain = network(state, here, Context(torch.zeros(state.batch, 5)))
    told = network(state, here, Context(torch.ones(state.batch, 5)))
    assert largest_difference(plain, told, state) > 1e-3
    shown = network(state, here, Context(torch.zeros(state.batch, 5)), guess(state))
    assert largest_difference(plain, shown, state) > 1e-3


def test_single_atoms_and_mask_tokens():
    layout = Layout(
        (
            Part("atoms", "categorical", ("nodes",), classes=3),
            Part("bonds", "categorical", ("nodes", "nodes"), classes=4, symmetric=True),
        )
    ).with_absorbing({"atoms", "bonds"})
    single = {"atoms": torch.tensor([[3]]), "bonds": torch.zeros(1, 1, 1, dtype=torch.int64)}
    alone = State(layout, single, {"nodes": torch.ones(1, 1, dtype=torch.bool)})
    output = make(layout)(alone, level(1), None)
    assert output["atoms"].shape == (1, 1, 3)
    assert output["bonds"].shape == (1, 1, 1, 4)
    masked = torch.full((1, 2, 2), 4) * ~torch.eye(2, dtype=torch.bool)
    double = {"atoms": torch.tensor([[3, 0]]), "bonds": masked}
    pair = State(layout, double, {"nodes": torch.ones(1, 2, dtype=torch.bool)})
    assert make(layout)(pair, level(1), None)["bonds"].isfinite().all()


def test_features_know_pieces_cycles_and_valence():
    """A triangle with a double bond, and one atom by itself."""
    pairs = pairs_of(4, torch.device("cpu"))
    matrix = torch.zeros(1, 4, 4, dtype=torch.int64)
    for i, j, order in ((0, 1, 1), (1, 2, 2), (0, 2, 1)):
        matrix[0, i, j] = matrix[0, j, i] = order
    bonds = one_hot(pairs.pick(matrix), 4)
    nothing = torch.zeros(1, 4, 2), torch.zeros(1, 6, 4)
    seen = features(bonds, torch.ones(1, 4), pairs, torch.arange(4.0), nothing)
    assert seen.valence.tolist() == [[2, 3, 3, 0]]
    returns = seen.nodes[0, :, :7]
    torch.testing.assert_close(returns[:, 1], torch.tensor([0.25, 0.25, 0.25, 0.0]))  # two ways around of 2^3
    assert returns[3].abs().sum() == 0
    pieces = seen.whole[0, 3] * 4
    assert float(pieces) == pytest.approx(2)


def test_pairs_spread_and_pick_are_inverse():
    pairs = pairs_of(5, torch.device("cpu"))
    values = torch.randn(2, 10, 3)
    matrix = pairs.spread(values)
    torch.testing.assert_close(matrix, matrix.transpose(1, 2))
    torch.testing.assert_close(pairs.pick(matrix), values)
    off = matrix * (1 - torch.eye(5))[..., None]
    torch.testing.assert_close(pairs.gather(values), off.sum(2))


def test_user_errors(state):
    with pytest.raises(UserError, match="does not divide"):
        GraphTransformer(state.layout, 0, width=32, heads=6)
    with pytest.raises(UserError, match="bonds of 4 classes"):
        GraphTransformer(Layout.tensor(3), 0)
