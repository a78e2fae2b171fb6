"""What a control asks of a network."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from unnoise.contracts import Network
from unnoise.noise import Noise
from unnoise.testing.checking import NotApplicableError, check, expect
from unnoise.testing.subject import Subject


@check
@torch.no_grad()
def takes_control(subject: Subject) -> None:
    """A network that takes control names the places of its features, adds what it is given there, and keeps the first
    ones when it is cut down.
    """
    denoiser, network = subject.denoiser, subject.denoiser.network
    if type(network).cut is Network.cut:
        raise NotApplicableError("the default denoiser takes no control")
    times = denoiser.product.times(0.5)
    x_t = denoiser.product.corrupt(subject.state, times, Noise.of(0, len(subject.items)))
    branch = deepcopy(network)
    places = branch.cut()
    features: list[tuple[Sequence[Tensor], Sequence[Tensor]]] = []

    def adding(amounts: Sequence[float]) -> dict[str, Tensor]:
        def residuals(*told: Any) -> list[Tensor]:
            whole = network.features(*told)
            features.append((branch.features(*told), whole))
            return [amount * torch.ones_like(one) for amount, one in zip(amounts, whole, strict=False)]

        return dict(denoiser(x_t, times, subject.conditions, residuals=residuals).prediction.x0)

    plain = denoiser(x_t, times, subject.conditions).prediction.x0
    nothing = adding([0.0] * len(places))
    for name, value in plain.items():
        cause, fix = "forward() takes another way with residuals", "add residuals[i] to the i-th features, no more"
        expect(torch.equal(nothing[name], value), f"residuals of 0 change part {name!r}", cause, fix)
    own, whole = features[0]
    cause, fix = "cut() keeps or names other blocks than features() gives", "cut() returns one Place for each feature"
    expect(len(own) == len(places), f"cut() names {len(places)} places, features() has {len(own)} then", cause, fix)
    for k, (one, two, place) in enumerate(zip(own, whole, places, strict=False)):
        expect(torch.equal(one, two), f"feature {k} differs after cut()", "cut() drops what it depends on", fix)
        seen = f"place {k} of width {place.width} has features of shape {tuple(one.shape)}"
        expect(one.shape[place.axis] == place.width, seen, "Place(width, axis) is that of another feature", fix)
    for k in range(len(places)):
        made = adding([float(i == k) for i in range(len(places))])
        cause, fix = "forward() or features() does not use residuals", "add residuals[i] to the i-th features"
        changed = any(not torch.equal(made[name], value) for name, value in plain.items())
        expect(changed, f"what is added at place {k} has no effect", cause, fix)
