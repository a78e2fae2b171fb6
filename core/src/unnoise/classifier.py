"""Small networks that are trained on real training data only and judge what a model makes: for metrics."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained; part of the key under which its weights are cached.

    Args:
        seed: of the initial weights, the order and the variations.
        epochs: passes over the data, within the bounds on steps.
        min_steps, max_steps: bounds.
        batch: items per step.
        lr: highest learning rate of the one-cycle schedule (Smith & Topin 2018).
        weight_decay: of AdamW.
        smoothing: of the labels.
    """

    seed: int = 0
    epochs: int = 25
    min_steps: int = 400
    max_steps: int = 1500
    batch: int = 64
    lr: float = 3e-3
    weight_decay: float = 0.05
    smoothing: float = 0.05


def train_classifier(
    build: Callable[[], Net],
    inputs: Tensor,
    labels: Tensor,
    recipe: Recipe,
    vary: Callable[[Tensor], Tensor] = lambda x: x,
    cache: Path | None = None,
) -> Net:
    """Train a network to name the class of real items; or look it up.

    Args:
        build: makes the network, ``(B, *shape)`` -> logits ``(B, classes)``.
        inputs: ``(N, *shape)``, as the network takes them.
        labels: int64 ``(N,)``.
        recipe: how; the global random state is left as it was.
        vary: a batch of inputs as training shows it, drawn from torch's generator.
        cache: where weights are kept under a hash of data and recipe, or None. A damaged file there is replaced.

    Returns:
        the network, in evaluation mode.
    """

    def loss(net: Net, rows: Tensor) -> Tensor:
        return F.cross_entropy(net(vary(inputs[rows])), labels[rows], label_smoothing=recipe.smoothing)

    return trained(build, loss, recipe, (inputs, labels), cache, "classifier")


def trained(
    build: Callable[[], Net],
    loss: Callable[[Net, Tensor], Tensor],
    recipe: Recipe,
    data: Sequence[Tensor],
    cache: Path | None = None,
    name: str = "judge",
) -> Net:
    """Train a small network on real items; or look it up.

    Args:
        build: makes the network.
        loss: the network and rows of the data, int64 ``(B,)`` -> the mean loss of these.
        recipe: how; the global random state is left as it was.
        data: tensors whose first axis is that of the items.
        cache: where weights are kept under a hash of data and recipe, or None. A damaged file there is replaced.
        name: how the file's name begins.

    Returns:
        the network, in evaluation mode.
    """
    if cache is None:
        return _train(build, loss, recipe, len(data[0]))
    digest = hashlib.blake2b(digest_size=12)
    with torch.random.fork_rng(devices=[]):
        net = build()
    shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
    digest.update(json.dumps([asdict(recipe), shapes, list(data[0].shape)]).encode())
    for tensor in data:
        digest.update(tensor.contiguous().numpy().tobytes())
    path = cache / f"{name}-{digest.hexdigest()}.safetensors"
    if path.is_file():
        with suppress(OSError, SafetensorError, RuntimeError):
            net.load_state_dict(load_file(path))
            return net.eval()
    net = _train(build, loss, recipe, len(data[0]))
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(net.state_dict(), partial)
    partial.replace(path)
    return net


def _train(build: Callable[[], Net], loss: Callable[[Net, Tensor], Tensor], recipe: Recipe, count: int) -> Net:
    steps = min(max(recipe.epochs * count // recipe.batch, recipe.min_steps), recipe.max_steps)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(recipe.seed)
        net = build().train()
        optimiser = torch.optim.AdamW(net.parameters(), weight_decay=recipe.weight_decay)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, total_steps=steps)
        order = torch.cat([torch.randperm(count) for _ in range(-(-steps * recipe.batch // count))])
        for i in range(steps):
            value = loss(net, order[i * recipe.batch : (i + 1) * recipe.batch])
            optimiser.zero_grad()
            torch.autograd.backward(value)
            optimiser.step()
            rate.step()
    return net.eval()
