"""The tutorial and the cookbook for plugin authors do what they say: every command and every block of code is run."""

import importlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from authors import lay

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "plugins"
LANGUAGES = {"bash", "python", "yaml", "toml"}
PIP = """#!/bin/sh
# pip of this interpreter, into a folder of its own and without a network.
verb=$1; shift
case $verb in
  install) [ "$1" = -e ] && shift; set -- --target {site} --upgrade "$@";;
esac
exec {python} -m pip $verb --quiet --no-deps --no-index --no-build-isolation "$@"
"""


@dataclass(frozen=True)
class Block:
    """A piece of a page; ``file`` is named by its first line, and is empty for what is to be run."""

    language: str
    text: str

    @property
    def file(self):
        found = re.match(r"(?:# @package _global_\n)?# ([\w./-]+\.(?:py|yaml|toml))\n", self.text)
        return found[1] if found else ""

    def write(self, folder):
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text)


def blocks(page):
    """All blocks of a page, in order."""
    text = (PAGES / page).read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    assert text.count("```") == 2 * len(found)
    return [Block(*block) for block in found]


@pytest.mark.parametrize("page", ["tutorial.md", "cookbook.md"])
def test_every_block_is_one_that_can_be_run(page):
    for block in blocks(page):
        assert block.language in LANGUAGES
        if block.language == "python":
            compile(block.text, page, "exec")


@pytest.mark.parametrize("page", sorted(path.name for path in PAGES.glob("*.md")))
def test_links_lead_somewhere(page):
    text = (PAGES / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert link.startswith("https://") or (PAGES / link).exists(), link


@pytest.mark.slow
def test_the_tutorial(tmp_path):
    site, tools, work = (tmp_path / name for name in ("site", "tools", "work"))
    for folder in (site, tools, work):
        folder.mkdir()
    scripts = {
        "pip": PIP.format(site=site, python=sys.executable),
        "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
        "unnoise": f'#!/bin/sh\nexec {sys.executable} -m unnoise "$@"\n',
    }
    for name, text in scripts.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    before = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    environ = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        # What is installed for editing is found where it is edited; its metadata lie in the site folder.
        "PYTHONPATH": os.pathsep.join([str(work / "unnoise-swings" / "src"), str(site), *before]),
        "UNNOISE_PLUGINS": "swings",
        "OMP_NUM_THREADS": "1",
    }
    here = work
    for block in blocks("tutorial.md"):
        if block.file:
            block.write(here)
            continue
        words = ["bash", "-euo", "pipefail", "-c", f"{block.text}\npwd > {tmp_path}/here"]
        if block.language == "python":
            words = [sys.executable, "-c", block.text]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(words, cwd=here, env=environ, text=True, **streams)
        assert done.returncode == 0, f"{block.text}\n{done.stdout}"
        here = Path((tmp_path / "here").read_text().strip())
    assert (here / "runs" / "swings" / "sweep" / "grid.png").is_file()
    assert len(list((here / "runs" / "swings" / "hard").glob("*.npy"))) == 8


@pytest.fixture
def kitchen(tmp_path, monkeypatch):
    """The plugin that the cookbook's files are, installed."""
    project, site = tmp_path / "project", tmp_path / "site"
    site.mkdir()
    for block in blocks("cookbook.md"):
        if block.file:
            block.write(project)
    (project / "src" / "unnoise_kitchen" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(lay(project, site)))
    monkeypatch.setenv("UNNOISE_PLUGINS", "kitchen,weigh,toy")
    yield site
    for name in [name for name in sys.modules if name.split(".")[0] == "unnoise_kitchen"]:
        del sys.modules[name]
    importlib.invalidate_caches()


def test_the_cookbook(kitchen):
    from unnoise.sampling import SAMPLERS

    names = {}
    try:
        for block in blocks("cookbook.md"):
            if block.language == "python" and not block.file:
                exec(compile(block.text, "cookbook.md", "exec"), names)
    finally:
        SAMPLERS.pop("calm", None)


def test_the_cookbooks_network_keeps_to_its_mask_and_its_parts_are_used_by_name(kitchen, toy, monkeypatch, capsys):
    """In a run of the engine's own: its process, its guidance and its verb by their names."""
    import torch

    from unnoise.cli.main import main
    from unnoise.layout import Layout, Part
    from unnoise.level import Level
    from unnoise.plugins import get_registry
    from unnoise.state import State

    monkeypatch.setenv("UNNOISE_PLUGINS", "kitchen,weigh,toy")
    registry = get_registry()
    assert [state.name for state in registry.plugins if state.ok] == ["kitchen", "toy"]
    layout = Layout((Part("x", "gaussian", ("n", 2)),))
    torch.manual_seed(0)
    network = registry.build("denoiser", {"name": "pooled"}, layout=layout, context_dim=0)
    torch.nn.init.normal_(network.mlp.linear_out.weight)
    x = State.zeros(layout, 2, {"n": torch.tensor([3, 2])})
    x = x.replace({"x": torch.randn(2, 3, 2)}).project()
    level = Level(*({"x": torch.tensor([0.1, 0.5])},) * 3)
    short, long = network(x, level, None)["x"], network(x.resize({"n": 7}), level, None)["x"]
    torch.testing.assert_close(long[:, :3][x.masks["n"]], short[x.masks["n"]])

    run = kitchen / "run"
    assert main(["train", "modality=toy", "train.steps=1", f"run={run}", "train.device=cpu", "sample.n=1"]) == 0
    asked = ["guidance.name=bounded", "guidance.scale=3", "guidance.most=0.2", "condition=upper", "sampler=calm"]
    assert main(["sample", f"run={run}", "n=2", "steps=3", *asked, f"out={kitchen}/made"]) == 0
    assert main(["weigh", str(run)]) == 0
    assert "toy: " in capsys.readouterr().out
