"""All that a model may be told, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unnoise.conditions.base import Condition, Raw
from unnoise.contracts import Column, Context, MapShape
from unnoise.errors import UserError, did_you_mean
from unnoise.plugins import get_registry
from unnoise.plugins.signature import check_complete, check_options


def check_columns(columns: Mapping[str, Column], names: Sequence[str]) -> None:
    """Raise :class:`UserError` unless the data has columns ``names`` to condition on. No column is computed for it."""
    for name in names:
        if name not in columns:
            raise UserError(
                f"the data has no column {name!r} to condition on.{did_you_mean(name, columns)}",
                f"there is: {', '.join(columns) or 'nothing'}; train without a condition: conditions.use=[]",
            )


_GIVEN = ("name", "column", "dim", "tokens")
"""Arguments of :meth:`Condition.from_column` that are no options."""


def condition_on(
    name: str, column: Column, dim: int, tokens: bool = False, options: Mapping[str, Any] | None = None
) -> Condition:
    """The condition on a data set's column ``name``: the registered one that the column names.

    Raises:
        UserError: if no such condition is registered, or it has no such option.
    """
    kind: type[Condition] = get_registry().load("condition", column.condition)
    options = options or {}
    check_options(f"condition {name!r}", kind.from_column, options, _GIVEN)
    return kind.from_column(name, column, dim, tokens, **options)


def condition_from(name: str, config: Mapping[str, Any], dim: int) -> Condition:
    """The condition that a config describes (:meth:`Condition.config`), without its weights.

    Raises:
        UserError: for an unknown kind, or settings that it does not have.
    """
    settings = {key: value for key, value in config.items() if key not in ("kind", "tokens")}
    kind, where = get_registry().load("condition", config["kind"]), f"condition {name!r}"
    check_options(where, kind, settings, ("name", "dim", "tokens"))
    check_complete(where, kind, [*settings, "name", "dim", "tokens"])
    made: Condition = kind(name, dim, config["tokens"], **settings)
    return made


class Conditions(nn.Module):
    """All that a model may be told, by name.

    Args:
        items: the conditions, all of width ``dim``. None at all makes an unconditional model.
        dim: width of the context.
    """

    def __init__(self, items: Sequence[Condition], dim: int) -> None:
        super().__init__()
        self.dim = dim if items else 0
        self.items = nn.ModuleDict()
        for item in items:
            if not item.name or "." in item.name or hasattr(self.items, item.name):
                raise UserError(f"a condition cannot be called {item.name!r}", "Call the data's column something else.")
            self.items[item.name] = item

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, Column],
        names: Sequence[str],
        dim: int,
        tokens: bool = False,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Conditions:
        """Conditions on the data set's columns ``names``.

        Args:
            columns: of the data.
            names: which of them.
            dim: width of the context.
            tokens: whether there are tokens for cross-attention.
            options: name -> options of that condition (:meth:`Condition.from_column`).

        Raises:
            UserError: if the data has no such column, no condition is registered for it, or it has no such option.
        """
        check_columns(columns, names)
        options = options or {}
        for name in options:
            if name not in names:
                known = f"There is: {', '.join(names) or 'none'}."
                raise UserError(
                    f"conditions.options: there is no condition {name!r}.{did_you_mean(name, names)}", known
                )
        chosen = {name: columns[name] for name in names}  # each once: a plugin may compute it then
        return cls([condition_on(name, c, dim, tokens, options.get(name)) for name, c in chosen.items()], dim)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Conditions:
        """The inverse of :meth:`config`, without the weights.

        Raises:
            UserError: for the unknown kind of a condition, or settings that it does not have.
        """
        items = [condition_from(name, entry, config["dim"]) for name, entry in config["items"].items()]
        return cls(items, config["dim"])

    def config(self) -> dict[str, Any]:
        """A JSON value."""
        return {"dim": self.dim, "items": {name: self[name].config() for name in self.names}}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.items)

    @property
    def maps(self) -> dict[str, MapShape]:
        """Those that are curves or maps, with their shapes."""
        shapes = {name: self[name].map_shape for name in self.names}
        return {name: shape for name, shape in shapes.items() if shape is not None}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, name: str) -> Condition:
        """The condition ``name``; raises :class:`UserError` naming what there is."""
        if name not in self.items:
            known = f"This model knows: {', '.join(self.names)}." if self.names else "This model is unconditional."
            raise UserError(f"the model has no condition {name!r}.{did_you_mean(name, self.names)}", known)
        item = self.items[name]
        assert isinstance(item, Condition)
        return item

    def parse(self, values: Any, n: int) -> dict[str, Tensor]:
        """Raw conditions of what a user wrote: ``{name: value or list}``, a bare value where the model knows only one
        condition, or None for nothing.

        Raises:
            UserError: if a name or value does not exist.
        """
        if values is None:
            return {}
        if not isinstance(values, Mapping):
            if not self.names:
                raise UserError(f"condition {values!r} tells the model nothing", "Leave it out: it is unconditional.")
            if len(self) != 1:
                fix = "Write condition.NAME=VALUE."
                raise UserError(f"which condition is {values!r}? The model knows: {', '.join(self.names)}", fix)
            values = {self.names[0]: values}
        return {name: self[name].parse(value, n) for name, value in values.items()}

    def checked(self, raw: Raw, n: int) -> dict[str, Tensor]:
        """Raw conditions of n samples that somebody else made, as they are.

        Raises:
            UserError: if a name does not exist, or its values are not n of those that do.
        """
        for name, value in raw.items():
            expected = tuple(self[name].absent(n).shape)
            if value.shape != expected:
                fix = f"Raw values of {n} samples have shape {expected}."
                raise UserError(f"condition {name!r} has raw values of shape {tuple(value.shape)}", fix)
            self[name].check(value)
        return dict(raw)

    def complete(self, raw: Raw | None, n: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Raw values of every condition for n samples, absent where ``raw`` leaves a name out."""
        for name in raw or {}:
            self[name]
        given = raw or {}
        return {k: (given[k] if k in given else self[k].absent(n)).to(device) for k in self.names}

    def forward(self, raw: Raw | None, n: int, device: torch.device | str = "cpu") -> Context | None:
        """Embed the conditions of n samples: the sum of the vectors, the tokens side by side, every map.

        Returns None for an unconditional model.
        """
        full = self.complete(raw, n, device)
        if not full:
            return None
        contexts = [self[name](value) for name, value in full.items()]
        vector = torch.stack([context.vector for context in contexts]).sum(0)
        maps = tuple(one for context in contexts for one in context.maps)
        return Context(vector, *_side_by_side(contexts), maps=maps)


def _side_by_side(contexts: Sequence[Context]) -> tuple[Tensor | None, Tensor | None]:
    """The tokens of several contexts, and which of them are real; None where all are."""
    having = [(c.tokens, c.token_mask) for c in contexts if c.tokens is not None]
    if not having:
        return None, None
    tokens = torch.cat([own for own, _ in having], 1)
    if all(mask is None for _, mask in having):
        return tokens, None
    masks = [own.new_ones(own.shape[:2], dtype=torch.bool) if mask is None else mask for own, mask in having]
    return tokens, torch.cat(masks, 1)
