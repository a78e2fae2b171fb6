"""Plugins of other authors: the projects of ``tests/third_party`` and what ``unnoise new-plugin`` writes, installed."""

import configparser
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
THIRD_PARTY = ROOT / "tests" / "third_party"
PROJECTS = {name: THIRD_PARTY / name for name in ("table", "series", "text")}
JUNK = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")


def lay(project, site):
    """Installed without pip: the package, and the metadata that names its entry points. Returns the site folder."""
    facts = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    for package in (project / "src").iterdir():
        if not package.name.endswith(".egg-info"):
            shutil.copytree(package, site / package.name, ignore=JUNK)
    info = site / f"{facts['name'].replace('-', '_')}-{facts['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {facts['name']}\nVersion: {facts['version']}\n")
    groups = configparser.ConfigParser()
    groups.read_dict(facts["entry-points"])
    with (info / "entry_points.txt").open("w") as file:
        groups.write(file)
    return site


def pip(*words, cwd):
    """pip of this interpreter, which needs no network for it."""
    done = subprocess.run([sys.executable, "-m", "pip", *words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def wheel_into(project, site, scratch):
    """Built as a wheel from a copy, and the wheel installed. Returns the wheel."""
    copy = scratch / "source"
    shutil.copytree(project, copy, ignore=JUNK)
    offline = ("--quiet", "--no-deps", "--no-index")
    pip("wheel", *offline, "--no-build-isolation", "--wheel-dir", scratch / "wheels", copy, cwd=scratch)
    (wheel,) = (scratch / "wheels").glob("*.whl")
    pip("install", *offline, "--target", site, wheel, cwd=scratch)
    return wheel


def environ(site, *names, **more):
    """What a program needs to find the plugins of a site folder, and none but those named."""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "UNNOISE_PLUGINS": ",".join(names), "OMP_NUM_THREADS": "1", **more}


def unnoise(*words, cwd, env, code=0):
    """One command; returns what it printed, both streams together."""
    command = [sys.executable, "-m", "unnoise", *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=cwd, env=env, text=True, **streams)
    assert done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout
