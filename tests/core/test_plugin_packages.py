"""``unnoise plugins``: what it says, and that it installs and removes whatever is wrong with plugins."""

import ast
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from unnoise.cli import packages
from unnoise.cli.main import main
from unnoise.plugins.registry import FIRST_PARTY

CORE = Path(__file__).parents[2] / "core" / "src" / "unnoise"
HOOKS = """
from unnoise import hookimpl
UNNOISE_API = (1, 0)

@hookimpl
def unnoise_run_start(run):
    pass

@hookimpl
def unnoise_doctor():
    return []
"""


@pytest.fixture
def pip(monkeypatch):
    """The commands that would have been run."""
    run = []

    def record(words, check):
        run.append([*words])
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(packages.subprocess, "run", record)
    return run


def test_what_each_contributes(toy, make_plugin, monkeypatch, capsys):
    make_plugin("watch", HOOKS)
    monkeypatch.setenv("UNNOISE_PLUGINS", "unnoise-toy,unnoise-watch")
    assert main(["plugins", "--json"]) == 0
    toy_facts, watch = json.loads(capsys.readouterr().out)["plugins"]
    assert (watch["hooks"], watch["configs"], watch["registers"]) == (["unnoise_doctor", "unnoise_run_start"], [], [])
    assert (toy_facts["api"], toy_facts["ok"], toy_facts["configs"]) == ([1, 0], True, ["unnoise_toy.conf"])
    assert toy_facts["load_ms"] > 0
    assert {"kind": "denoiser", "name": "wide", "modality": "toy"} in toy_facts["registers"]
    main(["plugins", "--verbose"])
    out = capsys.readouterr().out
    assert "2 hooks" in out
    assert "  hook  unnoise_run_start" in out
    assert any(line.split()[:2] == ["configs", "unnoise_toy.conf"] for line in out.splitlines())


def test_install_runs_pip_and_shows_what_is_there(pip):
    assert main(["plugins", "install", "unnoise-toy", "./here", "--no-deps"]) == 0
    python = [sys.executable, "-m"]
    assert pip == [[*python, "pip", "install", "unnoise-toy", "./here", "--no-deps"], [*python, "unnoise", "plugins"]]


def test_a_kind_of_data_of_this_project_stands_for_its_distribution(pip):
    name, dist = next(iter(FIRST_PARTY.items()))
    main(["plugins", "install", name])
    assert pip[0][-1] == dist


@pytest.mark.parametrize("word", ["toy", "unnoise-toy", "Unnoise_Toy"])
def test_uninstall_takes_a_plugin_or_its_distribution(toy, pip, word):
    assert main(["plugins", "uninstall", word]) == 0
    assert pip == [[sys.executable, "-m", "pip", "uninstall", "--yes", "unnoise-toy"]]


def test_uninstall_imports_nothing(toy, make_plugin, pip):
    make_plugin("bad", "raise SystemExit('imported')")
    make_plugin("worse", groups="[unnoise]\nworse = not a module!\n")
    for name in ("bad", "worse"):
        assert main(["plugins", "uninstall", name]) == 0
    assert [words[-1] for words in pip] == ["unnoise-bad", "unnoise-worse"]


def test_what_cannot_be_done(toy, make_plugin, pip, monkeypatch, capsys):
    make_plugin("toy2", "UNNOISE_API = (1, 0)", entry="toy")
    for words, said in {
        "install": "install what?",
        "uninstall": "uninstall what?",
        "uninstall numpy": "no plugin 'numpy' is installed.",
        "uninstall unnoise-tyo": "Did you mean 'unnoise-toy'?",
        "uninstall toy": "plugin 'toy' is brought by unnoise-toy and unnoise-toy2",
    }.items():
        assert main(["plugins", *words.split()]) == 2
        assert said in capsys.readouterr().err
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    assert main(["plugins", "install", "unnoise-toy"]) == 2
    assert "this environment has no pip" in capsys.readouterr().err
    assert not pip


@pytest.mark.slow
def test_a_real_environment_with_a_broken_plugin(tmp_path, make_plugin):
    """A new environment, into which what runs this test is linked, pip included."""
    broken = make_plugin("bad", "import not_there")
    venv.EnvBuilder(with_pip=False).create(tmp_path / "venv")
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    here = [path for path in sys.path if path and Path(path).is_dir() and "third_party" not in path]
    (site / "here.pth").write_text("\n".join([*here, str(broken)]))
    python = tmp_path / "venv" / "bin" / "python"
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "UNNOISE"))}

    def unnoise(*words):
        command = [python, "-m", "unnoise", "plugins", *words]
        return subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True)

    source = Path(__file__).parents[1] / "third_party" / "flock"
    copied = tmp_path / "flock"
    subprocess.run(["cp", "-r", source, copied], check=True)
    done = unnoise("install", "--no-deps", "--no-build-isolation", "--no-index", str(copied))
    assert done.returncode == 1, done.stdout + done.stderr  # what `unnoise plugins` says of the broken one
    assert "BROKEN" in done.stdout and "unnoise-flock 0.1.0" in done.stdout
    assert unnoise("uninstall", "flock").returncode == 0
    assert "unnoise-flock" not in unnoise().stdout


def test_core_names_the_plugins_of_this_project_in_one_place():
    """For the hint which distribution is missing, and nowhere else."""
    dists = {*FIRST_PARTY.values(), *(dist.replace("-", "_") for dist in FIRST_PARTY.values())}
    found = set()
    for file in CORE.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        said = {node.value for node in nodes if isinstance(node, ast.Expr)}  # docstrings
        texts = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str) and n not in said]
        if any(dist in text for text in texts for dist in dists):
            found.add(file.relative_to(CORE).as_posix())
        imported = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
        imported |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module}
        assert not any(name.partition(".")[0] in dists for name in imported)
    assert found <= {"plugins/registry.py"}


def test_no_test_of_core_imports_a_plugin_of_this_project():
    """What would need one is found here, and not only by `make check-core`, which takes long."""
    packages_of_ours = {dist.replace("-", "_") for dist in FIRST_PARTY.values()}
    tests = Path(__file__).parents[1]
    for file in [*(tests / "core").rglob("*.py"), *(tests / "support").rglob("*.py"), tests / "conftest.py"]:
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        imported = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
        imported |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module}
        assert not {name.partition(".")[0] for name in imported} & packages_of_ours, file.name
