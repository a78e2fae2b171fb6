"""What is imported when: the command line and the package must start fast, whatever is installed."""

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "hydra", "omegaconf", "rich")


def loaded_after(code, **env):
    """Names of the modules in a fresh interpreter after running ``code``."""
    script = f"{code}\nimport sys; print('\\nMODULES', *sys.modules)"
    environ = {**os.environ, **env}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environ, check=True)
    return set(done.stdout.rpartition("MODULES")[2].split())


@pytest.mark.parametrize("words", ([], ["--help"], ["--version"]))
def test_help_imports_no_torch_no_hydra_and_no_plugin(words, toy):
    loaded = loaded_after(f"from unnoise.cli.main import main; main({words!r})", PYTHONPATH=str(toy))
    assert not loaded & {*HEAVY, "unnoise_toy", "unnoise_image", "unnoise_molecules"}


@pytest.mark.parametrize("code", ["import unnoise", "from unnoise.cli.main import main; main(['plugins', '--json'])"])
def test_the_package_and_the_plugin_list_do_without_torch(code, toy):
    assert "torch" not in loaded_after(code, PYTHONPATH=str(toy))


def test_public_names_are_imported_on_use():
    code = "import unnoise; assert callable(unnoise.plan) and unnoise.schedules.cosine(); unnoise.Layout.tensor(2)"
    assert "torch" in loaded_after(code)


def test_every_public_name_exists():
    import unnoise

    for name in unnoise.__all__:
        assert getattr(unnoise, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = unnoise.nothing


def test_help_takes_less_than_a_third_of_a_second():
    """Processor time, which other programs on the machine do not change; the best of three."""

    def once():
        before = os.times()
        subprocess.run([sys.executable, "-m", "unnoise", "--help"], capture_output=True, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(once() for _ in range(3)) < 0.3
