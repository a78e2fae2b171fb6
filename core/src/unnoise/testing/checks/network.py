"""What the network makes of its input."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unnoise.contracts import Network
from unnoise.layout import Part
from unnoise.noise import Noise
from unnoise.state import State
from unnoise.testing.checking import NotApplicableError, check, expect
from unnoise.testing.checks.compare import close
from unnoise.testing.subject import Subject
from unnoise.training.loss import losses
from unnoise.training.weighting import build_weighting


@check
def outputs_fit(subject: Subject) -> None:
    """The network returns every part: a gaussian one in its own shape, a categorical one with logits over its clean
    classes in a further axis; all values are finite.
    """
    found = _raw_output(subject)
    cause, fix = "forward() returns a tensor, or leaves parts out", "return {part name: tensor} with every part"
    names = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
    expect(isinstance(found, dict) and set(found) == set(subject.denoiser.layout.names), f"it gave {names}", cause, fix)
    for part in subject.denoiser.layout:
        shape = tuple(subject.state.parts[part.name].shape)
        if part.kind == "categorical":
            shape = (*shape, part.classes)
        got = tuple(found[part.name].shape)
        cause = "an axis is summed, dropped or left over; logits are over part.classes, not part.tokens"
        fix = f"give part {part.name!r} the shape (B, {', '.join(map(str, shape[1:]))})"
        expect(got == shape, f"part {part.name!r}: shape {got} in place of {shape}", cause, fix)
        seen = f"part {part.name!r}: values that are not finite"
        cause = "a division by 0, a logarithm, or attention over nothing but padding"
        expect(bool(found[part.name].isfinite().all()), seen, cause, "clamp what is divided by; keep to the mask")


@check
def padding_changes_nothing(subject: Subject) -> None:
    """Three rows of padding change no prediction, loss or gradient."""
    if not subject.state.masks:
        raise NotApplicableError("no axis of variable size")
    longer = subject.state.resize({axis: mask.shape[1] + 3 for axis, mask in subject.state.masks.items()})
    results = []
    for state in (subject.state, longer):
        denoiser = subject.denoiser.train(False)
        denoiser.zero_grad()
        noise = Noise.of(0, state.batch)
        u = np.linspace(0.1, 0.9, state.batch)
        std = {name: p.data_std for name, p in denoiser.parametrizations.items()}
        weightings = {p.name: build_weighting({"name": "uniform"}, p, std.get(p.name, 1.0)) for p in denoiser.layout}
        found = losses(denoiser, weightings, state, subject.conditions, denoiser.product.times(u), noise)
        torch.stack([value.sum() for value in found.weighted.values()]).sum().backward()  # type: ignore[no-untyped-call]
        gradients = {name: p.grad for name, p in denoiser.named_parameters() if p.grad is not None}
        results.append((found.error, {name: g.clone() for name, g in gradients.items()}))
    (errors, gradients), (errors_padded, gradients_padded) = results
    cause = "the network looks at padding: a mean, a norm, a convolution or attention over all elements"
    fix = "x.masks[axis] says which are real: multiply by it before a sum, divide by its sum, mask attention with it"
    for part, error in errors.items():
        close(error, errors_padded[part], f"the loss of part {part!r} changes with padding", cause, fix)
    for name, gradient in gradients.items():
        close(gradient, gradients_padded[name], f"the gradient of {name} changes with padding", cause, fix)


@check
def order_changes_nothing(subject: Subject) -> None:
    """Elements of an axis that Representation.unordered names, given in another order, have the same predictions in
    that order.
    """
    axes = subject.representation.unordered
    if not axes:
        raise NotApplicableError("Representation.unordered names no axis")
    product, noise = subject.denoiser.product, Noise.of(0, len(subject.items))
    times = product.times(0.5)
    x_t = product.corrupt(subject.state, times, noise)
    with torch.no_grad():
        (straight,) = subject.denoiser.predict(x_t, times, [subject.conditions])
        for axis in axes:
            index = _shuffled(x_t.masks[axis])
            (mixed,) = subject.denoiser.predict(_taken(x_t, axis, index), times, [subject.conditions])
            for part in x_t.layout:
                expected = _take(part, straight.x0[part.name], axis, index)
                seen = f"part {part.name!r} changes with the order of axis {axis!r}"
                cause = "the network knows the place of an element: an embedding of positions, a convolution, a flatten"
                fix = "leave it out; or, if places mean something, take the axis out of Representation.unordered"
                close(*_comparable(part, expected, mixed.x0[part.name]), seen, cause, fix)


@check
def conditions_matter(subject: Subject) -> None:
    """Every condition that the default config uses reaches the network's output."""
    names = subject.denoiser.conditions.names
    if not names:
        raise NotApplicableError("the default config uses no condition")
    noise = Noise.of(0, len(subject.items))
    times = subject.denoiser.product.times(0.5)
    x_t = subject.denoiser.product.corrupt(subject.state, times, noise)
    with torch.no_grad():
        without, *single = subject.denoiser.predict(x_t, times, [{}] + [{n: subject.conditions[n]} for n in names])
    for name, prediction in zip(names, single, strict=True):
        moved = max(float((prediction.x0[p] - without.x0[p]).abs().max()) for p in prediction.x0)
        cause = "forward() does not use context, or the column holds nothing but what means absent (-1, NaN)"
        fix = "add context.vector to the network's embedding (unnoise.nn.LevelEmbedding); look at Dataset.columns()"
        expect(moved > 0, f"condition {name!r} changes nothing in the network's output", cause, fix)


