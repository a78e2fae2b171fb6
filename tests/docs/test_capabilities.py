"""What goes with what: every sampler with every guidance on every kind of state, and every edit on every plugin.

The tables of docs/capabilities.md are what these runs gave: ``UNNOISE_WRITE_TABLES=1 pytest tests/docs`` writes them,
and without it the test compares.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import unnoise
from unnoise import schedules
from unnoise.errors import UserError
from unnoise.guidance import (
    APG,
    CFG,
    AdaptiveStop,
    Auto,
    CFGPlusPlus,
    CFGZero,
    Interval,
    Region,
    Regions,
    Rescale,
    Threshold,
)
from unnoise.noise import Noise
from unnoise.processes import Categorical
from unnoise.sampling import SAMPLERS
from unnoise.testing import CategoricalDenoiser, MixedToy, MixtureDenoiser
from unnoise.testing.subject import Subject

PAGE = Path(__file__).parents[2] / "docs" / "capabilities.md"
SCHEDULE = schedules.cosine()
MIXTURE = MixtureDenoiser([0.5, 0.5], [[-1.0, 0.5], [1.2, 0.0]], 0.2, SCHEDULE)
GUIDANCES = {
    "cfg": CFG(2.0),
    "apg": APG(2.0),
    "cfg_zero": CFGZero(2.0),
    "cfg_pp": CFGPlusPlus(0.5),
    "auto": Auto(MIXTURE, 2.0),
    "rescale": Rescale(CFG(2.0)),
    "threshold": Threshold(CFG(2.0)),
    "interval": Interval(CFG(2.0), -2, 2),
    "stop": AdaptiveStop(CFG(2.0), 0.01),
}
KINDS = ("real values", "classes", "both")
WORDS = {
    "image": ["denoiser.channels=[8,8]", "denoiser.attention=[false,false]", "denoiser.head_dim=8"],
    "audio": ["data.n=40", "data.rate=8000", "data.shortest=0.2", "data.longest=0.3", "denoiser.width=16",
              "denoiser.depth=2", "denoiser.head_dim=8", "conditions.dim=16"],
    "video": ["data.n=40", "data.frames=4", "data.shortest=2", "data.canvas=12", "data.sprite=6", "data.fastest=2",
              "denoiser.width=32", "denoiser.depth=2", "denoiser.patch=4", "conditions.dim=16"],
    "molecules": ["data=nci", "representation.max_atoms=12", "denoiser.width=24", "denoiser.heads=2",
                  "denoiser.depth=1", "conditions.use=[logp]"],
    "points": ["data.n=30", "data.pool=24", "representation.points=16", "denoiser.width=16", "denoiser.latents=4",
               "denoiser.latent_width=16", "denoiser.head_dim=8", "denoiser.depth=1", "conditions.dim=16"],
}  # fmt: skip
MASKS = {"image": "right:3", "audio": "after:0.1", "video": "after:1", "molecules": "extend:1", "points": "above:0.5"}
METHODS = {"adams": "several estimates", "heun": "two evaluations", "ddpm": "noise", "repaint": "to and fro"}
EDITS = ("variation", "infill", "interpolate", "invert", "compose")


def denoiser(kind):
    """A denoiser that takes a label, what it starts from, and the schedule or product of its plans."""
    if kind == "real values":
        return MIXTURE, unnoise.prior((2, 2), SCHEDULE), SCHEDULE
    if kind == "classes":
        joint = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
        toy, sizes = CategoricalDenoiser(joint, Categorical(SCHEDULE, "absorbing")), None
    else:
        toy, sizes = MixedToy(schedule=SCHEDULE), {"nodes": torch.tensor([2, 3])}
    x_T = toy.product.prior(Noise.of(0, 2), sizes)
    return (lambda x, t, label=0: toy(x, t)), x_T, toy.product


def refusal(run):
    """Why something cannot be done; empty if it can."""
    try:
        run()
    except UserError as error:
        return error.message
    return ""


class Notes:
    """Reasons, each once, with a letter."""

    def __init__(self):
        self.found = {}

    def cell(self, reasons):
        """Of several kinds: which of them can, and the letters of the reasons why others cannot."""
        can = [kind for kind, reason in reasons.items() if not reason]
        letters = sorted(
            {self.found.setdefault(reason, chr(ord("a") + len(self.found))) for reason in reasons.values() if reason}
        )
        if not can:
            return f"no ({', '.join(letters)})"
        return "yes" if not letters else f"{', '.join(can)} ({', '.join(letters)})"

    def lines(self):
        return [f"- ({letter}) {reason}." for reason, letter in self.found.items()]


def general(message, sampler):
    """A reason without the sampler and the part that it was met with."""
    message = re.sub(rf"; {sampler} also uses", "; this sampler also uses", message)
    message = re.sub(r"parts alone; .*", "parts alone", message)
    return re.sub(r"; part '\w+' is categorical, and its", "; of a categorical part the", message)


@pytest.fixture(scope="module")
def guidances():
    """The lines of the first table."""
    notes, rows = Notes(), []
    worlds = {kind: denoiser(kind) for kind in KINDS}
    for sampler in sorted(SAMPLERS):
        cells = []
        for name, guidance in GUIDANCES.items():
            reasons = {}
            for kind, (denoise, x_T, schedule) in worlds.items():
                used = Auto(denoise, 2.0) if name == "auto" else guidance

                def run(denoise=denoise, x_T=x_T, schedule=schedule, used=used, sampler=sampler):
                    plan = unnoise.plan(sampler, schedule, 3)
                    made = unnoise.sample(denoise, x_T, plan, condition={"label": 1}, guidance=used)
                    parts = [made] if isinstance(made, torch.Tensor) else made.parts.values()
                    assert all(torch.isfinite(x.double()).all() for x in parts)

                reasons[kind] = general(refusal(run), sampler)
            cells.append(notes.cell(reasons))
        rows.append(f"| `{sampler}` | {' | '.join(cells)} |")
    head = [f"| | {' | '.join(f'`{name}`' for name in GUIDANCES)} |", "|---" * (len(GUIDANCES) + 1) + "|"]
    return [*head, *rows, "", *notes.lines()]


@pytest.fixture(scope="module")
def edits(tmp_path_factory):
    """The lines of the second table."""
    notes, rows = Notes(), []
    for name in WORDS:
        subject = Subject(name, tmp_path_factory.mktemp(name), WORDS[name])
        model, items = subject.model, list(subject.items)
        size = min(map(length, items))
        ends = (
            [item for item in items if length(item) == length(items[0])][:1] * 2
            if name == "molecules"
            else cut(items[:2], size)
        )
        condition = first_condition(model)
        for sampler in METHODS:
            cells = []
            for edit in EDITS:
                options = {
                    "variation": {"source": ends[:1], "strength": 0.5},
                    "infill": {"source": ends[:1], "mask": MASKS[name]},
                    "interpolate": {"source": ends, "n": 2},
                    "invert": {"source": ends[:1]},
                    "compose": {"condition": condition, "other": condition, "mask": MASKS[name], "n": 1},
                }[edit]

                def run(edit=edit, options=options, model=model, sampler=sampler):
                    model.edit(edit, steps=2, sampler=sampler, progress=False, **options)

                reason = refusal(run)
                if edit == "interpolate" and reason:  # by strength in place of codes
                    mixed = refusal(lambda: run(options={**options, "strength": 0.5}))  # noqa: B023
                    cells.append(
                        f"with a strength ({notes.found.setdefault(reason, chr(ord('a') + len(notes.found)))})"
                        if not mixed
                        else notes.cell({"": mixed})
                    )
                else:
                    cells.append(notes.cell({"": reason}))
            rows.append(f"| {name} | `{sampler}` ({METHODS[sampler]}) | {' | '.join(cells)} |")
    head = [f"| | sampler | {' | '.join(EDITS)} |", "|---" * (len(EDITS) + 2) + "|"]
    return [*head, *rows, "", *notes.lines()]


def length(item):
    """Of a sound or a clip; 0 for what has none."""
    for name in ("samples", "frames"):
        if hasattr(item, name):
            return np.asarray(getattr(item, name)).shape[1 if name == "samples" else 0]
    return 0


def cut(items, size):
    """Sounds and clips of one length."""
    made = []
    for item in items:
        if hasattr(item, "samples"):
            made.append(type(item)(item.samples[:, :size], item.rate))
        elif hasattr(item, "frames"):
            made.append(type(item)(item.frames[:size], item.fps))
        else:
            made.append(item)
    return made


def first_condition(model):
    """Any value of the model's first condition; None if it knows none."""
    conditions = model.denoiser.conditions
    if not conditions.names:
        return None
    name = conditions.names[0]
    return {name: conditions[name].describe(torch.zeros_like(conditions[name].absent(1)))[0]}


