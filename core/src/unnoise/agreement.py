"""How well samples follow the maps that they were asked to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unnoise.contracts import AskedMaps, Evidence, Metric, Score


class AgreementMetric(Metric):
    """Mean agreement of samples with their maps, as the maker of each map measures it (1 at best). The floor is that of
    the real items that the maps are of, encoded and decoded; the ceiling that of samples of the same seeds that were
    not told the maps. No score where no map was asked for.
    """

    def __call__(self, evidence: Evidence) -> list[Score]:
        return [self._score(name, asked, evidence) for name, asked in evidence.maps.items()]

    def _score(self, name: str, asked: AskedMaps, evidence: Evidence) -> Score:
        def mean(items: Sequence[Any]) -> float | None:
            if not len(items):
                return None
            return float(np.mean(asked.maker.agreement(asked.wanted, items, evidence.train, evidence.cache)))

        value = mean(evidence.generated)
        note = f"N={len(evidence.generated)}, maps of test items; floor: these items, encoded and decoded; "
        note += "ceiling: samples of the same seeds without the map"
        assert value is not None
        return Score(f"agreement_{name}", value, mean(evidence.restored), mean(evidence.untold), "higher", note)
