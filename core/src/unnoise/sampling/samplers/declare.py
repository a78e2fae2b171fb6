"""What a sampler is, and where samplers are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from unnoise.layout import Kind
from unnoise.plugins import get_registry
from unnoise.sampling.rows import Row

Rows = tuple[Row, ...]


@dataclass(frozen=True)
class SamplerInfo:
    """A sampler and what it promises.

    Args:
        name: how plans and configs call it.
        function: ``(schedule, grid, **options) -> rows``.
        order: global order of accuracy, with its default options, on the probability-flow equation (of a stochastic
            one: of its law); of a multistep method, once its history is as accurate. 0 where more steps do not lead to
            the data's law.
        stochastic: whether it draws noise with its default options.
        kinds: kinds of part it moves forward.
        min_steps: fewest steps it can take.
    """

    name: str
    function: Callable[..., Rows]
    order: int = 1
    stochastic: bool = False
    kinds: frozenset[Kind] = field(default_factory=lambda: frozenset({"gaussian", "categorical"}))
    min_steps: int = 1


SAMPLERS: dict[str, SamplerInfo] = {}


def sampler(order: int, stochastic: bool = False, min_steps: int = 1) -> Callable[..., Callable[..., Rows]]:
    """Declare what a sampler function promises; it is found under its own name."""

    def declare(function: Callable[..., Rows]) -> Callable[..., Rows]:
        SAMPLERS[function.__name__] = SamplerInfo(function.__name__, function, order, stochastic, min_steps=min_steps)
        return function

    return declare


def find(name: str) -> SamplerInfo:
    """The sampler of that name, core's or a plugin's.

    Raises:
        UserError: if there is none.
    """
    if name not in SAMPLERS:
        function = get_registry().load("sampler", name)
        return SAMPLERS.get(name) or SamplerInfo(name, function)
    return SAMPLERS[name]


def samplers() -> list[str]:
    """The names of all samplers, core's and those of plugins."""
    return sorted({*SAMPLERS, *get_registry().names("sampler")})
