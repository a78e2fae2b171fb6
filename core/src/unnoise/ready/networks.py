"""Plain denoisers for vectors, sequences and sets of whatever parts a layout has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise import nn as blocks
from unnoise.contracts import Context, MapShape, Network
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.level import Level
from unnoise.state import State


class VectorNetwork(Network):
    """A residual MLP over all values of all parts: numbers as they are, classes as one-hot vectors.

    Parts and their elements may have noise levels of their own.

    Args:
        layout: parts of fixed shape, any number, of either kind.
        context_dim: size of the embedded condition; 0 for none.
        width: of the hidden layers.
        depth: number of residual blocks.
        cond_dim: size of the vector that tells of level and condition; ``width`` if left out.

    Raises:
        UserError: if a part varies in size, or a size is below 1.
    """

    def __init__(
        self, layout: Layout, context_dim: int, width: int = 128, depth: int = 3, cond_dim: int | None = None
    ) -> None:
        super().__init__()
        if layout.variable_axes:
            fix = "choose a denoiser for sequences or sets"
            raise UserError(f"this denoiser takes vectors, but axis {layout.variable_axes[0]!r} varies in size", fix)
        _at_least_one(width=width, depth=depth)
        self.parts, cond_dim = tuple(layout), cond_dim or width
        self.told = PartLevels(layout, cond_dim, context_dim)
        inputs = sum(part.fixed_size * channels(part) + _rows(part) for part in self.parts)
        self.sizes = [part.fixed_size * outputs(part) for part in self.parts]
        self.mlp = blocks.ResidualMLP(inputs, sum(self.sizes), width, depth, cond_dim)

    def forward(
        self,
        x: State,
        level: Level,
        context: Context | None,
        previous: Mapping[str, Tensor] | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """As :class:`Network`; it has no use for ``residuals``.

        Raises:
            UserError: if there are tokens to attend to.
        """
        values = [vectors(part, x.parts[part.name]).flatten(1) for part in self.parts]
        levels = [_spread(level.c_noise[part.name], _rows(part)) for part in self.parts]
        made = self.mlp(torch.cat([*values, *levels], 1), self.told(level, context, {})[0])
        pieces = torch.split(made, self.sizes, 1)
        return {part.name: _shaped(part, piece, x) for part, piece in zip(self.parts, pieces, strict=True)}


class TokenNetwork(Network):
    """A transformer with a token for every element of the axis that all parts share. A token is a linear map of the
    element's values in all parts (classes as one-hot vectors) and of its noise levels, which may differ from element to
    element: known elements are those with less noise.

    Args:
        layout: parts of either kind that all begin with the same axis, of variable or of fixed size.
        context_dim: size of the embedded condition; 0 for none.
        maps: shapes of the curves that are joined to the input.
        width: channels of a token.
        depth: number of blocks.
        head_dim: channels per attention head; divides ``width``.
        mlp_ratio: width of a block's MLP over ``width``.
        cond_dim: size of the vector that tells of level, condition and number of elements; ``width`` if left out.
        cross_attention: whether the condition's tokens are attended to.

    Raises:
        UserError: if the parts have no axis in common, or an option is out of range.
    """

    ordered: ClassVar[bool]
    """Whether elements have places. If not, the order in which they are listed makes no difference."""

    def __init__(
        self,
        layout: Layout,
        context_dim: int,
        maps: Sequence[MapShape],
        width: int,
        depth: int,
        head_dim: int,
        mlp_ratio: float,
        cond_dim: int | None,
        cross_attention: bool,
    ) -> None:
        super().__init__()
        _at_least_one(width=width, depth=depth, head_dim=head_dim)
        if width % head_dim:
            raise UserError(f"denoiser.width={width}, head_dim={head_dim}", "head_dim divides width")
        self.axis = shared_axis(layout)
        self.parts, self.head_dim, cond_dim = tuple(layout), head_dim, cond_dim or width
        self.embed = nn.Linear(sum(_below(part) * channels(part) for part in self.parts), width)
        self.own_levels = nn.ModuleList(blocks.ScalarEmbedding(width) for _ in self.parts)
        self.told = PartLevels(layout, cond_dim, context_dim, cross_attention)
        self.count = blocks.ScalarEmbedding(cond_dim, low=1e-3, high=1.0, sinusoidal=32)
        if any(len(shape.points) != 1 for shape in maps):
            raise UserError("this denoiser takes curves, no other maps", "leave the map out of conditions.use")
        self.curves = blocks.JoinCurves(maps[0].channels, width) if maps else None
        heads = width // head_dim
        self.transformer = blocks.Transformer(width, depth, heads, cond_dim, self.told.token_dim, mlp_ratio)
        self.sizes = [_below(part) * outputs(part) for part in self.parts]
        self.norm_out = blocks.AdaLN(width, cond_dim)
        self.out = nn.Linear(width, sum(self.sizes))
        blocks.zero_(self.out)

    def forward(
        self,
        x: State,
        level: Level,
        context: Context | None,
        previous: Mapping[str, Tensor] | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """As :class:`Network`. ``residuals[i] (B, n, width)`` is added after block i.

        Raises:
            UserError: if there are tokens and nothing attends to them.
        """
        values = torch.cat([vectors(part, x.parts[part.name]).flatten(2) for part in self.parts], 2)
        real = x.masks.get(self.axis, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))
        h = self.embed(values)
        for embedding, part in zip(self.own_levels, self.parts, strict=True):
            c_noise = level.c_noise[part.name]
            h = h + embedding(c_noise if c_noise.dim() == 2 else c_noise[:, None])
        if self.curves is not None and context is not None:
            h = h + self.curves(context.maps, real)
        angles = None
        if self.ordered:
            places = torch.arange(h.shape[1], device=h.device)[:, None]
            h = h + blocks.position_embedding(places, h.shape[2]).to(h.dtype)
            angles = blocks.rotary_angles(places, self.head_dim)
        vector, tokens, token_mask = self.told(level, context, x.masks)
        cond = vector + self.count(real.sum(1))
        mask = real if self.axis in x.masks else None
        h = self.transformer(h, cond, mask, tokens, token_mask, angles=angles, residuals=residuals)
        made = self.out(self.norm_out(h, cond)[0])
        pieces = torch.split(made, self.sizes, 2)
        return {part.name: _shaped(part, piece, x) for part, piece in zip(self.parts, pieces, strict=True)}


class SequenceNetwork(TokenNetwork):
    """A transformer over elements in order. It knows distances by rotary positions (Su et al. 2021) and places by a
    fixed embedding (Vaswani et al. 2017). Arguments as for :class:`TokenNetwork`.
    """

    ordered = True

    def __init__(
        self,
        layout: Layout,
        context_dim: int,
        maps: Sequence[MapShape] = (),
        width: int = 128,
        depth: int = 4,
        head_dim: int = 32,
        mlp_ratio: float = 3.0,
        cond_dim: int | None = None,
        cross_attention: bool = False,
    ) -> None:
        super().__init__(layout, context_dim, maps, width, depth, head_dim, mlp_ratio, cond_dim, cross_attention)


class SetNetwork(TokenNetwork):
    """A transformer over elements without order ("Set Transformer", Lee et al. 2019): listing them in another order
    gives the same output in that order. Other arguments as for :class:`TokenNetwork`.
    """

    ordered = False

    def __init__(
        self,
        layout: Layout,
        context_dim: int,
        width: int = 128,
        depth: int = 4,
        head_dim: int = 32,
        mlp_ratio: float = 3.0,
        cond_dim: int | None = None,
        cross_attention: bool = False,
    ) -> None:
        super().__init__(layout, context_dim, (), width, depth, head_dim, mlp_ratio, cond_dim, cross_attention)


class PartLevels(nn.Module):
    """The vector that tells a network of the noise level of every part, of its noisiest element where they differ, and
    of the condition, with the tokens to attend to (:class:`unnoise.nn.Conditioning`).

    Args:
        layout: the parts.
        dim: size of the vector.
        context_dim: size of the embedded condition; 0 for none.
        cross_attention: whether tokens are attended to; None for a network that cannot.

    Raises:
        UserError: if there is nothing to attend to.
    """

    def __init__(self, layout: Layout, dim: int, context_dim: int, cross_attention: bool | None = None) -> None:
        super().__init__()
        self.first, *self.others = layout
        self.conditioning = blocks.Conditioning(dim, context_dim, cross_attention)
        self.levels = nn.ModuleList(blocks.LevelEmbedding(dim) for _ in self.others)

    @property
    def token_dim(self) -> int:
        """Size of the tokens that are attended to; 0 for none."""
        return self.conditioning.token_dim

    def forward(self, level: Level, context: Context | None, masks: Mapping[str, Tensor]) -> blocks.Told:
        """The vector ``(B, dim)``, and tokens with their mask.

        Raises:
            UserError: if there are tokens and nothing attends to them.
        """
        vector, tokens, token_mask = self.conditioning.told(_noisiest(self.first, level, masks), context)
        for part, embedding in zip(self.others, self.levels, strict=True):
            vector = vector + embedding(_noisiest(part, level, masks))
        return vector, tokens, token_mask


def _noisiest(part: Part, level: Level, masks: Mapping[str, Tensor]) -> Tensor:
    """What a part's noisiest real element has for a level, ``(B,)``."""
    c_noise = level.c_noise[part.name]
    if c_noise.dim() == 1:
        return c_noise
    for axis in part.variable_axes[:1]:
        c_noise = c_noise.masked_fill(~masks[axis], -torch.inf)
    return c_noise.amax(1)


