"""Ways between clean data and noise, and between two states: what edits are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from unnoise.errors import UserError
from unnoise.guidance import Condition, Guidance
from unnoise.layout import Layout
from unnoise.noise import Noise
from unnoise.processes import Product
from unnoise.sampling import Plan, sample
from unnoise.sampling.evaluate import BranchDenoiser, Denoise
from unnoise.sampling.grids import grid
from unnoise.sampling.plan import SharedTime
from unnoise.sampling.samplers import find
from unnoise.schedules import Schedule
from unnoise.state import State

UPWARD = "heun"
"""The method that encodes: of second order, and it takes steps in either direction."""


def ascend(denoise: Denoise | BranchDenoiser, x0: State, product: Product, steps: int, **options: object) -> State:
    """The noise that the probability-flow equation leads to from clean data: a deterministic code (Song et al. 2021b,
    section 4.3), by Heun's method from the lowest level to the highest, ``2 steps`` evaluations.

    Args:
        denoise: as for :func:`unnoise.sample`.
        x0: clean data; gaussian parts only.
        product: of the model.
        steps: of the way up.
        options: ``condition`` and ``guidance`` of :func:`unnoise.sample`.

    Returns:
        the state at the schedule's highest level.

    Raises:
        UserError: for a layout with categorical parts.
    """
    check_invertible(product.layout)
    plan = upward(product, steps)
    lowest = product.alpha({name: plan.table(name)[0].t for name in product.layout.names})
    begun = x0.with_layout(product.layout).map(lambda part, x: float(lowest[part.name]) * x)
    return sample(denoise, begun, plan, 0, *_asked(options))


def upward(schedule: Schedule | Product, steps: int) -> Plan:
    """The plan of :func:`ascend`: the grid of :func:`unnoise.plan` turned round, without the jump to data."""
    info = find(UPWARD)
    product = schedule if isinstance(schedule, Product) else None
    own: Schedule = SharedTime(schedule) if isinstance(schedule, Product) else schedule
    times = grid(own, steps, stop=own.t_min)[::-1].copy()
    if product is None:
        rows, tables = info.function(own, times), {}
    else:
        assert isinstance(own, SharedTime)
        each = product.times(times)
        tables = {name: info.function(product.processes[name].schedule, each[name]) for name in each}
        rows = tables[own.reference]
    base = own.own if isinstance(own, SharedTime) else own
    return Plan(info, base, times, own.alpha(times), own.sigma(times), rows, product, tables)


def check_invertible(layout: Layout) -> None:
    """Raise :class:`UserError` unless all parts are gaussian."""
    for part in layout:
        if part.kind == "categorical":
            raise UserError(
                f"part {part.name!r} is categorical: its noise is drawn, so no noise leads back to given classes",
                "give a strength below 1: edits then start from the source, noised",
            )


def round_trip(x0: State, again: State) -> dict[str, float]:
    """Gaussian part -> root mean square error of a reconstruction over the standard deviation of what it should be,
    over all real elements.
    """
    errors = {}
    for part in x0.layout:
        if part.kind == "gaussian":
            a, b = x0.parts[part.name].double().cpu(), again.parts[part.name].double().cpu()
            mask = x0.mask(part.name)
            real = torch.ones_like(a, dtype=torch.bool) if mask is None else mask.cpu().expand_as(a)
            spread = float(a[real].std(correction=0))
            errors[part.name] = float((a - b)[real].square().mean().sqrt()) / max(spread, 1e-12)
    return errors


def between(a: State, b: State, share: Tensor, noise: Noise, spherical: bool = True) -> State:
    """States on the way from one to another, item by item.

    Gaussian parts turn from one to the other: with ``cos`` and ``sin`` of the share of a right angle, so that of two
    independent draws of noise every state between is such a draw; or in a straight line. Of categorical parts each
    element changes once on the way, at a share that is drawn for it. Both ends are the given states, bit for bit.

    Args:
        a, b: states of as many items and elements.
        share: ``(B,)`` in [0, 1]; 0 is ``a``.
        noise: gives each element's share; its seeds should be the same along a way.
        spherical: whether gaussian parts turn.

    Raises:
        UserError: if the items differ in size.
    """
    if any(not torch.equal(a.masks[axis], b.masks[axis]) for axis in a.masks):
        sizes = "; ".join(f"{axis}: {a.sizes[axis].tolist()[0]} and {b.sizes[axis].tolist()[0]}" for axis in a.masks)
        raise UserError(f"the two ends differ in size, {sizes}", "interpolate between items of one size")
    parts = {}
    for part in a.layout:
        x, y = a.parts[part.name], b.parts[part.name]
        along = share.to(x.device).double().reshape(-1, *(1 for _ in x.shape[1:]))
        if part.kind == "categorical":
            parts[part.name] = torch.where(noise.uniform(part, x.shape[1:], purpose="between") < along, y, x)
            continue
        near, far = (1 - along, along)
        if spherical:
            near, far = torch.cos(along * math.pi / 2), torch.sin(along * math.pi / 2)
        mixed = (near * x.double() + far * y.double()).to(x.dtype)
        parts[part.name] = torch.where(along == 0, x, torch.where(along == 1, y, mixed))
    return a.replace(parts).project()


def turned(a: State, b: State, share: Tensor) -> State:
    """As :func:`between` for gaussian parts, along the great circle through the two (Shoemake 1985): for codes of
    items, which are not independent. The angle is that between the two, part by part and item by item.
    """
    parts = {}
    for part in a.layout:
        x, y = a.parts[part.name].double(), b.parts[part.name].double()
        along = share.to(x.device).double().reshape(-1, *(1 for _ in x.shape[1:]))
        lengths = [v.flatten(1).norm(dim=1).clamp(min=1e-30) for v in (x, y)]
        cosine = ((x * y).flatten(1).sum(1) / (lengths[0] * lengths[1])).clamp(-1, 1)
        angle = torch.arccos(cosine).reshape(along.shape)
        straight = angle.sin() < 1e-6
        safe = torch.where(straight, torch.ones_like(angle), angle)
        near = torch.where(straight, 1 - along, torch.sin((1 - along) * safe) / safe.sin())
        far = torch.where(straight, along, torch.sin(along * safe) / safe.sin())
        mixed = (near * x + far * y).to(a.parts[part.name].dtype)
        ends = a.parts[part.name], b.parts[part.name]
        parts[part.name] = torch.where(along == 0, ends[0], torch.where(along == 1, ends[1], mixed))
    return a.replace(parts).project()


def noised(x0: State, plan: Plan, noise: Noise) -> State:
    """Clean data, noised to the first level of a plan of a product."""
    assert plan.product is not None
    times: Mapping[str, object] = {name: plan.table(name)[0].t for name in plan.product.layout.names}
    return plan.product.corrupt(x0, {name: np.asarray(t) for name, t in times.items()}, noise)


def _asked(options: Mapping[str, object]) -> tuple[Condition | None, Guidance | None]:
    condition, guidance = options.get("condition"), options.get("guidance")
    assert condition is None or isinstance(condition, Mapping)
    assert guidance is None or isinstance(guidance, Guidance)
    return condition, guidance
