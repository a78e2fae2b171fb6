"""What representations of sounds lose: `python round_trip.py [runs/notes/codec ...] -n 200`

Test sounds are encoded and decoded by the complex spectrum, by log-mel bands with Griffin and Lim's algorithm, and by
every codec's run that is named: a vocoder (whose parameters the bands then have) or an autoencoder. The data is that of
the first run, or else the built-in notes. Printed is the signal-to-noise ratio of the samples, the mean error of the
log-mel bands (natural logarithm), and by how many cents the pitch moved.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from unnoise.contracts import Codec
from unnoise.metrics import subset
from unnoise.plugins.registry import get_registry
from unnoise.runs import Run, load_codec
from unnoise.runs.build import build_dataset
from unnoise_audio.autoencoder import MelAutoencoder
from unnoise_audio.bands import Mel
from unnoise_audio.latents import Latents
from unnoise_audio.mel import LogMel, VocodedMel
from unnoise_audio.pitch import pitch_of
from unnoise_audio.representation import AudioRepresentation
from unnoise_audio.sound import Sound, cents
from unnoise_audio.spectrum import ComplexSpectrum
from unnoise_audio.vocoder import Vocoder

DEFAULT = {"modality": "audio", "data": {"name": "notes"}, "seed": 0}


def representations(codecs: Sequence[Codec]) -> dict[str, AudioRepresentation]:
    """What is compared, not yet fitted."""
    vocoders = [codec for codec in codecs if isinstance(codec, Vocoder)]
    bands = vocoders[0].bands if vocoders else {}
    made: dict[str, AudioRepresentation] = {"spectrum": ComplexSpectrum(), "mel, Griffin-Lim": LogMel(**bands)}
    for codec in codecs:
        if isinstance(codec, Vocoder):
            made["mel, vocoder"] = VocodedMel(codec)
        elif isinstance(codec, MelAutoencoder):
            made["latents"] = Latents(codec)
    return made


def losses(representation: AudioRepresentation, items: Sequence[Sound], mel: Mel) -> tuple[float, float, float]:
    """Signal-to-noise ratio in decibels, mean error of log-mel bands, median change of the pitch in cents."""
    with torch.no_grad():
        made = representation.decode(representation.encode(items))
    signal = error = total = count = 0.0
    moved = []
    for a, b in zip(made, items, strict=True):
        real = F.pad(torch.from_numpy(b.samples), (0, a.samples.shape[1] - b.samples.shape[1]))
        there = torch.from_numpy(a.samples)
        signal += float(real.double().square().sum())
        error += float((there - real).double().square().sum())
        short = -there.shape[1] % mel.stft.hop
        bands = [mel(F.pad(x, (0, short))) for x in (there, real)]
        total, count = total + float((bands[0] - bands[1]).abs().double().sum()), count + bands[0].numel()
        moved.append(abs(cents(pitch_of(a), pitch_of(b))))
    heard = [value for value in moved if np.isfinite(value)]
    return 10 * np.log10(signal / max(error, 1e-30)), total / count, float(np.median(heard)) if heard else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, help="folders of codec runs")
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    config = Run.open(arguments.runs[0]).manifest.config if arguments.runs else DEFAULT
    train, test = (build_dataset(get_registry(), config, split) for split in ("train", "test"))
    items = [test[i] for i in subset(len(test), arguments.n, arguments.seed)]
    known = [train[i] for i in subset(len(train), 1000, arguments.seed)]
    mel = Mel(items[0].rate, 1024, 128, 64, 40.0, 0.0, "slaney", 1e-4)
    print("| | signal-to-noise, dB | log-mel L1 | pitch, cents |\n|---|---|---|---|")
    for name, representation in representations([load_codec(run) for run in arguments.runs]).items():
        representation.fit(known)
        ratio, bands, moved = losses(representation.eval(), items, mel)
        print(f"| {name} | {ratio:.1f} | {bands:.3f} | {moved:.1f} |")
    print(f"N = {len(items)} test sounds, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
