"""The conformance checks on healthy plugins, and on the same plugins with one mistake at a time that authors make.

Every check has a mistake that it finds and names: a check that never fails is no check.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from unnoise.cli.main import main
from unnoise.contracts import Labels
from unnoise.errors import UserError
from unnoise.state import State
from unnoise.testing import CHECKS, explained, run_checks, summary

THIRD_PARTY = Path(__file__).parents[1] / "third_party"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """``site("toy", "pyproject.toml", "old", "new")`` installs a copy of a plugin with a text of one file replaced."""

    def install(name, file="", old="", new=""):
        folder = shutil.copytree(THIRD_PARTY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        if file:
            text = (folder / file).read_text()
            assert old in text
            (folder / file).write_text(text.replace(old, new))
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setenv("UNNOISE_PLUGINS", f"unnoise-{name}")

    yield install
    forget()


def forget():
    """Copies in other folders have modules of the same names."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("unnoise_toy", "unnoise_flock")]:
        del sys.modules[name]


def outcome(plugin, check, **kwargs):
    """The result of one check."""
    (result,) = run_checks(plugin, only=[check], **kwargs)
    assert result.name == check
    return result


@pytest.mark.parametrize(
    ("plugin", "skipped"),
    [
        (
            "toy",
            {
                "padding_changes_nothing": "no axis of variable size",
                "order_changes_nothing": "Representation.unordered names no axis",
            },
        ),
        ("flock", {}),
    ],
)
def test_a_healthy_plugin_passes(site, plugin, skipped):
    site(plugin)
    results = run_checks(plugin)
    assert [r.name for r in results] == list(CHECKS)
    assert explained(results) == ""
    assert {r.name: r.detail for r in results if r.status == "skipped"} == skipped


def test_unknown_names(site):
    site("toy")
    with pytest.raises(UserError, match="no modality named 'tog'"):
        run_checks("tog")
    with pytest.raises(UserError, match="no check 'round_tripp'"):
        run_checks("toy", {"round_tripp": "?"})
    with pytest.raises(UserError, match="no check 'seeds_old'"):
        run_checks("toy", only=["seeds_old"])


def test_a_check_needs_something_to_check(site):
    site("toy")
    words = ["conditions.use=[]"]
    for check in ("conditions_matter", "guidance_off_is_off", "negative_cancels"):
        result = outcome("toy", check, words=words)
        assert (result.status, result.detail) == ("skipped", "the default config uses no condition")


def test_a_plugin_that_is_only_on_the_path_has_no_wheel(site):
    site("toy", "pyproject.toml", 'name = "unnoise-toy"', 'name = "another"')
    assert (
        outcome("toy", "configs_in_the_wheel").detail
        == "unnoise-toy is neither from a wheel nor beside its pyproject.toml"
    )


# Mistakes: each a change of the toy's or the flock's parts, as an author might have written them.


def of_state(self, items, scale):
    return State(self.layout, {"x": torch.from_numpy(np.stack(list(items))) * scale})


def lossy_decode(self, state):
    return list((1.1 * state.parts["x"] * self.scale).numpy())


def decode_of_valid_ones(self, state):
    return list((state.parts["x"] * self.scale).numpy())[:-1]


def encode_with_gaps(self, items):
    return of_state(self, items, torch.nan)


def encode_without_statistics(self, items):
    return of_state(self, items, 100.0)


def encode_with_jitter(self, items):
    state = of_state(self, items, 1 / self.scale)
    return state.replace({"x": state.parts["x"] + 0.01 * torch.randn_like(state.parts["x"])})


def augment_by_numpy(self, state, noise):
    return state.replace({"x": state.parts["x"] * (1 + 0.1 * float(np.random.standard_normal()))})


def fit_to_an_attribute(self, items):
    self.own = float(np.std(np.stack(list(items))))


def encode_by_an_attribute(self, items):
    return of_state(self, items, 1 / getattr(self, "own", 1.0))


def decode_by_an_attribute(self, state):
    return list((state.parts["x"] * getattr(self, "own", 1.0)).numpy())


def scale_in_no_checkpoint(self):
    torch.nn.Module.__init__(self)
    self.register_buffer("scale", torch.ones(()), persistent=False)


