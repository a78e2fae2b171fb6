"""Guidance and edits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from unnoise.contracts import Kept, Representation
from unnoise.errors import UserError
from unnoise.guidance import CFG, Guidance
from unnoise.guidance.build import build_guidance
from unnoise.layout import Part
from unnoise.noise import Noise
from unnoise.plugins.signature import parameters
from unnoise.sampling import Known, sample, trajectory
from unnoise.state import State
from unnoise.testing.checking import NotApplicableError, check, expect
from unnoise.testing.checks.compare import ROUND_TRIP, close, same_part, same_state
from unnoise.testing.subject import STEPS, Subject


@check
def guidance_off_is_off(subject: Subject) -> None:
    """Guidance of scale 1 gives the samples of no guidance, bit for bit: "cfg", and every guidance of the plugin's own
    that has a scale.
    """
    _needs_conditions(subject)
    without = _drawn(subject, None)
    for name, guide in _guidances(subject):
        cause = "its scale 1 is not off, or the network gives another answer when it is asked again"
        fix = "at scale 1, branches() names the condition alone; a network keeps nothing from call to call"
        seen = f"guidance {name!r} of scale 1 differs from none"
        same_state(without, _drawn(subject, guide), 0.0, seen, cause, fix)


@check
def negative_cancels(subject: Subject) -> None:
    """A negative condition that equals the condition changes nothing, whatever the scale."""
    _needs_conditions(subject)
    alone = _first_estimate(subject, None)
    guided = _first_estimate(subject, CFG(5.0, negative=subject.conditions))
    for part in subject.denoiser.layout:
        one, two = alone[part.name], guided[part.name]
        one, two = (one, two) if part.kind == "gaussian" else (one.exp(), two.exp())
        cause = (
            "the network answers one question in two ways in one batch: dropout in eval mode, or rows that see others"
        )
        fix = "nn.Dropout in place of functional.dropout(x, p), which drops in eval mode too; keep axis 0 apart"
        close(one, two, f"part {part.name!r} changes", cause, fix)


@check
def infill_keeps(subject: Subject) -> None:
    """What an infill keeps stays exactly as it is: in the state, and where Representation.example_mask says how a user
    would name it, in the items.
    """
    noise, clean = Noise.of(0, len(subject.items)), subject.state
    held = {part.name: _every_other(part, clean.parts[part.name]) for part in clean.layout}
    x_T = subject.prior(noise, clean.sizes).resize({axis: mask.shape[1] for axis, mask in clean.masks.items()})
    made = sample(subject.denoiser, x_T, subject.model.plan("ddim", STEPS), noise.seeds, known=Known(clean, held))
    _same_where(clean, made, held, 0.0, "the state of what is kept changes", "a process changes clean values", "")
    if subject.representation.example_mask:
        _infill_of_items(subject, subject.representation.example_mask)
    elif type(subject.representation).kept is not Representation.kept:
        raise NotApplicableError("Representation.example_mask is empty, so there is no mask to give to kept()")


def _infill_of_items(subject: Subject, mask: str) -> None:
    """Hold an infill of items of one size, the smallest, which may grow, to what their plugin keeps of them."""
    representation = subject.representation
    sizes = [tuple(int(size[i]) for size in subject.state.sizes.values()) for i in range(len(subject.items))]
    items = [item for item, size in zip(subject.items, sizes, strict=True) if size == min(sizes)]
    with torch.no_grad():
        try:
            kept: Kept = representation.kept(items, mask)
        except UserError:  # of one length, too, that a state does not show
            items = items[:1]
            kept = representation.kept(items, mask)
    source = subject.encode(items)
    partial = any(not bool(held.all()) for held in kept.masks.values()) or set(kept.masks) < set(kept.state.parts)
    fix = "masks are True where an element is kept"
    expect(partial, f"mask {mask!r} keeps all", "kept() makes nothing of the mask", fix)
    placed = _placed(representation, kept)
    alike = _same_sizes(source, kept.state)
    if alike:
        seen, cause = f"kept(items, {mask!r}).state differs from encode(items)", "it is made in another way"
        _same_where(source, kept.state, placed, ROUND_TRIP, seen, cause, "Kept(self.encode(items), ...)")
    samples = subject.model.edit("infill", items, mask=mask, steps=STEPS, progress=False)
    if not alike or representation.unfit(samples.items):
        return  # items of other sizes, or that nobody could encode: what is kept cannot be found in them again
    again = subject.encode(samples.items)
    if _same_sizes(source, again):
        for part in (source.layout[name] for name in placed):
            expect(
                _mostly_same(part, source, again, placed[part.name]),
                f"infill with mask {mask!r} changes what it keeps: part {part.name!r}",
                "Kept.splice puts something else in its place",
                "splice gets finished items in the order of the source, and puts what is kept of each back into it",
            )


def _mostly_same(part: Part, one: State, two: State, mask: Tensor) -> bool:
    """Whether most of a part is alike where a mask says so: at the border an encoder may blur, as a window does that
    reaches over both sides.
    """
    a, b = one.parts[part.name], two.parts[part.name]
    where, real = mask.expand_as(a), one.mask(part.name)
    where = where if real is None else where & real
    off = (a[where] - b[where]).abs().double()
    return not off.numel() or float(off.median()) <= ROUND_TRIP


def _placed(representation: Representation, kept: Kept) -> dict[str, Tensor]:
    """Masks of the parts whose elements have places; those of a set may be listed in another order."""
    axes = {name: kept.state.layout[name].variable_axes for name in kept.masks}
    return {name: mask for name, mask in kept.masks.items() if not set(axes[name]) & set(representation.unordered)}


def _same_sizes(one: State, two: State) -> bool:
    """Whether items have as many elements, and as much padding."""
    return all(torch.equal(mask, two.masks[axis]) for axis, mask in one.masks.items())


def _same_where(
    one: State, two: State, masks: Mapping[str, Tensor], tolerance: float, seen: str, cause: str, fix: str
) -> None:
    """Expect two states to be alike where masks say so; a part without its mean may be shifted."""
    for part in (one.layout[name] for name in masks):
        a, b = one.parts[part.name], two.parts[part.name]
        where = masks[part.name].expand_as(a)
        real = one.mask(part.name)
        where = where if real is None else where & real
        if part.com_free:
            b = b + torch.where(where, a - b, 0).sum(1, keepdim=True) / where.sum(1, keepdim=True).clamp(min=1)
        same_part(part, a[where], b[where], max(tolerance, 1e-5 * part.com_free), seen, cause, fix)


def _every_other(part: Part, x: Tensor) -> Tensor:
    """Every other element, as on a chess board, on which pairs lie symmetrically: bool, in the shape of the part."""
    total = torch.zeros((), dtype=torch.int64)
    for dim in range(1, x.dim()):
        total = total + torch.arange(x.shape[dim]).reshape(-1, *(1 for _ in range(x.dim() - dim - 1)))
    return (total % 2 == 0).expand_as(x)


def _needs_conditions(subject: Subject) -> None:
    if not subject.denoiser.conditions.names:
        raise NotApplicableError("the default config uses no condition")


def _guidances(subject: Subject) -> Iterator[tuple[str, Guidance]]:
    """At scale 1: "cfg", and what the plugin itself brings."""
    own = [spec.name for state, spec in subject.registry.specs("guidance", subject.name) if state is subject.plugin]
    for name in ["cfg", *own]:
        if "scale" in parameters(subject.registry.load("guidance", name, subject.name)):
            yield name, build_guidance(subject.registry, {"name": name, "scale": 1.0}, {}, None)


def _drawn(subject: Subject, guide: Guidance | None) -> State:
    """Samples under the conditions of the items."""
    noise = Noise.of(0, len(subject.items))
    x_T = subject.prior(noise, subject.state.sizes)
    chosen = subject.model.plan("ddim", STEPS)
    return sample(subject.denoiser, x_T, chosen, noise.seeds, subject.conditions, guide)


@torch.no_grad()
def _first_estimate(subject: Subject, guide: Guidance | None) -> Mapping[str, Tensor]:
    """The estimate of clean data at the first row of a sampling run."""
    noise = Noise.of(0, len(subject.items))
    x_T = subject.prior(noise, subject.state.sizes)
    chosen = subject.model.plan("ddim", STEPS)
    cursors = trajectory(subject.denoiser, x_T, chosen, noise.seeds, subject.conditions, guide)
    found = next(cursor.previous for cursor in cursors if cursor.previous is not None)
    return found.x0
