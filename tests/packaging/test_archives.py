"""What is in the wheel and the sdist of every distribution."""

import ast
import email
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
OF_CORE = {"torch", "numpy", "einops", "hydra-core", "omegaconf", "rich", "pluggy", "safetensors"}
"""What a plugin may use because ``unnoise``, on which it depends, does."""


def wheel_files(path):
    """Name -> content, without the list of hashes."""
    with zipfile.ZipFile(path) as file:
        return {n: file.read(n) for n in file.namelist() if not n.endswith("/RECORD")}


def sdist_files(path):
    with tarfile.open(path) as file:
        members = [m for m in file.getmembers() if m.isfile()]
        return {str(PurePosixPath(*PurePosixPath(m.name).parts[1:])): file.extractfile(m).read() for m in members}


def source_files(dist):
    src = dist.source / "src"
    found = [p for p in (src / dist.package).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return {p.relative_to(src).as_posix(): p.read_bytes() for p in found}


def metadata(dist):
    (name,) = (n for n in wheel_files(dist.wheel) if n.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel_files(dist.wheel)[name])


def test_both_hold_every_source_file_and_nothing_else(built):
    sources = source_files(built)
    assert f"{built.package}/py.typed" in sources
    assert any(name.endswith(".yaml") for name in sources)
    wheel, sdist = wheel_files(built.wheel), sdist_files(built.sdist)
    assert {n: c for n, c in wheel.items() if ".dist-info/" not in n} == sources
    assert {n.removeprefix("src/"): c for n, c in sdist.items() if n.startswith(f"src/{built.package}/")} == sources


def test_both_hold_the_licence(built):
    licence = (ROOT / "LICENSE").read_bytes()
    assert [c for n, c in wheel_files(built.wheel).items() if n.endswith(".dist-info/licenses/LICENSE")] == [licence]
    assert sdist_files(built.sdist)["LICENSE"] == licence


def test_the_sdist_builds_the_same_wheel(built):
    assert built.again.name == built.wheel.name
    assert wheel_files(built.again) == wheel_files(built.wheel)


def test_metadata(built):
    meta = metadata(built)
    assert (meta["Name"], meta["License-Expression"], meta["License-File"]) == (built.name, "Apache-2.0", "LICENSE")
    assert meta["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in meta.get_all("Classifier")
    assert not any(value.startswith("License ::") for value in meta.get_all("Classifier"))  # SPDX takes their place
    assert meta["Description-Content-Type"] == "text/markdown"
    assert re.findall(r"\]\((?!https?://)", meta.get_payload()) == []  # a relative link leads nowhere on an index


def test_indexes_can_render_the_description(built):
    words = ["-m", "twine", "check", "--strict", built.wheel, built.sdist]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_versions_fit_together(distributions):
    version = metadata(distributions[0])["Version"]
    for plugin in distributions[1:]:
        (needs,) = (r for r in metadata(plugin).get_all("Requires-Dist") if re.match(r"unnoise\b(?!-)", r))
        major, minor, _ = version.split(".")
        assert f">={major}.{minor}" in needs
        assert f"<{major}.{int(minor) + 1}" in needs


def test_core_says_which_torch_and_a_plugin_may_only_stop_earlier(distributions):
    lines = [(d.name, line) for d in distributions for line in metadata(d).get_all("Requires-Dist")]
    asked = {name: Requirement(line).specifier for name, line in lines if re.match(r"torch\b(?!-)", line)}
    core = asked.pop("unnoise")
    for specifiers in asked.values():
        assert all(one.operator == "<" and one.version in core for one in specifiers)


def test_what_is_imported_is_declared_and_what_is_declared_is_imported(built):
    owners = packages_distributions()
    required = {r: re.match(r"[\w.-]+", r)[0].lower() for r in metadata(built).get_all("Requires-Dist")}
    declared = set(required.values()) - {built.name}
    always = {name for line, name in required.items() if "extra ==" not in line}
    used = set()
    for name, text in source_files(built).items():
        if name.endswith(".py"):
            for package in imported(ast.parse(text)) - sys.stdlib_module_names - {built.package}:
                used |= {owner.lower() for owner in owners.get(package, [f"unknown package {package!r} in {name}"])}
    shared = OF_CORE if built.name != "unnoise" else set()
    assert used - declared - shared == set()
    assert always - used == set()


def imported(tree):
    """Top-level packages that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names
