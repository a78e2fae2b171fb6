"""Shapes with known parameters, made when they are asked for: no download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from unnoise.contracts import Column, Dataset, Labels
from unnoise.errors import UserError, did_you_mean
from unnoise_points.cloud import Cloud, turn_about
from unnoise_points.data.base import measured
from unnoise_points.families import FAMILIES, Parameters
from unnoise_points.surfaces import draw_points


class Families(Dataset):
    """Chairs, tables, lamps, mugs and planes (:mod:`unnoise_points.families`), the same number of each. Columns:
    ``class``, and the sides of the box, ``height``, ``width`` and ``depth``.

    Parameters are drawn for every shape from the seed of its split, and the two splits never share a value of a
    family's first parameter. The shapes never depend on the run's seed: runs with different seeds are judged on the
    same ones.

    Args:
        split: "train" or "test".
        seed: has no effect.
        n: training shapes; the test split has a fourth of them.
        pool: points drawn from the surface of each, by area. Training takes a fresh draw of these each time.
        families: which; all if empty.
        turned: turn every shape about its upward axis by an angle of its own.

    Raises:
        UserError: if there would be no shape, or a family does not exist.
    """

    def __init__(
        self,
        split: str,
        seed: int = 0,
        *,
        n: int = 4000,
        pool: int = 2048,
        families: Sequence[str] = (),
        turned: bool = False,
    ) -> None:
        for name in families:
            if name not in FAMILIES:
                message = f"there is no family {name!r}.{did_you_mean(name, FAMILIES)}"
                raise UserError(message, f"There is: {', '.join(FAMILIES)}")
        self.names = tuple(name for name in FAMILIES if not families or name in families)
        if n < 4 * len(self.names) or pool < 1:
            message = f"data.n={n}, data.pool={pool}"
            raise UserError(message, f"n is at least {4 * len(self.names)}, pool at least 1")
        self._test, self.turned = split == "test", turned
        count = n // 4 if self._test else n
        self._classes = np.arange(count) % len(self.names)
        self._parameters = [
            FAMILIES[self.family(i)].draw(np.random.default_rng([int(self._test), 1, i]), self._test)
            for i in range(count)
        ]
        self._items = [self._made(i, pool) for i in range(count)]
        self._columns: dict[str, Column] = {
            "class": Labels(self._classes.astype(np.int64), self.names), **measured(self._items)
        }  # fmt: skip

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Cloud:
        return self._items[index]

    def family(self, index: int) -> str:
        """The name of a shape's family."""
        return self.names[int(self._classes[index])]

    def parameters(self, index: int) -> Parameters:
        """What a shape was made of."""
        return self._parameters[index]

    def _made(self, index: int, pool: int) -> Cloud:
        mesh = FAMILIES[self.family(index)].mesh(self._parameters[index])
        cloud = draw_points(mesh, pool, [int(self._test), 2, index])
        if not self.turned:
            return cloud
        angle = np.random.default_rng([int(self._test), 3, index]).uniform(0, 2 * np.pi)
        return cloud.turned(turn_about("y", angle))

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def notes(self) -> Sequence[str]:
        return [f"families: {len(self)} shapes of {', '.join(self.names)}"]
