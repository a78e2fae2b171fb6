"""The two halves of a convolutional autoencoder."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.nn.conv import Downsample, GroupNorm, ResidualBlock, Upsample, coarser, conv_nd, group_norm, keep
from unnoise.nn.patch import depth_to_space, space_to_depth


class Encoder(nn.Module):
    """Blocks of ``stem`` elements into channels, then residual blocks, halving the size between levels.

    The whole shrinks every axis by ``stem * 2 ** (len(channels) - 1)``. A large stem is fast: no convolution runs at
    the full size.

    Args:
        dims: number of spatial axes, 1 to 3.
        inputs, outputs: channels.
        channels: width of every level, finest first.
        blocks: residual blocks per level.
        stem: block size of the first step.
    """

    def __init__(self, dims: int, inputs: int, outputs: int, channels: Sequence[int], blocks: int, stem: int) -> None:
        super().__init__()
        self.patch = (stem,) * dims
        layers: list[nn.Module] = [conv_nd(dims, inputs * stem**dims, channels[0], 3)]
        for level, width in enumerate(channels):
            if level:
                layers.append(Downsample(dims, channels[level - 1], width))
            layers += [ResidualBlock(dims, width, width) for _ in range(blocks)]
        layers += [group_norm(channels[-1]), nn.SiLU(), conv_nd(dims, channels[-1], outputs, 3)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(B, inputs, *S)`` -> ``(B, outputs, *S / factor)``; ``mask (B, *S)`` as in :func:`unnoise.nn.conv.keep`."""
        x = space_to_depth(keep(x, mask), self.patch)
        mask = coarser(mask, self.patch[0])
        for layer in self.layers:
            if isinstance(layer, ResidualBlock):
                x = layer(x, mask=mask)
            elif isinstance(layer, GroupNorm):
                x = layer(x, mask)
            else:
                mask = coarser(mask) if isinstance(layer, Downsample) else mask
                x = keep(layer(x), mask)
        return x


class Decoder(nn.Module):
    """The mirror image of :class:`Encoder`, with the same arguments; ``inputs`` are the latent channels."""

    def __init__(self, dims: int, inputs: int, outputs: int, channels: Sequence[int], blocks: int, stem: int) -> None:
        super().__init__()
        self.patch = (stem,) * dims
        self.conv_in = conv_nd(dims, inputs, channels[-1], 3)
        self.layers = nn.ModuleList()
        for level, width in reversed(list(enumerate(channels))):
            self.layers.extend(ResidualBlock(dims, width, width) for _ in range(blocks))
            if level:
                self.layers.append(Upsample(dims, width, channels[level - 1]))
        self.norm_out = group_norm(channels[0])
        self.conv_out = conv_nd(dims, channels[0], outputs * stem**dims, 3)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(B, inputs, *S)`` -> ``(B, outputs, *S * factor)``; ``mask (B, *S * factor)``, that of the result."""
        masks = [coarser(mask, self.patch[0])]
        for _ in range(sum(isinstance(layer, Upsample) for layer in self.layers)):
            masks.append(coarser(masks[-1]))
        x = keep(self.conv_in(keep(z, masks[-1])), masks[-1])
        for layer in self.layers:
            if isinstance(layer, Upsample):
                masks.pop()
                x = layer(x, tuple(2 * size for size in x.shape[2:]), masks[-1])
            else:
                x = layer(x, mask=masks[-1])
        x = self.conv_out(keep(F.silu(self.norm_out(x, masks[-1])), masks[-1]))
        return keep(depth_to_space(x, self.patch), mask)
