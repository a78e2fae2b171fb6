"""The conformance checks on healthy plugins, and on the same plugins with one mistake at a time that authors make.

Every check has a mistake that it finds and names: a check that never fails is no check.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest
from mistakes import GUIDE, IN_FILES, MISTAKES, lossy_decode, preview_as_text

from unnoise.cli.main import main
from unnoise.errors import UserError
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
                "takes_control": "the default denoiser takes no control",
            },
        ),
        ("flock", {"takes_control": "the default denoiser takes no control"}),
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
  seen      encode(decode(state)) differs from state: part 'x', relative error 0.098
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