def kept_in_another_scale(self, items, mask):
    from unnoise.contracts import Kept

    return Kept(of_state(self, items, 1.0), {"x": torch.tensor([[False, True]])})


def kept_and_splice_forgotten(self, items, mask):
    from unnoise.contracts import Kept

    return Kept(self.encode(items), {"x": torch.tensor([[False, True]])}, lambda finished: finished[::-1])


def save_nothing(self, items, folder, settings):
    return []


def save_elsewhere(self, items, folder, settings):
    return [folder / "points.txt"]


def save_a_date(self, items, folder, settings):
    path = folder / "points.txt"
    path.write_text(str(np.random.default_rng().random()))
    return [path]


def preview_as_text(self, items, path, labels=()):
    path.write_text("not a picture")


def any_ring(self, split, seed=0, n=200, radius=2.0):
    self.points = np.random.default_rng().normal(size=(n, 2)).astype(np.float32)


def one_ring(self, split, seed=0, n=200, radius=2.0):
    self.points = np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)


def columns_at_random(self):
    return {"class": Labels(np.random.default_rng().integers(0, 2, len(self.points)), ("lower", "upper"))}


def told(x, level, context):
    return torch.cat([x.parts["x"], level.c_noise["x"][:, None], context.vector], 1)


def forward_of_a_random_network(self, x, level, context, previous=None, residuals=None):
    return {"x": torch.randn_like(x.parts["x"])}


def forward_over_the_batch(self, x, level, context, previous=None, residuals=None):
    return {"x": x.parts["x"] - x.parts["x"].mean(0)}


def forward_without_context(self, x, level, context, previous=None, residuals=None):
    return {"x": self.net(told(x, level, context) * torch.tensor([1.0] * 3 + [0.0] * context.vector.shape[1]))}


def forward_of_a_constant(self, x, level, context, previous=None, residuals=None):
    return {"x": torch.zeros_like(x.parts["x"]) + 0 * self.net[0].weight.sum()}


def forward_that_always_drops(self, x, level, context, previous=None, residuals=None):
    return {"x": self.net(torch.nn.functional.dropout(told(x, level, context), 0.2))}


def forward_of_one_number(self, x, level, context, previous=None, residuals=None):
    return {"x": self.net(told(x, level, context))[:, :1]}


def forward_of_a_tensor(self, x, level, context, previous=None, residuals=None):
    return self.net(told(x, level, context))


def forward_by_division(self, x, level, context, previous=None, residuals=None):
    return {"x": self.net(told(x, level, context)) / (level.t["x"] < 0.9)[:, None]}


def forward_from_a_table(self, x, level, context, previous=None, residuals=None):
    step = 4 * level.t["x"]
    assert torch.allclose(step, step.round(), atol=0.05), f"there is no step {float(step[0]):.2f}"
    return {"x": self.net(told(x, level, context))}


def forward_that_remembers(self, x, level, context, previous=None, residuals=None):
    self.calls = getattr(self, "calls", 0) + 1
    return {"x": self.net(told(x, level, context)) * (1 + 0.1 * self.calls)}


def forward_by_random_features(self, x, level, context, previous=None, residuals=None):
    if not hasattr(self, "frequencies"):
        self.frequencies = torch.randn(2)
    return {"x": self.net(told(x, level, context)) + torch.sin(x.parts["x"] * self.frequencies)}


def pool_over_padding(self, h, mask):
    return h.mean(1, keepdim=True)


def pool_by_place(self, h, mask):
    weight = mask * torch.arange(1, h.shape[1] + 1)[None, :, None]
    return (h * weight).sum(1, keepdim=True) / mask.sum(1, keepdim=True)


def mask_backwards(self, items):
    state = State.zeros(self.layout, len(items), {"birds": torch.tensor([len(colours) for _, colours in items])})
    return State(state.layout, state.parts, {"birds": state.masks["birds"].flip(1)})


def padding_of_its_own(self, items):
    sizes = torch.tensor([len(colours) for _, colours in items])
    state = State.zeros(self.layout, len(items), {"birds": sizes})
    state.parts["colours"][~state.masks["birds"]] = 2
    return state


def classes_from_one(self, items):
    sizes = torch.tensor([len(colours) for _, colours in items])
    state = State.zeros(self.layout, len(items), {"birds": sizes})
    return state.map(lambda part, x: x if part.kind == "gaussian" else x + 3 * state.masks["birds"])