def table(title, lines):
    return "\n".join([f"<!-- {title} -->", *lines, f"<!-- end of {title} -->"])


def check(title, lines):
    """Compare a table of the page with what was found, or write it."""
    page, made = PAGE.read_text(encoding="utf-8"), table(title, lines)
    pattern = re.compile(rf"<!-- {title} -->.*<!-- end of {title} -->", re.S)
    assert pattern.search(page), f"{PAGE.name} has no table {title!r}"
    if os.environ.get("UNNOISE_WRITE_TABLES"):
        PAGE.write_text(pattern.sub(lambda _: made, page), encoding="utf-8")
    else:
        assert pattern.search(page)[0] == made


def test_every_sampler_with_every_guidance(guidances):
    check("guidances", guidances)
    assert not any(cell.strip() == "" for line in guidances if line.startswith("| `") for cell in line.split("|")[1:-1])


def test_every_edit_on_every_plugin(edits):
    check("edits", edits)


def test_regions_with_every_guidance():
    """Of two regions, on real values: what decides for a whole state is refused."""
    region = Region({"label": 1}, {"x": torch.tensor([1.0, 0.0])})
    rest = Region({"label": 0}, {"x": torch.tensor([0.0, 1.0])})
    plan, x_T = unnoise.plan("ddim", SCHEDULE, 3), unnoise.prior((2, 2), SCHEDULE)
    refused = {
        name
        for name, guidance in GUIDANCES.items()
        if refusal(lambda g=guidance: unnoise.sample(MIXTURE, x_T, plan, guidance=Regions(g, (region, rest))))
    }
    assert refused == {"cfg_pp", "stop"}
