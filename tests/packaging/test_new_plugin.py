"""``unnoise new-plugin`` from an installed wheel: the templates are in it, and what they make passes every check."""

import subprocess
import sys

import pytest

from unnoise.cli.scaffold import KINDS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", KINDS)
def test_a_wheel_of_core_begins_a_plugin(core_only, tmp_path, kind):
    core_only("unnoise", "new-plugin", "shells", "--kind", kind, cwd=tmp_path)
    (site,) = (core_only.bin.parent / "lib").glob("python*/site-packages")
    extra = tmp_path / "extra"
    offline = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", extra]
    words = [sys.executable, "-m", "pip", "install", *offline, tmp_path / "unnoise-shells"]
    subprocess.run(words, check=True)
    names = {"PYTHONPATH": str(extra), "UNNOISE_PLUGINS": "shells"}
    text = core_only("unnoise", "check", "shells", cwd=tmp_path, **names)
    assert "failed" not in text
    assert str(site) in core_only("python", "-c", "import unnoise; print(unnoise.__file__)", cwd=tmp_path)
