"""What a newcomer types wrong, and what is answered: what is wrong, then what to do."""

import shlex

import pytest

from unnoise.cli.main import main
from unnoise.progress import Bar

TINY = "experiment=toy/small train.device=cpu train.threads=1 train.steps=2 sample.n=1"


@pytest.fixture
def cli(toy, tmp_path, monkeypatch, capsys):
    """``cli("sample run=...")`` -> (exit code, stdout, lines of stderr), in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(line):
        code = main(shlex.split(line))
        out, err = capsys.readouterr()
        return code, out, err.splitlines()

    return run


@pytest.fixture
def trained(cli):
    """A folder of runs with a space in the name of one."""
    assert cli(f"train {TINY} 'run=runs/my run'")[0] == 0
    return "runs/my run"


@pytest.mark.parametrize(
    ("line", "wrong", "fix"),
    [
        ("modality=toy train", "the verb comes first, not 'modality=toy'", "type: unnoise train modality=toy"),
        ("train toy", "'toy' is not of the form key=value", "type: modality=toy"),
        ("train toy/small", "'toy/small' is not of the form key=value", "type: experiment=toy/small"),
        ("train --modality toy", "train takes no '--modality'.", "keys are written without dashes: modality=..."),
        ("train --multrun modality=toy", "train takes no '--multrun'. Did you mean '--multirun'?", "see --help"),
        ("train resume=true", "resume which run?", "name its folder: run=runs/<name> resume=true"),
        ("sample", "which model? no run is given", "train one: unnoise train modality=..."),
        ("sample run=a n=0", "n is 0", "It must be at least 1 and at most 16,777,216."),
        ("sample run=a seed=-1", "seed is -1", "It must be at least 0 and at most 9,223,372,036,854,775,807."),
        ("eval run=a batch=0", "batch is 0", "It must be at least 1 and at most 1,048,576."),
        ("train modality=toy data=own", "data.n has no value", "give it: data.n=..."),
    ],
)
def test_two_lines(cli, tmp_path, line, wrong, fix):
    (tmp_path / "configs/data/toy").mkdir(parents=True)
    (tmp_path / "configs/data/toy/own.yaml").write_text("name: ring\nn: ???\n")
    (tmp_path / "pyproject.toml").write_text("[tool.unnoise]\n")
    assert cli(line) == (2, "", [f"unnoise: {wrong}", f"         {fix}"])
    assert not (tmp_path / "runs").exists()


def test_a_wrong_folder_is_answered_with_the_runs_there_are(cli, trained):
    there = "         runs there: 'run=runs/my run'"
    assert cli("sample")[2][1] == there
    assert cli("sample run=runs") == (
        2, "", ["unnoise: runs is not a run folder: it holds no manifest.json", there],
    )  # fmt: skip
    assert cli("sample run=runs/mine") == (
        2, "", ["unnoise: runs/mine is not a run folder: it does not exist", there],
    )  # fmt: skip
    assert cli(f"sample 'run={trained}/checkpoints'")[2][1] == "         the run itself: 'run=runs/my run'"
    assert cli(f"sample '{trained}'")[2] == [
        f"unnoise: {trained!r} is not of the form key=value", "         type: 'run=runs/my run'",
    ]  # fmt: skip


def test_what_comes_next_can_be_pasted(cli):
    _, out, _ = cli(f"train {TINY} 'run=runs/my run'")
    following = out.splitlines()[-1].removeprefix("next: unnoise ")
    assert cli(f"{following} n=1 steps=1")[0] == 0


def test_flags_may_stand_anywhere(cli, trained, tmp_path):
    assert cli(f"sample 'run={trained}' -m n=1 steps=1,2 out=made")[0] == 0
    assert sorted(folder.name for folder in (tmp_path / "made").iterdir()) == ["0", "1", "grid.png"]


def test_a_run_is_not_begun_twice_by_mistake(cli, trained):
    code, _, err = cli(f"train 'run={trained}'")
    assert (code, err[0]) == (2, f"unnoise: {trained} holds a run already")
    code, _, err = cli(f"train 'run={trained}' resume=true")
    assert (code, err[0]) == (0, "done already, at step 2; a larger train.steps or train.minutes goes on")


def test_a_run_without_a_checkpoint(cli, trained, tmp_path):
    for step in (tmp_path / trained / "checkpoints").iterdir():
        step.rename(tmp_path / step.name)
    assert cli(f"sample 'run={trained}'")[2] == [
        f"unnoise: run {trained} has no checkpoint yet",
        "         go on training: unnoise train 'run=runs/my run' resume=true",
    ]


def test_want_of_memory_is_a_users_error(cli, trained, monkeypatch):
    def exhausted(*args, **options):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr("unnoise.runs.Model.sample", exhausted)
    assert cli(f"sample 'run={trained}'")[2] == ["unnoise: there is not enough memory", "         lower batch"]


class Clock:
    """A stand-in for the module ``time``."""

    now = 0.0

    def monotonic(self):
        return self.now


def test_a_job_says_how_far_it_is_only_where_it_takes_long(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr("unnoise.progress.time", clock)
    with Bar("quick", 10) as bar:
        bar.advance(10)
    with Bar("slow", 10) as bar:
        clock.now += 20
        bar.advance(1)
        clock.now += 180
    with Bar("resumed", 10, start=6) as bar:
        clock.now += 20
        bar.advance(1)
    with Bar("unknown", None):
        clock.now += 8000
    assert capsys.readouterr().err.splitlines() == [
        "slow: 10% in 20 s, 3 min left",
        "slow: 100% in 3 min",
        "resumed: 70% in 20 s, 60 s left",
        "resumed: 100% in 20 s",
        "unknown: 100% in 2.2 h",
    ]
