"""A small healthy plugin: points in the plane, on a ring of two classes."""

from unnoise import Finding, Modality, Spec, hookimpl

UNNOISE_API = (1, 0)


@hookimpl
def unnoise_modalities():
    return [Modality("toy", "points in the plane", reader="unnoise_toy.parts:read_points")]


@hookimpl
def unnoise_datasets():
    return [Spec("ring", "unnoise_toy.parts:Ring", "points on a ring", "toy")]


@hookimpl
def unnoise_representations():
    return [Spec("plane", "unnoise_toy.parts:Plane", "standardised coordinates", "toy")]


@hookimpl
def unnoise_denoisers():
    return [
        Spec("mlp", "unnoise_toy.parts:MLP", "a residual-free MLP", "toy"),
        Spec("wide", "unnoise_toy.parts:Wide", "the same, wider", "toy"),
        Spec("ladder", "unnoise_toy.steered:Ladder", "blocks in a row, which take maps and control", "toy"),
    ]


@hookimpl
def unnoise_maps():
    return [Spec("quadrant", "unnoise_toy.steered:Quadrant", "in which quadrant a point lies", "toy")]


@hookimpl
def unnoise_metrics():
    return [Spec("radius", "unnoise_toy.parts:Radius", "mean radius", "toy")]


@hookimpl
def unnoise_doctor():
    return [Finding(True, "the plane is flat")]
