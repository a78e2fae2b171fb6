"""From words to a checked config: groups, components, experiments, the project's own folder, sweeps."""

import subprocess
import sys

import pytest

from unnoise.cli.compose import compose, saved_config
from unnoise.cli.overrides import prepare
from unnoise.cli.sources import duplicates, modality_of, options, project_configs, sources
from unnoise.errors import UserError
from unnoise.schema import EvalRequest, RunConfig, SampleRequest


def message(call, *args):
    with pytest.raises(UserError) as caught:
        call(*args)
    return str(caught.value)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No project of ours around."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with its own experiment, seen from a folder deep inside."""
    root = tmp_path / "project"
    (root / "configs/experiment/mine").mkdir(parents=True)
    (root / "pyproject.toml").write_text("[tool.unnoise]\n")
    (root / "configs/experiment/mine/base.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /modality: toy\ntrain:\n  lr: 0.5\n"
    )
    (root / "configs/experiment/mine/derived.yaml").write_text(
        "# @package _global_\ndefaults:\n  - mine/base\n  - override /denoiser: toy/wide\n  - _self_\n"
        "train:\n  batch: 3\n"
    )
    (root / "deep/inside").mkdir(parents=True)
    monkeypatch.chdir(root / "deep/inside")
    return root


def test_a_modality_brings_its_defaults(toy):
    config = compose("train", ["modality=toy"])
    assert isinstance(config, RunConfig)
    assert (config.modality, config.denoiser, config.data) == (
        "toy",
        {"name": "mlp", "width": 32},
        {"name": "ring", "n": 200},
    )
    assert config.train.steps == 200  # the modality's
    assert config.train.clip == 1.0  # the schema's


@pytest.mark.parametrize("choice", ["denoiser=wide", "denoiser=toy/wide"])
def test_another_component_replaces_the_node_whole(toy, choice):
    assert compose("train", ["modality=toy", choice]).denoiser == {"name": "wide"}


def test_options_of_a_component_need_no_plus_and_merge(toy):
    config = compose("train", ["modality=toy", "denoiser.activation=relu", "data.radius=3"])
    assert config.denoiser == {"name": "mlp", "width": 32, "activation": "relu"}
    assert config.data == {"name": "ring", "n": 200, "radius": 3}


def test_a_key_below_every_part(toy):
    config = compose("train", ["modality=toy", "process.*.schedule.name=flow", "process.x.warp.name=power"])
    assert config.process["*"]["schedule"] == {"name": "flow"}
    assert config.process["*"]["parametrization"] == {"name": "v"}
    assert config.process["x"] == {"warp": {"name": "power"}}


def test_an_experiment_knows_its_modality(toy):
    config = compose("train", ["experiment=toy/small", "denoiser=mlp"])
    assert (config.train.steps, config.denoiser["name"]) == (20, "mlp")
    assert modality_of("toy/small") == "toy"


def test_the_projects_own_experiments_work_from_below(toy, project):
    config = compose("train", ["experiment=mine/derived", "denoiser=mlp"])
    assert (config.train.lr, config.train.batch, config.denoiser["name"]) == (0.5, 3, "mlp")
    assert options("experiment") == ["mine/base", "mine/derived", "toy/small"]


def test_a_configs_folder_counts_only_in_a_project_of_ours(project, monkeypatch):
    assert project_configs() == project / "configs"
    (project / "pyproject.toml").write_text("[tool.other]\n")
    assert project_configs() is None
    monkeypatch.setenv("UNNOISE_CONFIGS", str(project / "configs"))
    assert project_configs() == project / "configs"
    monkeypatch.setenv("UNNOISE_CONFIGS", "nowhere")
    assert message(project_configs).startswith("UNNOISE_CONFIGS=nowhere is not a folder")


def test_a_project_cannot_replace_cores_own_config(toy, project):
    (project / "configs/train.yaml").write_text("modality: hijacked\n")
    assert compose("train", ["modality=toy"]).modality == "toy"


def test_configs_of_a_broken_plugin_are_left_out(toy, make_plugin, monkeypatch):
    make_plugin("bad", "import not_there", configs={"modality/bad.yaml": "# @package _global_\nmodality: bad\n"})
    monkeypatch.setenv("UNNOISE_PLUGINS", "unnoise-bad,unnoise-toy")
    assert [source.provider for source in sources()][-1] == "plugin:unnoise-toy"
    assert options("modality") == ["toy"]


def test_a_config_that_two_plugins_ship_stops_only_those_who_choose_it(toy, make_plugin, monkeypatch):
    files = {"modality/toy.yaml": "# @package _global_\n", "denoiser/toy/mine.yaml": "name: wide\n"}
    make_plugin("twin", "UNNOISE_API = (1, 0)", configs=files)
    monkeypatch.setenv("UNNOISE_PLUGINS", "unnoise-twin,unnoise-toy")
    expected = "config 'modality/toy' is shipped by unnoise-toy 0.1.0 and unnoise-twin 0.1.0; keep one"
    assert [error.message for error in duplicates()] == [expected]
    fix = "UNNOISE_PLUGINS=unnoise-toy unnoise ..."
    assert message(compose, "train", ["modality=toy"]) == f"{expected}\n{fix}"
    assert "toy/mine" in options("denoiser")


