"""How well sounds fit their words."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from unnoise.contracts import Evidence
from unnoise.retrieval import SIZE, RetrievalMetric
from unnoise_audio.metrics.features import AudioRecipe, Canvas, Classifier
from unnoise_audio.sound import Sound


class CaptionMetric(RetrievalMetric):
    """Retrieval of words by a judge that hears log-mel bands (:class:`unnoise_audio.metrics.features.Classifier`).

    Args:
        column, among, max_steps: see :class:`unnoise.retrieval.RetrievalMetric`.
    """

    def __init__(self, column: str = "text", among: int = 32, max_steps: int = 800) -> None:
        super().__init__(column, among, max_steps)

    def inputs(self, items: Sequence[Sound], evidence: Evidence) -> Tensor:
        return Canvas.of(evidence.train).bands(items)

    def tower(self, inputs: Tensor) -> nn.Module:
        net = Classifier(SIZE)
        net.mean.copy_(inputs.mean())
        net.std.copy_(inputs.std())
        return net

    def vary(self, inputs: Tensor) -> Tensor:
        return AudioRecipe(gain=0.05).vary(inputs)  # words tell how loud a sound is