def change(owner, **methods):
    """A mistake in the methods of a class of the plugin's module ``parts``."""

    def apply(parts, monkeypatch):
        for name, method in methods.items():
            monkeypatch.setattr(getattr(parts, owner), name, method)

    return apply


toy_network = partial(change, "MLP")
MISTAKES = [
    ("data_repeats", "toy", change("Ring", __init__=any_ring), "nobody seeded"),
    ("data_repeats", "toy", change("Ring", __init__=one_ring), "split is not used"),
    ("data_repeats", "toy", change("Ring", columns=columns_at_random), "another column 'class'"),
    ("layout_honoured", "toy", change("Plane", encode=encode_with_gaps), "not finite floats"),
    ("layout_honoured", "flock", change("Birds", encode=mask_backwards), "padding come before real"),
    ("layout_honoured", "flock", change("Birds", encode=padding_of_its_own), "padding holds other values"),
    ("layout_honoured", "flock", change("Birds", encode=classes_from_one), "outside 0..2"),
    ("statistics_measured", "toy", change("Plane", encode=encode_without_statistics), "statistics are forgotten"),
    (
        "statistics_stored",
        "toy",
        change("Plane", fit=fit_to_an_attribute, encode=encode_by_an_attribute, decode=decode_by_an_attribute),
        "what fit() measured is a plain attribute",
    ),
    ("statistics_stored", "toy", change("Plane", __init__=scale_in_no_checkpoint), "encodes differently"),
    ("round_trip", "toy", change("Plane", decode=lossy_decode), "decode() does not undo what encode() did"),
    ("decodes_whatever_comes", "toy", change("Plane", decode=decode_of_valid_ones), "4 items of 5"),
    ("files_and_preview", "toy", change("Plane", save=save_nothing), "wrote no file"),
    ("files_and_preview", "toy", change("Plane", save=save_elsewhere), "points.txt, not there"),
    ("files_and_preview", "toy", change("Plane", save=save_a_date), "points.txt differs"),
    ("files_and_preview", "toy", change("Plane", preview=preview_as_text), "no PNG"),
    ("outputs_fit", "toy", toy_network(forward=forward_of_one_number), "shape (12, 1) in place of (12, 2)"),
    ("outputs_fit", "toy", toy_network(forward=forward_of_a_tensor), "it gave Tensor"),
    ("padding_changes_nothing", "flock", change("Sums", pool=pool_over_padding), "looks at padding"),
    ("order_changes_nothing", "flock", change("Sums", pool=pool_by_place), "knows the place of an element"),
    ("conditions_matter", "toy", toy_network(forward=forward_without_context), "does not use context"),
    ("randomness_is_addressed", "toy", toy_network(forward=forward_of_a_random_network), "torch's global generator"),
    ("randomness_is_addressed", "toy", change("Plane", augment=augment_by_numpy), "numpy's global generator"),
    ("randomness_is_addressed", "toy", change("Plane", encode=encode_with_jitter), "encode() differs"),
    ("seeds_hold", "toy", toy_network(forward=forward_over_the_batch), "items of a batch see each other"),
    ("seeds_hold", "toy", toy_network(forward=forward_of_a_random_network), "hidden random numbers"),
    ("legal_after_every_row", "toy", toy_network(forward=forward_by_division), "'x' before row 1: not finite"),
    ("every_sampler_runs", "toy", toy_network(forward=forward_from_a_table), "heun: AssertionError: there is no step"),
    ("every_sampler_runs", "toy", toy_network(forward=forward_by_division), "is not finite"),
    ("guidance_off_is_off", "toy", toy_network(forward=forward_that_remembers), "keeps nothing from call to call"),
    ("negative_cancels", "toy", toy_network(forward=forward_that_always_drops), "dropout in eval mode"),
    ("infill_keeps", "toy", change("Plane", kept=kept_in_another_scale), "differs from encode(items)"),
    ("infill_keeps", "toy", change("Plane", kept=kept_and_splice_forgotten), "Kept.splice"),
    ("overfits", "toy", toy_network(forward=forward_of_a_constant), "mean loss only went"),
    ("save_and_load", "toy", toy_network(forward=forward_by_random_features), "two loads of one run"),
    ("save_and_load", "toy", change("Plane", __init__=scale_in_no_checkpoint), "persistent=False"),
    ("resume_equals_uninterrupted", "toy", toy_network(forward=forward_that_remembers), "a counter"),
    ("resume_equals_uninterrupted", "toy", change("Plane", augment=augment_by_numpy), "numpy's or Python's global"),
]
"""Check, plugin, the mistake, and what is said of it."""
AS_NOTHING = "return {}\n\n    def restore(self, settings):\n        pass"
AS_CODE = (
    """return {"make": "lambda x: x"}\n\n    def restore(self, settings):\n        self.make = eval(settings["make"])"""
)
IN_FILES = [
    ("outputs_fit", "unnoise_toy/parts.py", 'inputs = [x.parts["x"]', 'inputs = [x.parts["y"]',
     "the plugin's own code raised it"),
    ("loads_without_code", "unnoise_toy/parts.py", AS_NOTHING, AS_CODE, "builtins.eval"),
    ("entry_point_is_light", "unnoise_toy/plugin.py", "from unnoise", "import numpy\nimport torch\nfrom unnoise",
     "numpy, torch"),
    ("entry_point_is_light", "unnoise_toy/conf/__init__.py", '"""Configs', 'import yaml\n"""Configs', "yaml"),
    ("configs_in_the_wheel", "pyproject.toml", '["**/*.yaml"]', "[]", "pyproject.toml does not say that yaml files"),
    ("configs_in_the_wheel", "pyproject.toml", 'toy = "unnoise_toy.plugin"', "", "no entry point unnoise_toy.plugin"),
    ("guidance_off_is_off", "unnoise_toy/plugin.py", "@hookimpl\ndef unnoise_doctor", (
        "@hookimpl\ndef unnoise_guidances():\n    return [Spec('louder', 'unnoise_toy.guide:Louder')]\n\n\n"
        "@hookimpl\ndef unnoise_doctor"
    ), "its scale 1 is not off"),
    ("every_sampler_runs", "unnoise_toy/plugin.py", "@hookimpl\ndef unnoise_doctor", (
        "@hookimpl\ndef unnoise_samplers():\n    return [Spec('steep', 'unnoise_toy.guide:steep')]\n\n\n"
        "@hookimpl\ndef unnoise_doctor"
    ), "steep: "),
]  # fmt: skip
"""Check, file of the toy, a text in it, the mistake in its place, and what is said of it."""
GUIDE = """\
from dataclasses import dataclass

from unnoise.guidance import CFG
from unnoise.sampling.rows import Table


@dataclass(frozen=True)
class Louder(CFG):
    def branches(self, condition):
        return {"cond": condition, "null": {}}

    def combine(self, branches, moment):
        return {name: 1.5 * value for name, value in branches["cond"].items()}


def steep(schedule, grid):
    table = Table(schedule, grid)
    for here, there in table.steps():
        table.advance(there, order=1, x=(here.sigma / there.sigma) * table.predict())
    return tuple(table.rows)
"""