def test_a_codec_run_may_stand_for_the_codec(toy, tmp_path):
    assert compose("train", ["modality=toy", f"codec={tmp_path}"]).codec == {"run": str(tmp_path)}
    assert compose("train", ["modality=toy", "codec=null"]).codec == {}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (
            "gudiance.scale=3",
            "no config key 'gudiance.scale'. Did you mean 'sample.guidance.scale'?\n"
            "all keys: unnoise train modality=toy --cfg job",
        ),
        (
            "+gudiance.scale=3",
            "config key 'gudiance.scale' (added with +) is not read by anything. "
            "Did you mean 'sample.guidance.scale'?\n"
            "own values go under 'extra.'",
        ),
        (
            "++train.stepz=3",
            "config key 'train.stepz' (added with +) is not read by anything. Did you mean 'train.steps'?\n"
            "own values go under 'extra.'",
        ),
        (
            "sampler=heun",
            "no config key 'sampler'. Did you mean 'sample.sampler'?\nall keys: unnoise train modality=toy --cfg job",
        ),
        ("denoiser=wid", "no denoiser named 'wid'. Did you mean 'wide'?\navailable: mlp, wide"),
        ("experiment=toy/smal", "no experiment named 'toy/smal'. Did you mean 'toy/small'?\navailable: toy/small"),
        (
            "train.steps=abc",
            "train.steps=abc: value 'abc' of type 'str' could not be converted to Integer\n"
            "all keys: unnoise train modality=NAME --cfg job",
        ),
        (
            "train.betas=[1,",
            "cannot read 'train.betas=[1,': no viable alternative at input '[1,'\n"
            "write key=value; quote the whole word in the shell",
        ),
    ],
)
def test_mistakes_get_two_lines(toy, word, expected):
    assert message(compose, "train", ["modality=toy", word]) == expected


def test_without_a_modality_the_choice_is_shown(toy):
    assert message(compose, "train", []) == "train needs modality=<name> or experiment=<name>\navailable: toy"
    assert message(compose, "train", ["modality=tog"]) == (
        "no modality named 'tog'. Did you mean 'toy'?\navailable: toy (unnoise-toy 0.1.0)"
    )


def test_a_key_in_a_plugins_yaml_that_nothing_reads(make_plugin):
    make_plugin(
        "typo",
        "from unnoise import Modality, hookimpl\nUNNOISE_API = (1, 0)\n"
        "@hookimpl\ndef unnoise_modalities():\n    return [Modality('typo')]",
        configs={"modality/typo.yaml": "# @package _global_\nmodality: typo\ntrain:\n  stepz: 3\n"},
    )
    assert message(compose, "train", ["modality=typo"]).startswith(
        "no config key 'train.stepz'. Did you mean 'train.steps'?"
    )


def test_own_values_have_a_place(toy):
    assert compose("train", ["modality=toy", "extra.note=hello"]).extra == {"note": "hello"}


def test_requests():
    sample = compose("sample", ["run=x", "condition.class=3", "guidance.scale=2", "n=5"])
    assert isinstance(sample, SampleRequest)
    assert (sample.condition, sample.guidance, sample.n) == ({"class": 3}, {"scale": 2}, 5)
    assert compose("sample", ["condition=[1,2]"]).condition == [1, 2]
    assert isinstance(compose("eval", ["run=x"]), EvalRequest)
    assert "Did you mean 'guidance.scale'?" in message(compose, "sample", ["+gudiance.scale=2"])


def test_sweeps_keep_their_commas(toy):
    words = prepare("train", ["-m", "modality=toy", "seed=0,1", "denoiser=mlp,wide", "train.lr=choice(1,2)"])
    assert words == ["-m", "modality=toy", "seed=0,1", "denoiser=toy/mlp,toy/wide", "train.lr=choice(1,2)"]


def test_a_run_is_resumed_with_its_own_config(toy, tmp_path):
    from omegaconf import OmegaConf

    config = compose("train", ["experiment=toy/small", "process.*.schedule.name=flow"])
    OmegaConf.save(OmegaConf.structured(config), tmp_path / "config.yaml")
    words = [f"run={tmp_path}", "resume=true"]
    resumed = saved_config([*words, "train.steps=99", "denoiser.width=5"])
    assert (resumed.train.steps, resumed.denoiser) == (99, {"name": "wide", "width": 5})
    assert resumed.process == config.process
    assert resumed.resume
    assert saved_config([*words, "modality=toy"]) is None
    assert saved_config([f"run={tmp_path}/none", "resume=true", "modality=toy"]) is None
    assert message(saved_config, [f"run={tmp_path}/none", "resume=true"]).startswith(f"{tmp_path}/none holds no run")
    assert message(saved_config, [*words, "train.stepz=1"]).startswith("no config key 'train.stepz'.")
    assert message(saved_config, [*words, "train.steps=x"]).startswith("value 'x' of type 'str' could not be converted")
    assert message(saved_config, [*words, "denoiser=mlp"]) == (
        "a run keeps its denoiser\nleave out denoiser=..., or start a new run"
    )


def test_an_unrelated_hydra_program_sees_nothing_of_us(tmp_path):
    app = tmp_path / "app.py"
    app.write_text("import hydra\n@hydra.main(version_base='1.3', config_path=None)\ndef main(cfg): pass\nmain()\n")
    for what, expected in (("searchpath", "pkg://hydra.conf"), ("plugins", "ConfigSource"), ("all", "Config")):
        command = [sys.executable, app, "--info", what]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert expected in done.stdout
        assert "unnoise" not in done.stdout.lower().replace(str(tmp_path).lower(), "")
