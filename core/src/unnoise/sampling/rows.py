"""The row format: a sampler is a table, and a row of it is a small linear program over registers.

A sampler writes its update as a formula in :class:`Linear` symbols; :class:`Table` turns the formulas into rows of
float64 coefficients, which :mod:`unnoise.sampling.loop` executes without knowing any sampler.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unnoise.errors import UserError
from unnoise.sampling.brownian import increment
from unnoise.schedules import Schedule

Array = NDArray[np.float64]
Coefficient = float | Array
"""A number, or an array over the leading axes of a part (samples, then elements of its first axis)."""
Cat = Literal["bridge", "forward", "hold"]


@dataclass(frozen=True)
class Register:
    """A tensor that outlives a row. ``version`` counts its writes, so that a formula cannot use an outdated value."""

    name: str
    version: int


@dataclass(frozen=True)
class Predicted:
    """The estimate of clean data made in ``row``; of one guidance branch, or combined (None)."""

    row: int
    branch: str | None


@dataclass(frozen=True)
class Drawn:
    """Standard normal noise with address ``id``; the same id in a later row is the same noise."""

    id: int


Symbol = Register | Predicted | Drawn


class Linear:
    """A linear combination of symbols with float64 coefficients: what a sampler's formula evaluates to."""

    __array_ufunc__ = None  # numpy scalars and arrays on the left leave the product to __rmul__

    def __init__(self, terms: Mapping[Symbol, Coefficient]) -> None:
        self.terms = dict(terms)

    def __add__(self, other: Linear) -> Linear:
        total = dict(self.terms)
        for symbol, coefficient in other.terms.items():
            total[symbol] = total.get(symbol, 0.0) + coefficient
        return Linear(total)

    def __mul__(self, factor: Coefficient) -> Linear:
        return Linear({symbol: coefficient * factor for symbol, coefficient in self.terms.items()})

    __rmul__ = __mul__

    def __truediv__(self, divisor: Coefficient) -> Linear:
        return Linear({symbol: coefficient / divisor for symbol, coefficient in self.terms.items()})

    def __neg__(self) -> Linear:
        return self * -1.0

    def __sub__(self, other: Linear) -> Linear:
        return self + -other


