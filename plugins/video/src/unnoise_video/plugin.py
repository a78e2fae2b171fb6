"""What this plugin registers. Importing this module is cheap: the references are imported on use."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from unnoise.plugins import Finding, Modality, Spec, hookimpl

UNNOISE_API = (1, 0)


def _spec(name: str, ref: str, summary: str) -> Spec:
    return Spec(name, f"unnoise_video.{ref}", summary, modality="video")


@hookimpl
def unnoise_modalities() -> Iterable[Modality]:
    """Clips."""
    summary = "clips: pixels or latents of frames, space-time transformer or U-Net"
    return [Modality("video", summary, reader="unnoise_video.files:read_clips")]


@hookimpl
def unnoise_datasets() -> Iterable[Spec]:
    """Made, from a folder, from one file."""
    return [
        _spec("digits", "data.digits:MovingDigits", "handwritten digits that bounce off the walls of a square"),
        _spec("folder", "data.folder:Folder", "a folder of GIF, WebP, APNG, MP4 files or folders of frames"),
        _spec("archive", "data.archive:Archive", "captioned clips of one size in an npz file"),
    ]


@hookimpl
def unnoise_representations() -> Iterable[Spec]:
    """Pixels and latents."""
    return [
        _spec("pixels", "pixels:Pixels", "standardised pixels of frames"),
        _spec("latents", "latents:Latents", "standardised latents of a trained autoencoder, frame by frame"),
    ]


@hookimpl
def unnoise_codecs() -> Iterable[Spec]:
    """What latents need."""
    return [_spec("autoencoder", "autoencoder:FrameAutoencoder", "convolutional autoencoder of frames, with a KL term")]


@hookimpl
def unnoise_denoisers() -> Iterable[Spec]:
    """Networks over space and time."""
    return [
        _spec("transformer", "networks:SpaceTimeTransformer", "attention in turn along space and along time"),
        _spec("unet", "unet:UNet", "U-Net over space with attention along time"),
        _spec("stacked", "stacked:StackedUNet", "U-Net over space whose channels are frames"),
    ]


@hookimpl
def unnoise_metrics() -> Iterable[Spec]:
    """What ``unnoise eval`` reports."""
    return [
        _spec("classifier", "metrics.judged:ClassifierMetric", "class accuracy, identity, Frechet distance of frames"),
        _spec("clips", "metrics.judged:MotionFeatureMetric", "Frechet distance of clips in spatio-temporal features"),
        _spec("physics", "metrics.motion:PhysicsMetric", "paths of bouncing digits against their physics"),
        _spec("temporal", "metrics.motion:TemporalMetric", "motion, jerk, flicker and drift beside real clips"),
        _spec("retrieval", "metrics.retrieval:CaptionMetric", "how often a clip fits its own words best, among 32"),
        _spec("memorisation", "metrics.judged:MemorisationMetric", "distance to the nearest training clip"),
    ]


@hookimpl
def unnoise_doctor() -> Iterable[Finding]:
    """Whether optional packages are there."""
    films = find_spec("av") is not None
    return [Finding(True, "MP4 and other films: av", "" if films else "pip install 'unnoise-video[av]'")]
