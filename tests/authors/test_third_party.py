"""What the engine offers, with every plugin of ``tests/third_party``: the table of docs/plugins/examples.md is what
these runs gave (``UNNOISE_WRITE_TABLES=1 pytest tests/authors`` writes it).
"""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from authors import PROJECTS

import unnoise
from unnoise.cli.main import main
from unnoise.errors import UserError
from unnoise.plugins import get_registry
from unnoise.sampling import SAMPLERS
from unnoise.testing import CHECKS, run_checks

PAGE = Path(__file__).parents[2] / "docs" / "plugins" / "examples.md"
TRAINS = ("overfits", "save_and_load")
"""Checks that train; tests/authors/test_wheels.py runs them."""
SMALL = {
    "table": ["denoiser.width=16", "denoiser.depth=1"],
    "series": ["denoiser.width=32", "denoiser.depth=1"],
    "text": ["denoiser.width=32", "denoiser.depth=1"],
}
ASKED = {"table": {"outcome": "fast"}, "series": {"class": "china"}, "text": {"class": "iris"}}
MASKS = {"table": "bmi,sex", "series": "after:8", "text": "extend:3"}
GUIDANCES = ("cfg", "apg", "cfg_zero", "cfg_pp", "auto")
AIM = 120
"""Lines that a plugin may have, its data set apart."""


@pytest.fixture(scope="module")
def runs(installed, tmp_path_factory):
    """A run of every plugin, hardly trained."""
    folder = tmp_path_factory.mktemp("runs")
    for name in PROJECTS:
        train(name, folder / name, "train.steps=2")
    return {name: folder / name for name in PROJECTS}


def train(name, run, *words):
    quick = ["train.batch=8", "train.log_every=1", "train.device=cpu", "sample.n=1", "sample.steps=2"]
    assert main(["train", f"modality={name}", f"run={run}", *SMALL[name], *quick, *words]) == 0


@pytest.fixture(scope="module")
def models(runs):
    return {name: unnoise.load(run, "cpu") for name, run in runs.items()}


def tried(run):
    """Why something cannot be done; empty if it can."""
    try:
        run()
    except UserError as error:
        return error.message
    return ""


def ends(model, name):
    """Two real items, of one size."""
    registry = get_registry()
    data = registry.build("dataset", dict(model.manifest.config["data"]), name, split="test", seed=0)
    if name == "table":
        return [data[0], data[1]]
    items = [data[i] for i in range(len(data))]
    size = len(items[0])
    return [items[0], next(item for item in items[1:] if len(item) == size)]


def capabilities(name, model, run):
    """Capability -> which of its ways there are, each with a reason where it cannot be done."""
    few = {"steps": 3, "progress": False}
    items, asked = ends(model, name), ASKED[name]

    def sample(**options):
        made = model.sample(2, **few, **options)
        assert len(made.items) == 2
        assert all(torch.isfinite(x.double()).all() for x in made.state.parts.values())

    def guide(kind):
        weak = {"weak": str(run)} if kind == "auto" else {}
        scale = 0.5 if kind == "cfg_pp" else 2.0
        sample(condition=asked, sampler="ddim", guidance={"name": kind, "scale": scale, **weak})

    def infill():
        made = model.edit("infill", [items[0]], mask=MASKS[name], **few).items[0]
        if name == "table":
            assert {k for k in made if made[k] == items[0][k]} >= set(items[0]) - {"bmi", "sex"}
        else:
            kept = items[0][:8] if name == "series" else items[0]
            assert len(made) == len(items[0]) + (3 if name == "text" else 0)
            if name == "text":
                assert made.startswith(kept)
            else:
                np.testing.assert_allclose(made[:8], kept, atol=1e-4)

    def edit(kind, **options):
        assert model.edit(kind, **options, **few).items

    return {
        "sample": {sampler: tried(lambda s=sampler: sample(sampler=s)) for sampler in sorted(SAMPLERS)},
        "guidance": {kind: tried(lambda k=kind: guide(k)) for kind in GUIDANCES},
        "negative": {"": tried(lambda: sample(negative=asked, guidance_scale=2.0))},
        "variation": {"": tried(lambda: edit("variation", source=items[:1], strength=0.5))},
        "infill": {"": tried(infill)},
        "interpolate": {
            "seeds": tried(lambda: edit("interpolate", seeds=[0, 1], n=3)),
            "items": tried(lambda: edit("interpolate", source=items, strength=0.5, n=3)),
        },
        "compose": {
            "": tried(lambda: edit("compose", condition=asked, other=asked, mask=mask_of(name), n=1)),
        },
    }


def mask_of(name):
    """A mask that needs no item's size."""
    return "after:2" if name == "text" else MASKS[name]


