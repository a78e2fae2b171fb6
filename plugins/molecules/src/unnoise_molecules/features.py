"""What a network is shown of a graph beside its atoms and bonds: paths, pieces, valence.

Message passing is slow to find out about cycles, distance and connectedness, which decide whether a molecule is legal;
here they are sums of small matrix products, over the noised graph and over the network's previous estimate of the clean
one. All of it is equivariant to the order of nodes and blind to padding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from unnoise_molecules.pairs import Pairs

_WALKS = 8
"""Longest random walk whose chance of returning is shown."""
_PAIR_WALKS = 6
"""Longest random walk shown for pairs."""


class Features(NamedTuple):
    """What :func:`features` gives.

    Args:
        nodes: ``(B, N, node_features)``.
        pairs: ``(B, P, pair_features)``.
        whole: of whole graphs, ``(B, WHOLE)``.
        valence: the sum of each node's bond orders, ``(B, N)``.
    """

    nodes: Tensor
    pairs: Tensor
    whole: Tensor
    valence: Tensor


WHOLE = 7
"""Number of features of a whole graph."""


def node_features(atom_classes: int, bond_tokens: int) -> int:
    """Number of features of a node."""
    return _WALKS - 1 + (bond_tokens - 1) + 3 + atom_classes + 2


def pair_features(bond_classes: int, bond_tokens: int) -> int:
    """Number of features of a pair."""
    return _PAIR_WALKS + 1 + 3 + bond_tokens + bond_classes


def features(bonds: Tensor, mask: Tensor, pairs: Pairs, orders: Tensor, guess: tuple[Tensor, Tensor]) -> Features:
    """Describe noised graphs.

    Args:
        bonds: one-hot tokens of the pairs, ``(B, P, tokens)``, 0 where padded; token 0 is no bond.
        mask: which nodes are real, float ``(B, N)``.
        pairs: of N nodes.
        orders: bond order of every token, float ``(tokens,)``.
        guess: earlier probabilities of atoms ``(B, N, K)`` and of the pairs' bonds ``(B, P, classes)``, 0 where
            padded or where there are none.
    """
    guessed_atoms, guessed_bonds = guess
    bonded = (bonds * (orders > 0)).sum(-1)
    adjacency = _matrix(pairs, bonded)
    powers = _walks(adjacency, _WALKS)
    valence, degree = pairs.gather((bonds @ orders)[..., None])[..., 0], adjacency.sum(-1)
    reach = _reachable(adjacency) * mask[:, :, None] * mask[:, None, :]
    piece = reach.sum(-1)
    size = mask.sum(-1)
    pieces = (mask / piece.clamp(min=1)).sum(-1)

    soft_bonded = guessed_bonds[..., 1:].sum(-1)
    soft = _matrix(pairs, soft_bonded)
    soft_valence = pairs.gather((guessed_bonds @ orders[: guessed_bonds.shape[-1]])[..., None])[..., 0]
    walk = _normalised(soft)
    walk2 = walk @ walk
    walk4 = walk2 @ walk2

    returns = torch.stack([power.diagonal(dim1=1, dim2=2) for power in powers[1:]], -1)
    numbers = torch.stack(
        [degree / 3, valence / 4, piece / size.clamp(min=1)[:, None], soft_valence / 4, soft.sum(-1) / 3], -1
    )
    nodes = torch.cat([returns, pairs.gather(bonds[..., 1:]) / 2, numbers, guessed_atoms], -1)
    between = pairs.pick(torch.stack([*powers[:_PAIR_WALKS], reach, walk, walk2, walk4], -1))
    count = size.clamp(min=1)
    whole = torch.stack(
        [
            count / 16,
            1 / count,
            count.log() / 3,
            pieces / count,
            (pieces - 1).clamp(0, 1),
            bonded.sum(-1) / count / 2,
            soft_bonded.sum(-1) / count / 2,
        ],
        -1,
    )
    return Features(nodes * mask[..., None], torch.cat([between, bonds, guessed_bonds], -1), whole, valence)


def _matrix(pairs: Pairs, values: Tensor) -> Tensor:
    """Numbers of the pairs ``(B, P)`` as a symmetric matrix with a zero diagonal."""
    off_diagonal = 1 - torch.eye(pairs.n, device=values.device)
    return pairs.spread(values) * off_diagonal


def _normalised(adjacency: Tensor) -> Tensor:
    """``D^-1/2 A D^-1/2``. Its powers have the random walk's chances of return on their diagonals and, unlike the
    walk's own matrix, are symmetric.
    """
    scale = adjacency.sum(-1).clamp(min=1).rsqrt()
    return adjacency * scale[:, :, None] * scale[:, None, :]


def _walks(adjacency: Tensor, longest: int) -> list[Tensor]:
    step = _normalised(adjacency)
    powers = [step]
    for _ in range(longest - 1):
        powers.append(powers[-1] @ step)
    return powers


def _reachable(adjacency: Tensor) -> Tensor:
    """1 where a path joins two nodes, by repeated squaring; every node reaches itself."""
    n = adjacency.shape[-1]
    reach = adjacency + torch.eye(n, device=adjacency.device)
    for _ in range(max(1, (n - 1).bit_length())):
        reach = (reach @ reach).clamp(max=1)
    return reach


def one_hot(tokens: Tensor, classes: int) -> Tensor:
    """Float one-hot vectors of int64 tokens; all zero for a token beyond the classes."""
    return (tokens[..., None] == torch.arange(classes, device=tokens.device)).float()
