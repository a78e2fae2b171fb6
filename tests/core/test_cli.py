"""The command line as a user meets it: verbs, exit codes, what is printed and what is written."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unnoise.cli.main import VERBS, main


@pytest.fixture
def cli(toy, tmp_path, monkeypatch, capsys):
    """``cli("sample run=...")`` -> (exit code, stdout, stderr), in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(line):
        code = main(line.split())
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of the toy, trained once by the command line."""
    folder = tmp_path_factory.mktemp("trained")
    toy = Path(__file__).parents[1] / "third_party" / "toy"
    environ = {**os.environ, "PYTHONPATH": str(toy), "UNNOISE_PLUGINS": "unnoise-toy"}
    words = ["train", "experiment=toy/small", "run=run", "train.device=cpu", "train.threads=1", "sample.n=4"]
    command = [sys.executable, "-m", "unnoise", *words]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_help_and_version(cli):
    assert cli("--help")[0] == 0
    assert cli("")[1].startswith("unnoise: one diffusion engine")
    assert re.fullmatch(r"unnoise \d+\.\d+\.\d+\n", cli("--version")[1])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(cli, verb):
    code, out, _ = cli(f"{verb} --help")
    assert code == 0
    assert out.startswith(f"unnoise {verb}")
    assert len(out.splitlines()) > 2


def test_an_unknown_verb(cli):
    code, _, err = cli("trian modality=toy")
    assert (code, err.splitlines()[0]) == (2, "unnoise: no verb 'trian'. Did you mean 'train'?")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("train modality=tog", "unnoise: no modality named 'tog'. Did you mean 'toy'?"),
        ("train modality=toy +gudiance.scale=3", "unnoise: config key 'gudiance.scale' (added with +) is not read by"),
        ("train modality=toy denoiser.widht=3", "unnoise: denoiser 'mlp' has no option 'widht'. Did you mean 'width'?"),
        ("train modality=toy data.radius=x", "unnoise: dataset 'ring': radius='x' does not fit"),
        ("train modality=toy sample.sampler=huen", "unnoise: no sampler named 'huen'. Did you mean 'heun'?"),
        ("sample", "unnoise: which model? no run is given"),
        ("sample run=nowhere", "unnoise: nowhere is not a run folder: it does not exist"),
        ("eval", "unnoise: eval judges either a run or a file of items"),
        ("eval items=x.txt", "unnoise: items of which modality?"),
        ("eval modality=toy items=x.txt", "unnoise: items=x.txt does not exist"),
        ("check", "unnoise: check needs the name of a modality"),
        ("check tyo", "unnoise: no modality named 'tyo'. Did you mean 'toy'?"),
        ("list denoisrs", "unnoise: no kind 'denoisrs'. Did you mean 'denoisers'?"),
        ("plugins --jsn", "unnoise: plugins takes no '--jsn'. Did you mean '--json'?"),
        ("doctor now", "unnoise: doctor takes no 'now'"),
        ("completion zsh", "unnoise: completion knows bash only"),
    ],
)
def test_a_users_error_is_two_lines_and_exit_code_2(cli, line, expected):
    code, _, err = cli(line)
    lines = err.splitlines()
    assert code == 2
    assert len(lines) == 2
    assert lines[0].startswith(expected)
    assert lines[1].startswith("         ")


def test_training_writes_a_run_folder(trained):
    written = {path.name for path in trained.iterdir()}
    assert {"config.yaml", "manifest.json", "metrics.jsonl", "checkpoints", "previews"} <= written
    assert not list(trained.parent.glob("outputs")), "Hydra must not leave folders of its own"


def test_samples_are_files_a_picture_and_a_record_and_repeat_to_the_byte(cli, trained):
    line = f"sample run={trained} n=3 seed=5 steps=4 condition=upper negative.class=lower guidance.scale=2 out="
    for out in ("a", "b"):
        code, said, _ = cli(line + out)
        assert code == 0
        assert f"look at {out}/preview.png" in said
    for name in ("points.txt", "preview.png", "record.json"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()
    record = json.loads(Path("a/record.json").read_text())
    assert (record["n"], record["seed"], record["steps"], record["nfe"]) == (3, 5, 4, 8)
    cli(line + "c batch=2")
    np.testing.assert_allclose(np.loadtxt("a/points.txt"), np.loadtxt("c/points.txt"), atol=1e-5)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("condition.class=uppr", "class 'uppr' does not exist. Did you mean 'upper'?"),
        ("condition=7", "class '7' does not exist."),
        ("condition=-1", "class '-1' does not exist."),
        ("condition=[upper,3]", "class '3' does not exist."),
        ("negative=2 guidance.scale=2", "class '2' does not exist."),
    ],
)
def test_a_class_that_does_not_exist(cli, trained, words, expected):
    code, _, err = cli(f"sample run={trained} n=1 steps=1 {words}")
    assert code == 2
    assert err.splitlines() == [f"unnoise: {expected}", "         There is: lower, upper; or an index from 0 to 1."]


def test_a_condition_of_an_unconditional_model(cli):
    assert cli("train experiment=toy/small run=r train.steps=1 conditions.use=[] train.device=cpu")[0] == 0
    for words, lines in {
        "condition=upper": ["condition 'upper' tells the model nothing", "Leave it out: it is unconditional."],
        "condition.class=upper": ["the model has no condition 'class'.", "This model is unconditional."],
        "guidance.scale=2": ["guidance.scale=2 has nothing to guide by", "Leave it out: the model is unconditional."],
    }.items():
        code, _, err = cli(f"sample run=r n=1 steps=1 {words}")
        assert code == 2
        assert [line.removeprefix("unnoise:").strip() for line in err.splitlines()] == lines


@pytest.mark.parametrize("verb", ["sample", "eval"])
def test_results_that_cannot_be_written_are_a_users_error(cli, trained, verb):
    Path("file").touch()
    code, _, err = cli(f"{verb} run={trained} n=2 steps=1 out=file/made")
    assert (code, err.splitlines()[-2]) == (2, "unnoise: file/made cannot be written: Not a directory")


def test_options_of_sampler_and_spacing(cli, trained):
    words = "sampler=adams sampler_options.order=2 spacing=karras spacing_options.rho=3"
    assert cli(f"sample run={trained} n=1 steps=3 {words} out=made")[0] == 0
    record = json.loads(Path("made/record.json").read_text())
    assert record["sampler_options"] == {"order": 2} and record["spacing"] == {"name": "karras", "rho": 3}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("steps=0", "steps is 0"),
        ("spacing=karas", "there is no spacing 'karas'. Did you mean 'karras'?"),
        ("spacing=karras spacing_options.rhoo=3", "spacing 'karras' has no option 'rhoo'. Did you mean 'rho'?"),
        ("spacing=karras spacing_options.rho=0", "karras: rho is 0"),
        ("sampler=adams sampler_options.order=9", "order is 9"),
        ("sampler=heun sampler_options.eta=1", "sampler 'heun' has no option 'eta'."),
    ],
)
def test_a_plan_that_cannot_be_made_is_refused(cli, trained, words, expected):
    code, _, err = cli(f"sample run={trained} n=1 out=made {words}")
    first, second = err.splitlines()
    assert code == 2 and first.startswith(f"unnoise: {expected}") and second.startswith("         ")
    assert not Path("made").exists()


def test_wrong_conditions_are_refused(cli, trained):
    assert cli(f"sample run={trained} condition.class=uppr")[2].startswith("unnoise: class 'uppr' does not exist.")
    assert cli(f"sample run={trained} condition.clas=upper")[2].startswith(
        "unnoise: the model has no condition 'clas'."
    )


def test_evaluation_of_a_run_and_of_a_file(cli, trained):
    code, out, _ = cli(f"eval run={trained} n=8 steps=3 out=scores")
    assert code == 0
    assert "radius" in out
    scores = json.loads(Path("scores/scores.json").read_text())
    assert [score["name"] for score in scores["scores"]] == ["radius"]
    assert scores["samples"]["n"] == 8
    Path("points.txt").write_text("3 4\n6 8\n0 0\n")
    code, out, _ = cli("eval modality=toy items=points.txt n=2 data.radius=3 out=judged")
    judged = json.loads(Path("judged/scores.json").read_text())
    assert judged["scores"][0]["value"] == pytest.approx(7.5)  # of (3, 4) and (6, 8)
    assert judged["scores"][0]["floor"] == pytest.approx(3.0, abs=1e-6)
    assert judged["samples"]["data"] == {"name": "ring", "n": 200, "radius": 3}


def test_a_sweep_gives_every_job_a_folder(cli):
    code, out, _ = cli("train -m experiment=toy/small seed=0,1 train.steps=2 run=sweep train.device=cpu")
    assert code == 0
    assert "job 1: experiment=toy/small seed=1" in out
    seeds = [json.loads(Path("sweep", job, "manifest.json").read_text())["config"]["seed"] for job in "01"]
    assert seeds == [0, 1]


def test_a_sweep_goes_on_after_a_job_that_fails(cli):
    code, _, err = cli("train -m experiment=toy/small denoiser.width=x,4 train.steps=1 run=sweep train.device=cpu")
    assert code == 2
    assert "width='x' does not fit" in err
    assert Path("sweep/1/manifest.json").exists()


def test_a_run_is_not_overwritten_and_is_resumed_by_its_folder_alone(cli):
    assert cli("train experiment=toy/small train.steps=2 run=r train.device=cpu")[0] == 0
    code, _, err = cli("train experiment=toy/small train.steps=2 run=r")
    assert (code, err.splitlines()[0]) == (2, "unnoise: r holds a run already")
    assert cli("train run=r resume=true train.steps=4")[0] == 0
    assert sorted(path.name for path in Path("r/checkpoints").iterdir())[-1].endswith("4")


def test_a_run_is_not_resumed_as_another_model_and_stays_as_it_is(cli):
    assert cli("train experiment=toy/small train.steps=2 run=r train.device=cpu")[0] == 0
    before = [Path("r", name).read_bytes() for name in ("config.yaml", "manifest.json")]
    for change in ("denoiser.width=9", "seed=5", "train.optimizer=muon"):
        code, _, err = cli(f"train run=r resume=true train.steps=4 {change}")
        assert (code, err.startswith(f"unnoise: a resumed run keeps its {change.split('=')[0]}")) == (2, True)
    assert [Path("r", name).read_bytes() for name in ("config.yaml", "manifest.json")] == before


def test_a_crash_while_training_keeps_its_traceback(cli, monkeypatch):
    from unnoise.training.trainer import Trainer

    def crash(trainer):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Trainer, "run", crash)
    with pytest.raises(RuntimeError, match="a bug"):
        cli("train experiment=toy/small train.steps=1 train.device=cpu")


HOOKS = {
    "unnoise_run_start": "run",
    "unnoise_train_step": "run, step, metrics",
    "unnoise_checkpoint_saved": "run, path",
    "unnoise_run_end": "run, error",
}


@pytest.mark.parametrize("hook", HOOKS)
def test_a_run_hook_that_raises_is_named_once_and_ends_nothing(cli, make_plugin, monkeypatch, hook):
    make_plugin(
        "crash",
        "from unnoise import hookimpl\nUNNOISE_API = (1, 0)\n"
        f"@hookimpl\ndef {hook}({HOOKS[hook]}):\n    raise RuntimeError('a bug in a plugin')",
        version="0.3.0",
    )
    monkeypatch.setenv("UNNOISE_PLUGINS", "unnoise-toy,unnoise-crash")
    code, _, err = cli(
        "train experiment=toy/small train.steps=4 train.log_every=1 train.checkpoint_every=2 train.device=cpu run=r"
    )
    said = [line for line in err.splitlines() if "crash" in line]
    assert (code, said) == (
        0,
        [
            f"unnoise: plugin 'crash' (unnoise-crash 0.3.0): {hook} raised RuntimeError: a bug in a plugin; "
            "the run goes on",
            "         fix: pip install -U unnoise-crash",
        ],
    )
    assert len(Path("r/metrics.jsonl").read_text().splitlines()) == 4 and Path("r/checkpoints/step_00000004").exists()


def test_interruption_is_exit_code_130(cli, make_plugin, monkeypatch):
    make_plugin(
        "stop",
        "from unnoise import hookimpl\nUNNOISE_API = (1, 0)\n"
        "@hookimpl\ndef unnoise_run_start(run):\n    raise KeyboardInterrupt",
    )
    monkeypatch.setenv("UNNOISE_PLUGINS", "unnoise-toy,unnoise-stop")
    code, _, err = cli("train experiment=toy/small train.steps=1 train.device=cpu run=r")
    assert (code, err.splitlines()[-2:]) == (
        130,
        ["unnoise: interrupted", "         go on with: unnoise train run=r resume=true"],
    )


def test_a_mistake_leaves_no_run_folder_behind(cli):
    for mistake in ("data.radius=x", "train.optimizer=adam", "process.y.name=gaussian", "conditions.use=[clas]"):
        assert cli(f"train experiment=toy/small run=r train.device=cpu {mistake}")[0] == 2
        assert not Path("r").exists(), mistake


def test_plugins_reports_health(cli, make_plugin, monkeypatch):
    code, out, _ = cli("plugins")
    assert code == 0
    assert out.split()[:4] == ["ok", "toy", "unnoise-toy", "0.1.0"]
    make_plugin("bad", "import not_there", version="0.3.0")
    monkeypatch.setenv("UNNOISE_PLUGINS", "unnoise-toy,unnoise-bad")
    code, out, _ = cli("plugins --json")
    assert code == 1
    bad, good = json.loads(out)["plugins"]
    assert (bad["ok"], bad["version"], bad["error"]) == (
        False,
        "0.3.0",
        "ModuleNotFoundError: No module named 'not_there'",
    )
    assert {"kind": "denoiser", "name": "wide", "modality": "toy"} in good["registers"]
    assert "Traceback" in cli("plugins --verbose")[1]
    assert "Traceback" not in cli("plugins")[1]


@pytest.mark.parametrize("line", ["--help", "plugins", "list", "doctor", "list experiments"])
def test_a_broken_plugin_never_takes_down_the_verbs_that_look(cli, make_plugin, monkeypatch, line):
    make_plugin("bad", "raise SystemExit", configs={"modality/bad.yaml": "]["})
    monkeypatch.setenv("UNNOISE_PLUGINS", "unnoise-toy,unnoise-bad")
    assert cli(line)[0] in (0, 1)


def test_strict_plugins(cli, make_plugin, monkeypatch):
    make_plugin("bad", "import not_there")
    monkeypatch.setenv("UNNOISE_PLUGINS", "unnoise-toy,unnoise-bad")
    code, _, err = cli("train modality=toy --cfg job")
    assert code == 0
    assert "was skipped" in err
    code, _, err = cli("train modality=toy --cfg job --strict-plugins")
    assert code == 2
    assert err.startswith("unnoise: plugin 'bad' (unnoise-bad 0.1.0) was skipped")


def test_list(cli):
    out = cli("list")[1]
    assert re.search(r"^modalities\s+toy$", out, re.M)
    assert re.search(r"^experiments\s+toy/small$", out, re.M)
    assert [line.split()[0] for line in cli("list denoisers")[1].splitlines()] == ["ladder", "mlp", "wide"]
    assert cli("list denoiser")[1] == cli("list denoisers")[1]


def test_doctor(cli, make_plugin, monkeypatch):
    code, out, _ = cli("doctor")
    assert code == 0
    assert re.search(r"^ok  torch ", out, re.M)
    assert "ok  the plane is flat" in out
    make_plugin("opt", "UNNOISE_API = (1, 0)")
    monkeypatch.setenv("UNNOISE_PLUGINS", "unnoise-opt")
    metadata = next(Path.cwd().rglob("unnoise_opt*.dist-info/METADATA"))
    with metadata.open("a") as file:
        file.write('Provides-Extra: big\nRequires-Dist: no-such-package>=1 ; extra == "big"\n')
    code, out, _ = cli("doctor")
    assert code == 0
    expected = (
        "--  unnoise-opt has a use for no-such-package, which is not installed   ->  pip install 'unnoise-opt[big]'"
    )
    assert expected in out.splitlines()


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("unnoise ", {"train", "sample", "doctor"}),
        ("unnoise tr", {"train"}),
        ("unnoise list ", {"denoisers", "experiments"}),
        ("unnoise check ", {"toy"}),
        ("unnoise train mod", {"modality="}),
        ("unnoise train modality=", {"modality=toy"}),
        ("unnoise train modality=toy denoiser=toy/w", {"denoiser=toy/wide"}),
        ("unnoise train modality=toy denoiser=", {"denoiser=wide", "denoiser=mlp"}),
        ("unnoise train experiment=toy/small denoiser=w", {"denoiser=wide"}),
        ("unnoise train experiment=", {"experiment=toy/small"}),
        ("unnoise train den", {"denoiser="}),
        ("unnoise train modality=toy denoiser.", {"denoiser.width="}),
        ("unnoise train -", {"-m", "--cfg", "--strict-plugins"}),
        ("unnoise plugins --", {"--json", "--verbose"}),
        ("unnoise plugins un", {"uninstall"}),
        ("unnoise plugins uninstall ", {"unnoise-toy"}),
        ("unnoise plugins install some_run/", {"some_run/points.txt"}),
        ("unnoise check toy --", {"--only=", "--expect="}),
        ("unnoise eval modality=toy data=", {"data=ring"}),
        ("unnoise sample sampler=", {"sampler=heun", "sampler=ddim"}),
        ("unnoise sample run=some", {"run=some_run/"}),
        ("unnoise eval items=some_run/p", {"items=some_run/points.txt"}),
        ("unnoise train modality=toy train.clip", {"train.clip="}),
        ("unnoise sample gui", {"guidance."}),
    ],
)
def test_completion(cli, monkeypatch, line, some):
    monkeypatch.setenv("COMP_LINE", line)
    Path("some_run").mkdir()
    Path("some_run/points.txt").touch()
    assert some <= set(cli("completion query")[1].split())


def test_the_completion_script_is_bash():
    script = subprocess.run([sys.executable, "-m", "unnoise", "completion", "bash"], capture_output=True).stdout
    assert subprocess.run(["bash", "-n"], input=script).returncode == 0


def test_evaluation_keeps_its_samples_if_asked_to(cli, trained):
    code, _, _ = cli(f"eval run={trained} n=4 steps=1 condition=upper out=judged samples=true")
    assert code == 0
    code, _, _ = cli(f"sample run={trained} n=4 steps=1 condition=upper out=sampled")
    assert Path("judged/scores.json").exists()
    same = {path.name: path.read_bytes() for path in Path("sampled").iterdir() if path.suffix not in (".json", ".png")}
    assert same and all((Path("judged/samples") / name).read_bytes() == data for name, data in same.items())
