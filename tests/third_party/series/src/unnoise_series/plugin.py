"""What this plugin registers."""

from unnoise import Modality, Spec, hookimpl

UNNOISE_API = (1, 0)


@hookimpl
def unnoise_modalities():
    return [Modality("series", "curves of several channels", reader="unnoise.ready:read_arrays")]


@hookimpl
def unnoise_datasets():
    return [Spec("scans", "unnoise_series.data:Scans", "lines of scikit-learn's photographs", "series")]


@hookimpl
def unnoise_representations():
    return [Spec("channels", "unnoise.ready:Arrays", "every channel of mean 0 and deviation 1", "series")]


@hookimpl
def unnoise_denoisers():
    return [Spec("transformer", "unnoise.ready:SequenceNetwork", "every step attends to every other", "series")]


@hookimpl
def unnoise_metrics():
    return [
        Spec("sliced", "unnoise.ready:SlicedMetric", "sliced Wasserstein distance of summaries", "series"),
        Spec("nearest", "unnoise.ready:NearestMetric", "distance to the nearest training curve", "series"),
        Spec("memory", "unnoise_series.memory:Memory", "autocorrelations and correlations of channels", "series"),
    ]
