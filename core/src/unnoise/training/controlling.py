"""The task of a control: its base stays as it is."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from unnoise.control import Control
from unnoise.denoiser import Residuals
from unnoise.noise import Noise
from unnoise.training.loss import chance
from unnoise.training.tasks import Diffusion
from unnoise.training.trainer import Task


class Controlling(Task):
    """A control of a frozen model. The model is no part of what is saved.

    Args:
        control: what is trained.
        base: the model on the data, among whose columns the map is.
        dropout: chance that an item's map is hidden.
    """

    def __init__(self, control: Control, base: Diffusion, dropout: float) -> None:
        super().__init__()
        self.control = control
        self.weightings: nn.Module = base.weightings
        self._base = (base.requires_grad_(False).eval(),)  # in a tuple: no submodule
        self.weightings.requires_grad_(True)
        self._dropout = dropout

    @property
    def base(self) -> Diffusion:
        """The model on its data."""
        return self._base[0]

    def loss(self, index: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.base.steered_loss(index, self._steer)

    def _steer(self, raw: dict[str, Tensor], noise: Noise) -> tuple[dict[str, Tensor], Residuals]:
        name = self.control.condition.name
        told = {key: value for key, value in raw.items() if key != name}
        hidden = chance(noise, f"hide the map {name}", self._dropout)
        maps = self.control.condition.drop(raw[name], hidden)

        return told, partial(self.control, raw=maps)
