"""What every representation of clips shares: lengths, frame rate, stills among clips, files, the preview."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from unnoise.contracts import Kept, Representation
from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.state import State
from unnoise_video.clip import Clip, Shape, common_rate, common_shape, describe, padded, to_frames
from unnoise_video.sheets import contact_sheet
from unnoise_video.writing import Format, write_clips

AXIS = "frames"
_SIZE = Part("size", "gaussian", ())
_STILL = Part("still", "gaussian", (2,))
_CHUNK = 64


class VideoRepresentation(Representation):
    """Clips whose frames have one shape, which :meth:`fit` takes from the data: one gaussian part ``(frames, channels,
    height, width)`` over a masked axis of frames.

    A subclass says what a frame becomes: :meth:`allocate`, :meth:`measure`, :meth:`to_part`, :meth:`to_pixels`. Lengths
    are those of the training data. The frame rate is no part of a state: a new clip has the one that the condition
    ``fps`` asks for, or else the one that most training clips have.

    Args:
        stills: share of training clips of which only one frame is shown, so that a model learns from single pictures
            and clips alike.
        format: of the files that are written: webp, gif, png (animated), frames (a folder of PNG files) or mp4.

    Raises:
        UserError: if an option is out of range.
    """

    example_mask = "after:1"
    shape: Shape
    fps: float
    lengths: Tensor
    """Training clips by number of frames, int64 ``(longest + 1,)``."""

    def __init__(self, stills: float = 0.0, format: Format = "webp") -> None:
        super().__init__()
        if format not in get_args(Format) or not 0 <= stills <= 1:
            fix = f"the format is one of {', '.join(get_args(Format))}; stills is a share from 0 to 1"
            raise UserError(f"representation.format={format}, stills={stills}", fix)
        self.stills, self.format = stills, format

    @abstractmethod
    def allocate(self) -> Part:
        """Register buffers, once ``shape`` is known; returns the part."""

    @abstractmethod
    def measure(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        """Fill the buffers from batches of uint8 pixels ``(B, F, C, H, W)`` with their mask ``(B, F)``."""

    @abstractmethod
    def to_part(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """uint8 pixels ``(B, F, C, H, W)`` -> values of the part."""

    @abstractmethod
    def to_pixels(self, values: Tensor, mask: Tensor) -> Tensor:
        """The way back, to numbers in about [0, 1]."""

    def fit(self, items: Sequence[Clip]) -> None:
        shape = common_shape(items)
        counts = torch.tensor([len(item.frames) for item in items if item.shape == shape])
        self.restore({"shape": shape, "fps": common_rate(items), "longest": int(counts.max())})
        self.lengths.copy_(torch.bincount(counts, minlength=len(self.lengths)))

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for start in range(0, len(items), _CHUNK):
                chunk = [item for item in items[start : start + _CHUNK] if self._reason(item) is None]
                if chunk:
                    yield padded(chunk)

        self.measure(batches())

    def settings(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "fps": self.fps, "longest": len(self.lengths) - 1}

    def restore(self, settings: Mapping[str, Any]) -> None:
        height, width, channels = settings["shape"]
        self.shape, self.fps = (height, width, channels), float(settings["fps"])
        self.register_buffer("lengths", torch.zeros(settings["longest"] + 1, dtype=torch.int64))
        self.layout = Layout((self.allocate(),))

    @property
    def longest(self) -> int:
        """Frames of the longest training clip."""
        return len(self.lengths) - 1

    def unfit(self, items: Sequence[Clip]) -> Mapping[int, str]:
        """Clips of another shape than most, without frames, or without a rate."""
        reasons = {i: self._reason(item) for i, item in enumerate(items)}
        return {i: reason for i, reason in reasons.items() if reason is not None}

    def _reason(self, item: Clip) -> str | None:
        if item.shape != self.shape:
            return f"frames of {describe(item.shape)} where most have {describe(self.shape)}"
        if not len(item.frames):
            return "it holds no frames"
        return None if 0 < item.fps < math.inf else f"a rate of {item.fps} frames a second"

    def encode(self, items: Sequence[Clip]) -> State:
        (part,) = self.layout
        if not items:
            return State.zeros(self.layout, 0, {AXIS: torch.zeros(0)})
        states, device = [], self.lengths.device
        for start in range(0, len(items), _CHUNK):
            pixels, mask = (x.to(device) for x in padded(items[start : start + _CHUNK]))
            values = self.to_part(pixels, mask)
            states.append(State(self.layout, {part.name: values}, {AXIS: mask}).project())
        return State.cat(states)

    @torch.no_grad()
    def decode(self, state: State) -> list[Clip]:
        (part,) = self.layout
        mask, items = state.masks[AXIS], []
        for start in range(0, state.batch, _CHUNK):
            rows = slice(start, start + _CHUNK)
            pixels = self.to_pixels(state.parts[part.name][rows].float(), mask[rows])
            for clip, count in zip(pixels, mask[rows].sum(1).tolist(), strict=True):
                items.append(Clip(to_frames(clip[:count]), self.fps))
        return items

    def augment(self, state: State, noise: Noise) -> State:
        """Of a share of the clips, one frame alone."""
        if not self.stills:
            return state
        drawn = noise.uniform(_STILL, (2,), purpose="augment").to(state.device)
        chosen, sizes = drawn[:, 0] < self.stills, state.sizes[AXIS]
        (part,) = self.layout
        values, mask = state.parts[part.name], state.masks[AXIS]
        index = (drawn[:, 1] * sizes).long().clamp(max=values.shape[1] - 1)
        first = torch.arange(values.shape[1], device=state.device) == 0
        frame = values[torch.arange(len(values), device=state.device), index]
        still = torch.where(first[:, None, None, None], frame[:, None], 0)
        values = torch.where(chosen[:, None, None, None, None], still, values)
        return State(self.layout, {part.name: values}, {AXIS: torch.where(chosen[:, None], first & mask, mask)})

    def sizes(self, noise: Noise) -> dict[str, Tensor]:
        """Lengths drawn from those of the training data."""
        cdf = self.lengths.double().cumsum(0).cpu()
        u = noise.uniform(_SIZE, (), purpose="sizes").double().cpu() * cdf[-1]
        return {AXIS: torch.searchsorted(cdf, u, right=True).clamp(max=self.longest)}

    def asked_sizes(
        self, sizes: dict[str, Tensor], conditions: Mapping[str, Tensor], noise: Noise
    ) -> dict[str, Tensor]:
        """The condition ``duration``, in seconds, decides the number of frames, at the rate that ``fps`` asks for.

        Raises:
            UserError: for a clip without frames, or one longer than any in the training data.
        """
        asked = conditions.get("duration")
        if asked is None:
            return sizes
        counts = []
        rates = self._rates(conditions, len(asked))
        for seconds, fps, drawn in zip(asked.tolist(), rates, sizes[AXIS].tolist(), strict=True):
            counts.append(drawn if math.isnan(seconds) else round(seconds * fps))
            if not 1 <= counts[-1] <= self.longest:
                fix = f"From {1 / fps:.3g} to {self.longest / fps:.4g} s; unnoise_video.infill.roll makes longer ones."
                raise UserError(f"duration {seconds:.4g} s is {counts[-1]} frames, which the model cannot make", fix)
        return {AXIS: torch.tensor(counts, dtype=torch.int64)}

    def finish(self, items: list[Clip], conditions: Mapping[str, Tensor]) -> list[Clip]:
        rates = self._rates(conditions, len(items))
        return [Clip(item.frames, fps) for item, fps in zip(items, rates, strict=True)]

    def _rates(self, conditions: Mapping[str, Tensor], n: int) -> list[float]:
        asked = conditions["fps"].tolist() if "fps" in conditions else [math.nan] * n
        return [fps if fps > 0 else self.fps for fps in asked]

    def kept(self, items: Sequence[Clip], mask: Any) -> Kept:
        """As :func:`unnoise_video.masks.keep`."""
        from unnoise_video.masks import keep

        return keep(self, items, mask)

    def save(self, items: Sequence[Clip], folder: Path, settings: Mapping[str, Any]) -> list[Path]:
        """One file (or folder of frames) per clip, ``00000.webp`` and so on."""
        return write_clips(items, folder, settings, self.format)

    def preview(self, items: Sequence[Clip], path: Path, labels: Sequence[str] = ()) -> None:
        contact_sheet(items, labels).save(path, format="PNG")

    def facts(self, items: Sequence[Clip]) -> str:
        if not items:
            return ""
        counts = [len(item.frames) for item in items]
        frames = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(counts[0])
        rates = sorted({round(item.fps, 3) for item in items})
        return f"{frames} frames of {describe(items[0].shape)}, {', '.join(f'{fps:g}' for fps in rates[:4])} a second"
