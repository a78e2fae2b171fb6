"""Run folders: made by training, read for sampling and judging."""

from unnoise.runs.evaluate import evaluate, judge, show_scores, write_scores
from unnoise.runs.generate import Model, write_samples
from unnoise.runs.load import load, load_codec
from unnoise.runs.manifest import Manifest
from unnoise.runs.run import Run
from unnoise.runs.train import train

__all__ = [
    "Manifest",
    "Model",
    "Run",
    "evaluate",
    "judge",
    "load",
    "load_codec",
    "show_scores",
    "train",
    "write_samples",
    "write_scores",
]
