"""What this plugin registers."""

from unnoise import Modality, Spec, hookimpl

UNNOISE_API = (1, 0)


@hookimpl
def unnoise_modalities():
    return [Modality("table", "rows of numbers and categories", reader="unnoise.ready:read_rows")]


@hookimpl
def unnoise_datasets():
    return [
        Spec("shipped", "unnoise_table.data:Shipped", "patients and wines, as scikit-learn ships them", "table"),
        Spec("csv", "unnoise.ready:TableFile", "the rows of a csv file", "table"),
    ]


@hookimpl
def unnoise_representations():
    return [Spec("rows", "unnoise.ready:Records", "numbers by rank, a part for every category", "table")]


@hookimpl
def unnoise_denoisers():
    return [Spec("mlp", "unnoise.ready:VectorNetwork", "a residual MLP", "table")]


@hookimpl
def unnoise_metrics():
    return [
        Spec("marginals", "unnoise.ready:MarginalMetric", "columns and their correlations", "table"),
        Spec("nearest", "unnoise.ready:NearestMetric", "distance to the nearest training row", "table"),
        Spec("usefulness", "unnoise_table.usefulness:Usefulness", "train on generated, test on real", "table"),
    ]