@dataclass(frozen=True, eq=False)
class Op:
    """``into <- sum c register + sum c prediction + sum c draw``, for the gaussian parts."""

    into: str
    registers: tuple[tuple[str, Coefficient], ...] = ()
    predictions: tuple[tuple[int, str | None, Coefficient], ...] = ()
    draws: tuple[tuple[int, Coefficient], ...] = ()


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a table.

    Args:
        eval: the register the denoiser is asked about, or None (a jump without evaluation).
        t: the level of that register; without evaluation, the level of ``x`` before the row.
        s: the level of ``x`` after the row.
        ops: executed in order, each seeing the registers as the ones before left them.
        cat: what a categorical part does from t to s: "bridge" down (or what else of
            :mod:`unnoise.sampling.descents` the plan says), "forward" up, or "hold".
        step: index of the grid step the row belongs to.
        order: order of accuracy of that step as taken here (start-up and final steps may be lower).
    """

    eval: str | None
    t: Coefficient
    s: Coefficient
    ops: tuple[Op, ...]
    cat: Cat
    step: int
    order: int


@dataclass(frozen=True, eq=False)
class Point:
    """A level of the grid: ``lam = log(alpha / sigma)``, half the log-SNR, is +inf at t = 0."""

    t: Coefficient
    alpha: Coefficient
    sigma: Coefficient
    lam: Coefficient

    @classmethod
    def at(cls, schedule: Schedule, t: Coefficient) -> Point:
        return cls(t, schedule.alpha(t), schedule.sigma(t), 0.5 * schedule.log_snr(t))


class Table:
    """Collects the rows of a sampler.

    A row begins with :meth:`predict` (unless it only re-noises) and ends with :meth:`advance`.

    Args:
        schedule: where alpha and sigma come from.
        grid: float64 ``(steps + 1, ...)``, falling.
        path: whether :meth:`noise` is that of one Brownian path per seed.
    """

    def __init__(self, schedule: Schedule, grid: Array, path: bool = False) -> None:
        self.schedule, self.path = schedule, path
        self.points = [Point.at(schedule, t) for t in grid]
        self.rows: list[Row] = []
        self._versions = {"x": 0}
        self._eval: str | None = None
        self._here = self.points[0]
        self._ops: list[Op] = []
        self._step = 0
        self._draws = 0

    def steps(self, order: Iterable[int] | None = None) -> Iterator[tuple[Point, Point]]:
        """The grid's steps: from a point to the next lower one.

        Args:
            order: indices of steps, in the order in which they are taken, where that is not once each.
        """
        for index in range(len(self.points) - 1) if order is None else order:
            self._step = index
            yield self.points[index], self.points[index + 1]

    @property
    def last(self) -> bool:
        """Whether the present step is the grid's last: nothing need be kept for later ones."""
        return self._step == len(self.points) - 2

    def register(self, name: str) -> Linear:
        """The present value of a register."""
        return Linear({Register(name, self._versions[name]): 1.0})

    @property
    def x(self) -> Linear:
        """The present state."""
        return self.register("x")

    def predict(self, register: str = "x") -> Linear:
        """Evaluate the denoiser on a register, at the level of ``x``; the estimate of clean data."""
        if self._eval is not None:
            raise ValueError("a row has one evaluation: advance() before the next predict()")
        self._eval = register
        return self.branch(None)

    def branch(self, name: str | None) -> Linear:
        """The estimate of one guidance branch in the present row (None: the combined one)."""
        return Linear({Predicted(len(self.rows), name): 1.0})

    def draw(self) -> Linear:
        """Fresh standard normal noise."""
        self._draws += 1
        return Linear({Drawn(self._draws - 1): 1.0})

    def noise(self, here: Point, there: Point, eta: float = 1.0) -> Linear:
        """Standard normal noise of a step of strength eta: fresh, or the increment of the path over that stretch.

        Raises:
            UserError: if there is a path, and samples or elements have levels of their own.
        """
        if not self.path:
            return self.draw()
        a, b = np.asarray(here.lam), np.asarray(there.lam)
        if a.ndim or b.ndim:
            raise UserError("path=true needs the same levels for all samples and elements", "leave it at false")
        if not (a < b < np.inf and eta > 0):  # a step without noise
            return Linear({})
        steps = np.diff([point.lam for point in self.points])
        shortest = float(np.min(steps, where=steps > 0, initial=np.inf))
        return Linear({Drawn(at): c for at, c in increment(float(a), float(b), eta, shortest).items()})

    def keep(self, name: str, value: Linear) -> Linear:
        """Write a register in the present row, for this row and later ones; its new value."""
        self._ops.append(self._op(name, value))
        return self.register(name)

    def advance(self, to: Point, order: int, **registers: Linear) -> None:
        """End the row: write registers, in the order given; ``x`` is at ``to`` afterwards.

        Raises:
            ValueError: if a formula uses an overwritten register or has a coefficient that is not finite.
        """
        ops = (*self._ops, *(self._op(name, value) for name, value in registers.items()))
        t, s = np.asarray(self._here.t), np.asarray(to.t)
        cat: Cat = "forward" if (s > t).any() else "bridge" if (s < t).any() else "hold"
        self.rows.append(Row(self._eval, _plain(t), _plain(s), ops, cat, self._step, order))
        self._eval, self._here, self._ops = None, to, []

    def _op(self, into: str, value: Linear) -> Op:
        registers, predictions, draws = [], [], []
        for symbol, coefficient in value.terms.items():
            c = _plain(coefficient)
            if not np.isfinite(c).all():
                raise ValueError(f"row {len(self.rows)}: the coefficient of {symbol} in {into!r} is {c}")
            if np.all(c == 0):
                continue
            if isinstance(symbol, Register):
                if symbol.version != self._versions[symbol.name]:
                    raise ValueError(f"row {len(self.rows)}: register {symbol.name!r} has been overwritten")
                registers.append((symbol.name, c))
            elif isinstance(symbol, Predicted):
                predictions.append((symbol.row, symbol.branch, c))
            else:
                draws.append((symbol.id, c))
        self._versions[into] = self._versions.get(into, -1) + 1
        return Op(into, tuple(registers), tuple(predictions), tuple(draws))


def _plain(value: Coefficient) -> Coefficient:
    """A Python float where a number will do: tensors multiply by it without making another tensor."""
    array = np.asarray(value, dtype=np.float64)
    return float(array) if array.ndim == 0 else array
