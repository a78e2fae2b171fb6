"""The three plugins of ``tests/third_party``, and no other."""

import importlib
import sys

import pytest
from authors import PROJECTS, lay


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder with all three."""
    folder = tmp_path_factory.mktemp("site")
    for project in PROJECTS.values():
        lay(project, folder)
    return folder


@pytest.fixture(scope="module")
def installed(site):
    """They can be imported, and are the only plugins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("UNNOISE_PLUGINS", ",".join(PROJECTS))
        yield site
    packages = {f"unnoise_{name}" for name in PROJECTS}
    for name in [name for name in sys.modules if name.split(".")[0] in packages]:
        del sys.modules[name]
    importlib.invalidate_caches()
