"""Conformance: what every modality must do, one named check each.

``unnoise check NAME`` prints them as a table; in a plugin's own tests, one line gives one pytest case a check::

    test_contract = unnoise.testing.modality_checks("toy", expected_failures={"round_trip": "the codec is lossy"})
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from unnoise.contracts import Representation
from unnoise.errors import UserError, did_you_mean
from unnoise.layout import Part
from unnoise.noise import Noise
from unnoise.runs import load, write_samples
from unnoise.sampling import Cursor, plan, trajectory
from unnoise.state import State, mirror, part_mask
from unnoise.testing.subject import Check, Subject
from unnoise.training.loss import losses
from unnoise.training.weighting import build_weighting

TOLERANCE = 1e-4
"""Largest difference that float32 arithmetic in another order may make to values of order 1."""
ROUND_TRIP = 0.02
"""Largest error of decode(encode(item)), relative to the spread of the data."""
STEPS = 4

Names = TypeVar("Names", Sequence[str], Mapping[str, str])

CHECKS: dict[str, Check] = {}


class NotApplicableError(Exception):
    """A check that does not apply; the message says why."""


@dataclass(frozen=True)
class Result:
    """What became of one check.

    Args:
        name: of the check.
        status: "expected failure" and "unexpected pass" are about checks that were announced to fail.
        detail: cause of a failure, reason of a skip.
        seconds: how long it took.
    """

    name: str
    status: Literal["passed", "failed", "skipped", "expected failure", "unexpected pass"]
    detail: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.status in ("passed", "skipped", "expected failure")


def check(function: Check) -> Check:
    """Register a check under its own name; its docstring says what it wants."""
    CHECKS[function.__name__] = function
    return function


def run_checks(
    name: str,
    expected_failures: Mapping[str, str] | None = None,
    words: Sequence[str] = (),
    only: Sequence[str] = (),
) -> list[Result]:
    """Run the checks on a modality.

    Args:
        name: of the modality.
        expected_failures: check -> reason. Such a check must fail: a pass is a failure too.
        words: config overrides, as on the command line.
        only: these checks; all if empty.

    Raises:
        UserError: if there is no such modality or check.
    """
    expected = _known(expected_failures or {})
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(name, Path(folder), words)
        subject.registry.modality(name)
        return [_run(check_name, subject, expected) for check_name in CHECKS if check_name in (_known(only) or CHECKS)]


def modality_checks(
    name: str, expected_failures: Mapping[str, str] | None = None, words: Sequence[str] = ()
) -> Callable[..., None]:
    """A pytest function with one case a check; assign it to a name that starts with ``test_``. Arguments as for
    :func:`run_checks`.
    """
    import pytest

    expected = _known(expected_failures or {})
    folder = tempfile.TemporaryDirectory()
    subject = Subject(name, Path(folder.name), words)

    @pytest.mark.parametrize("check_name", list(CHECKS))
    def run(check_name: str) -> None:
        result = _run(check_name, subject, expected)
        if result.status == "skipped":
            pytest.skip(result.detail)
        if result.status == "expected failure":
            pytest.xfail(result.detail)
        assert result.ok, f"{result.status}: {result.detail}"

    run.__dict__["folder"] = folder  # lives as long as the cases do
    return run


def _known(names: Names) -> Names:
    """The names of checks, as they are; raises :class:`UserError` if there is no such check."""
    for name in names:
        if name not in CHECKS:
            raise UserError(
                f"there is no check {name!r}.{did_you_mean(name, CHECKS)}", f"there are: {', '.join(CHECKS)}"
            )
    return names


def _run(name: str, subject: Subject, expected: Mapping[str, str]) -> Result:
    started = time.perf_counter()
    try:
        CHECKS[name](subject)
        status: Any = "passed"
        detail = ""
    except NotApplicableError as reason:
        status, detail = "skipped", str(reason)
    except Exception as error:
        status, detail = (
            "failed",
            str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}",
        )
    if name in expected and status in ("passed", "failed"):
        status, detail = ("expected failure" if status == "failed" else "unexpected pass"), expected[name]
    return Result(name, status, detail, time.perf_counter() - started)


@check
def layout_honoured(subject: Subject) -> None:
    """Encoded items have the dtypes, ranges and symmetries that the layout declares, and zeros for padding."""
    state = subject.state
    assert state.layout == subject.representation.layout, "encode() returns states of another layout than .layout"
    for axis, real in state.masks.items():
        assert bool((real[:, 1:] <= real[:, :-1]).all()), f"axis {axis!r}: real elements must come before padding"
    for part in state.layout:
        x, mask = state.parts[part.name], state.mask(part.name)
        if part.kind == "categorical":
            assert x.dtype == torch.int64, f"part {part.name!r}: classes must be int64, not {x.dtype}"
            assert int(x.min()) >= 0 and int(x.max()) < part.classes, f"part {part.name!r}: classes outside 0..K-1"
        else:
            assert x.is_floating_point() and bool(x.isfinite().all()), (
                f"part {part.name!r}: values must be finite floats"
            )
        if mask is not None:
            assert not bool(x.masked_fill(mask, 0).any()), f"part {part.name!r}: padding must hold 0"
        if part.symmetric:
            assert torch.equal(x, mirror(x)), f"part {part.name!r}: not symmetric"
        if part.com_free:
            assert float(x.sum(1).abs().max()) < 1e-3, f"part {part.name!r}: the mean is not removed"


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
        assert 0.2 < std < 5 and abs(mean) < 2 * std, f"part {part.name!r}: mean {mean:.2g}, deviation {std:.2g}"


@check
def statistics_stored(subject: Subject) -> None:
    """settings() (as JSON) and state_dict() rebuild a representation that encodes and decodes the same."""
    settings = json.loads(json.dumps(subject.representation.settings()))
    other = subject.new_representation()
    other.restore(settings)
    assert other.layout == subject.representation.layout, "restore() gives another layout"
    other.load_state_dict(subject.representation.state_dict())
    _same_state(subject.state, subject.encode(subject.items, other.eval()), 0.0, "the restored one encodes differently")


@check
def round_trip(subject: Subject) -> None:
    """Decoding and encoding again gives the same state: nothing the model learns is lost on the way to an item."""
    again = subject.encode(_decode(subject.representation, subject.state))
    _same_state(subject.state, again, ROUND_TRIP, "encode(decode(state)) differs from state")


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
    for part, error in errors.items():
        _close(error, errors_padded[part], f"the loss of part {part!r} changes with padding")
    for name, gradient in gradients.items():
        _close(gradient, gradients_padded[name], f"the gradient of {name} changes with padding")


@check
def seeds_hold(subject: Subject) -> None:
    """A sample depends on its seed alone: not on the batch, its place in it, or torch's own generator."""
    model, seed = subject.model, 11
    batches = []
    for n, first in ((1, seed), (7, seed - 3), (2, seed)):
        torch.manual_seed(n)
        samples = model.sample(n, first, steps=STEPS, sizes=_one_size(subject), progress=False)
        batches.append(samples.state[torch.tensor([seed - first])])
    alone, *others = batches
    for other in others:
        _same_state(alone, other, 10 * TOLERANCE, f"the sample of seed {seed} depends on the batch around it")


