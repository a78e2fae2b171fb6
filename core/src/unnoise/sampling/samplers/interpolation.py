"""Integrals of interpolated estimates: what multistep samplers add to a first-order step.

A step integrates a polynomial through several estimates. Written as ``sum_j w_j f_j = (sum_j w_j) f_0 + sum_j w_j
(f_j - f_0)``, it is the first-order step, which has a closed form and is exact at its ends, and a correction by
differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unnoise.sampling.rows import Array, Coefficient, Linear, Point
from unnoise.sampling.samplers.steps import damped

Estimates = Sequence[tuple[Point, Linear]]
"""Estimates with the points they were made at. The first is that of the point from which the step starts."""
Quadrature = tuple[Array, Array]
"""Values of lam ``(Q, ...)``, and how much each counts."""
Rule = Callable[[Point, Point, float | Array], Quadrature]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)
_FAR_NODES, _FAR_WEIGHTS = np.polynomial.laguerre.laggauss(32)


def correction(
    estimates: Estimates, quadrature: Quadrature, coordinate: Callable[[Array], Array] = lambda lam: lam
) -> Linear:
    """``sum_j w_j (f_j - f_0)``, with ``w_j`` the integral of the j-th Lagrange polynomial in ``coordinate(lam)``.

    An estimate made at a level where an earlier one of the sequence was made (a part that waits while others move) is
    left out: it carries no slope.
    """
    lam, mass = quadrature
    at, knots = coordinate(lam), [coordinate(np.asarray(point.lam)) for point, _ in estimates]
    fresh = [np.all([knot != other for other in knots[:j]], axis=0) for j, knot in enumerate(knots)]
    total = Linear({})
    for j, (_, value) in enumerate(estimates[1:], start=1):
        weight = mass * fresh[j]
        for k, knot in enumerate(knots):
            both = fresh[k] & fresh[j] & (k != j)
            weight = weight * np.where(both, (at - knot) / np.where(both, knots[j] - knot, 1.0), 1.0)
        total = total + weight.sum(axis=0) * (value - estimates[0][1])
    return total


def spread(here: Point, there: Point) -> Quadrature:
    """``int f dlam`` over a step, exact to rounding for smooth f (Gauss-Legendre); 0 where the step is infinite."""
    h = np.asarray(there.lam) - here.lam
    h = np.where(np.isfinite(h), h, 0.0)
    axis = (-1, *(1 for _ in h.shape))
    return here.lam + 0.5 * h * (1 + _NODES.reshape(axis)), 0.5 * h * _WEIGHTS.reshape(axis)


def exact(here: Point, there: Point, eta: float | Array) -> Quadrature:
    """``alpha_s (1 + eta) int e^{-(1 + eta)(lam_s - lam)} f dlam``: f is an estimate of clean data."""
    lam, mass = spread(here, there)
    left = np.where(np.isfinite(there.lam), there.lam, here.lam) - lam
    return lam, there.alpha * (1 + eta) * np.exp(-(1 + eta) * left) * mass


def middle(here: Point, there: Point, eta: float | Array) -> Quadrature:
    """The same with f as half-way through the step; the exponential is still integrated exactly."""
    lam, mass = spread(here, there)
    return lam.mean(axis=0, keepdims=True), damped(here, there, eta)[1] * np.ones_like(mass[:1])


def middle_flat(here: Point, there: Point, eta: float | Array) -> Quadrature:
    """The same with f as half-way through the step, and the exponential as at its end."""
    lam, mass = spread(here, there)
    return lam.mean(axis=0, keepdims=True), there.alpha * (1 + eta) * mass.sum(axis=0, keepdims=True)


def over_ratio(here: Point, there: Point, to_data: bool = True) -> Quadrature:
    """``alpha_s int f d(sigma / alpha)``: f is an estimate of the noise.

    Down to data h is infinite; the integral, ``-sigma_t / alpha_t int e^-h f dh``, is then Gauss and Laguerre's, or 0
    without ``to_data``.
    """
    lam, mass = spread(here, there)
    axis = (-1, *(1 for _ in lam.shape[1:]))
    infinite = np.isinf(there.lam) & to_data
    lam = np.where(infinite, here.lam + _FAR_NODES.reshape(axis), lam)
    mass = np.where(infinite, _FAR_WEIGHTS.reshape(axis), np.exp(here.lam - lam) * mass)
    return lam, -there.alpha * np.exp(-np.asarray(here.lam)) * mass


def angle(lam: Coefficient, scale: float) -> Array:
    """``arctan(sigma / (scale alpha))``, from 0 (data) to pi / 2 (noise)."""
    theta: Array = np.arctan(np.exp(-np.asarray(lam)) / scale)
    return theta


def over_angle(here: Point, there: Point, scale: float) -> Quadrature:
    """``int f dtheta`` over :func:`angle`; finite for the jump to data too."""
    start = angle(here.lam, scale)
    turn = angle(there.lam, scale) - start
    axis = (-1, *(1 for _ in turn.shape))
    nodes = start + 0.5 * turn * (1 + _NODES.reshape(axis))
    return -np.log(scale * np.tan(nodes)), 0.5 * turn * _WEIGHTS.reshape(axis)
