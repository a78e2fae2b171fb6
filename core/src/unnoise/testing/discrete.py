"""Denoisers that are exact, because the data distribution is known in closed form: classes, and classes with values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.processes import Categorical, Gaussian, Product
from unnoise.schedules import Schedule, cosine
from unnoise.state import State

Times = float | Tensor | Mapping[str, Tensor]


class CategoricalDenoiser:
    """A joint distribution over a few sites of K classes; ``p(x0_i | x_t)`` by enumerating all its states.

    Args:
        joint: probabilities ``(K,) * sites``, scaled to sum 1.
        process: of every site.

    Attributes:
        layout: one categorical part "x" of shape ``(sites,)``.
        product: its process.
    """

    def __init__(self, joint: Tensor, process: Categorical) -> None:
        self.joint = joint.double() / joint.sum()
        self.part = Part("x", "categorical", (joint.dim(),), classes=joint.shape[0])
        self.product = Product(Layout((self.part,)), {"x": process})
        self.layout = self.product.layout
        self._states = _all_states(joint.shape[0], joint.dim())

    def __call__(self, x_t: State, t: Times) -> dict[str, Tensor]:
        """Log-probabilities float64 ``(B, sites, K)``."""
        x, process = x_t.parts["x"], self.product.processes["x"]
        assert isinstance(process, Categorical)
        seen = _log_likelihood(process, self.part, x, _time(t, "x", self.product))  # (B, sites, K)
        sites = torch.arange(x.shape[1])
        log_joint = self.joint.flatten().log() + seen[:, sites, self._states].sum(-1)
        posterior = log_joint.softmax(-1)
        marginals = posterior @ one_hot(self._states, self.part.classes).double().flatten(1)
        return {"x": marginals.log().reshape(seen.shape)}

    def frequencies(self, x: Tensor) -> Tensor:
        """The empirical joint distribution of clean samples, int64 ``(B, sites)`` -> ``(K,) * sites``."""
        base = self.part.classes ** torch.arange(x.shape[1] - 1, -1, -1)
        return torch.bincount((x * base).sum(1), minlength=self.joint.numel()).reshape(self.joint.shape) / len(x)


class MixedToy:
    """A toy of everything at once: a graph of variable size with node classes, node positions and symmetric edges.

    A node has class k with probability ``frequencies[k]``, a position ``N(means[k], variance)``, and a pair of nodes of
    classes (k, l) has an edge with probability ``edges[k][l]``. So given clean node classes all else is independent,
    and the posterior of a noised graph is a sum over the node classes.

    Args:
        frequencies: ``(K,)``.
        means: ``(K, dim)``.
        variance: of positions around their mean.
        edges: ``(K, K)``, symmetric.
        schedule: of all parts.
        kernel: of the categorical parts, ``"uniform"`` or ``"absorbing"``.

    Attributes:
        layout: parts "kind" ``("nodes",)``, "position" ``("nodes", dim)`` and "edge" ``("nodes", "nodes")``.
        product: their processes.
    """

    def __init__(
        self,
        frequencies: Sequence[float] = (0.65, 0.35),
        means: Sequence[Sequence[float]] = ((-1.0, 0.5), (1.5, 0.0)),
        variance: float = 0.2,
        edges: Sequence[Sequence[float]] = ((0.2, 0.9), (0.9, 0.5)),
        schedule: Schedule | None = None,
        kernel: str = "uniform",
    ) -> None:
        self.frequencies = torch.tensor(frequencies, dtype=torch.float64)
        self.means = torch.tensor(means, dtype=torch.float64)
        self.variance = variance
        edge = torch.tensor(edges, dtype=torch.float64)
        self.edges = torch.stack([1 - edge, edge], -1)  # (K, K, 2)
        classes, dim = self.means.shape
        curve = schedule or cosine()
        layout = Layout(
            (
                Part("kind", "categorical", ("nodes",), classes=classes),
                Part("position", "gaussian", ("nodes", dim)),
                Part("edge", "categorical", ("nodes", "nodes"), classes=2, symmetric=True),
            )
        )
        discrete = Categorical(curve, kernel)  # type: ignore[arg-type]  # checked by Categorical
        self.product = Product(layout, {"kind": discrete, "position": Gaussian(curve), "edge": discrete})
        self.layout = self.product.layout

    def __call__(self, x_t: State, t: Times) -> dict[str, Tensor]:
        """The exact posterior: means of positions, log-probabilities of kinds ``(B, n, K)`` and edges ``(B, n, n, 2)``,
        float64. Time grows with ``K^n`` for n nodes.
        """
        times = {name: _time(t, name, self.product) for name in self.layout.names}
        kinds, pairs, edges = self._evidence(x_t, times)
        nodes, classes = kinds.shape[1:]
        states = _all_states(classes, nodes)
        log_posterior = kinds[:, torch.arange(nodes), states].sum(-1)
        for i, j in itertools.combinations(range(nodes), 2):
            log_posterior += pairs[:, i, j, states[:, i], states[:, j]]
        chosen = one_hot(states, classes).double()
        posterior = log_posterior.softmax(-1)
        kind = torch.einsum("bc,cik->bik", posterior, chosen)
        pair = torch.einsum("bc,cik,cjl->bijkl", posterior, chosen, chosen)
        edge = torch.einsum("bijkl,bijkle->bije", pair, edges)
        alpha, sigma = self._gaussian_level(times["position"])
        x = x_t.parts["position"].double()[:, :, None]
        gain = alpha * self.variance / (alpha**2 * self.variance + sigma**2)
        position = (kind[..., None] * (self.means + gain * (x - alpha * self.means))).sum(2)
        return {"kind": kind.log(), "position": position, "edge": edge.log()}

    def sample(self, sizes: Tensor, seed: int = 0) -> State:
        """Exact clean data for graphs of the given sizes ``(B,)``."""
        noise = Noise.of(seed, len(sizes))
        empty = State.zeros(self.layout, len(sizes), {"nodes": sizes})
        draws = {p.name: noise.uniform(p, empty.parts[p.name].shape[1:], purpose="data") for p in self.layout}
        kind = torch.searchsorted(self.frequencies.cumsum(0), draws["kind"]).clamp(max=len(self.frequencies) - 1)
        position = self.means[kind] + math.sqrt(self.variance) * 2**0.5 * torch.erfinv(2 * draws["position"] - 1)
        edge = (draws["edge"] < self.edges[kind[:, :, None], kind[:, None, :], 1]).long()
        return empty.replace({"kind": kind, "position": position.float(), "edge": edge}).project()

    def _evidence(self, x_t: State, times: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Log-evidence for the class of each node ``(B, n, K)`` and of each pair ``(B, n, n, K, K)``, 0 on padding; and
        the edges' probabilities given both classes ``(B, n, n, K, K, 2)``.
        """
        node_process, edge_process = self.product.processes["kind"], self.product.processes["edge"]
        assert isinstance(node_process, Categorical) and isinstance(edge_process, Categorical)
        kinds = _log_likelihood(node_process, self.layout["kind"], x_t.parts["kind"], times["kind"])
        alpha, sigma = self._gaussian_level(times["position"])
        away = x_t.parts["position"].double()[:, :, None] - alpha * self.means
        kinds = kinds + self.frequencies.log() - 0.5 * (away**2).sum(-1) / (alpha**2 * self.variance + sigma**2)[..., 0]
        seen = _log_likelihood(edge_process, self.layout["edge"], x_t.parts["edge"], times["edge"])
        edges = self.edges * seen.exp()[:, :, :, None, None]
        evidence = edges.sum(-1, keepdim=True)
        node_mask, pair_mask = x_t.mask("kind"), x_t.mask("edge")
        assert node_mask is not None and pair_mask is not None
        kinds = kinds.masked_fill(~node_mask[..., None], 0.0)
        pairs = evidence[..., 0].log().masked_fill(~pair_mask[..., None, None], 0.0)
        return kinds, pairs, edges / evidence

    def _gaussian_level(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and sigma, shaped to broadcast against ``(B, n, K, dim)``."""
        schedule, times = self.product.processes["position"].schedule, t.numpy().reshape(-1, 1, 1, 1)
        return torch.from_numpy(schedule.alpha(times)), torch.from_numpy(schedule.sigma(times))


def _all_states(classes: int, sites: int) -> Tensor:
    """Every assignment of classes to sites, int64 ``(classes ** sites, sites)``."""
    return torch.tensor(list(itertools.product(range(classes), repeat=sites)), dtype=torch.int64)


def _time(t: Times, part: str, product: Product) -> Tensor:
    """A part's own time, float64 ``(1,)`` or ``(B,)``; a single time is that which all parts share."""
    if isinstance(t, Mapping):
        return t[part].double().reshape(-1)
    return torch.as_tensor(product.times(np.asarray(t, dtype=np.float64))[part]).reshape(-1)


def _log_likelihood(process: Categorical, part: Part, x_t: Tensor, t: Tensor) -> Tensor:
    """``log q(x_t | x0 = k)`` of each element for every class k, float64 ``(B, *event shape, K)``: with the probability
    of survival ``sigmoid(log_snr)`` the element is k, else it is drawn from the resting distribution.
    """
    survival = torch.sigmoid(torch.as_tensor(process.schedule.log_snr(t.numpy())))
    survival = survival.reshape(-1, *(1 for _ in x_t.shape[1:]), 1)
    resting = process.resting(part)[x_t][..., None]
    return (survival * (x_t[..., None] == torch.arange(part.classes)) + (1 - survival) * resting).log()
