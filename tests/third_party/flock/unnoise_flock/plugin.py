"""What it registers."""

from unnoise import Modality, Spec, hookimpl

UNNOISE_API = (1, 0)


@hookimpl
def unnoise_modalities():
    return [Modality("flock", "coloured points, any number of them")]


@hookimpl
def unnoise_datasets():
    return [Spec("flocks", "unnoise_flock.parts:Flocks", "points around a line", "flock")]


@hookimpl
def unnoise_representations():
    return [Spec("birds", "unnoise_flock.parts:Birds", "standardised places, and colours", "flock")]


@hookimpl
def unnoise_denoisers():
    return [Spec("sums", "unnoise_flock.parts:Sums", "points and their masked mean", "flock")]