def test_every_check_has_a_mistake_that_it_finds():
    assert {check for check, *_ in [*MISTAKES, *IN_FILES]} == set(CHECKS)


@pytest.mark.parametrize(("check", "plugin", "mistake", "said"), MISTAKES, ids=[f"{m[0]}: {m[3]}" for m in MISTAKES])
def test_a_mistake_is_named(site, monkeypatch, check, plugin, mistake, said):
    site(plugin)
    mistake(import_module(f"unnoise_{plugin}.parts"), monkeypatch)
    result = outcome(plugin, check)
    assert result.status == "failed"
    assert all([result.expected, result.detail, result.cause, result.fix])
    assert said in " ".join([result.detail, result.cause, result.fix])


@pytest.mark.parametrize(("check", "file", "old", "new", "said"), IN_FILES, ids=[f"{m[0]}: {m[4]}" for m in IN_FILES])
def test_a_mistake_in_a_file_is_named(site, tmp_path, check, file, old, new, said):
    site("toy", file, old, new)
    (tmp_path / "toy" / "unnoise_toy" / "guide.py").write_text(GUIDE)
    result = outcome("toy", check)
    assert result.status == "failed"
    assert said in " ".join([result.detail, result.cause, result.fix])


def test_a_mistake_fails_few_other_checks(site, monkeypatch):
    """A cause is of use only if it is not one of twenty."""
    site("toy")
    import unnoise_toy.parts as parts

    monkeypatch.setattr(parts.Plane, "preview", preview_as_text)
    assert [r.name for r in run_checks("toy", only=[c for c in CHECKS if c != "overfits"]) if not r.ok] == [
        "files_and_preview"
    ]


