"""What a network is told of the noise in its input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


@dataclass(frozen=True)
class Level:
    """The noise level of a batch, per part.

    Every tensor is float32 and indexes the *leading* axes of its part: ``(B,)`` is one level per sample,
    ``(B, n)`` one per element of the part's first axis (a frame, a token, a point), ``(B, n, n)`` one per pair.

    Args:
        t: part -> time in [0, 1]; 0 is data, 1 is noise.
        log_snr: part -> log(alpha^2 / sigma^2) at ``t``, finite.
        c_noise: part -> the number the parametrization feeds to the network's noise embedding.
        target: part -> the time a flow map jumps to; empty for ordinary denoisers.
    """

    t: Mapping[str, Tensor]
    log_snr: Mapping[str, Tensor]
    c_noise: Mapping[str, Tensor]
    target: Mapping[str, Tensor] | None = None


def on_device(values: ArrayLike, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Host-side numbers as a tensor on ``device``, without waiting for what a GPU is still busy with."""
    return torch.tensor(np.asarray(values), dtype=dtype).to(device, non_blocking=device.type == "cuda")


def align(values: Tensor, like: Tensor) -> Tensor:
    """View ``values`` (which index the leading axes of ``like``) so that they broadcast against ``like``."""
    return values.reshape(*values.shape, *(1 for _ in range(like.dim() - values.dim())))