@check
def legal_after_every_row(subject: Subject) -> None:
    """Masks, symmetries and centring hold at every row of a sampling run."""
    chosen = plan("ddpm", subject.denoiser.product, STEPS)
    noise = Noise.of(0, len(subject.items))
    x_T = subject.prior(noise, subject.state.sizes)
    with torch.no_grad():
        for cursor in trajectory(subject.denoiser, x_T, chosen, noise.seeds, subject.conditions):
            _legal(cursor)


@check
def decodes_whatever_comes(subject: Subject) -> None:
    """States that no item would give (those of an untrained model) are decoded without an exception, one item each."""
    samples = subject.model.sample(5, seed=3, steps=STEPS, progress=False)
    assert len(samples.items) == 5, f"decode() made {len(samples.items)} items of 5"


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
        assert moved > 0, f"condition {name!r} changes nothing in the network's output"


@check
def overfits(subject: Subject) -> None:
    """Training on a few items lowers the loss on them clearly: everything is wired up."""
    folder = subject.folder / "overfit"
    steps = 120
    trainer = subject.trainer(
        folder, steps, batch=4 * len(subject.items), lr=2e-3, warmup=0, decay=0.0, log_every=steps // 6
    )
    trainer.run()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    first, last = lines[0]["loss"], lines[-1]["loss"]
    assert last < 0.8 * first, f"the mean loss only went from {first:.4g} to {last:.4g} in {steps} steps"


