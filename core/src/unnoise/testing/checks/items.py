"""Items and their states: data set, representation, files."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import torch

from unnoise.contracts import Column
from unnoise.runs import write_samples
from unnoise.runs.build import build_dataset
from unnoise.state import State, mirror
from unnoise.testing.checking import NotApplicableError, check, expect
from unnoise.testing.checks.compare import ROUND_TRIP, same_state
from unnoise.testing.subject import STEPS, Subject
from unnoise.training.data import Columns


@check
def data_repeats(subject: Subject) -> None:
    """A data set built twice with the same arguments holds the same items in the same order, and says the same of them;
    "train" and "test" are different items.
    """
    data, again = subject.data, build_dataset(subject.registry, subject.plain, "train")
    cause = "items are listed in the order of a set or of a folder, or drawn from a generator that nobody seeded"
    fix = "sort what is listed; draw with numpy.random.default_rng([seed, split == 'test'])"
    expect(len(data) == len(again), f"{len(data)} items, then {len(again)}", cause, fix)
    repeated = subject.encode([again[i] for i in subject.chosen])
    same_state(subject.state, repeated, 0.0, "the second holds other items", cause, fix)
    first, second = (Columns(split.columns(), subject.chosen) for split in (data, again))
    for name in subject.config.conditions.use:
        same = name in second and _same_column(first[name], second[name])
        expect(same, f"the second has another column {name!r}", cause, fix)
    test = build_dataset(subject.registry, subject.plain, "test")
    ours, theirs = ([split[i] for i in subject.chosen if i < len(test)] for split in (data, test))
    if theirs and not subject.representation.unfit(theirs):
        seen = "the items of the test split are those of the training split"
        cause, fix = "the argument split is not used", "divide the items by it: none in both"
        expect(not _alike(subject.encode(ours), subject.encode(theirs)), seen, cause, fix)


@check
def layout_honoured(subject: Subject) -> None:
    """Encoded items have the dtypes, ranges and symmetries that the layout declares, and zeros for padding."""
    state = subject.state
    expect(
        state.layout == subject.representation.layout,
        "encode() returns states of another layout than .layout",
        "a layout is made in encode() that differs from the one that fit() or restore() sets",
        "State(self.layout, ...) in encode()",
    )
    for axis, real in state.masks.items():
        cause = "the mask was made from something else than the number of elements"
        fix = "mask = torch.arange(longest) < sizes[:, None]"
        seen = f"axis {axis!r}: elements of padding come before real ones"
        expect(bool((real[:, 1:] <= real[:, :-1]).all()), seen, cause, fix)
    for part in state.layout:
        x, mask, where = state.parts[part.name], state.mask(part.name), f"part {part.name!r}"
        if part.kind == "categorical":
            cause, fix = "classes are counted from 1, or are not indices", "encode them as int64 indices 0..classes-1"
            expect(x.dtype == torch.int64, f"{where}: classes are {x.dtype}, not int64", cause, fix)
            inside = not x.numel() or (int(x.min()) >= 0 and int(x.max()) < part.classes)
            seen = f"{where}: classes {int(x.min())} to {int(x.max())}, outside 0..{part.classes - 1}"
            expect(inside, seen, cause, fix)
        else:
            good = x.is_floating_point() and bool(x.isfinite().all())
            cause = "missing values of the data, a logarithm of 0, or a division by a deviation of 0"
            fix = "look at the items; unfit() names those that cannot be represented, and clamp(min=1e-6) a deviation"
            expect(good, f"{where}: not finite floats ({x.dtype})", cause, fix)
        if mask is not None:
            seen = f"{where}: padding holds other values than 0"
            cause = "an offset or a scale is applied after padding, or padding is filled with a class of its own"
            expect(not bool(x.masked_fill(mask, 0).any()), seen, cause, "end encode() with State(...).project()")
        if part.symmetric:
            cause, fix = "only one triangle is filled", "end encode() with State(...).project()"
            expect(torch.equal(x, mirror(x)), f"{where}: x[i, j] differs from x[j, i]", cause, fix)
        if part.com_free:
            cause, fix = "the mean is taken over padding too, or not at all", "end encode() with State(...).project()"
            off = float(x.sum(1).abs().max())
            expect(off < 1e-3, f"{where}: the mean is not removed, sums reach {off:.2g}", cause, fix)


@check
def statistics_measured(subject: Subject) -> None:
    """Gaussian parts of encoded data have a spread near 1 and a mean near 0, which schedules and networks expect."""
    gaussian = [part for part in subject.state.layout if part.kind == "gaussian"]
    if not gaussian:
        raise NotApplicableError("no gaussian part")
    for part in gaussian:
        x, mask = subject.state.parts[part.name], subject.state.mask(part.name)
        values = x.flatten() if mask is None else x[mask.expand_as(x)]
        mean, std = float(values.mean()), float(values.std())
        expect(
            0.2 < std < 5 and abs(mean) < 2 * std,
            f"part {part.name!r}: mean {mean:.2g}, deviation {std:.2g}",
            "statistics are forgotten: fit() measures nothing, or encode() does not use what it measured",
            "measure mean and deviation in fit(), keep them as buffers, and encode (x - mean) / std",
        )


@check
def statistics_stored(subject: Subject) -> None:
    """settings() (as JSON) and state_dict() rebuild a representation that encodes and decodes the same."""
    settings = json.loads(json.dumps(subject.representation.settings()))
    other = subject.new_representation()
    other.restore(settings)
    cause = "what fit() measured is a plain attribute: it is in no checkpoint"
    fix = "numbers as buffers (register_buffer), whose shapes restore() allocates; sizes and names in settings()"
    expect(other.layout == subject.representation.layout, "restore() gives another layout than fit()", cause, fix)
    other.load_state_dict(subject.representation.state_dict())
    seen = "the restored representation encodes differently"
    same_state(subject.state, subject.encode(subject.items, other.eval()), 0.0, seen, cause, fix)
    ours, theirs = (subject.encode(subject.decode(subject.state, r)) for r in (subject.representation, other))
    same_state(ours, theirs, 0.0, "the restored representation decodes differently", cause, fix)


@check
def round_trip(subject: Subject) -> None:
    """Decoding and encoding again gives the same state: nothing the model learns is lost on the way to an item."""
    again = subject.encode(subject.decode(subject.state))
    cause = "decode() does not undo what encode() did: a scale, an offset, a clip or a rounding is in one of them alone"
    fix = "make them inverse; if a loss is meant, expected_failures={'round_trip': why}"
    same_state(subject.state, again, ROUND_TRIP, "encode(decode(state)) differs from state", cause, fix)


@check
def decodes_whatever_comes(subject: Subject) -> None:
    """States that no item would give (those of an untrained model) are decoded without an exception, one item each."""
    samples = subject.model.sample(5, seed=3, steps=STEPS, progress=False)
    seen = f"decode() made {len(samples.items)} items of 5"
    cause = "items that are not valid are left out"
    expect(len(samples.items) == 5, seen, cause, "return one item per state; a metric may count the invalid ones")


@check
def files_and_preview(subject: Subject) -> None:
    """Items are written as native files and one picture; the same items give the same bytes."""
    samples = subject.model.sample(3, seed=5, steps=STEPS, progress=False)
    written = [write_samples(samples, subject.representation, subject.folder / name) for name in ("first", "second")]
    native = [path for path in written[0] if path.name not in ("preview.png", "record.json")]
    expect(bool(native), "save() wrote no file", "it returns no path", "return the paths of the files it wrote")
    absent = [path.name for path in native if not path.exists()]
    fix = "write into the folder that save() is given, and return what was written"
    expect(not absent, f"save() names {', '.join(absent)}, not there", "written elsewhere, or not at all", fix)
    preview = subject.folder / "first" / "preview.png"
    is_png = preview.exists() and preview.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    fix = "image.save(path, format='PNG') in preview()"
    expect(is_png, "preview() wrote no PNG", "another format, or another path than the one it is given", fix)
    for one, two in zip(*written, strict=True):
        seen = f"{one.name} differs between two writes of the same items"
        cause = "a date, a random name or the order of a set is written"
        expect(one.read_bytes() == two.read_bytes(), seen, cause, "leave it out, or sort")


def _alike(one: State, two: State) -> bool:
    """Whether two states are the same, bit for bit."""
    one, two = one.trim(), two.trim()
    pairs = [(one.parts[name], two.parts[name]) for name in one.layout.names]
    return all(torch.equal(a, b) for a, b in pairs)


def _same_column(one: Column, two: Column) -> bool:
    if type(one) is not type(two):
        return False
    for field in fields(one):
        ours, theirs = (np.asarray(getattr(column, field.name)) for column in (one, two))
        if not np.array_equal(ours, theirs, equal_nan=np.issubdtype(ours.dtype, np.number)):
            return False
    return True
