"""Whether one can learn from generated rows what one learns from real ones."""

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from unnoise.contracts import Metric, Score


class Usefulness(Metric):
    """Accuracy, on real test rows, of a random forest that learned a column from generated rows. The floor is that of
    one that learned from real training rows; the ceiling, from noise.
    """

    def __init__(self, column: str = "outcome") -> None:
        self.column = column

    def __call__(self, evidence):
        train = [evidence.train[i] for i in range(len(evidence.train))]
        test = [evidence.test[i] for i in range(len(evidence.test))]
        texts = {name: sorted({row[name] for row in train}) for name, v in train[0].items() if isinstance(v, str)}

        def split(rows):
            values = [[texts[n].index(v) if n in texts else float(v) for n, v in row.items()] for row in rows]
            at = list(rows[0]).index(self.column)
            return np.delete(values, at, 1), np.array(values)[:, at]

        def accuracy(rows):
            forest = RandomForestClassifier(200, random_state=evidence.seed).fit(*split(rows))
            return float(forest.score(*split(test)))

        ceiling = accuracy(evidence.noise) if len(evidence.noise) else None
        note = f"random forest, {self.column}, learned from {len(evidence.generated)} rows"
        return [Score("train_on_generated", accuracy(evidence.generated), accuracy(train), ceiling, "higher", note)]
