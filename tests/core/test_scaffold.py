"""``unnoise new-plugin``: what it writes, what it refuses, and that what it writes holds to the contracts."""

import importlib
import sys
import tomllib

import pytest
import yaml
from authors import lay

from unnoise.cli.main import main
from unnoise.cli.scaffold import KINDS
from unnoise.plugins import API_VERSION, get_registry
from unnoise.testing import CHECKS, run_checks

QUICK = [name for name in CHECKS if name not in ("overfits", "save_and_load")]
"""Those that train are run by tests/authors."""


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No plugins, and an empty working folder."""
    monkeypatch.setenv("UNNOISE_PLUGINS", "")
    monkeypatch.chdir(tmp_path)
    yield
    for name in [name for name in sys.modules if name.split(".")[0].startswith("unnoise_sea")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def says(capsys, *words, code=0):
    assert main(["new-plugin", *words]) == code
    out = capsys.readouterr()
    return out.err if code else out.out


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_complete_and_keeps_the_contracts(kind, capsys, tmp_path, monkeypatch):
    text = says(capsys, "sea_level", "--kind", kind)
    assert "next: pip install -e unnoise-sea-level && unnoise check sea_level" in text
    project = tmp_path / "unnoise-sea-level"
    written = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    package = "src/unnoise_sea_level"
    assert {
        "pyproject.toml",
        "README.md",
        ".gitignore",
        ".github/workflows/test.yml",
        "tests/test_plugin.py",
        f"{package}/conf/modality/sea_level.yaml",
        f"{package}/conf/experiment/sea_level/quick.yaml",
        *(f"{package}/{name}.py" for name in ("__init__", "plugin", "data", "representation", "network")),
    } <= written
    facts = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert facts["name"] == "unnoise-sea-level" and facts["entry-points"]["unnoise"]["sea_level"]
    workflow = yaml.safe_load((project / ".github/workflows/test.yml").read_text())
    assert "${{ matrix.python }}" in str(workflow)
    assert not [path for path in written if "$" in (project / path).read_text().replace("${{", "")]

    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(lay(project, site)))
    monkeypatch.setenv("UNNOISE_PLUGINS", "sea_level")
    (state,) = get_registry().plugins
    assert state.ok and state.api == API_VERSION and not state.warnings
    results = run_checks("sea_level", only=QUICK)
    assert [(r.name, r.detail) for r in results if not r.ok] == []
    assert main(["new-plugin", "sea_level", "--kind", kind, "--out", "again"]) == 2
    assert "the name 'sea_level' is taken by unnoise-sea-level 0.1.0" in capsys.readouterr().err


def test_its_code_is_as_clean_as_ours(capsys, tmp_path):
    """Every line at most 120 wide, and every module one that Python reads."""
    for kind in KINDS:
        says(capsys, "sea", "--kind", kind, "--out", kind)
    for path in tmp_path.rglob("*.py"):
        text = path.read_text()
        compile(text, str(path), "exec")
        assert max(map(len, text.splitlines()), default=0) <= 120
        assert not path.name.endswith(".txt")


def test_an_existing_folder_loses_nothing(capsys, tmp_path):
    for name, make in {
        "full": lambda path: (path.mkdir(), (path / "mine.txt").write_text("mine")),
        "file": lambda path: path.write_text("mine"),
        "link": lambda path: path.symlink_to("nowhere"),
    }.items():
        make(tmp_path / name)
        text = says(capsys, "sea", "--kind", "mixed", "--out", name, code=2)
        assert f"{name} is there already, and nothing was written" in text
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full", "link"]  # no leftovers


def test_a_failure_leaves_nothing_behind(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("unnoise.cli.scaffold.Template", None)
    with pytest.raises(TypeError):
        main(["new-plugin", "sea", "--kind", "mixed"])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    monkeypatch.undo()
    assert "cannot be written" in says(capsys, "sea", "--kind", "mixed", "--out", str(tmp_path / "file/sea"), code=2)


@pytest.mark.parametrize("name", ["Sea", "9sea", "sea-level", "sea level", "sea__level", "sea_", "class", "../sea", ""])
def test_names_that_cannot_be(name, capsys, tmp_path):
    text = says(capsys, name, "--kind", "mixed", code=2)
    assert f"{name!r} cannot be the name of a plugin" in text
    assert "small letters, digits and single underscores" in text
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_taken(capsys, make_plugin, tmp_path):
    make_plugin("other", "UNNOISE_API = (1, 0)", dist="unnoise-sea", metadata="")
    assert "'sea' is taken by unnoise-sea 0.1.0" in says(capsys, "sea", "--kind", "mixed", code=2)
    assert "'image' is taken by unnoise-image" in says(capsys, "image", "--kind", "mixed", code=2)
    assert "'json' is taken by the package json" in says(capsys, "json", "--kind", "mixed", code=2)
    assert not (tmp_path / "unnoise-sea").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "new-plugin needs a name"),
        (["sea", "lake", "--kind", "mixed"], "new-plugin needs one name, not 'sea lake'"),
        (["sea"], "Which kind of data?"),
        (["sea", "--kind", "mixd"], "there is no kind 'mixd'. Did you mean 'mixed'?"),
        (["sea", "--kind=gaussian", "--force"], "new-plugin takes no '--force'"),
    ],
)
def test_words_that_make_no_command(words, message, capsys):
    assert message in says(capsys, *words, code=2)


def test_help_says_what_kinds_there_are(capsys):
    text = says(capsys, "--help")
    assert all(f"{kind} " in text and what in text for kind, what in KINDS.items())
