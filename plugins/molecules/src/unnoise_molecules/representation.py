"""Molecules as dense graphs of categories: types of atoms and a symmetric matrix of classes of bonds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from unnoise.contracts import Kept, Representation
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.state import State
from unnoise_molecules.chemistry import BONDS, AtomType, Graph, NotRepresentableError, graph_of, smiles_of
from unnoise_molecules.drawing import draw_grid
from unnoise_molecules.files import write_sdf, write_smiles
from unnoise_molecules.properties import values

_SIZE = Part("size", "gaussian", ())
_WEIGHED = 2000
"""Molecules of one size whose masses are measured, at most."""


class MoleculeGraph(Representation):
    """SMILES <-> heavy atoms and the bonds between them.

    Two categorical parts over the masked axis ``nodes``: ``atoms`` (kinds of atom met in the training data; charge is
    part of the kind) and ``bonds`` (none, single, double, triple). Hydrogens follow from valence, or are part of the
    kind of atom where they do not. Stereochemistry and isotopes are not represented. Nothing is repaired on the way
    back: what breaks the rules of valence becomes a SMILES that does not parse.

    Args:
        max_atoms: larger molecules are left out, as all are stored with as many pairs of atoms as the largest has; 0
            takes all.
        min_count: atom types with fewer atoms than this in the training data are left out, with their molecules.
        connected: leave out what consists of several pieces (salts, mixtures).
        aromatic: whether atoms of aromatic rings are kinds of their own. Nothing is built from that (rings are written
            as alternating bonds), but it settles early, atom by atom, what else many bonds would have to agree upon:
            without it samples have too few such rings.
    """

    example_mask = "extend:1"
    sizes_seen: Tensor
    """int64 ``(largest + 1,)``: number of training molecules with so many atoms."""
    weights_seen: Tensor
    """float64 ``(largest + 1, 2)``: mean and standard deviation of such molecules' molar masses, in g/mol."""

    def __init__(self, max_atoms: int = 128, min_count: int = 1, connected: bool = True, aromatic: bool = True) -> None:
        super().__init__()
        if max_atoms < 0 or min_count < 1:
            raise UserError(
                f"representation: max_atoms={max_atoms} and min_count={min_count}",
                "max_atoms is 0 (no limit) or more, min_count 1 or more",
            )
        self.max_atoms, self.min_count = max_atoms, min_count
        self.connected, self.aromatic = connected, aromatic
        self.vocabulary: tuple[AtomType, ...] = ()

    def fit(self, items: Sequence[str]) -> None:
        """Measure which atom types there are, and how many atoms molecules have."""
        counts: Counter[AtomType] = Counter()
        for _, graph in self._graphs(items):
            counts.update(graph.atoms)
        known = sorted((kind for kind, n in counts.items() if n >= self.min_count), key=lambda k: (-counts[k], str(k)))
        of_size: dict[int, list[str]] = {}
        for smiles, graph in self._graphs(items):
            if set(graph.atoms) <= set(known):
                of_size.setdefault(len(graph.atoms), []).append(smiles)
        if not of_size:
            raise UserError(
                f"none of the {len(items)} molecules can be represented",
                "loosen representation.max_atoms, min_count or connected, or look at the data",
            )
        self._allocate(known, max(of_size))
        for size, found in of_size.items():
            weights = torch.from_numpy(values("weight", found[:: 1 + len(found) // _WEIGHED]))
            self.sizes_seen[size] = len(found)
            self.weights_seen[size] = torch.stack([weights.mean(), weights.std(correction=0)])

    def settings(self) -> dict[str, Any]:
        return {"vocabulary": [str(kind) for kind in self.vocabulary], "largest": len(self.sizes_seen) - 1}

    def restore(self, settings: Mapping[str, Any]) -> None:
        self._allocate([AtomType.parse(text) for text in settings["vocabulary"]], int(settings["largest"]))

    def unfit(self, items: Sequence[str]) -> Mapping[int, str]:
        """Molecules that do not survive encoding and decoding, or that the options leave out."""
        reasons = {}
        for index, smiles in enumerate(items):
            reason = self._refusal(smiles)
            if reason:
                reasons[index] = reason
        return reasons

    def encode(self, items: Sequence[str]) -> State:
        """Clean states of molecules.

        Raises:
            UserError: for a molecule that :meth:`unfit` names.
        """
        graphs = []
        for smiles in items:
            reason = self._refusal(smiles)
            if reason:
                raise UserError(f"{smiles!r} cannot be represented: {reason}", "leave it out")
            graphs.append(graph_of(smiles, self.aromatic))
        index = {kind: k for k, kind in enumerate(self.vocabulary)}
        sizes = torch.tensor([len(graph.atoms) for graph in graphs], dtype=torch.int64)
        state = State.zeros(self.layout, len(graphs), {"nodes": sizes})
        atoms, bonds = state.parts["atoms"], state.parts["bonds"]
        atoms[state.masks["nodes"]] = torch.tensor([index[kind] for graph in graphs for kind in graph.atoms])
        edges = [(b, *bond) for b, graph in enumerate(graphs) for bond in graph.bonds]
        b, i, j, order = torch.tensor(edges, dtype=torch.int64).reshape(-1, 4).T
        bonds[b, i, j] = bonds[b, j, i] = order
        return state

    def decode(self, state: State) -> list[str]:
        """Canonical SMILES; of an illegal graph a SMILES that does not parse."""
        columns = (state.sizes["nodes"], state.parts["atoms"], state.parts["bonds"].triu(1))
        found = []
        for size, atoms, bonds in zip(*(column.tolist() for column in columns), strict=True):
            edges = ((i, j, bonds[i][j]) for i in range(size) for j in range(i + 1, size) if bonds[i][j])
            found.append(smiles_of(Graph(tuple(self.vocabulary[k] for k in atoms[:size]), tuple(edges))))
        return found

    def sizes(self, noise: Noise) -> dict[str, Tensor]:
        """Numbers of atoms, distributed as in the training data."""
        cdf = self.sizes_seen.double().cumsum(0)
        u = self._share(noise)
        return {"nodes": torch.searchsorted((cdf / cdf[-1]).to(u.device), u, right=True)}

    def asked_sizes(
        self, sizes: dict[str, Tensor], conditions: Mapping[str, Tensor], noise: Noise
    ) -> dict[str, Tensor]:
        """The condition ``atoms`` decides the number of atoms. ``weight`` makes some likelier: the molar masses of
        molecules of one size are taken for normal, and the size is drawn given the mass.

        Raises:
            UserError: for a number of atoms that no training molecule has.
        """
        drawn = sizes["nodes"]
        if (weight := conditions.get("weight")) is not None:
            weight = weight.to(drawn.device)
            cdf = self._given_weight(weight).cumsum(1)
            likely = torch.searchsorted(cdf, self._share(noise)[:, None], right=True).squeeze(1)
            drawn = torch.where(weight.isnan(), drawn, likely.clamp(max=len(self.sizes_seen) - 1))
        if (atoms := conditions.get("atoms")) is not None:
            largest, asked = len(self.sizes_seen) - 1, atoms.to(drawn.device).round()
            for number in asked[~asked.isnan()].tolist():
                if not 1 <= number <= largest:
                    message = f"condition.atoms={number:g} is a size that the model cannot make"
                    raise UserError(message, f"from 1 to {largest}")
            drawn = torch.where(asked.isnan(), drawn, asked.nan_to_num().to(torch.int64))
        return {"nodes": drawn}

    def kept(self, items: Sequence[str], mask: Any) -> Kept:
        """As :func:`unnoise_molecules.masks.keep`."""
        from unnoise_molecules.masks import keep

        return keep(self, items, mask)

    def save(self, items: Sequence[str], folder: Path, settings: Mapping[str, Any]) -> list[Path]:
        """``molecules.smi`` with every item, ``molecules.sdf`` with those that are molecules, drawn flat."""
        smiles, sdf = folder / "molecules.smi", folder / "molecules.sdf"
        write_smiles(items, smiles)
        write_sdf(items, sdf, settings)
        return [smiles, sdf]

    def preview(self, items: Sequence[str], path: Path, labels: Sequence[str] = ()) -> None:
        draw_grid(items, path, labels)

    @staticmethod
    def _share(noise: Noise) -> Tensor:
        """What decides sizes: uniform numbers in (0, 1), ``(B,)``."""
        return noise.uniform(_SIZE, (), purpose="sizes")

    def _given_weight(self, weight: Tensor) -> Tensor:
        """Probabilities of sizes given molar masses ``(B,)``: float64 ``(B, largest + 1)``."""
        mean, std = self.weights_seen.to(weight.device).T
        # Where a size was met once, or always with one mass, the width is that of a hydrogen more or less.
        log_density = Normal(mean, std.clamp(min=1.0)).log_prob(weight.double().nan_to_num()[:, None])
        return (log_density + self.sizes_seen.to(weight.device).log()).softmax(1)

    def _allocate(self, vocabulary: Sequence[AtomType], largest: int) -> None:
        self.vocabulary = tuple(vocabulary)
        self.layout = Layout(
            (
                Part("atoms", "categorical", ("nodes",), classes=len(vocabulary)),
                Part("bonds", "categorical", ("nodes", "nodes"), classes=len(BONDS), symmetric=True),
            )
        )
        self.register_buffer("sizes_seen", torch.zeros(largest + 1, dtype=torch.int64))
        self.register_buffer("weights_seen", torch.zeros(largest + 1, 2, dtype=torch.float64))

    def _graphs(self, items: Sequence[str]) -> Iterator[tuple[str, Graph]]:
        """Those items that the options allow and that survive the round trip, and their graphs."""
        for smiles in items:
            if not self._refusal(smiles, set()):
                yield smiles, graph_of(smiles, self.aromatic)

    def _refusal(self, smiles: str, known: set[AtomType] | None = None) -> str:
        """Why a molecule is left out; empty if it is not.

        Args:
            smiles: the molecule.
            known: atom types that may occur; the vocabulary if None, any if empty.
        """
        try:
            graph = graph_of(smiles, self.aromatic)
        except NotRepresentableError as error:
            return str(error)
        if self.max_atoms and len(graph.atoms) > self.max_atoms:
            return f"more than {self.max_atoms} heavy atoms"
        if self.connected and "." in smiles:
            return "several pieces"
        strange = set(graph.atoms) - (set(self.vocabulary) if known is None else known or set(graph.atoms))
        return f"atom type {min(map(str, strange))} is too rare" if strange else ""
