"""Tables that scikit-learn ships."""

from typing import Literal

import numpy as np
from sklearn import datasets

from unnoise.contracts import Labels
from unnoise.ready import ItemList

Name = Literal["cancer", "wine", "diabetes"]


class Shipped(ItemList):
    """Rows of one of three tables of patients and wines.

    Columns of numbers are the measurements; of texts, what is a kind: ``outcome`` (the diagnosis, the cultivar, or
    the third of all patients to which the progression of the disease belongs) and, of diabetes patients, ``sex``.
    The outcome can also be asked for.
    """

    def __init__(self, split: str, seed: int = 0, table: Name = "diabetes") -> None:
        options = {"scaled": False} if table == "diabetes" else {}
        load = {"cancer": datasets.load_breast_cancer, "wine": datasets.load_wine, "diabetes": datasets.load_diabetes}
        found = load[table](**options)
        if table == "diabetes":
            names = ("slow", "medium", "fast")
            outcome = np.digitize(found.target, np.quantile(found.target, [1 / 3, 2 / 3]))
        else:
            names, outcome = tuple(map(str, found.target_names)), found.target
        rows = [dict(zip(map(str, found.feature_names), map(float, row), strict=True)) for row in found.data]
        for row, kind in zip(rows, outcome, strict=True):
            row["outcome"] = names[kind]
            if "sex" in row:
                row["sex"] = f"sex {row['sex']:.0f}"  # of which the file does not say which is which
        super().__init__(split, rows, {"outcome": Labels(outcome.astype(np.int64), names)}, test_fraction=0.3)
