"""Fixtures that several folders of tests share: plugins that are installed for one test only."""

import importlib
import sys
import textwrap
from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, settings

from unnoise.sampling import SAMPLERS

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
torch.set_num_threads(1)  # small tensors: more threads only wait for each other

TOY = Path(__file__).parent / "third_party" / "toy"


@pytest.fixture(autouse=True, scope="module")
def no_sampler_outlives_its_plugin():
    """Samplers that a plugin of one file of tests declares are gone for the next, as the plugin is."""
    with mock.patch.dict(SAMPLERS):
        yield


@pytest.fixture
def make_plugin(tmp_path, monkeypatch):
    """``make_plugin(name, code)`` installs a distribution ``unnoise-<name>`` and shuts out all other plugins.

    Further arguments: ``dist``, ``version``, ``configs`` (path below conf -> yaml text), ``groups`` (text of
    entry_points.txt in place of the right one), ``metadata`` (further lines of METADATA). Returns the folder.
    """
    installed = []

    def make(name, code="", *, dist=None, version="0.1.0", entry=None, configs=None, groups=None, metadata=""):
        dist = dist or f"unnoise-{name}"
        package = dist.replace("-", "_")
        site = tmp_path / "site" / dist
        info = site / f"{package}-{version}.dist-info"
        for folder in (info, site / package / "conf"):
            folder.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n{metadata}")
        right = f"[unnoise]\n{entry or name} = {package}.plugin\n"
        if configs is not None:
            right += f"[unnoise.configs]\n{name} = {package}.conf\n"
        (info / "entry_points.txt").write_text(groups or right)
        (site / package / "__init__.py").touch()
        (site / package / "conf" / "__init__.py").touch()
        (site / package / "plugin.py").write_text(textwrap.dedent(code))
        for path, text in (configs or {}).items():
            file = site / package / "conf" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text))
        monkeypatch.syspath_prepend(str(site))
        installed.append((dist, package))
        monkeypatch.setenv("UNNOISE_PLUGINS", ",".join(dist for dist, _ in installed))
        return site

    yield make
    for name in [name for name in sys.modules for _, package in installed if name.split(".")[0] == package]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def toy(monkeypatch):
    """The healthy third-party plugin of ``third_party/toy``, and no other."""
    monkeypatch.syspath_prepend(str(TOY))
    monkeypatch.setenv("UNNOISE_PLUGINS", "unnoise-toy")
    return TOY
