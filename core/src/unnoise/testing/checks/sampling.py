"""Seeds, rows and samplers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from unnoise.errors import UserError
from unnoise.noise import Noise
from unnoise.sampling import Cursor, plan, sample, trajectory
from unnoise.state import State, mirror, part_mask
from unnoise.testing.checking import check, expect
from unnoise.testing.checks.compare import TOLERANCE, same_state
from unnoise.testing.subject import STEPS, Subject


@check
def randomness_is_addressed(subject: Subject) -> None:
    """The same call twice gives the same bits: whatever is random comes from the noise that the call is given."""
    representation, noise = subject.representation, Noise.of(0, len(subject.items))
    calls: dict[str, Callable[[], State]] = {
        "encode()": lambda: subject.encode(subject.items),
        "decode()": lambda: subject.encode(subject.decode(subject.state)),
        "augment()": lambda: representation.augment(subject.state, noise),
        "sampling": lambda: subject.model.sample(3, seed=7, steps=STEPS, progress=False).state,
    }
    for what, call in calls.items():
        results: list[State] = []
        used: set[str] = set()
        for seed in (1, 2):
            with _other_generators(seed, used):
                results.append(call())
        hidden = " and ".join(sorted(used)) or "a generator of its own that is seeded anew"
        seen, cause = f"{what} differs between two equal calls", f"hidden random numbers, from {hidden}"
        fix = "draw from the Noise that is given (noise.normal, noise.uniform); a network draws nothing in eval mode"
        same_state(results[0], results[1], 0.0, seen, cause, fix)


@check
def seeds_hold(subject: Subject) -> None:
    """A sample depends on its seed alone: not on the batch, its place in it, or torch's own generator."""
    model, seed = subject.model, 11
    axes = {axis: int(size.max()) for axis, size in subject.state.sizes.items()}
    batches = []
    for n, first in ((1, seed), (7, seed - 3), (2, seed)):
        torch.manual_seed(n)
        sizes = {**axes} or None  # one for all, so that those drawn per seed need not be lined up
        samples = model.sample(n, first, steps=STEPS, sizes=sizes, progress=False)
        batches.append(samples.state[torch.tensor([seed - first])])
    alone, *others = batches
    cause = "items of a batch see each other: a mean over axis 0, batch norm, a reshape that mixes axes; or, if "
    cause += "randomness_is_addressed fails as well, hidden random numbers"
    fix = "keep axis 0 apart in forward(); layer or group norm in place of batch norm"
    for other in others:
        seen = f"the sample of seed {seed} depends on the batch around it"
        same_state(alone, other, 10 * TOLERANCE, seen, cause, fix)


@check
def legal_after_every_row(subject: Subject) -> None:
    """Values are finite, and masks, symmetries and centring hold, at every row of a sampling run."""
    chosen = plan("ddpm", subject.denoiser.product, STEPS)
    noise = Noise.of(0, len(subject.items))
    x_T = subject.prior(noise, subject.state.sizes)
    with torch.no_grad():
        for cursor in trajectory(subject.denoiser, x_T, chosen, noise.seeds, subject.conditions):
            _legal(cursor)


@check
def every_sampler_runs(subject: Subject) -> None:
    """Every sampler that is registered makes finite samples."""
    noise = Noise.of(0, 2)
    x_T = subject.prior(noise, {axis: size[:2] for axis, size in subject.state.sizes.items()})
    names = subject.registry.names("sampler", subject.name)
    failed: dict[str, str] = {}
    for name in names:
        try:
            made = sample(subject.denoiser, x_T, subject.model.plan(name, STEPS), noise.seeds)
            broken = [part.name for part in made.layout if not bool(made.parts[part.name].isfinite().all())]
            reason = f"part {broken[0]!r} is not finite" if broken else ""
        except UserError as error:
            reason = error.message
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        if reason:
            failed[name] = reason
    reasons = "; ".join(
        f"{', '.join(n for n in failed if failed[n] == r)}: {r}" for r in dict.fromkeys(failed.values())
    )
    if len(failed) == len(names):
        cause, fix = "the network or the process fails at any level", "see what the other checks say"
    else:
        cause = "a sampler's rows divide by sigma, which is 0 at its end; or the network fails at levels that only "
        cause += "these samplers ask for: any number between the schedule's t_min and t_max"
        fix = "the last row is x <- x0; a network takes any level, from no table of steps"
    expect(not failed, f"{len(failed)} of {len(names)} fail: {reasons}", cause, fix)


@contextmanager
def _other_generators(seed: int, used: set[str]) -> Iterator[None]:
    """Global generators seeded otherwise, and as they were afterwards; those that were drawn from are noted."""
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    before = _generators()
    try:
        yield
        after = _generators()
        used.update(name for name in before if before[name] != after[name])
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])


def _generators() -> dict[str, str]:
    """Where every global generator stands."""
    return {
        "torch's global generator": repr(torch.get_rng_state().tolist()),
        "numpy's global generator": repr(np.random.get_state()),
        "Python's module random": repr(random.getstate()),
    }


def _legal(cursor: Cursor) -> None:
    x = cursor.x
    cause, fix = "the network's output is not finite, or grows without bound", "look at its values near both ends of t"
    for part in x.layout:
        value, mask = x.parts[part.name], part_mask(part, x.masks)
        where = f"part {part.name!r} before row {cursor.row}"
        expect(bool(value.isfinite().all()), f"{where}: not finite", cause, fix)
        if mask is not None:
            expect(not bool(value.masked_fill(mask, 0).any()), f"{where}: padding is not 0", cause, fix)
        if part.symmetric:
            expect(torch.equal(value, mirror(value)), f"{where}: not symmetric", cause, fix)
        if part.com_free:
            expect(float(value.sum(1).abs().max()) < 1e-3, f"{where}: not centred", cause, fix)
