"""Network blocks that several plugins need."""

from __future__ import annotations

from unnoise.nn.adaln import AdaLN, make_norm, zero_
from unnoise.nn.attention import Attention, head_count, rotary_angles, rotate
from unnoise.nn.autoencoder import Decoder, Encoder
from unnoise.nn.conditioning import Conditioning, Told
from unnoise.nn.conv import Downsample, ResidualBlock, Upsample, conv_nd, group_norm
from unnoise.nn.curves import JoinCurves, resample
from unnoise.nn.embed import LevelEmbedding, ScalarEmbedding, grid_positions, position_embedding, sinusoids
from unnoise.nn.maps import JoinMaps
from unnoise.nn.mlp import ResidualMLP
from unnoise.nn.patch import depth_to_space, patchify, space_to_depth, unpatchify
from unnoise.nn.transformer import Transformer, TransformerBlock, first_blocks
from unnoise.nn.unet import UNet

__all__ = [
    "AdaLN",
    "Attention",
    "Conditioning",
    "Decoder",
    "Downsample",
    "Encoder",
    "JoinCurves",
    "JoinMaps",
    "LevelEmbedding",
    "ResidualBlock",
    "ResidualMLP",
    "ScalarEmbedding",
    "Told",
    "Transformer",
    "TransformerBlock",
    "UNet",
    "Upsample",
    "conv_nd",
    "depth_to_space",
    "first_blocks",
    "grid_positions",
    "group_norm",
    "head_count",
    "make_norm",
    "patchify",
    "position_embedding",
    "resample",
    "rotary_angles",
    "rotate",
    "sinusoids",
    "space_to_depth",
    "unpatchify",
    "zero_",
]
