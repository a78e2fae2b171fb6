"""Every distribution built, and environments that hold what was built and nothing of the repository."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "core", *sorted(file.parent for file in ROOT.glob("plugins/*/pyproject.toml"))]
JUNK = shutil.ignore_patterns("build", "dist", "__pycache__", "*.egg-info", ".*_cache")


@dataclass(frozen=True)
class Distribution:
    """``package``: the import package. ``wheel`` is built from ``source``; ``again``, from ``sdist``."""

    name: str
    package: str
    source: Path
    sdist: Path
    wheel: Path
    again: Path


@pytest.fixture(scope="session", params=SOURCES, ids=lambda source: source.name)
def built(request, tmp_path_factory):
    """One distribution after the other."""
    return build(request.param, tmp_path_factory)


@pytest.fixture(scope="session")
def distributions(tmp_path_factory):
    """All of them, core first."""
    return [build(source, tmp_path_factory) for source in SOURCES]


_BUILT = {}


def build(source, tmp_path_factory):
    """Build once a session, from a copy: the repository stays as it is, and leftovers in it cannot leak in."""
    if source not in _BUILT:
        folder = tmp_path_factory.mktemp(source.name)
        shutil.copytree(source, folder / "source", ignore=JUNK)
        environ = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
        for target, formats in {"again": (), "direct": ("--wheel",)}.items():  # neither: sdist, and the wheel from it
            words = ["-m", "build", "--no-isolation", *formats, "--outdir", folder / target, folder / "source"]
            done = subprocess.run([sys.executable, *words], env=environ, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
        (sdist,), (again,), (wheel,) = (
            (folder / place).glob(f"*.{kind}")
            for place, kind in [("again", "tar.gz"), ("again", "whl"), ("direct", "whl")]
        )
        name = tomllib.loads((source / "pyproject.toml").read_text())["project"]["name"]
        _BUILT[source] = Distribution(name, name.replace("-", "_"), source, sdist, wheel, again)
    return _BUILT[source]


class Environment:
    """A virtual environment with the given wheels; what they depend on is linked in from the running interpreter."""

    def __init__(self, folder, wheels):
        venv.EnvBuilder(with_pip=False).create(folder / "venv")
        self.bin = folder / "venv" / "bin"
        words = ["--python", self.bin / "python", "install", "--quiet", "--no-deps", "--no-index", *wheels]
        subprocess.run([sys.executable, "-m", "pip", *words], check=True)
        others = folder / "others"
        others.mkdir()
        for name in ("purelib", "platlib"):
            for entry in Path(sysconfig.get_path(name)).iterdir():
                ours = entry.name.startswith(("unnoise", "__editable__")) or entry.suffix == ".pth"
                if not ours and not (others / entry.name).exists():
                    (others / entry.name).symlink_to(entry)
        (site,) = (folder / "venv").glob("lib/python*/site-packages")
        (site / "others.pth").write_text(f"{others}\n")

    def __call__(self, *words, cwd, code=0, **env):
        """Run a program of the environment; returns what it printed, both streams together."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "UNNOISE", "VIRTUAL_ENV"))}
        environ |= {"OMP_NUM_THREADS": "1", **env}
        command = [self.bin / words[0], *words[1:]]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, cwd=cwd, env=environ, text=True, **streams)
        assert done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout


@pytest.fixture(scope="session")
def everything(distributions, tmp_path_factory):
    """All distributions, installed in a folder with a space in its name."""
    return Environment(tmp_path_factory.mktemp("all of it"), [d.wheel for d in distributions])


@pytest.fixture(scope="session")
def core_only(distributions, tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("core only"), [distributions[0].wheel])
