"""What this plugin registers. Importing this module is cheap: the references are imported on use."""

from __future__ import annotations

from collections.abc import Iterable

from unnoise.plugins import Modality, Spec, hookimpl

UNNOISE_API = (1, 0)


def _spec(name: str, ref: str, summary: str) -> Spec:
    return Spec(name, f"unnoise_points.{ref}", summary, modality="points")


@hookimpl
def unnoise_modalities() -> Iterable[Modality]:
    """Clouds."""
    summary = "point clouds of shapes: sets without order, set transformers"
    return [Modality("points", summary, reader="unnoise_points.files:read_clouds")]


@hookimpl
def unnoise_datasets() -> Iterable[Spec]:
    """Built in, from meshes, from files of points."""
    return [
        _spec("families", "data.families:Families", "chairs, tables, lamps, mugs, planes of known parameters"),
        _spec("folder", "data.folder:Folder", "a folder of meshes or clouds, classes by sub-folder or by table"),
        _spec("shapenet", "data.shapenet:ShapeNet", "folders of points in the layout of ShapeNetCore.v2.PC15k"),
        _spec("archive", "data.archive:Archive", "clouds of one .npz file, maybe with classes"),
    ]


@hookimpl
def unnoise_representations() -> Iterable[Spec]:
    """Sets."""
    return [_spec("set", "representation:PointSet", "standardised coordinates, maybe normals and colours")]


@hookimpl
def unnoise_denoisers() -> Iterable[Spec]:
    """Networks over sets."""
    return [
        _spec("latent", "networks:LatentSetTransformer", "set transformer through a bottleneck of latents"),
        _spec("transformer", "networks:SetTransformer", "plain transformer over points"),
    ]


@hookimpl
def unnoise_metrics() -> Iterable[Spec]:
    """What ``unnoise eval`` reports."""
    return [
        _spec("chamfer", "metrics.sets:ChamferMetric", "1-nearest-neighbour accuracy, coverage, matching distance"),
        _spec("transport", "metrics.sets:TransportMetric", "the same by exact earth mover's distance; minutes"),
        _spec("occupancy", "metrics.sets:OccupancyMetric", "divergence of where points lie on a grid"),
        _spec("classifier", "metrics.judged:ClassifierMetric", "class accuracy, Frechet and kernel distance"),
        _spec("memorisation", "metrics.judged:MemorisationMetric", "distance to the nearest training shape"),
        _spec("parameters", "metrics.parameters:ParametersMetric", "how well a family's parameters explain a shape"),
    ]