def test_an_expected_failure_must_fail(site, monkeypatch):
    site("toy")
    import unnoise_toy.parts as parts

    passed = outcome("toy", "round_trip", expected_failures={"round_trip": "lossy"})
    assert passed.status == "unexpected pass" and not passed.ok
    assert "take 'round_trip' out of expected_failures" in explained([passed])
    monkeypatch.setattr(parts.Plane, "decode", lossy_decode)
    failed = outcome("toy", "round_trip", expected_failures={"round_trip": "lossy"})
    assert failed.status == "expected failure" and failed.detail == "lossy" and failed.ok


def test_what_keeps_every_check_from_running_is_explained_once(site, monkeypatch):
    site("toy")
    import unnoise_toy.parts as parts

    def unreadable(self, split, seed=0, n=200, radius=2.0):
        raise OSError("no such disk")

    monkeypatch.setattr(parts.Ring, "__init__", unreadable)
    results = run_checks("toy", only=["data_repeats", "round_trip", "seeds_hold"])
    text = explained(results)
    assert text.count("OSError: no such disk (test_checks.py") == 1
    assert "the same in round_trip, seeds_hold" in text
    assert summary("toy", results).startswith("toy: 3 run (3 failed), 0 skipped")


def test_the_command_line_explains_a_failure(site, monkeypatch, capsys):
    site("toy")
    import unnoise_toy.parts as parts

    monkeypatch.setattr(parts.Plane, "decode", lossy_decode)
    assert main(["check", "toy", "--only=round_trip,padding_changes_nothing,layout_honoured"]) == 1
    out = re.sub(r" +\d+\.\d s", " N s", capsys.readouterr().out)
    assert out == EXPLAINED
    assert main(["check", "toy", "--only=round_trip", "--expect=round_trip"]) == 0
    assert "toy: 1 run (1 expected failure), 0 skipped" in capsys.readouterr().out
    assert main(["check", "toy", "--onyl=round_trip"]) == 2
    assert "Did you mean '--only'?" in capsys.readouterr().err


EXPLAINED = """\
ok     layout_honoured N s
FAIL   round_trip N s
skip   padding_changes_nothing N s  no axis of variable size

round_trip: failed
  expected  Decoding and encoding again gives the same state: nothing the model learns is lost on the way to
            an item.
  seen      encode(decode(state)) differs from state: part 'x', relative error 0.1
  cause     decode() does not undo what encode() did: a scale, an offset, a clip or a rounding is in one of
            them alone
  fix       make them inverse; if a loss is meant, expected_failures={'round_trip': why}

toy: 2 run (1 passed, 1 failed), 1 skipped, N s
"""


def test_in_pytest_a_case_a_check(site, tmp_path, monkeypatch):
    """A plugin author's own test file, run by another pytest: passes, skips, and one that was announced to fail."""
    site("toy", "unnoise_toy/parts.py", "* self.scale).cpu()", "* self.scale * 1.1).cpu()")
    file = tmp_path / "test_toy.py"
    file.write_text(
        "import unnoise.testing\n"
        "test_contract = unnoise.testing.modality_checks('toy', expected_failures={'round_trip': 'lossy', "
        "'layout_honoured': 'no'})\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    chosen = "round_trip or layout_honoured or padding or statistics_stored or infill_keeps"
    words = ["-q", "-p", "no:cacheprovider", "-rA", "-c", os.devnull, "--rootdir", tmp_path, "-k", chosen, file]
    done = subprocess.run([sys.executable, "-m", "pytest", *words], capture_output=True, text=True, env=environ)
    counts = Counter(re.findall(r"^(PASSED|FAILED|SKIPPED|XFAIL)", done.stdout, re.M))
    assert counts == {"PASSED": 1, "FAILED": 2, "SKIPPED": 1, "XFAIL": 1}, done.stdout
    assert "unexpected pass" in done.stdout and "Kept.splice" in done.stdout
