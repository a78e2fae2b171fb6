"""The branch that learns to follow a map."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unnoise.conditions import Condition
from unnoise.contracts import Context, Network
from unnoise.errors import UserError
from unnoise.level import Level
from unnoise.nn import zero_
from unnoise.state import State


class Control(nn.Module):
    """What a map adds to the features of a denoiser ("ControlNet", Zhang et al. 2023, section 3.1): the features of a
    copy of its network that is told the map, each through a linear layer that starts at zero, so that a new control
    adds nothing.

    Args:
        network: of the base's kind, with the shapes of the base's maps and last that of ``condition``; it is cut down
            to what its features need.
        condition: the map or curve.
        blocks: how many blocks of a transformer are copied (:meth:`unnoise.contracts.Network.cut`).

    Raises:
        UserError: if the network takes no control, or the condition is none that a network could join.
    """

    def __init__(self, network: Network, condition: Condition, blocks: int | None = None) -> None:
        super().__init__()
        if condition.map_shape is None:
            message = f"a control follows a map or a curve, and {condition.name!r} is a {condition.kind}"
            raise UserError(message, "Name another: control.map=...")
        self.places = network.cut(blocks)
        self.network, self.condition = network, condition
        self.outs = nn.ModuleList(nn.Linear(place.width, place.width) for place in self.places)
        for out in self.outs:
            assert isinstance(out, nn.Linear)
            zero_(out)

    def begin(self, base: Network) -> None:
        """Take over the weights of the base's network; what joins the map stays as it is."""
        weights = base.state_dict()
        own = self.network.state_dict()
        taken = {name: weights[name] for name, value in own.items() if name in weights and _fits(value, weights[name])}
        self.network.load_state_dict(taken, strict=False)

    def forward(
        self,
        x: State,
        level: Level,
        context: Context | None,
        previous: Mapping[str, Tensor] | None,
        raw: Tensor,
    ) -> list[Tensor]:
        """What is added at each place.

        Args:
            x, level, context, previous: what the base's network is given.
            raw: raw values ``(B, ...)`` of the map.
        """
        told = self.condition(raw)
        before = context or Context(x.parts[x.layout.names[0]].new_zeros(x.batch, 0))
        joined = Context(before.vector, before.tokens, before.token_mask, (*before.maps, *told.maps))
        features = self.network.features(x, level, joined, previous)
        return [
            out(feature.movedim(place.axis, -1)).movedim(-1, place.axis)
            for out, feature, place in zip(self.outs, features, self.places, strict=True)
        ]


def _fits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype


def added(residuals: list[list[Tensor]]) -> list[Tensor]:
    """What several controls add together; one that reaches fewer places adds nothing at the others."""
    most = max(residuals, key=len)
    return [
        torch.stack([own[i] for own in residuals if i < len(own)]).sum(0) if len(residuals) > 1 else most[i]
        for i in range(len(most))
    ]
