"""Pictures as standardised pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.state import State
from unnoise_image.pictures import Picture, stack, unstack
from unnoise_image.representation import ImageRepresentation, common_shape

_FLIP = Part("flip", "gaussian", ())


class Pixels(ImageRepresentation):
    """One gaussian part ``pixels (channels, height, width)`` with mean 0 and variance 1 per channel, as measured.

    Args:
        flip: whether training shows half of the pictures mirrored left to right.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, flip: bool = False) -> None:
        super().__init__()
        self.flip = flip

    def fit(self, items: Sequence[Picture]) -> None:
        self.restore({"shape": common_shape(items)})
        sums, squares = torch.zeros(2, self.shape[2], dtype=torch.float64)
        count = 0
        for batch in self._matching(items):
            x = batch.double() / 255
            sums, squares = sums + x.sum((0, 2, 3)), squares + x.square().sum((0, 2, 3))
            count += x[:, 0].numel()
        mean = sums / count
        self.mean.copy_(mean)
        # A channel that never changes has no deviation to divide by; one grey level keeps it finite.
        self.std.copy_((squares / count - mean.square()).clamp(min=(1 / 255) ** 2).sqrt())

    def _matching(self, items: Sequence[Picture], chunk: int = 1024) -> Iterator[Tensor]:
        for start in range(0, len(items), chunk):
            batch = [item for item in items[start : start + chunk] if item.shape == self.shape]
            if batch:
                yield stack(batch)

    def settings(self) -> dict[str, Any]:
        return {"shape": list(self.shape)}

    def restore(self, settings: Mapping[str, Any]) -> None:
        height, width, channels = settings["shape"]
        self.shape = (height, width, channels)
        self.layout = Layout((Part("pixels", "gaussian", (channels, height, width)),))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def encode(self, items: Sequence[Picture]) -> State:
        x = stack(items).to(self.mean.device).float() / 255
        return State(self.layout, {"pixels": (x - self.mean[:, None, None]) / self.std[:, None, None]})

    def decode(self, state: State) -> list[Picture]:
        x = state.parts["pixels"].float()
        return unstack(x * self.std[:, None, None] + self.mean[:, None, None])

    def augment(self, state: State, noise: Noise) -> State:
        if not self.flip:
            return state
        x = state.parts["pixels"]
        return state.replace({"pixels": torch.where(self._mirrored(noise), x.flip(3), x)})

    def augment_maps(self, maps: Mapping[str, Tensor], noise: Noise) -> dict[str, Tensor]:
        if not self.flip:
            return dict(maps)
        return {name: torch.where(self._mirrored(noise), x.flip(2), x) for name, x in maps.items()}

    def _mirrored(self, noise: Noise) -> Tensor:
        """Which pictures are mirrored: bool ``(B, 1, 1, 1)``."""
        return (noise.uniform(_FLIP, (), purpose="augment") < 0.5)[:, None, None, None]
