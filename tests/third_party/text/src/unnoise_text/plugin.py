"""What this plugin registers."""

from unnoise import Modality, Spec, hookimpl

UNNOISE_API = (1, 0)


@hookimpl
def unnoise_modalities():
    return [Modality("text", "characters of text", reader="unnoise.ready:read_texts")]


@hookimpl
def unnoise_datasets():
    return [Spec("pages", "unnoise_text.data:Pages", "scikit-learn's pages about its data sets", "text")]


@hookimpl
def unnoise_representations():
    return [Spec("characters", "unnoise.ready:Symbols", "a class for every character", "text")]


@hookimpl
def unnoise_denoisers():
    return [Spec("transformer", "unnoise.ready:SequenceNetwork", "every place attends to every other", "text")]


@hookimpl
def unnoise_metrics():
    return [
        Spec("marginals", "unnoise.ready:MarginalMetric", "shares of characters and of pairs", "text"),
        Spec("nearest", "unnoise.ready:NearestMetric", "distance to the nearest training text", "text"),
        Spec("words", "unnoise_text.words:Words", "how many words are words of the language", "text"),
    ]
