"""One Brownian path per seed, of which samplers with different steps take increments."""

from __future__ import annotations

import math

FIRST = 1 << 31
"""Address of the first draw that a path uses; draws of other kinds are counted from 0."""
_REACH = 32.0
"""The path is known for lam, half the log-SNR, between plus and minus this."""
_DEPTH = 16

Combination = dict[int, float]
"""Address of a draw -> coefficient."""


def increment(a: float, b: float, eta: float, shortest: float) -> Combination:
    """``(B(tau_b) - B(tau_a)) / sqrt(tau_b - tau_a)``, standard normal, as a combination of addressed draws.

    With the clock ``tau = e^{2 eta lam}`` the noise of a stochastic step of strength eta from a to b is ``sigma_b
    e^{-eta b} (B(tau_b) - B(tau_a))``: that of two half-steps is that of the whole.

    Args:
        a, b: values of lam, a < b.
        eta: strength of the noise, above 0.
        shortest: length in lam of the shortest step that is taken; it settles how finely the path is resolved.

    Raises:
        ValueError: if a or b is out of reach.
    """
    depth = max(_DEPTH, math.ceil(math.log2(4 * _REACH / shortest)))
    low, high = value(a, eta, depth), value(b, eta, depth)
    scale = math.sqrt(math.exp(2 * eta * b) - math.exp(2 * eta * a))
    change = {draw: (high.get(draw, 0.0) - low.get(draw, 0.0)) / scale for draw in low | high}
    return {draw: c for draw, c in change.items() if abs(c) > 1e-9}  # far nodes do not matter


def value(lam: float, eta: float, depth: int) -> Combination:
    """``B(e^{2 eta lam})`` by Levy's construction on a dyadic tree in lam: each midpoint is drawn given the ends of its
    interval; at the given depth the level itself is, in place of a midpoint.
    """
    low, high = -_REACH, _REACH
    if not low <= lam <= high:
        raise ValueError(f"a Brownian path is known for lam within {_REACH:g}, not at {lam:g}")

    def clock(level: float) -> float:
        return math.exp(2 * eta * level)

    def between(level: float, node: int) -> Combination:
        done, left, whole = clock(level) - clock(low), clock(high) - clock(level), clock(high) - clock(low)
        ends = {draw: at_low.get(draw, 0.0) * (left / whole) + c * (done / whole) for draw, c in at_high.items()}
        inner = {d: c * (left / whole) for d, c in at_low.items() if d not in ends}
        return ends | inner | {FIRST + 1 + node: math.sqrt(done * (left / whole))}

    at_low: Combination = {FIRST: math.sqrt(clock(low))}
    at_high: Combination = at_low | {FIRST + 1: math.sqrt(clock(high) - clock(low))}
    node = 1
    for _ in range(depth):
        middle = 0.5 * (low + high)
        at_middle = between(middle, node)
        if lam < middle:
            high, at_high, node = middle, at_middle, 2 * node
        else:
            low, at_low, node = middle, at_middle, 2 * node + 1
    return between(lam, node)
