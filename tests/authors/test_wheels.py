"""From a folder outside of the repository: what `unnoise new-plugin` writes, and the plugins of ``tests/third_party``,
built as wheels, installed, checked, trained, sampled, edited and judged by the command line.
"""

import json

import pytest
from authors import PROJECTS, environ, unnoise, wheel_into

from unnoise.cli.scaffold import KINDS

pytestmark = pytest.mark.slow

MASKS = {"gaussian": "after:1", "categorical": "extend:2", "mixed": "weight,kind", "table": "bmi,sex"}
MASKS |= {"series": "after:8", "text": "extend:3"}
OWN = {name: [] for name in KINDS} | {
    "table": ["denoiser.width=32"],
    "series": ["denoiser.width=32", "denoiser.depth=1"],
    "text": ["denoiser.width=32", "denoiser.depth=1"],
}


def works(kind, modality, env, cwd, experiment=""):
    """Everything that a user of the plugin does."""
    facts = json.loads(unnoise("plugins", "--json", cwd=cwd, env=env))
    (plugin,) = facts["plugins"]
    assert plugin["ok"] and plugin["name"] == modality and not plugin["warnings"]
    unnoise("check", modality, *OWN[kind], cwd=cwd, env=env)
    begin = f"experiment={experiment}" if experiment else f"modality={modality}"
    quick = ["train.minutes=1", "train.batch=32", "train.device=cpu", "sample.n=4", "run=my run"]
    unnoise("train", begin, *quick, *OWN[kind], cwd=cwd, env=env)
    lines = (cwd / "my run" / "metrics.jsonl").read_text().splitlines()
    first, last = (json.loads(lines[i])["loss"] for i in (0, -1))
    assert last < first
    unnoise("sample", "run=my run", "n=4", "steps=5", "out=made", cwd=cwd, env=env)
    (source, *_) = [p for p in sorted((cwd / "made").iterdir()) if p.suffix in (".npy", ".csv", ".jsonl")]
    edit = [f"source={source}", "steps=5"]
    unnoise("edit", "variation", "run=my run", *edit, "strength=0.5", "out=varied", cwd=cwd, env=env)
    unnoise("edit", "infill", "run=my run", *edit, f"mask={MASKS[kind]}", "out=filled", cwd=cwd, env=env)
    text = unnoise("eval", "run=my run", "n=50", "steps=5", "out=judged", cwd=cwd, env=env)
    assert "nearest_train_ratio" in text
    for folder in ("made", "varied", "filled"):
        assert (cwd / folder / "preview.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_works_at_once(kind, tmp_path):
    work, site = tmp_path / "my work", tmp_path / "site"
    work.mkdir()
    env = environ(site, "shells")
    unnoise("new-plugin", "shells", "--kind", kind, cwd=work, env=env)
    wheel_into(work / "unnoise-shells", site, tmp_path)
    works(kind, "shells", env, work, experiment="shells/quick")


@pytest.mark.parametrize("name", PROJECTS)
def test_a_third_party_plugin_works_as_a_wheel(name, tmp_path):
    work, site = tmp_path / "my work", tmp_path / "site"
    work.mkdir()
    wheel_into(PROJECTS[name], site, tmp_path)
    works(name, name, environ(site, name), work)
