"""Clouds as sets: coordinates of one scale, masked, without any order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unnoise.contracts import Kept, Representation
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.state import State
from unnoise_points.cloud import AXES, Cloud, Up, check_up, describe
from unnoise_points.pictures import sheet
from unnoise_points.writing import FORMATS, Format, write_clouds

AXIS = "points"
Normalise = Literal["set", "shape"]
Rotate = Literal["none", "up", "any"]
ATTRIBUTES = ("normals", "colours")
_SIZE = Part("size", "gaussian", ())
_POOL = Part("pool", "gaussian", (AXIS,))
_TURN = Part("turn", "gaussian", (4,))
_SHOWN = Part("shown", "gaussian", (2,))


class PointSet(Representation):
    """One gaussian part ``points (points, 3 [+ 3] [+ 3])`` over a masked axis: coordinates, then normals and colours
    where asked for. Mean and scale are measured; coordinates share one scale, so that shapes keep their proportions.

    A state holds every point of a cloud. Each time that training meets it, a fresh draw of ``points`` of them is taken
    (:meth:`augment`), so that a model learns the surface and not one sample of it.

    Args:
        points: of a cloud in training, and of new ones; fewer where the data has fewer.
        fewest: if above 0, training draws from so many to ``points``, so that the model makes any number between.
        normalise: "set" takes one mean and scale off all clouds, which is undone in decoding; "shape" first brings each
            cloud into the unit box (:meth:`unnoise_points.cloud.Cloud.unit`), where new clouds stay.
        attributes: of "normals" and "colours" those that belong to the state.
        rotate: "up" turns training clouds about their upward axis, "any" about any axis.
        sided: share of training clouds whose points are listed from one side to the other, in a random direction. What
            ``train.time_sampling.known`` gives of them is one side; of the others, points from everywhere.
        format: of the files that are written.

    Raises:
        UserError: for an option out of range.
    """

    unordered = (AXIS,)
    example_mask = "above:0.5"
    mean: Tensor
    scale: Tensor
    counts: Tensor
    """Training items by number of points, at most ``points``: int64 ``(points + 1,)``."""
    up: Up = "y"

    def __init__(
        self,
        points: int = 256,
        fewest: int = 0,
        normalise: Normalise = "set",
        attributes: Sequence[str] = (),
        rotate: Rotate = "none",
        sided: float = 0.5,
        format: Format = "ply",
    ) -> None:
        super().__init__()
        for key, value, known in (
            ("normalise", normalise, get_args(Normalise)),
            ("rotate", rotate, get_args(Rotate)),
            ("format", format, FORMATS),
            *(("attributes", name, ATTRIBUTES) for name in attributes),
        ):
            if value not in known:
                raise UserError(f"representation.{key}={value}", f"choose of {', '.join(known)}")
        if points < 1 or not 0 <= fewest <= points or not 0 <= sided <= 1:
            message = f"representation.points={points}, fewest={fewest}, sided={sided}"
            raise UserError(message, "points is at least 1, fewest at most points, sided from 0 to 1")
        self.points, self.fewest, self.normalise, self.rotate = points, fewest, normalise, rotate
        self.attributes = tuple(name for name in ATTRIBUTES if name in attributes)
        self.sided, self.format = sided, format
        channels = 3 + 3 * len(self.attributes)
        self.layout = Layout((Part("points", "gaussian", (AXIS, channels)),))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("counts", torch.zeros(points + 1, dtype=torch.int64))

    def fit(self, items: Sequence[Cloud]) -> None:
        total, squares, count = np.zeros(len(self.mean)), np.zeros(len(self.mean)), 0
        ups = [0] * len(AXES)
        sizes = []
        for item in items:
            ups[AXES.index(item.up)] += 1
            if self._problem(item) is None:
                values = self._values(item).astype(np.float64)
                total, squares, count = total + values.sum(0), squares + np.square(values).sum(0), count + len(values)
                sizes.append(min(len(values), self.points))
        self.restore({"up": AXES[int(np.argmax(ups))]})
        if not count:
            return
        mean = total / count
        if "normals" in self.attributes:
            mean[3:6] = 0
        variance = np.maximum(squares / count - np.square(mean), 0).reshape(-1, 3).mean(1)
        deviation = np.where(variance > 1e-12, np.sqrt(variance), 1.0)
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(deviation.repeat(3)))
        self.counts.copy_(torch.bincount(torch.tensor(sizes), minlength=len(self.counts)))

    def settings(self) -> dict[str, Any]:
        return {"up": self.up}

    def restore(self, settings: Mapping[str, Any]) -> None:
        check_up(settings["up"])
        self.up = settings["up"]

    def unfit(self, items: Sequence[Cloud]) -> Mapping[int, str]:
        """Empty clouds, ones that are not finite, that lack an attribute, or that have another axis upwards."""
        reasons = {i: self._problem(item) for i, item in enumerate(items)}
        up = {i: f"its up axis is {item.up}, most have {self.up}" for i, item in enumerate(items) if item.up != self.up}
        return {**up, **{i: reason for i, reason in reasons.items() if reason is not None}}

    def _problem(self, item: Cloud) -> str | None:
        if not len(item):
            return "it holds no points"
        missing = [name for name in self.attributes if getattr(item, name) is None]
        if missing:
            return f"it has no {missing[0]}"
        return None if np.isfinite(item.points).all() else "its points are not finite"

    def _values(self, item: Cloud) -> NDArray[np.float32]:
        """All channels of a cloud ``(n, C)``, before mean and scale are taken off."""
        placed = item.unit() if self.normalise == "shape" else item
        parts = [placed.points]
        if "normals" in self.attributes and placed.normals is not None:
            parts.append(placed.normals)
        if "colours" in self.attributes and placed.colours is not None:
            parts.append(placed.colours.astype(np.float32) / 127.5 - 1)
        return np.concatenate(parts, 1)

    def encode(self, items: Sequence[Cloud]) -> State:
        counts = torch.tensor([len(item) for item in items], dtype=torch.int64)
        state = State.zeros(self.layout, len(items), {AXIS: counts}, self.mean.device)
        x = state.parts["points"]
        for row, item in zip(x, items, strict=True):
            row[: len(item)] = torch.from_numpy(self._values(item))
        return state.replace({"points": (x - self.mean) / self.scale}).project()

    def decode(self, state: State) -> list[Cloud]:
        values = (state.parts["points"].float() * self.scale + self.mean).cpu().numpy()
        counts = state.masks[AXIS].sum(1).tolist()
        return [self._cloud(row[:count]) for row, count in zip(values, counts, strict=True)]

    def _cloud(self, values: NDArray[np.float32]) -> Cloud:
        found: dict[str, Any] = {}
        for k, name in enumerate(self.attributes, start=1):
            part = values[:, 3 * k : 3 * k + 3]
            if name == "normals":
                found[name] = part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-6)
            else:
                found[name] = np.clip(np.rint((part + 1) * 127.5), 0, 255).astype(np.uint8)
        points = np.ascontiguousarray(values[:, :3])
        return Cloud(points, up=self.up, boxed=self.normalise == "shape", **found)

    def augment(self, state: State, noise: Noise) -> State:
        """A fresh draw of the points of every cloud, turned and listed as the options say."""
        x, mask = state.parts["points"], state.masks[AXIS]
        size = mask.sum(1)
        wanted = torch.full_like(size, self.points)
        if self.fewest:
            share = noise.uniform(_SIZE, (), purpose="augment").to(x.device)
            wanted = self.fewest + (share * (self.points - self.fewest + 1)).long()
        kept = torch.minimum(size, wanted)
        width = min(self.points, mask.shape[1])
        keys = noise.uniform(_POOL, (mask.shape[1],), purpose="augment").to(x.device).masked_fill(~mask, 2)
        drawn = keys.argsort(1)[:, :width]
        x = x.gather(1, drawn[..., None].expand(-1, -1, x.shape[2]))
        real = torch.arange(width, device=x.device) < kept[:, None]
        x = self._turned(x, noise)
        x = self._listed(x, real, noise)
        return State(self.layout, {"points": x}, {AXIS: real}).project()

    def _turned(self, x: Tensor, noise: Noise) -> Tensor:
        """Coordinates and normals under a random rotation about the origin of their own units."""
        if self.rotate == "none":
            return x
        matrix = rotations(noise.normal(_TURN, (4,), purpose="augment").to(x.device), self.rotate, self.up)
        values = x * self.scale + self.mean
        turned = [values[..., :3] @ matrix.mT, *torch.split(values[..., 3:], 3, -1)]
        if "normals" in self.attributes:
            turned[1] = turned[1] @ matrix.mT
        return (torch.cat(turned, -1) - self.mean) / self.scale

    def _listed(self, x: Tensor, real: Tensor, noise: Noise) -> Tensor:
        """The points of a share of the clouds in order along a direction; padding stays behind."""
        if not self.sided:
            return x
        direction = noise.normal(_TURN, (4,), draw=1, purpose="augment").to(x.device)[:, :3]
        along = (x[..., :3] * direction[:, None]).sum(-1)
        chosen = noise.uniform(_SHOWN, (2,), purpose="augment").to(x.device)[:, 0] < self.sided
        place = torch.arange(x.shape[1], device=x.device).to(along)
        keys = torch.where(chosen[:, None], along, place).masked_fill(~real, math.inf)
        return x.gather(1, keys.argsort(dim=1, stable=True)[..., None].expand(-1, -1, x.shape[2]))

    def sizes(self, noise: Noise) -> dict[str, Tensor]:
        """Numbers of points drawn from those of training."""
        cdf = self.counts.double().cumsum(0).cpu()
        u = noise.uniform(_SIZE, (), purpose="sizes").double().cpu() * cdf[-1]
        return {AXIS: torch.searchsorted(cdf, u, right=True).clamp(max=len(cdf) - 1)}

    def kept(self, items: Sequence[Cloud], mask: Any) -> Kept:
        """As :func:`unnoise_points.masks.keep`."""
        from unnoise_points.masks import keep

        return keep(self, items, mask)

    def save(self, items: Sequence[Cloud], folder: Path, settings: Mapping[str, Any]) -> list[Path]:
        """A file per cloud, ``00000.ply`` and so on, and ``turntable.gif`` of the first of them."""
        return write_clouds(items, folder, settings, self.format)

    def preview(self, items: Sequence[Cloud], path: Path, labels: Sequence[str] = ()) -> None:
        sheet(items, labels).save(path, format="PNG")

    def facts(self, items: Sequence[Cloud]) -> str:
        if not items:
            return ""
        frame = "the unit box" if self.normalise == "shape" else "the data's own units"
        return f"{describe(items)}, in {frame}; {self.up} is up"


def rotations(drawn: Tensor, kind: Rotate, up: Up) -> Tensor:
    """Rotation matrices ``(B, 3, 3)``, evenly distributed, of four normal numbers each ``(B, 4)``.

    Args:
        drawn: a direction in four dimensions is a unit quaternion.
        kind: "any", or "up" for turns about an axis.
        up: that axis.
    """
    if kind == "up":
        kept = torch.zeros_like(drawn)
        kept[:, 0], kept[:, 1 + AXES.index(up)] = drawn[:, 0], drawn[:, 1]
        drawn = kept
    w, x, y, z = (drawn / drawn.norm(dim=1, keepdim=True).clamp(min=1e-9)).unbind(1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return torch.stack(rows, 1).reshape(-1, 3, 3)
