"""Distances between sets of samples, as pure functions of their features. Everything is computed in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unnoise.contracts import Evidence, Score


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``(D,)`` and unbiased covariance ``(D, D)`` of features ``(N, D)``, N at least 2.

    Raises:
        ValueError: if there are fewer than two rows.
    """
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 samples, not {len(features)}")
    x = features.double()
    mean = x.mean(0)
    centred = x - mean
    return mean, centred.T @ centred / (len(x) - 1)


def frechet_distance(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    """Squared 2-Wasserstein distance of two Gaussians given by mean and covariance (Dowson & Landau 1982, equation 7):
    ``|mu_a - mu_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2)``.

    Both roots come from symmetric eigenvalue problems, which are stable for the singular covariances of few samples.
    Estimated from N samples it is biased upwards by about D / N: compare only equal N.
    """
    mean = (a[0].double() - b[0].double()).square().sum()
    root = _sqrt_psd(a[1].double())
    product = torch.linalg.eigvalsh(root @ b[1].double() @ root).clamp(min=0).sqrt().sum()
    return float((mean + a[1].double().trace() + b[1].double().trace() - 2 * product).clamp(min=0))


def _sqrt_psd(matrix: Tensor) -> Tensor:
    """The positive semi-definite square root."""
    # numpy's solver: torch's does not converge on some covariances with many features that never vary.
    values, vectors = np.linalg.eigh(matrix.cpu().numpy())
    return torch.from_numpy((vectors * np.sqrt(values.clip(min=0))) @ vectors.T).to(matrix.device)


def kernel_distance(x: Tensor, y: Tensor, degree: int = 3) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel ``(x.y / D + 1)^degree`` (Gretton et al. 2012,
    equation 3; Binkowski et al. 2018, section 4). Near 0, of either sign, for samples of one distribution.

    Args:
        x, y: features ``(N, D)`` and ``(M, D)``, N and M at least 2.

    Raises:
        ValueError: if there are fewer than two rows.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"a kernel distance needs at least 2 samples of each kind, not {len(x)} and {len(y)}")
    x, y = x.double(), y.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** degree

    def within(a: Tensor) -> Tensor:
        values = kernel(a, a)
        return (values.sum() - values.trace()) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * kernel(x, y).mean())


def nearest_distances(x: Tensor, reference: Tensor, chunk: int = 256) -> Tensor:
    """Euclidean distance of every row of ``x (N, D)`` to the nearest row of ``reference (M, D)``: float64 ``(N,)``.

    Which row is nearest is found by matrix products, hundreds of times faster than differences; these lose distances
    near 0, which are the ones of interest here, so that the distance itself is that of the difference.
    """
    x, reference = x.double(), reference.double()
    quick = "use_mm_for_euclid_dist"
    parts = [torch.cdist(part, reference, compute_mode=quick).argmin(1) for part in torch.split(x, chunk)]
    return (x - reference[torch.cat(parts)]).norm(dim=1) if parts else x.new_zeros(0)


def subset(count: int, size: int, seed: int) -> Sequence[int]:
    """``size`` distinct indices below ``count`` in ascending order, a pure function of the arguments."""
    return sorted(np.random.default_rng(seed).permutation(count)[:size].tolist())


def equal_sets(
    features: Callable[[Sequence[Any]], Tensor], evidence: Evidence, most: int | None = None
) -> dict[str, Tensor]:
    """Features of "made", "train", "test" and, where there is any, "noise", of one number N of items each (the largest
    that all can give, or ``most``): ``(N, D)``. Empty for N below 2.

    Args:
        features: items -> ``(N, D)``.
        evidence: what is judged.
        most: bound on N.
    """
    sets: dict[str, Any] = {"made": evidence.generated, "train": evidence.train, "test": evidence.test}
    if len(evidence.noise) >= 2:
        sets["noise"] = evidence.noise
    n = min(*(len(items) for items in sets.values()), *([] if most is None else [most]))
    if n < 2:
        return {}
    return {key: features([items[i] for i in subset(len(items), n, evidence.seed)]) for key, items in sets.items()}


def feature_scores(name: str, features: Callable[[Sequence[Any]], Tensor], evidence: Evidence) -> list[Score]:
    """Frechet and kernel distance of generated to real test items. The floor is that of real training items, the
    ceiling that of noise, all with the same number N of items (the largest that all can give); nothing for N below 2.

    Args:
        name: of the features.
        features: items -> ``(N, D)``.
        evidence: what is judged.
    """
    found = equal_sets(features, evidence)
    if not found:
        return []
    summaries = {key: moments(value) for key, value in found.items()}

    def score(kind: str, distance: Callable[[str], float]) -> Score:
        ceiling = distance("noise") if "noise" in found else None
        return Score(f"{kind}_{name}", distance("made"), distance("train"), ceiling, "lower", f"N={len(found['made'])}")

    return [
        score("frechet", lambda key: frechet_distance(summaries[key], summaries["test"])),
        score("kernel", lambda key: kernel_distance(found[key], found["test"])),
    ]
