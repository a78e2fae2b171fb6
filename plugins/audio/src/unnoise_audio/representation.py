"""What every representation of sounds shares: rate, channels and lengths, files, the preview."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unnoise.contracts import Kept, Representation
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.state import State
from unnoise_audio.pictures import sheet
from unnoise_audio.sound import Sound, common_format
from unnoise_audio.wav import ENCODINGS, Encoding, write_wav

AXIS = "frames"
_SIZE = Part("size", "gaussian", ())
_CHUNK = 64


class AudioRepresentation(Representation):
    """Sounds of one rate and number of channels, which :meth:`fit` takes from the data: one gaussian part ``(frames,
    bands, channels)`` over a masked axis of frames.

    A subclass says what a frame is: :meth:`allocate`, :meth:`measure`, :meth:`to_frames`, :meth:`to_samples`. Lengths
    are those of the training data; every sound ends with a whole frame, padded with silence.

    Args:
        encoding: of the files that are written: pcm16, pcm24 or float.
    """

    example_mask = "after:0.1"
    rate: int
    channels: int
    hop: int
    """Samples from one frame to the next."""
    lengths: Tensor
    """Training items by number of frames, int64 ``(longest + 1,)``."""

    def __init__(self, encoding: Encoding = "pcm16") -> None:
        super().__init__()
        if encoding not in ENCODINGS:
            raise UserError(f"representation.encoding={encoding}", f"choose one of {', '.join(ENCODINGS)}")
        self.encoding = encoding

    @abstractmethod
    def allocate(self) -> Part:
        """Register buffers, once ``rate`` and ``channels`` are known; returns the part."""

    @abstractmethod
    def measure(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        """Fill the buffers from batches of samples ``(B, channels, n)`` with their frames' mask ``(B, F)``."""

    @abstractmethod
    def count(self, samples: int) -> int:
        """Frames of a sound of so many samples."""

    @abstractmethod
    def to_frames(self, x: Tensor, mask: Tensor) -> Tensor:
        """Samples ``(B, channels, n)`` with n a multiple of the hop, ``mask (B, F)`` -> ``(B, F, bands, C)``."""

    @abstractmethod
    def to_samples(self, frames: Tensor, mask: Tensor) -> Tensor:
        """The way back: ``(B, channels, n)``."""

    @property
    @abstractmethod
    def reach(self) -> tuple[int, int]:
        """Samples that a frame sees before and after ``index * hop``."""

    def duration(self, frames: int) -> int:
        """Samples of a sound of so many frames."""
        return (frames - 1) * self.hop

    def fit(self, items: Sequence[Sound]) -> None:
        rate, channels = common_format(items)
        counts = [0]
        for item in items:
            if (item.rate, item.channels) == (rate, channels) and item.samples.shape[1]:
                counts.append(self.count(item.samples.shape[1]))
        self.restore({"rate": rate, "channels": channels, "longest": max(counts)})
        self.lengths.copy_(torch.bincount(torch.tensor(counts[1:]), minlength=len(self.lengths)))

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for start in range(0, len(items), _CHUNK):
                chunk = [item for item in items[start : start + _CHUNK] if self._reason(item) is None]
                if chunk:
                    yield self._padded(chunk)

        self.measure(batches())

    def settings(self) -> dict[str, Any]:
        return {"rate": self.rate, "channels": self.channels, "longest": len(self.lengths) - 1}

    def restore(self, settings: Mapping[str, Any]) -> None:
        self.rate, self.channels = settings["rate"], settings["channels"]
        self.register_buffer("lengths", torch.zeros(settings["longest"] + 1, dtype=torch.int64))
        self.layout = Layout((self.allocate(),))

    def unfit(self, items: Sequence[Sound]) -> Mapping[int, str]:
        """Sounds of another rate or number of channels than most, empty ones, and ones that are not finite."""
        reasons = {i: self._reason(item) for i, item in enumerate(items)}
        return {i: reason for i, reason in reasons.items() if reason is not None}

    def _reason(self, item: Sound) -> str | None:
        if (item.rate, item.channels) != (self.rate, self.channels):
            return f"{item.rate} Hz, {item.channels} channels where most have {self.rate} Hz, {self.channels}"
        if not item.samples.shape[1]:
            return "it holds no samples"
        return None if np.isfinite(item.samples).all() else "its samples are not finite"

    def encode(self, items: Sequence[Sound]) -> State:
        if not items:
            return State.zeros(self.layout, 0, {AXIS: torch.zeros(0)})
        states = []
        for start in range(0, len(items), _CHUNK):
            x, mask = self._padded(items[start : start + _CHUNK])
            device = self.lengths.device
            frames = self.to_frames(x.to(device), mask.to(device))
            (part,) = self.layout
            states.append(State(self.layout, {part.name: frames}, {AXIS: mask.to(device)}).project())
        return State.cat(states)

    @torch.no_grad()
    def decode(self, state: State) -> list[Sound]:
        (part,) = self.layout
        mask, items = state.masks[AXIS], []
        for start in range(0, state.batch, _CHUNK):
            rows = slice(start, start + _CHUNK)
            x = self.to_samples(state.parts[part.name][rows].float(), mask[rows]).cpu().numpy()
            for samples, frames in zip(x, mask[rows].sum(1).tolist(), strict=True):
                items.append(Sound(np.ascontiguousarray(samples[:, : self.duration(frames)]), self.rate))
        return items

    def _padded(self, items: Sequence[Sound]) -> tuple[Tensor, Tensor]:
        """Samples with silence up to the end of the longest, and the mask of their frames."""
        counts = torch.tensor([self.count(item.samples.shape[1]) for item in items])
        most = int(counts.max())
        x = torch.zeros(len(items), self.channels, self.duration(most))
        for row, item in zip(x, items, strict=True):
            row[:, : item.samples.shape[1]] = torch.from_numpy(item.samples)
        return x, torch.arange(most) < counts[:, None]

    def sizes(self, noise: Noise) -> dict[str, Tensor]:
        """Lengths drawn from those of the training data."""
        cdf = self.lengths.double().cumsum(0).cpu()
        u = noise.uniform(_SIZE, (), purpose="sizes").double().cpu() * cdf[-1]
        return {AXIS: torch.searchsorted(cdf, u, right=True).clamp(max=len(cdf) - 1)}

    def asked_sizes(
        self, sizes: dict[str, Tensor], conditions: Mapping[str, Tensor], noise: Noise
    ) -> dict[str, Tensor]:
        """The condition ``duration``, in seconds, decides the number of frames.

        Raises:
            UserError: for a sound shorter than a frame, or longer than any in the training data: a network that never
                saw so long a sound makes silence or noise of its end.
        """
        asked = conditions.get("duration")
        if asked is None:
            return sizes
        longest = len(self.lengths) - 1
        counts = []
        for seconds, drawn in zip(asked.tolist(), sizes[AXIS].tolist(), strict=True):
            counts.append(drawn if math.isnan(seconds) else self._frames_of(seconds))
            if counts[-1] > longest:
                most = self.duration(longest) / self.rate
                raise UserError(f"duration {seconds:.4g} s is longer than any training sound", f"At most {most:.4g} s.")
        return {AXIS: torch.tensor(counts, dtype=torch.int64)}

    def _frames_of(self, seconds: float) -> int:
        samples = round(seconds * self.rate)
        if samples < self.hop:
            least = self.hop / self.rate
            raise UserError(f"duration {seconds:.4g} s is shorter than one frame", f"At least {least:.4g} s.")
        return self.count(samples)

    def kept(self, items: Sequence[Sound], mask: Any) -> Kept:
        """As :func:`unnoise_audio.masks.keep`."""
        from unnoise_audio.masks import keep

        return keep(self, items, mask)

    def save(self, items: Sequence[Sound], folder: Path, settings: Mapping[str, Any]) -> list[Path]:
        """One WAV file per sound, ``00000.wav`` and so on."""
        paths = [folder / f"{i:05d}.wav" for i in range(len(items))]
        for item, path in zip(items, paths, strict=True):
            write_wav(item, path, settings, self.encoding)
        return paths

    def preview(self, items: Sequence[Sound], path: Path, labels: Sequence[str] = ()) -> None:
        sheet(items, labels).save(path, format="PNG")

    def facts(self, items: Sequence[Sound]) -> str:
        if not items:
            return ""
        seconds = sum(item.seconds for item in items)
        loudest = max(items, key=lambda item: item.peak)
        clipped = sum(item.peak > 1 for item in items)
        over = f"; {clipped} exceed full scale" if clipped else ""
        levels = f"mean level {np.mean([item.level for item in items]):.1f} dBFS"
        return f"{seconds:.2f} s of sound, {levels}, highest peak {loudest.peak:.3f}{over}"
