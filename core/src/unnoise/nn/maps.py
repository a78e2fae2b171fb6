"""Maps joined to a network's features on a grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.contracts import MapShape
from unnoise.errors import UserError
from unnoise.nn.adaln import zero_
from unnoise.nn.conv import conv_nd
from unnoise.nn.curves import resample


class MapEncoder(nn.Module):
    """A map at the resolution of a grid: convolutions that halve it until it is no more than twice as fine, the mean
    over what a cell covers, and a last convolution, which starts at zero. (Zhang et al. 2023, section 3.2, encode the
    map by such a small network.)

    Args:
        points: of the map, along the grid's axes.
        inputs: numbers at each point.
        channels: of the result.
        grid: its sizes.
        width: channels in between.
    """

    def __init__(self, points: Sequence[int], inputs: int, channels: int, grid: Sequence[int], width: int) -> None:
        super().__init__()
        dims, self.grid = len(grid), tuple(grid)
        layers: list[nn.Module] = [conv_nd(dims, inputs, width, 3), nn.SiLU()]
        while all(size >= 2 * cells for size, cells in zip(points, grid, strict=True)):
            layers += [conv_nd(dims, width, width, 3, stride=2), nn.SiLU()]
            points = [-(-size // 2) for size in points]
        self.layers = nn.Sequential(*layers)
        self.out = conv_nd(dims, width, channels, 3)
        zero_(self.out)

    def forward(self, x: Tensor) -> Tensor:
        """``x (B, inputs, *points)`` -> ``(B, channels, *grid)``."""
        h = self.layers(x)
        h = h if tuple(h.shape[2:]) == self.grid else F.interpolate(h, size=self.grid, mode="area")
        joined: Tensor = self.out(h)
        return joined


class JoinMaps(nn.Module):
    """Maps as channels to be added to a network's features on a grid. It starts at zero, as if there were no map.

    Without a variable axis a map has the axes of the grid. With one, it has that axis first, or no other (a curve,
    which is alike all over the grid), or those of the grid alone (a still, which is alike all along).

    Args:
        shapes: of the maps.
        channels: of the result.
        grid: sizes of the fixed axes.
        moving: whether there is a variable axis.
        width: channels of the encoders.

    Raises:
        UserError: for a map of other axes.
    """

    def __init__(
        self, shapes: Sequence[MapShape], channels: int, grid: Sequence[int], moving: bool = False, width: int = 32
    ) -> None:
        super().__init__()
        self.channels, self.grid, self.moving = channels, tuple(grid), moving
        self.sizes = [self._sizes(shape) for shape in shapes]
        self.encoders = nn.ModuleList(
            MapEncoder(fixed, shape.channels, channels, grid, width)
            for shape, (_, fixed) in zip(shapes, self.sizes, strict=True)
        )

    def _sizes(self, shape: MapShape) -> tuple[int, tuple[int, ...]]:
        """Points along the variable axis, and along those of the grid."""
        points, dims = shape.points, len(self.grid)
        if len(points) == dims:
            return 1, points
        if self.moving and len(points) == dims + 1:
            return points[0], points[1:]
        if self.moving and len(points) == 1:
            return points[0], (1,) * dims
        axes = f"{dims} or {dims + 1}" if self.moving else f"{dims}"
        message = f"a map of {' x '.join(map(str, points))} points does not lie on this denoiser's grid"
        raise UserError(message, f"give one of {axes} axes")

    def forward(self, maps: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """One map ``(B, *points, numbers)`` per shape, at least one -> ``(B, channels, *grid)``; with the mask ``(B,
        n)`` of a variable axis ``(B, n, channels, *grid)``.
        """
        joined = []
        for encoder, one, (times, fixed) in zip(self.encoders, maps, self.sizes, strict=True):
            flat = one.reshape(len(one) * times, *fixed, one.shape[-1]).movedim(-1, 1)
            made = encoder(flat)
            if mask is not None:
                along = resample(made.reshape(len(one), times, -1), mask)
                made = along.reshape(*mask.shape, self.channels, *self.grid)
            joined.append(made)
        return torch.stack(joined).sum(0)
