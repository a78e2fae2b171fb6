"""How well pictures fit their captions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unnoise.contracts import Evidence
from unnoise.retrieval import SIZE, RetrievalMetric
from unnoise_image.classifier import Classifier, shifted
from unnoise_image.metrics import pictures_of
from unnoise_image.pictures import Picture

SHIFT = 2
"""Pixels by which training pictures are moved at most."""


class CaptionMetric(RetrievalMetric):
    """Retrieval of captions by a judge whose picture tower is the body of :class:`unnoise_image.classifier.Classifier`.

    Args:
        column, among, max_steps: see :class:`unnoise.retrieval.RetrievalMetric`.
    """

    def inputs(self, items: Sequence[Picture], evidence: Evidence) -> Tensor:
        return pictures_of(items, like=pictures_of([evidence.test[0]]))

    def tower(self, inputs: Tensor) -> nn.Module:
        return Classifier.standardised(inputs, SIZE)

    def vary(self, inputs: Tensor) -> Tensor:
        gain = 1 + 0.1 * (2 * torch.rand(len(inputs), 1, 1, 1) - 1)
        return (shifted(inputs, SHIFT).float() * gain).clamp(0, 255)
