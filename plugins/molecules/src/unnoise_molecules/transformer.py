"""A graph transformer: attention over atoms, biased by pairs, with pairs that are updated too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.contracts import Context, Network
from unnoise.errors import UserError
from unnoise.layout import Layout
from unnoise.level import Level, align
from unnoise.state import State
from unnoise_molecules.chemistry import BONDS
from unnoise_molecules.features import WHOLE, features, node_features, one_hot, pair_features
from unnoise_molecules.pairs import Pairs, pairs_of

_VALENCES = 9
"""Valences told apart by the embedding: 0 to 7, and more."""
_WAVES = 8
_LEVEL = 2 + 2 * _WAVES
"""Numbers that tell of a noise level."""


class GraphLayer(nn.Module):
    """One layer: attention over nodes with a bias from pairs, an update of pairs by their ends, a pooling of pairs into
    nodes, an MLP over nodes. Nodes are normalised adaptively (Peebles & Xie 2023); pairs get a shift.

    The idea of nodes and edges that update each other is Dwivedi & Bresson's (2021) and DiGress' (Vignac et al. 2023);
    the product of both ends lets a pair tell combinations apart that their sum cannot.

    Args:
        width, edge_width: of nodes and of pairs.
        hidden: width of the pairs' update.
        heads: of the attention; must divide ``width``.
        cond_dim: width of the condition.
        mlp_ratio: width of the MLP over ``width``.
    """

    def __init__(self, width: int, edge_width: int, hidden: int, heads: int, cond_dim: int, mlp_ratio: float) -> None:
        super().__init__()
        self.width, self.hidden, self.heads = width, hidden, heads
        inner = round(mlp_ratio * width)
        self.modulation = nn.Linear(cond_dim, 6 * width + hidden)
        self.node_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.pair_norm = nn.LayerNorm(edge_width)
        self.from_nodes = nn.Linear(width, 3 * width + 2 * hidden)
        self.from_pairs = nn.Linear(edge_width, hidden + heads)
        self.to_pairs = nn.Linear(hidden, edge_width)
        self.to_nodes = nn.Linear(width + hidden, width)
        self.mlp_in = nn.Linear(width, inner)
        self.mlp_out = nn.Linear(inner, width)
        for layer in (self.modulation, self.to_pairs):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, h: Tensor, e: Tensor, cond: Tensor, pairs: Pairs, hide: Tensor, pair_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update nodes and pairs.

        Args:
            h: nodes ``(B, N, width)``.
            e: pairs ``(B, P, edge_width)``.
            cond: ``(B, cond_dim)``.
            pairs: of N nodes.
            hide: added to attention logits, ``(B, 1, N, 1)``; very negative for padded keys.
            pair_mask: ``(B, P, 1)``, 0 where padded.
        """
        width, hidden = self.width, self.hidden
        modulation = self.modulation(cond)[:, None].split([width] * 6 + [hidden], -1)
        scale, shift, gate, mlp_scale, mlp_shift, mlp_gate, pair_shift = modulation
        x = self.node_norm(h) * (1 + scale) + shift
        query, key, value, ends = self.from_nodes(x).split([width, width, width, 2 * hidden], -1)
        update, bias = self.from_pairs(self.pair_norm(e)).split([hidden, self.heads], -1)

        query, key, value = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (query, key, value))
        # Keys come before queries: a CPU is several times faster at a softmax over an axis that is not the last.
        logits = key @ query.transpose(-1, -2) * (width // self.heads) ** -0.5
        logits = logits + pairs.spread(bias).permute(0, 3, 1, 2) + hide
        attended = (logits.softmax(-2).transpose(-1, -2) @ value).transpose(1, 2).flatten(2)

        first, second = (end.chunk(2, -1) for end in pairs.ends(ends))
        update = update + first[0] + second[0] + first[1] * second[1] + pair_shift
        update = F.silu(update) * pair_mask
        e = e + self.to_pairs(update)
        h = h + (1 + gate) * self.to_nodes(torch.cat([attended, pairs.gather(update)], -1))
        x = self.mlp_norm(h) * (1 + mlp_scale) + mlp_shift
        return h + (1 + mlp_gate) * self.mlp_out(F.silu(self.mlp_in(x))), e


class GraphTransformer(Network):
    """Denoises the parts ``atoms`` and ``bonds`` of :class:`~unnoise_molecules.representation.MoleculeGraph`.

    It works on unordered pairs, so its bonds are symmetric by construction, and it knows no order of atoms. Logits
    start from what the noise level alone says: an element survived with probability a and is itself then, so the class
    i that is seen has the extra log-odds ``log(1 + a / ((1 - a) m_i))``, with the class frequencies m learned.

    Args:
        layout: parts ``atoms`` (over an axis ``nodes``) and ``bonds`` (symmetric over pairs of it).
        context_dim: width of the embedded condition; 0 for none.
        width, edge_width: of nodes and of pairs.
        hidden: width of the pairs' update.
        depth: number of layers.
        heads: of the attention; must divide ``width``.
        cond_dim: width of the vector that tells of level, size and condition.
        mlp_ratio: width of a layer's MLP over ``width``.
        own_levels: whether every atom and pair may have a noise level of its own, for a model that is shown a scaffold
            as it is (``train.time_sampling.known``). The vector then tells of the highest.

    Raises:
        UserError: if the layout is another, or ``heads`` does not divide ``width``.
    """

    self_conditioning = True
    orders: Tensor

    def __init__(
        self,
        layout: Layout,
        context_dim: int,
        *,
        width: int = 96,
        edge_width: int = 32,
        hidden: int = 48,
        depth: int = 5,
        heads: int = 6,
        cond_dim: int = 96,
        mlp_ratio: float = 2.0,
        own_levels: bool = False,
    ) -> None:
        super().__init__()
        if layout.names != ("atoms", "bonds") or layout["bonds"].classes != len(BONDS):
            parts = ", ".join(f"{part.name} ({part.classes} classes)" for part in layout)
            raise UserError(
                f"graph_transformer denoises atoms, and bonds of {len(BONDS)} classes, not {parts}",
                "choose another denoiser",
            )
        if width % heads:
            raise UserError(f"denoiser.heads={heads} does not divide denoiser.width={width}", "choose a divisor")
        atoms, bonds = layout["atoms"], layout["bonds"]
        self.atoms, self.bonds = atoms, bonds
        orders = torch.tensor([*BONDS.values(), 0.0][: bonds.tokens])  # a mask counts as no bond
        self.register_buffer("orders", orders, persistent=False)
        self.embed = nn.Embedding(atoms.tokens * _VALENCES, width)
        self.nodes_in = nn.Linear(node_features(atoms.classes, bonds.tokens), width)
        self.pairs_in = nn.Linear(pair_features(bonds.classes, bonds.tokens), edge_width)
        self.cond = nn.Sequential(nn.Linear(2 * _LEVEL + WHOLE, cond_dim), nn.SiLU(), nn.Linear(cond_dim, cond_dim))
        self.node_level = nn.Linear(_LEVEL, width, bias=False) if own_levels else None
        self.pair_level = nn.Linear(_LEVEL, edge_width, bias=False) if own_levels else None
        self.context = nn.Linear(context_dim, cond_dim) if context_dim else None
        self.layers = nn.ModuleList(
            GraphLayer(width, edge_width, hidden, heads, cond_dim, mlp_ratio) for _ in range(depth)
        )
        self.node_norm, self.pair_norm = nn.LayerNorm(width), nn.LayerNorm(edge_width)
        self.atoms_out, self.bonds_out = nn.Linear(width, atoms.classes), nn.Linear(edge_width, bonds.classes)
        for layer in (self.atoms_out, self.bonds_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.atom_frequency = nn.Parameter(torch.full((atoms.classes,), -math.log(atoms.classes)))
        self.bond_frequency = nn.Parameter(torch.full((bonds.classes,), -math.log(bonds.classes)))

    def forward(
        self,
        x: State,
        level: Level,
        context: Context | None,
        previous: Mapping[str, Tensor] | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """As :class:`Network`; one noise level per molecule and part, or with ``own_levels`` one per atom ``(B, N)``
        and pair ``(B, N, N)``. ``residuals``: one tensor ``(B, N, width)`` per layer, added to its nodes.

        Raises:
            UserError: for levels of atoms that the network does not read.
        """
        atoms, mask = x.parts["atoms"], x.masks["nodes"].float()
        pairs = pairs_of(atoms.shape[1], atoms.device)
        first, second = pairs.ends(mask[..., None])
        pair_mask = first * second
        bonds = one_hot(pairs.pick(x.parts["bonds"]), self.bonds.tokens) * pair_mask
        seen = features(bonds, mask, pairs, self.orders, self._guess(previous, mask, pair_mask, pairs))

        valence = seen.valence.long().clamp(max=_VALENCES - 1)
        h = self.embed(atoms * _VALENCES + valence) + self.nodes_in(seen.nodes)
        e = self.pairs_in(seen.pairs) * pair_mask
        levels = noisiest = [level.log_snr["atoms"], level.log_snr["bonds"]]
        if self.node_level is not None and self.pair_level is not None:
            shapes = (mask.shape, (*mask.shape, mask.shape[1]))
            each = [
                t.reshape(*t.shape, *[1] * (len(shape) - t.dim())).expand(shape)
                for t, shape in zip(levels, shapes, strict=True)
            ]
            levels = [each[0], pairs.pick(each[1])]
            h = h + self.node_level(_waves(levels[0]))
            e = e + self.pair_level(_waves(levels[1])) * pair_mask
            noisiest = [_least(levels[0], mask), _least(levels[1], pair_mask[..., 0])]
        elif levels[0].dim() > 1:
            message = "the denoiser reads one noise level per molecule, and atoms have their own"
            raise UserError(message, "train with denoiser.own_levels=true")
        cond = self.cond(torch.cat([*map(_waves, noisiest), seen.whole], -1))
        if self.context is not None and context is not None:
            cond = cond + self.context(context.vector)
        cond = F.silu(cond)
        hide = (mask - 1)[:, None, :, None] * 1e9
        for index, layer in enumerate(self.layers):
            h, e = layer(h, e, cond, pairs, hide, pair_mask)
            if residuals is not None:
                h = h + residuals[index]

        atom_logits = self.atoms_out(self.node_norm(h)) + _prior(
            one_hot(atoms, self.atoms.classes), levels[0], self.atom_frequency
        )
        bond_logits = self.bonds_out(self.pair_norm(e)) + _prior(
            bonds[..., : self.bonds.classes], levels[1], self.bond_frequency
        )
        return {"atoms": atom_logits, "bonds": pairs.spread(bond_logits)}

    def _guess(
        self, previous: Mapping[str, Tensor] | None, mask: Tensor, pair_mask: Tensor, pairs: Pairs
    ) -> tuple[Tensor, Tensor]:
        """An earlier estimate without its padding; zeros where there is none."""
        if previous is None:
            atoms = mask.new_zeros(*mask.shape, self.atoms.classes)
            return atoms, pair_mask.new_zeros(*pair_mask.shape[:2], self.bonds.classes)
        return previous["atoms"] * mask[..., None], pairs.pick(previous["bonds"]) * pair_mask


def _waves(log_snr: Tensor) -> Tensor:
    """Noise levels as numbers, ``(...)`` -> ``(..., 2 + 2 waves)``: the survival, the log-SNR, and sines of the angle
    whose squared cosine is the survival, which is the time of a cosine schedule.
    """
    survival = torch.sigmoid(log_snr)
    phase = torch.acos(survival.sqrt().clamp(0, 1))[..., None] * torch.arange(1, _WAVES + 1, device=log_snr.device)
    return torch.cat([survival[..., None], log_snr[..., None].clamp(-10, 10) / 5, phase.sin(), phase.cos()], -1)


def _least(log_snr: Tensor, mask: Tensor) -> Tensor:
    """The level with most noise of the real elements, ``(B, n)`` -> ``(B,)``; no noise where there are none."""
    return F.pad(log_snr.masked_fill(mask == 0, math.inf), (0, 1), value=math.inf).amin(1)


def _prior(seen: Tensor, log_snr: Tensor, log_frequency: Tensor) -> Tensor:
    """Logits of clean classes given one noised element and nothing else; ``seen`` is one-hot ``(B, n, K)``, the level
    ``(B,)`` or ``(B, n)``.
    """
    return log_frequency + seen * F.softplus(align(log_snr, seen) - log_frequency)
