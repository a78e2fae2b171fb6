"""How curves hang together in time and across channels."""

import numpy as np

from unnoise.contracts import Metric, Score

LAGS = (1, 2, 4, 8)


def statistics(items):
    """Correlation of values ``LAGS`` steps apart, by channel, and of every two channels, over all items at once."""
    centre = np.concatenate(items).mean(0)
    found = []
    for lag in LAGS:
        early = np.concatenate([item[:-lag] for item in items]) - centre
        late = np.concatenate([item[lag:] for item in items]) - centre
        found.append((early * late).mean(0) / np.sqrt((early**2).mean(0) * (late**2).mean(0)))
    across = np.corrcoef(np.concatenate(items).T)
    return np.concatenate([*found, across[np.triu_indices(len(across), 1)]])


class Memory(Metric):
    """Mean absolute error of the correlations in time and across channels, against those of real test curves."""

    def __call__(self, evidence):
        real = statistics([evidence.test[i] for i in range(len(evidence.test))])

        def error(items):
            return float(np.abs(statistics([items[i] for i in range(len(items))]) - real).mean())

        ceiling = error(evidence.noise) if len(evidence.noise) else None
        note = f"lags {', '.join(map(str, LAGS))}, and all pairs of channels"
        return [Score("memory", error(evidence.generated), error(evidence.train), ceiling, "lower", note)]
