"""Text encoders of others as pure functions of their weights: BERT, CLIP and T5, as the ``transformers`` library names
their tensors and options.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "silu": F.silu,
}


@dataclass(frozen=True)
class Weights:
    """Tensors by name, and the layers that they make.

    Args:
        tensors: all of them.
        prefix: what the names of those that are meant begin with.
    """

    tensors: Mapping[str, Tensor]
    prefix: str = ""

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[self.prefix + name]

    def under(self, name: str) -> Weights:
        """Those of a part of the network."""
        return Weights(self.tensors, f"{self.prefix}{name}.")

    def linear(self, name: str, x: Tensor) -> Tensor:
        """``x W^T + b``, without ``b`` where there is none."""
        return F.linear(x, self[f"{name}.weight"], self.tensors.get(f"{self.prefix}{name}.bias"))

    def layer_norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        """Layer normalisation (Ba et al. 2016)."""
        return F.layer_norm(x, x.shape[-1:], self[f"{name}.weight"], self[f"{name}.bias"], eps)

    def rms_norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        """RMS normalisation (Zhang & Sennrich 2019)."""
        return F.rms_norm(x, x.shape[-1:], self[f"{name}.weight"], eps)


def bert(weights: Weights, config: Mapping[str, Any], tokens: Tensor, mask: Tensor) -> Tensor:
    """States of BERT (Devlin et al. 2019): a post-norm transformer.

    Args:
        weights: named as in ``BertModel``.
        config: of ``config.json``.
        tokens: int64 ``(B, L)``.
        mask: bool ``(B, L)``, True where a token is real.

    Returns:
        ``(B, L, hidden_size)``.
    """
    eps, heads = config.get("layer_norm_eps", 1e-12), config["num_attention_heads"]
    activation, allowed = ACTIVATIONS[config.get("hidden_act", "gelu")], _padding(mask)
    embeddings = weights.under("embeddings")
    x = embeddings["word_embeddings.weight"][tokens] + embeddings["token_type_embeddings.weight"][0]
    x = embeddings.layer_norm("LayerNorm", x + embeddings["position_embeddings.weight"][: tokens.shape[1]], eps)
    for i in range(config["num_hidden_layers"]):
        layer = weights.under(f"encoder.layer.{i}")
        query, key, value = (layer.linear(f"attention.self.{name}", x) for name in ("query", "key", "value"))
        seen = layer.linear("attention.output.dense", _attend(query, key, value, heads, allowed))
        x = layer.layer_norm("attention.output.LayerNorm", x + seen, eps)
        hidden = activation(layer.linear("intermediate.dense", x))
        x = layer.layer_norm("output.LayerNorm", x + layer.linear("output.dense", hidden), eps)
    return x


def clip(weights: Weights, config: Mapping[str, Any], tokens: Tensor, mask: Tensor) -> Tensor:
    """States of CLIP's text encoder (Radford et al. 2021): a pre-norm transformer that looks back only.

    Arguments and result as for :func:`bert`; weights are named as in ``CLIPTextModel``.
    """
    eps, heads = config.get("layer_norm_eps", 1e-5), config["num_attention_heads"]
    activation, length = ACTIVATIONS[config.get("hidden_act", "quick_gelu")], tokens.shape[1]
    past = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
    allowed = torch.where(past, _padding(mask), -math.inf)
    x = weights["embeddings.token_embedding.weight"][tokens] + weights["embeddings.position_embedding.weight"][:length]
    for i in range(config["num_hidden_layers"]):
        layer = weights.under(f"encoder.layers.{i}")
        h = layer.layer_norm("layer_norm1", x, eps)
        query, key, value = (layer.linear(f"self_attn.{name}_proj", h) for name in "qkv")
        x = x + layer.linear("self_attn.out_proj", _attend(query, key, value, heads, allowed))
        h = activation(layer.linear("mlp.fc1", layer.layer_norm("layer_norm2", x, eps)))
        x = x + layer.linear("mlp.fc2", h)
    return weights.layer_norm("final_layer_norm", x, eps)


def t5(weights: Weights, config: Mapping[str, Any], tokens: Tensor, mask: Tensor) -> Tensor:
    """States of T5's encoder (Raffel et al. 2020): a pre-norm transformer without biases, whose positions are offsets
    added to attention's logits; version 1.1 has gated MLPs.

    Arguments and result as for :func:`bert`; weights are named as in ``T5EncoderModel``.
    """
    eps, heads = config.get("layer_norm_epsilon", 1e-6), config["num_heads"]
    kind = config.get("feed_forward_proj", "relu")
    gated, name = kind.startswith("gated-"), kind.removeprefix("gated-")
    activation = ACTIVATIONS["gelu_new" if kind == "gated-gelu" else name]
    first = weights.under("block.0.layer.0.SelfAttention")
    buckets, farthest = config["relative_attention_num_buckets"], config.get("relative_attention_max_distance", 128)
    offsets = _offset_buckets(tokens.shape[1], buckets, farthest).to(tokens.device)
    bias = first["relative_attention_bias.weight"][offsets].permute(2, 0, 1) + _padding(mask)
    table = "shared.weight" if "shared.weight" in weights.tensors else f"{weights.prefix}embed_tokens.weight"
    x = weights.tensors[table][tokens]
    for i in range(config["num_layers"]):
        attention, mlp = weights.under(f"block.{i}.layer.0"), weights.under(f"block.{i}.layer.1")
        h = attention.rms_norm("layer_norm", x, eps)
        query, key, value = (attention.linear(f"SelfAttention.{letter}", h) for letter in "qkv")
        x = x + attention.linear("SelfAttention.o", _attend(query, key, value, heads, bias, scale=1.0))
        h, dense = mlp.rms_norm("layer_norm", x, eps), mlp.under("DenseReluDense")
        h = (
            activation(dense.linear("wi_0", h)) * dense.linear("wi_1", h)
            if gated
            else activation(dense.linear("wi", h))
        )
        x = x + dense.linear("wo", h)
    return weights.rms_norm("final_layer_norm", x, eps)


def _padding(mask: Tensor) -> Tensor:
    """What is added to attention's logits so that padding is not looked at: ``(B, 1, 1, L)``."""
    return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -math.inf)[:, None, None]


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor, scale: float | None = None) -> Tensor:
    """Multi-head attention of ``(B, L, d)``, the heads joined again."""
    q, k, v = (rearrange(x, "b l (h d) -> b h l d", h=heads) for x in (query, key, value))
    seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    return rearrange(seen, "b h l d -> b l (h d)")


def _offset_buckets(length: int, buckets: int, farthest: int) -> Tensor:
    """In which bucket the offset from query i to key j lies: int64 ``(length, length)``. Half of the buckets are for
    keys that come later; of either half, the first half holds one offset each, the rest more and more up to
    ``farthest`` (Raffel et al. 2020, section 2.1).
    """
    half, positions = buckets // 2, torch.arange(length)
    offset = positions[None] - positions[:, None]
    exact, distance = half // 2, offset.abs()
    growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(farthest / exact)
    far = (exact + growth * (half - exact)).long().clamp(max=half - 1)
    return torch.where(distance < exact, distance, far) + half * (offset > 0)
