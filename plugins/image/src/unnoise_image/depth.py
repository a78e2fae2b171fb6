"""A judge that sees the depth of pictures, trained on real pictures whose depth is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.classifier import Recipe, trained
from unnoise.contracts import Dataset
from unnoise_image.pictures import stack


class DepthJudge(nn.Module):
    """Convolutions at half resolution that see further and further (dilated; Yu & Koltun 2016), and back.

    Args:
        channels: of the pictures.
        width: channels in between.
    """

    def __init__(self, channels: int, width: int = 48) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, 2, 1)
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3, 1, step, dilation=step) for step in (1, 2, 4, 2, 1))
        self.last = nn.Conv2d(width + channels, width, 3, 1, 1)
        self.out = nn.Conv2d(width, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """uint8 pictures ``(B, channels, height, width)`` -> depth ``(B, 1, height, width)``."""
        pixels = x.float() / 127.5 - 1
        h = F.relu(self.first(pixels))
        for layer in self.body:
            h = h + F.relu(layer(h))
        h = F.interpolate(h, size=pixels.shape[2:], mode="bilinear")
        depth: Tensor = self.out(F.relu(self.last(torch.cat([h, pixels], 1))))
        return depth


@torch.no_grad()
def seen_depth(
    items: Sequence[Any], train: Dataset, depth: NDArray[np.float32], steps: int, cache: Path | None
) -> NDArray[np.float32]:
    """The depth ``(N, height, width, 1)`` that a judge sees in pictures.

    Args:
        items: the pictures.
        train: real pictures.
        depth: of these, ``(N, height, width, 1)``.
        steps: of the judge's training.
        cache: where its weights are kept, or None.
    """
    pictures = stack([train[i] for i in range(len(train))])
    targets = torch.from_numpy(np.nan_to_num(depth)).permute(0, 3, 1, 2).contiguous()
    recipe = Recipe(min_steps=steps, max_steps=steps, batch=32, lr=3e-3, weight_decay=0.01)

    def loss(net: DepthJudge, rows: Tensor) -> Tensor:
        return F.l1_loss(net(pictures[rows]), targets[rows])

    judge = trained(lambda: DepthJudge(pictures.shape[1]), loss, recipe, (pictures, targets), cache, "depth")
    made = [judge(part) for part in torch.split(stack(list(items)), 256)]
    return np.asarray(torch.cat(made).permute(0, 2, 3, 1).numpy())