def commands(name, run, folder):
    """The same of what is done on the command line."""
    out = folder / name
    quick = ["n=4", "steps=2", "batch=4"]
    assert main(["eval", f"run={run}", "n=40", "steps=2", f"out={out}/eval"]) == 0
    scores = json.loads((out / "eval" / "scores.json").read_text())["scores"]
    metrics = set(get_registry().names("metric", name)) - {"agreement"}  # which needs maps
    assert len(scores) >= len(metrics)
    assert all(score["floor"] is not None and score["ceiling"] is not None for score in scores)
    assert main(["sample", "-m", f"run={run}", "sampler=ddim,heun", "seed=0,1", *quick, f"out={out}/sweep"]) == 0
    assert (out / "sweep" / "grid.png").is_file()

    native = next(p for p in sorted((out / "sweep" / "0").iterdir()) if p.suffix in (".csv", ".npy", ".jsonl"))
    written = [f"source={native}", f"mask={mask_of(name)}"]
    assert main(["edit", "infill", f"run={run}", *written, "steps=2", f"out={out}/edit"]) == 0
    assert main(["eval", f"modality={name}", f"items={out}/sweep/0"]) == 0

    whole, halves = out / "whole", out / "halves"
    train(name, whole, "train.steps=4", "train.checkpoint_every=2")
    train(name, halves, "train.steps=4", "train.checkpoint_every=2")
    (last,) = halves.glob("checkpoints/*4")
    shutil.rmtree(last)
    assert main(["train", f"run={halves}", "resume=true"]) == 0
    one, two = (unnoise.load(run, "cpu").sample(2, 5, steps=2, progress=False).state for run in (whole, halves))
    assert all(torch.equal(one.parts[part], two.parts[part]) for part in one.parts)
    return {word: {"": ""} for word in ("eval", "sweep", "resume")}


def cell(ways):
    """``yes``, or what can be done of several, or why nothing can."""
    can = [way for way, reason in ways.items() if not reason]
    if len(can) == len(ways):
        return f"all {len(can)}" if len(can) > 2 else "yes"
    return ", ".join(can) or f"no: {next(iter(ways.values()))}"


def test_the_table_of_capabilities(models, runs, tmp_path, capsys):
    found = {
        name: {**capabilities(name, model, runs[name]), **commands(name, runs[name], tmp_path)}
        for name, model in models.items()
    }
    rows = [f"| {what} | {' | '.join(cell(found[name][what]) for name in found)} |" for what in found["table"]]
    reasons = {
        f"- {what}, {way}: {', '.join(n for n in found if found[n][what].get(way) == reason)}: {reason}."
        for per_plugin in found.values()
        for what, ways in per_plugin.items()
        for way, reason in ways.items()
        if reason
    }
    head = [f"| | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
    check("capabilities", [*head, *rows, "", *sorted(reasons)])


def author_lines(project):
    """Lines that say something, of all code and configs; not those of the data set."""
    files = [*project.rglob("*.py"), *project.rglob("*.yaml"), *project.rglob("*.toml")]
    counted = [path for path in files if path.name != "data.py"]
    return sum(bool(line.strip()) for path in counted for line in path.read_text().splitlines())


def test_how_little_an_author_writes():
    counts = {name: author_lines(project) for name, project in PROJECTS.items()}
    check("lines", [f"| {' | '.join(counts)} |", "|---" * 3 + "|", f"| {' | '.join(map(str, counts.values()))} |"])
    assert max(counts.values()) <= AIM


@pytest.mark.parametrize("name", PROJECTS)
def test_the_contracts(name, installed):
    results = run_checks(name, words=SMALL[name], only=[check for check in CHECKS if check not in TRAINS])
    assert [(r.name, r.detail) for r in results if not r.ok] == []


def test_a_split_shares_nothing(installed):
    registry = get_registry()
    for name in PROJECTS:
        node = {"name": registry.names("dataset", name)[-1]}
        train, test = (registry.build("dataset", node, name, split=split, seed=0) for split in ("train", "test"))
        both = [{str(data[i]) for i in range(len(data))} for data in (train, test)]
        assert not both[0] & both[1]


def check(title, lines):
    """Compare a table of the page with what was found, or write it."""
    page = PAGE.read_text(encoding="utf-8")
    made = "\n".join([f"<!-- {title} -->", *lines, f"<!-- end of {title} -->"])
    pattern = re.compile(rf"<!-- {title} -->.*<!-- end of {title} -->", re.S)
    assert pattern.search(page), f"{PAGE.name} has no table {title!r}"
    if os.environ.get("UNNOISE_WRITE_TABLES"):
        PAGE.write_text(pattern.sub(lambda _: made, page), encoding="utf-8")
    else:
        assert pattern.search(page)[0] == made
