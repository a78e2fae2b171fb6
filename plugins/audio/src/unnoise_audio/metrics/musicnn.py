"""Features of a network that names what is heard in music, trained on MagnaTagATune (weights: package ``musicnn``).

Of the package, only its checkpoint ``MTT_vgg`` is used (Pons & Serra 2019, "musicnn: pre-trained convolutional neural
networks for music audio tagging").
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.transforms import MelSpectrogram

from unnoise.errors import UserError
from unnoise_audio.metrics.tensor_bundle import read_tensors
from unnoise_audio.sound import Sound, resampled

FEATURES = 256
TAGS = 50
RATE = 16000
FRAMES, MELS = 187, 96
"""What the network sees at once: 3 s."""
FIX = "pip install --no-deps musicnn==0.1.0"

_CHANNELS = 128
_POOLS = (((4, 1), 2), ((2, 2), 2), ((2, 2), 2), ((2, 2), 2), ((4, 4), 4))
"""Size and stride after each of the convolutions."""
_KINDS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
_TURNS = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}
"""TensorFlow keeps matrices as (inputs, outputs) and kernels as (height, width, inputs, outputs)."""


class TaggingNetwork(nn.Module):
    """Five convolutions over frames and mel bands, and 50 tags."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = _norm(1)
        self.convs = nn.ModuleList(nn.Conv2d(_CHANNELS if i else 1, _CHANNELS, 3, padding=1) for i in range(5))
        self.norms = nn.ModuleList(_norm(_CHANNELS) for _ in range(5))
        self.head = nn.Linear(FEATURES, TAGS)

    def features(self, bands: Tensor) -> Tensor:
        """Bands ``(B, 187, 96)`` as :func:`log_bands` gives them -> ``(B, 256)``."""
        x: Tensor = self.norm(bands[:, None])
        for conv, norm, (size, stride) in zip(self.convs, self.norms, _POOLS, strict=True):
            x = F.max_pool2d(norm(F.relu(conv(x))), size, stride)
        return x.permute(0, 2, 3, 1).flatten(1)

    def forward(self, bands: Tensor) -> Tensor:
        """Logits ``(B, 50)`` of the tags, in the order of the package's ``MTT_LABELS``."""
        logits: Tensor = self.head(self.features(bands))
        return logits


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def checkpoint() -> str | None:
    """What the names of the checkpoint's files begin with; None where the package is not installed."""
    package = find_spec("musicnn")
    return None if package is None or package.origin is None else f"{Path(package.origin).parent}/MTT_vgg/"


@lru_cache(maxsize=1)
def load_musicnn() -> TaggingNetwork:
    """The network with its trained weights.

    Raises:
        UserError: if the package that holds them is not installed, or its files are damaged.
    """
    prefix = checkpoint()
    if prefix is None:
        raise UserError("the music tagging network is not installed", FIX)
    net = TaggingNetwork()
    # Views of the network's own tensors, as the checkpoint has them.
    views = {
        stored_name(name): value.permute(_TURNS[value.ndim]) for name, value in net.state_dict().items() if value.ndim
    }
    try:
        stored = read_tensors(prefix, {name: tuple(view.shape) for name, view in views.items()})
    except (OSError, ValueError) as error:
        raise UserError(f"the music tagging network is damaged: {error}", f"{FIX} --force-reinstall") from error
    for name, view in views.items():
        view.copy_(torch.from_numpy(stored[name]))
    return net.eval()


def stored_name(name: str) -> str:
    """What the checkpoint calls a tensor of :class:`TaggingNetwork`."""
    layer, _, kind = name.rpartition(".")
    group, _, index = layer.partition(".")
    if group == "norm":
        return f"batch_normalization/{_KINDS[kind]}"
    if group == "norms":
        return f"batch_normalization_{int(index) + 1}/{_KINDS[kind]}"
    return f"{'dense' if group == 'head' else f'{int(index) + 1}CNN'}/{'kernel' if kind == 'weight' else kind}"


@lru_cache(maxsize=1)
def _mel() -> MelSpectrogram:
    return MelSpectrogram(
        RATE, n_fft=512, hop_length=256, n_mels=MELS, norm="slaney", mel_scale="slaney", pad_mode="constant"
    )


def log_bands(sound: Sound) -> Tensor:
    """What the network sees of a sound, ``(n, 187, 96)``: mel bands of its power as ``log10(10000 x + 1)``, in windows
    of 3 s one after the other. A shorter sound is repeated to fill one, as in the network's training; a rest at the
    end that does not fill another is left out.
    """
    x = torch.from_numpy(resampled(Sound(sound.mono()[None], sound.rate), RATE).samples[0]).nan_to_num(0.0)
    bands = torch.log10(10000 * _mel()(x).T + 1)
    bands = bands.repeat(-(-FRAMES // len(bands)), 1)
    windows = max(len(bands) // FRAMES, 1)
    return bands[: windows * FRAMES].reshape(windows, FRAMES, MELS)


@torch.no_grad()
def musicnn_features(items: Sequence[Sound]) -> Tensor:
    """Features ``(N, 256)``, of a sound with several windows their mean.

    Raises:
        UserError: as :func:`load_musicnn`.
    """
    net = load_musicnn()
    return torch.stack([net.features(log_bands(item)).mean(0) for item in items])