@check
@torch.no_grad()
def takes_control(subject: Subject) -> None:
    """A network that takes control names the places of its features, adds what it is given there, and keeps the first
    ones when it is cut down.
    """
    denoiser, network = subject.denoiser, subject.denoiser.network
    if type(network).cut is Network.cut:
        raise NotApplicableError("the default denoiser takes no control")
    times = denoiser.product.times(0.5)
    x_t = denoiser.product.corrupt(subject.state, times, Noise.of(0, len(subject.items)))
    branch = deepcopy(network)
    places = branch.cut()
    features: list[tuple[Sequence[Tensor], Sequence[Tensor]]] = []

    def adding(amounts: Sequence[float]) -> dict[str, Tensor]:
        def residuals(*told: Any) -> list[Tensor]:
            whole = network.features(*told)
            features.append((branch.features(*told), whole))
            return [amount * torch.ones_like(one) for amount, one in zip(amounts, whole, strict=False)]

        return dict(denoiser(x_t, times, subject.conditions, residuals=residuals).prediction.x0)

    plain = denoiser(x_t, times, subject.conditions).prediction.x0
    nothing = adding([0.0] * len(places))
    for name, value in plain.items():
        cause, fix = "forward() takes another way with residuals", "add residuals[i] to the i-th features, no more"
        expect(torch.equal(nothing[name], value), f"residuals of 0 change part {name!r}", cause, fix)
    own, whole = features[0]
    cause, fix = "cut() keeps or names other blocks than features() gives", "cut() returns one Place for each feature"
    expect(len(own) == len(places), f"cut() names {len(places)} places, features() has {len(own)} then", cause, fix)
    for k, (one, two, place) in enumerate(zip(own, whole, places, strict=False)):
        expect(torch.equal(one, two), f"feature {k} differs after cut()", "cut() drops what it depends on", fix)
        seen = f"place {k} of width {place.width} has features of shape {tuple(one.shape)}"
        expect(one.shape[place.axis] == place.width, seen, "Place(width, axis) is that of another feature", fix)
    for k in range(len(places)):
        made = adding([float(i == k) for i in range(len(places))])
        cause, fix = "forward() or features() does not use residuals", "add residuals[i] to the i-th features"
        changed = any(not torch.equal(made[name], value) for name, value in plain.items())
        expect(changed, f"what is added at place {k} has no effect", cause, fix)


def _raw_output(subject: Subject) -> Any:
    """What the network returned, whatever the engine made of it."""
    denoiser, seen = subject.denoiser, []
    times = denoiser.product.times(0.5)
    x_t = denoiser.product.corrupt(subject.state, times, Noise.of(0, len(subject.items)))
    handle = denoiser.network.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        with torch.no_grad():
            denoiser(x_t, times, subject.conditions)
    except Exception:
        if not seen:
            raise
    finally:
        handle.remove()
    return seen[0]


def _comparable(part: Part, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """Means as they are; of log-probabilities, the probabilities."""
    return (one, two) if part.kind == "gaussian" else (one.exp(), two.exp())


def _shuffled(mask: Tensor) -> Tensor:
    """Real elements backwards, padding where it is: int64 ``(B, n)``."""
    places = torch.arange(mask.shape[1]).expand_as(mask)
    return torch.where(mask, mask.sum(1, keepdim=True) - 1 - places, places)


def _taken(state: State, axis: str, index: Tensor) -> State:
    return state.map(lambda part, x: _take(part, x, axis, index))


def _take(part: Part, x: Tensor, axis: str, index: Tensor) -> Tensor:
    """The elements of an axis in another order; of pairs, on both axes that bear its name."""
    for dim, name in enumerate(part.variable_axes, start=1):
        if name == axis:
            shape = [len(x), *(1,) * (dim - 1), index.shape[1], *(1,) * (x.dim() - dim - 1)]
            x = x.gather(dim, index.reshape(shape).expand_as(x))
    return x