def channels(part: Part) -> int:
    """Numbers in which :func:`vectors` writes one element."""
    return part.tokens if part.kind == "categorical" else 1


def outputs(part: Part) -> int:
    """Numbers that a network gives for one element."""
    return part.classes if part.kind == "categorical" else 1


def vectors(part: Part, x: Tensor) -> Tensor:
    """A part's noised values as floats: numbers ``(B, *event)``, classes one-hot ``(B, *event, tokens)``."""
    return x.float() if part.kind == "gaussian" else F.one_hot(x, part.tokens).float()


def shared_axis(layout: Layout) -> str:
    """The name of the variable axis that all parts of a layout begin with; empty for one of fixed size.

    Raises:
        UserError: if there is none.
    """
    axes = {part.shape[:1] for part in layout}
    several = [part.name for part in layout if len(part.variable_axes) > 1]
    if len(axes) > 1 or axes == {()} or several:
        what = f"part {several[0]!r} is one of pairs" if several else f"{', '.join(layout.names)} do not share one"
        raise UserError(f"this denoiser needs parts that begin with one axis: {what}", "choose or write another")
    (first,) = axes.pop()
    return first if isinstance(first, str) else ""


def _below(part: Part) -> int:
    """Number of values of a part at one element of its first axis."""
    return part.fixed_size if part.variable_axes else part.fixed_size // _rows(part)


def _rows(part: Part) -> int:
    """Size of the fixed first axis, over which noise levels may differ; 1 for a single value."""
    return part.fixed_shape[0] if part.fixed_shape else 1


def _spread(c_noise: Tensor, rows: int) -> Tensor:
    return c_noise if c_noise.dim() == 2 else c_noise[:, None].expand(-1, rows)


def _shaped(part: Part, made: Tensor, x: State) -> Tensor:
    shape = x.parts[part.name].shape
    return made.reshape(shape if part.kind == "gaussian" else (*shape, part.classes))


def _at_least_one(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise UserError(f"denoiser.{name}={value}", "it is at least 1")