@check
def save_and_load(subject: Subject) -> None:
    """A run folder gives back a model that makes the same samples."""
    folder = subject.folder / "run"
    trainer = subject.trainer(folder, steps=2, batch=len(subject.items), log_every=1)
    trainer.run()
    subject.manifest.save(folder / "manifest.json")
    first, second = (load(folder, device="cpu") for _ in range(2))
    made = [model.sample(3, seed=1, steps=STEPS, progress=False) for model in (first, second)]
    _same_state(made[0].state, made[1].state, 0.0, "two loads of one run make different samples")
    for name, value in subject.representation.state_dict().items():
        assert torch.equal(first.representation.state_dict()[name], value), f"statistic {name!r} is lost on loading"


@check
def files_and_preview(subject: Subject) -> None:
    """Items are written as native files and one picture; the same items give the same bytes."""
    samples = subject.model.sample(3, seed=5, steps=STEPS, progress=False)
    written = [write_samples(samples, subject.representation, subject.folder / name) for name in ("first", "second")]
    native = [path for path in written[0] if path.name not in ("preview.png", "record.json")]
    assert native, "save() wrote no file"
    preview = subject.folder / "first" / "preview.png"
    assert preview.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n", "preview() wrote no PNG"
    for one, two in zip(*written, strict=True):
        assert one.read_bytes() == two.read_bytes(), f"{one.name} differs between two writes of the same items"


def _decode(representation: Representation, state: State) -> list[Any]:
    with torch.no_grad():
        return representation.decode(state)


def _one_size(subject: Subject) -> dict[str, int | list[int]] | None:
    """One size for all samples, so that sizes drawn per seed need not be lined up."""
    sizes: dict[str, int | list[int]] = {axis: int(size.max()) for axis, size in subject.state.sizes.items()}
    return sizes or None


def _legal(cursor: Cursor) -> None:
    x = cursor.x
    for part in x.layout:
        value, mask = x.parts[part.name], part_mask(part, x.masks)
        where = f"part {part.name!r} before row {cursor.row}"
        if mask is not None:
            assert not bool(value.masked_fill(mask, 0).any()), f"{where}: padding is not 0"
        if part.symmetric:
            assert torch.equal(value, mirror(value)), f"{where}: not symmetric"
        if part.com_free:
            assert float(value.sum(1).abs().max()) < 1e-3, f"{where}: not centred"


def _same_state(one: State, two: State, tolerance: float, message: str) -> None:
    one, two = one.trim(), two.trim()
    for axis, mask in one.masks.items():
        assert torch.equal(mask, two.masks[axis]), f"{message}: sizes of axis {axis!r}"
    for part in one.layout:
        _same_part(part, one.parts[part.name], two.parts[part.name], tolerance, message)


def _same_part(part: Part, one: Tensor, two: Tensor, tolerance: float, message: str) -> None:
    if part.kind == "categorical" or tolerance == 0:
        assert torch.equal(one, two), f"{message}: part {part.name!r}"
        return
    error = float((one - two).square().mean().sqrt() / one.std().clamp(min=1e-6))
    assert error <= tolerance, f"{message}: part {part.name!r}, relative error {error:.2g}"


def _close(one: Tensor, two: Tensor, message: str) -> None:
    scale = float(one.abs().max().clamp(min=1.0))
    difference = float((one - two).abs().max()) / scale
    assert difference <= TOLERANCE, f"{message} by {difference:.2g}"
