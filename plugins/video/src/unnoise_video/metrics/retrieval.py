"""How well clips fit their words."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from unnoise.contracts import Evidence
from unnoise.retrieval import SIZE, RetrievalMetric
from unnoise_video.clip import Clip
from unnoise_video.metrics.features import Watcher, standardised
from unnoise_video.metrics.views import View

WIDTH = 24


class CaptionMetric(RetrievalMetric):
    """Retrieval of words by a judge that looks at frames and over them
    (:class:`unnoise_video.metrics.features.Watcher`).

    Args:
        column, among, max_steps: see :class:`unnoise.retrieval.RetrievalMetric`.
    """

    def __init__(self, column: str = "text", among: int = 32, max_steps: int = 500) -> None:
        super().__init__(column, among, max_steps)

    def inputs(self, items: Sequence[Clip], evidence: Evidence) -> Tensor:
        return View.of(evidence.train)(items)

    def tower(self, inputs: Tensor) -> nn.Module:
        return standardised(Watcher(inputs.shape[2], SIZE, WIDTH, motion=True), inputs)
