"""The pages of hooks: their blocks are one plugin, which is put together here and used by the commands on them."""

import importlib
import os
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from unnoise.cli.main import main
from unnoise.plugins import get_registry
from unnoise.plugins.hookspecs import HOOK_NAMES
from unnoise.testing import CHECKS

DOCS = Path(__file__).parents[2] / "docs" / "plugins"
PAGE = "\n".join((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("hooks", "hooks-engine", "publishing"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


def blocks(language):
    return [text for found, text in BLOCK.findall(PAGE) if found == language]


def write(folder):
    """Every block that begins with the name of a file; those of one file follow each other."""
    files = {}
    for language in ("python", "yaml", "toml"):
        for text in blocks(language):
            name, body = re.fullmatch(r"# (\S+)\n(.*)", text, re.S).groups()
            files.setdefault(name, []).append(body)
    for name, bodies in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(bodies), encoding="utf-8")
    for package in ("unnoise_hail", "unnoise_hail/conf"):
        (folder / package / "__init__.py").touch()
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"unnoise_hail-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))


@pytest.fixture(scope="module")
def hail(tmp_path_factory):
    """The plugin, installed for the tests of this file, and a folder to work in."""
    folder, work = tmp_path_factory.mktemp("hail"), tmp_path_factory.mktemp("work")
    write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("UNNOISE_PLUGINS", "unnoise-hail")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.chdir(work)
        yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "unnoise_hail"]:
        del sys.modules[name]
    importlib.invalidate_caches()


def test_every_hook_has_a_section_and_an_example(hail):
    sections = re.findall(r"^## `(unnoise_\w+)`", PAGE, re.M)
    assert sorted(sections) == sorted(HOOK_NAMES)
    code = (hail / "unnoise_hail" / "plugin.py").read_text()
    assert sorted(re.findall(r"^@hookimpl\ndef (\w+)", code, re.M)) == sorted(HOOK_NAMES)
    links = set(re.findall(r"\]\((?:hooks-engine\.md)?#(\w+)\)", PAGE))
    assert links == set(HOOK_NAMES)


def test_the_blocks_are_a_healthy_plugin(hail):
    registry = get_registry()
    (state,) = registry.plugins
    assert (state.error, state.warnings) == ("", [])
    for kind, spec in state.specs:
        assert callable(registry.load(kind, spec.name, "hail")) or kind == "modality"
    assert not registry.conflicts()


@pytest.mark.parametrize("block", blocks("sh"))
def test_the_commands_do_what_they_say(hail, block, capsys):
    for line in block.splitlines():
        words = shlex.split(line)
        assert words[0] == "unnoise"
        code = main(words[1:])
        said = capsys.readouterr()
        assert code == 0, f"{line}\n{said.out}\n{said.err}"
        assert "raised" not in said.err  # a run hook
        if words[1] == "list":
            assert "straight" in said.out
        if words[1] == "doctor":
            assert "hail: no data to fetch" in said.out
        if words[1] == "check":
            assert "0 failed" not in said.out and "passed" in said.out
    log = Path("storm/hail.log").read_text().splitlines()
    assert log[0] == "hail" and log[-1] == "done"
    assert [line.split()[0] for line in log[1:-1]] == ["20", "40", "saved"]
    for made in ("stones/stones.txt", "others/preview.png", "judged/scores.json", "melted/manifest.json"):
        assert Path(made).exists()
    assert '"octaves"' in Path("storm/manifest.json").read_text()
    assert '"tempered"' in Path("tempered/manifest.json").read_text()
    assert "flatness" in Path("judged/scores.json").read_text()


def test_the_test_of_the_page_is_a_case_a_check(hail):
    scope = {}
    exec((hail / "tests" / "test_hail.py").read_text(), scope)
    (mark,) = scope["test_contract"].pytestmark
    assert mark.args == ("check_name", list(CHECKS))


def test_the_page_of_checks_names_every_one_in_order():
    page = (DOCS / "checks.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == list(CHECKS)


def test_links_lead_somewhere():
    for page in DOCS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {os.fspath(link)}"
