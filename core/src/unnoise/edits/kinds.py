"""The kinds of edit, each a function of a model and of items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unnoise.contracts import Samples
from unnoise.edits.paths import ascend, between, check_invertible, noised, round_trip, turned
from unnoise.errors import UserError, did_you_mean
from unnoise.guidance import Guidance, Region, Regions
from unnoise.noise import Noise
from unnoise.plugins.registry import get_registry
from unnoise.plugins.signature import parameters
from unnoise.runs.recipe import Beginning, Recipe, draw, extended
from unnoise.sampling import Known
from unnoise.state import State

if TYPE_CHECKING:
    from unnoise.runs.generate import Model

Items = Sequence[Any]


def variation(
    model: Model, source: Items, strength: float = 0.5, n: int | None = None, seed: int = 0, **options: Any
) -> Samples:
    """Items like the source: it is noised, and denoised again (Meng et al. 2022, section 3).

    Args:
        model: of the data.
        source: items, repeated to fill n.
        strength: the time up to which they are noised. 0 gives the source back; 1 is sampling from noise, the same
            samples bit for bit as of :meth:`unnoise.runs.Model.sample` with the source's sizes. In between ``steps``
            steps are executed, whatever the strength.
        n: how many; as many as there are sources if left out.
        seed: result i uses ``seed + i``.
        options: of :meth:`unnoise.runs.Model.sample`.

    Raises:
        UserError: if the strength is not in [0, 1], or an item cannot be represented.
    """
    _share("strength", strength)
    items, state = _encoded(model, source, n)
    facts = {"edit": {"kind": "variation", "strength": strength}}
    recipe = _recipe(model, len(items), seed, options, start=strength or 1.0)
    if strength == 0:
        return Samples(items, state, {**recipe.record(model, 0), **facts})
    bar = options.get("progress", True)
    if strength == 1:
        return extended(draw(model, recipe, partial(_from_noise, model, state), bar), **facts)

    def start(noise: Noise, rows: slice) -> Beginning:
        return Beginning(noised(state[rows].to(model.device), recipe.plan, noise.to(model.device)))

    return extended(draw(model, recipe, start, bar), **facts)


def infill(
    model: Model,
    source: Items,
    mask: Any,
    level: float | None = None,
    n: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Samples:
    """Part of the source made anew, so that it fits the rest, which stays exactly as it is.

    Elements that are kept as a whole are shown to the network without noise where it was trained for that
    (``train.time_sampling.known``), which is the stronger way; else all that is kept is noised as the rest and put in
    at every step. The sampler ``repaint`` harmonises the border further.

    Args:
        model: of the data.
        source: items, repeated to fill n.
        mask: what is made anew, as the plugin reads it (:meth:`unnoise.contracts.Representation.kept`).
        level: the time at which what is kept as a whole is shown; 0, clean, where the model was trained for it, if left
            out.
        n, seed, options: see :func:`variation`.

    Raises:
        UserError: for a mask that does not fit, or an item that cannot be represented.
    """
    items = _items(model, source, n)
    _check_fit(model, items)
    with torch.no_grad():
        kept = model.representation.kept(items, mask)
    if all(bool(mask.all()) for mask in kept.masks.values()) and set(kept.masks) == set(kept.state.layout.names):
        raise UserError(f"mask={mask} leaves nothing to make", "give one that holds some of the item")
    masks = {name: held.cpu() for name, held in kept.masks.items()}
    known = Known(kept.state.to("cpu"), masks, model.known_level if level is None else level)
    recipe = _recipe(model, len(items), seed, options)

    def start(noise: Noise, rows: slice) -> Beginning:
        held = known[rows].to(model.device)
        return Beginning(_prior(model, held.clean, noise), held)

    made = draw(model, recipe, start, options.get("progress", True))
    facts = {"edit": {"kind": "infill", "mask": mask if isinstance(mask, (str, int, float)) else "array"}}
    return extended(replace(made, items=kept.splice(made.items)), **facts)


def interpolate(
    model: Model,
    source: Items | None = None,
    seeds: Sequence[int] | None = None,
    strength: float | None = None,
    n: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Samples:
    """A way between two items, or between the samples of two seeds.

    Between seeds the noise turns from one to the other. Between items, either each is encoded as the noise that leads
    to it (:func:`invert`) and the codes are turned; or, with a ``strength``, mixtures of the two are noised, all with
    the same noise, and denoised (Ho et al. 2020, section 4.3).

    Args:
        model: of the data.
        source: two items of one size; None for a way between seeds.
        seeds: two seeds, in place of a source.
        strength: time up to which mixtures of items are noised; left out, they are encoded, which categorical parts
            cannot be.
        n: how many, both ends included; 8 if left out.
        seed: of whatever else is drawn.
        options: of :meth:`unnoise.runs.Model.sample`.

    Raises:
        UserError: unless there are two of one size, or for categorical parts without a strength.
    """
    count = 8 if n is None else n
    share = torch.linspace(0, 1, max(count, 1), dtype=torch.float64)
    bar = options.get("progress", True)
    if (source is None) == (seeds is None) or len(source if seeds is None else seeds) != 2:  # type: ignore[arg-type]
        raise UserError("interpolate needs two ends", "give a source of two items, or seeds=[0,1]")
    if seeds is not None:
        recipe = _recipe(model, count, seeds[0], options)
        sizes = model.sizes(Noise.of(seeds[0], 1), options.get("sizes"), _first(recipe.given), slice(0, 1))
        first, last = (_noise(model, sizes, s, count) for s in seeds)
        way = between(first, last, share, _same(seeds[0], count))

        def start_noise(noise: Noise, rows: slice) -> Beginning:
            return Beginning(way[rows].to(model.device))

        made = draw(model, replace(recipe, same_seed=True), start_noise, bar)
        return extended(made, edit={"kind": "interpolate", "seeds": list(seeds)})
    _, state = _encoded(model, source, 2)  # type: ignore[arg-type]
    a, b = (State.cat([state[i : i + 1]] * count) for i in range(2))
    if strength is not None:
        _share("strength", strength)
        recipe = _recipe(model, count, seed, options, start=strength)
        mixed = between(a, b, share, _same(seed, count), spherical=False)

        def start_mixed(noise: Noise, rows: slice) -> Beginning:
            same = _same(seed, rows.stop - rows.start).to(model.device)
            return Beginning(noised(mixed[rows].to(model.device), recipe.plan, same))

        made = draw(model, replace(recipe, same_seed=True), start_mixed, bar)
        return extended(made, edit={"kind": "interpolate", "strength": strength})
    recipe = _recipe(model, count, seed, options)
    pair = _recipe(model, 2, seed, options)
    codes = _codes(model, state, pair)
    a, b = (State.cat([codes[i : i + 1]] * count) for i in range(2))
    coded = turned(a, b, share)

    def start_coded(noise: Noise, rows: slice) -> Beginning:
        return Beginning(coded[rows].to(model.device))

    return extended(draw(model, recipe, start_coded, bar), edit={"kind": "interpolate"})


def invert(model: Model, source: Items, n: int | None = None, seed: int = 0, **options: Any) -> Samples:
    """What the source becomes when it is encoded as noise, deterministically, and sampled again: the reconstructions,
    and in the record how far off they are (``round_trip``, the error over the standard deviation, part by part).

    Guidance acts on the way down and not on the way up.

    Args:
        model: of the data; gaussian parts only.
        source: items, repeated to fill n.
        n, seed, options: see :func:`variation`; ``steps`` are those of either way.

    Raises:
        UserError: for categorical parts, or a sampler that draws noise.
    """
    check_invertible(model.representation.layout)
    items, state = _encoded(model, source, n)
    recipe = _recipe(model, len(items), seed, options)
    if any(op.draws for row in recipe.plan.rows for op in row.ops):
        raise UserError(f"{recipe.plan.sampler.name} draws noise, so nothing can be led back", "sampler=adams")
    codes = _codes(model, state, recipe)

    def start(noise: Noise, rows: slice) -> Beginning:
        return Beginning(codes[rows].to(model.device))

    made = draw(model, recipe, start, options.get("progress", True))
    errors = round_trip(state, made.state)
    return extended(made, edit={"kind": "invert", "round_trip": errors, "nfe_up": 2 * recipe.plan.steps})


def compose(
    model: Model,
    source: Items | None = None,
    mask: Any = None,
    other: Any = None,
    n: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Samples:
    """Two conditions in two regions of new items.

    Args:
        model: of the data.
        source: takes none.
        mask: where ``other`` holds, as the plugin reads it; elsewhere ``condition`` does.
        other: as ``condition``.
        n: how many.
        seed: result i uses ``seed + i``.
        options: of :meth:`unnoise.runs.Model.sample`, among them ``condition``.

    Raises:
        UserError: if one of the conditions or the mask is missing, there is a source, or items have no place that could
            be named before they are made.
    """
    if source is not None or other is None or options.get("condition") is None or mask is None:
        fix = "condition=..., other=... and mask=...; no source"
        raise UserError("compose makes new items under two conditions", fix)
    recipe = _recipe(model, n, seed, options)
    against = model.denoiser.conditions.parse(model.with_maps(other), recipe.n)
    counts = model.sizes(Noise.of(seed, recipe.n), options.get("sizes"), recipe.given, slice(0, recipe.n))
    blank = State.zeros(model.representation.layout, recipe.n, counts)
    with torch.no_grad():
        empty = model.representation.decode(blank.to(model.device))
        for reason in model.representation.unfit(empty).values():
            message = f"new items of this kind have no regions before they are made: {reason}"
            raise UserError(message, "make one first, and part of it anew: infill")
        kept = model.representation.kept(empty, mask)
    here = {name: keep.float() for name, keep in kept.masks.items()}
    whole = kept.state

    def guided(inner: Guidance, rows: slice) -> Guidance:
        conditions = [{k: v[rows].to(model.device) for k, v in c.items()} for c in (recipe.given, against)]
        weights = {name: _rows(weight, rows) for name, weight in here.items()}
        rest = {name: 1 - weight for name, weight in weights.items()}
        return Regions(inner, (Region(conditions[0], weights), Region(conditions[1], rest)))

    def start(noise: Noise, rows: slice) -> Beginning:
        return Beginning(_prior(model, whole[rows].to(model.device), noise))

    made = draw(model, replace(recipe, guided=guided), start, options.get("progress", True))
    names = model.denoiser.conditions
    said = {name: names[name].describe(value[:1])[0] for name, value in against.items()}
    return extended(made, edit={"kind": "compose", "mask": mask if isinstance(mask, str) else "array", "other": said})


KINDS: Mapping[str, Callable[..., Samples]] = {
    function.__name__: function for function in (variation, infill, interpolate, invert, compose)
}
"""Name -> the edit."""


def edit(model: Model, kind: str, source: Any = None, **options: Any) -> Samples:
    """See :meth:`unnoise.runs.Model.edit`."""
    if kind not in KINDS:
        raise UserError(f"there is no edit {kind!r}.{did_you_mean(kind, KINDS)}", f"edits: {', '.join(KINDS)}")
    function = KINDS[kind]
    known = [name for name in {**parameters(function), **parameters(_sampling)} if name not in ("model", "options")]
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UserError(f"edit {kind!r} has no option {name!r}.{hint}", f"its options: {', '.join(known)}")
    if source is not None:
        source = read(model, source)
    elif "source" in parameters(function) and parameters(function)["source"].default is not None:
        raise UserError(f"edit {kind!r} needs a source", "source=<a file or folder of items>")
    return function(model, source, **options)


def read(model: Model, source: Any) -> list[Any]:
    """The items of a source: those given, or those in a file or folder that the plugin reads.

    Raises:
        UserError: if there are none, or the plugin reads no files.
    """
    if not isinstance(source, (str, Path)):
        return list(source)
    name = model.manifest.modality
    reader = get_registry().reader(name)
    if reader is None:
        fix = "give items in Python: model.edit(kind, items)"
        raise UserError(f"modality {name!r} cannot read items from files", fix)
    if not Path(source).exists():
        raise UserError(f"source={source} does not exist", "give a file or folder of items")
    return list(reader(Path(source)))


def _sampling(
    sampler: Any = None, steps: Any = None, spacing: Any = None, sampler_options: Any = None, categorical: Any = None,
    guidance_scale: Any = None, guidance: Any = None, condition: Any = None, negative: Any = None, raw: Any = None,
    control: Any = None, batch: Any = None, sizes: Any = None, progress: bool = True,
) -> None:  # fmt: skip
    """The options of sampling that every edit takes."""


def _recipe(model: Model, n: int | None, seed: int, options: Mapping[str, Any], **more: Any) -> Recipe:
    own = {key: value for key, value in options.items() if key not in ("sizes", "progress")}
    return model.recipe(n, seed, **own, **more)


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UserError(f"{name} is {value}", f"{name} lies from 0, the source, to 1, which is sampling anew")


def _items(model: Model, source: Items, n: int | None) -> list[Any]:
    if not len(source):
        raise UserError("the source holds no items", "give one at least")
    count = len(source) if n is None else n
    return [source[i % len(source)] for i in range(count)]


def _check_fit(model: Model, items: Items) -> None:
    """Raise :class:`UserError` for the first item that the model cannot represent."""
    for index, reason in sorted(model.representation.unfit(items).items()):
        message = f"item {index} of the source does not fit the model: {reason}"
        raise UserError(message, "bring it to the model's format")


def _encoded(model: Model, source: Items, n: int | None) -> tuple[list[Any], State]:
    items = _items(model, source, n)
    _check_fit(model, items)
    with torch.no_grad():
        return items, model.representation.encode(items).to("cpu")


def _prior(model: Model, like: State, noise: Noise) -> State:
    """Noise of the sizes of a state, padded as it is."""
    x_T = model.denoiser.product.prior(noise.to(model.device), like.sizes)
    return x_T.resize({axis: mask.shape[1] for axis, mask in like.masks.items()})


def _from_noise(model: Model, state: State, noise: Noise, rows: slice) -> Beginning:
    return Beginning(model.denoiser.product.prior(noise.to(model.device), state[rows].to(model.device).sizes))


def _same(seed: int, count: int) -> Noise:
    """Noise of one seed for many samples."""
    return Noise(torch.full((count,), seed, dtype=torch.int64))


def _noise(model: Model, sizes: Mapping[str, Tensor], seed: int, count: int) -> State:
    """The prior of one seed, for many samples."""
    counts = {axis: size.cpu().expand(count) for axis, size in sizes.items()}
    return model.denoiser.product.prior(_same(seed, count), counts)


def _codes(model: Model, state: State, recipe: Recipe) -> State:
    """The noise that leads to clean states, batch by batch."""
    made, product = [], model.denoiser.product
    for first in range(0, state.batch, recipe.batch):
        rows = slice(first, min(first + recipe.batch, state.batch))
        condition = {name: value[rows].to(model.device) for name, value in recipe.given.items()}
        x0 = state[rows].to(model.device)
        made.append(ascend(model.denoiser, x0, product, recipe.plan.steps, condition=condition).to("cpu"))
    return State.cat(made)


def _first(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value[:1] for name, value in given.items()}


def _rows(value: Tensor, rows: slice) -> Tensor:
    return value if len(value) == 1 else value[rows]
