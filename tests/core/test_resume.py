"""A run that is killed, however often and wherever, and resumed, ends as if nothing had happened: to the byte."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

THIRD_PARTY = Path(__file__).parents[1] / "third_party"
ENVIRON = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(str(THIRD_PARTY / name) for name in ("toy", "coded")),
    "UNNOISE_PLUGINS": "unnoise-toy,unnoise-coded",
    "OMP_NUM_THREADS": "1",
}
# No two intervals divide each other, so that checkpoints fall between lines and the end falls on neither.
PLAIN = [
    "train", "modality=toy", "run=run", "seed=3", "data.n=40", "train.steps=13", "train.batch=6", "train.accumulate=2",
    "train.log_every=5", "train.checkpoint_every=3", "train.keep_every=6", "train.keep_best=error/x",
    "train.preview_every=4", "train.warmup=2", "train.weighting.name=learned", "train.optimizer=muon",
    "train.device=cpu", "train.threads=1", "sample.n=2", "sample.steps=2",
]  # fmt: skip
CODED = [
    *PLAIN, "representation.name=turned", "codec.name=turn", "codec.train.steps=7", "codec.train.optimizer=adamw",
    "codec.train.keep_best=loss",
]  # fmt: skip
RESUME = ["train", "run=run", "resume=true"]
CLOCKS = ("seconds", "samples_per_second")


def contents(folder):
    """File -> bytes of everything in a folder, without what a clock decides."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.name == "state.json" or path.suffix == ".jsonl":
            values = [json.loads(line) for line in data.splitlines()] if path.suffix == ".jsonl" else [json.loads(data)]
            data = json.dumps([{k: v for k, v in value.items() if k not in CLOCKS} for value in values]).encode()
        found[str(path.relative_to(folder))] = data
    return found


@pytest.fixture(scope="module")
def unnoise():
    """``unnoise(folder, words, ...)`` runs a command in a process of its own; see ``mortal.py``."""
    script = Path(__file__).with_name("mortal.py")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, script], stdin=pipe, stdout=pipe, text=True, env=ENVIRON) as server:

        def run(folder, words, **command):
            folder.mkdir(exist_ok=True)
            server.stdin.write(json.dumps({"folder": str(folder), "words": words, **command}) + "\n")
            server.stdin.flush()
            return SimpleNamespace(**json.loads(server.stdout.readline()))

        yield run
        server.stdin.close()


@pytest.fixture(scope="module")
def straight(unnoise, tmp_path_factory):
    """``straight(words)`` -> what an uninterrupted run leaves behind, and how it went."""
    known = {}

    def run(words):
        if tuple(words) not in known:
            folder = tmp_path_factory.mktemp("straight")
            done = unnoise(folder, words)
            assert done.code == 0, done.output
            known[tuple(words)] = contents(folder / "run"), done
        return known[tuple(words)]

    return run


def finish(unnoise, folder, words):
    """Resume as a job scheduler does, which cannot know whether there is anything to resume yet."""
    done = unnoise(folder, [*words, "resume=true"])
    assert done.code == 0, done.output


def kill(at):
    return {"at": at, "accident": ["signal", signal.SIGKILL]}


def test_an_uninterrupted_run_is_as_expected(straight):
    files, done = straight(CODED)
    assert done.operations > 150
    assert not [name for name in files if Path(name).name.startswith(".")]
    steps = sorted({Path(name).parent.name for name in files if name.startswith("checkpoints/")})
    assert {"step_00000006", "step_00000012", "step_00000013"} <= set(steps) and len(steps) <= 4
    assert [line["step"] for line in json.loads(files["metrics.jsonl"])] == [5, 10, 13]
    assert [line["step"] for line in json.loads(files["codec/metrics.jsonl"])] == [5, 7]


@pytest.mark.parametrize("words", [PLAIN, CODED], ids=["plain", "coded"])
def test_a_run_that_is_killed_again_and_again_ends_the_same(unnoise, straight, tmp_path, words):
    expected, done = straight(words)
    rng, codes = random.Random(0), []
    while 0 not in codes:
        begun = (tmp_path / "run" / "config.yaml").exists()
        command = RESUME if begun else [*words, "resume=true"]
        codes.append(unnoise(tmp_path, command, **kill(rng.randint(1, done.operations // 2))).code)
    assert set(codes[:-1]) == {-signal.SIGKILL} and len(codes) > 4
    assert contents(tmp_path / "run") == expected


def test_kills_at_any_time(unnoise, straight, tmp_path):
    expected, done = straight(PLAIN)
    for share in (0.2, 0.35, 0.5, 0.65, 0.8):
        unnoise(tmp_path, [*PLAIN, "resume=true"], after=share * done.seconds)
    finish(unnoise, tmp_path, PLAIN)
    assert contents(tmp_path / "run") == expected


@pytest.mark.parametrize("tear_at", [1, 5, 9])
def test_a_kill_within_a_file_of_tensors(unnoise, straight, tmp_path, tear_at):
    expected, _ = straight(PLAIN)
    assert unnoise(tmp_path, PLAIN, tear_at=tear_at).code == -signal.SIGKILL
    finish(unnoise, tmp_path, PLAIN)
    assert contents(tmp_path / "run") == expected


def test_a_kill_at_the_very_end_and_a_resume_of_what_is_finished(unnoise, straight, tmp_path):
    expected, done = straight(PLAIN)
    for back in range(0, 28, 7):
        folder = tmp_path / str(back)
        assert unnoise(folder, PLAIN, **kill(done.operations - back)).code == -signal.SIGKILL
        assert unnoise(folder, RESUME).code == 0
        assert contents(folder / "run") == expected, back
    before = {path: path.stat().st_mtime_ns for path in (folder / "run" / "checkpoints").rglob("*")}
    assert unnoise(folder, RESUME).code == 0
    assert contents(folder / "run") == expected
    assert {path: path.stat().st_mtime_ns for path in before} == before  # a finished run's checkpoints are let alone


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(unnoise, straight, tmp_path, number, code):
    expected, done = straight(PLAIN)
    stopped = unnoise(tmp_path, PLAIN, at=done.operations // 2, accident=["signal", number])
    assert stopped.code == code, stopped.output
    saved = max(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert f"interrupted: step {int(saved[5:])} is saved" in stopped.output
    assert stopped.output.splitlines()[-2:] == [
        "unnoise: interrupted",
        "         go on with: unnoise train run=run resume=true",
    ]
    assert unnoise(tmp_path, RESUME).code == 0
    found = contents(tmp_path / "run")
    assert found["metrics.jsonl"] == expected["metrics.jsonl"]
    last = {name: data for name, data in expected.items() if name.startswith("checkpoints/step_00000013")}
    assert len(last) == 4 and last.items() <= found.items()


def test_what_cannot_be_written_is_a_message_and_harms_nothing(unnoise, straight, tmp_path):
    expected, done = straight(PLAIN)
    for i, number in enumerate([errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT]):
        folder, at = tmp_path / str(i), 2 + i * done.operations // 4
        failed = unnoise(folder, PLAIN, at=at, accident=["fail", number])
        assert failed.code == 2, failed.output
        message, fix = failed.output.splitlines()[-2:]
        assert message.startswith("unnoise: run"), failed.output
        assert message.endswith(f"cannot be written: {os.strerror(number)}")
        assert "resume=true" in fix
        assert "Traceback" not in failed.output
        finish(unnoise, folder, PLAIN)
        assert contents(folder / "run") == expected, at


def test_a_file_that_grows_too_large_is_not_kept(tmp_path):
    """The limit is met within the library that writes tensors, which has errors of its own."""
    code = """if True:
        import resource, sys, torch
        from pathlib import Path
        from unnoise.errors import UserError
        from unnoise.training.checkpoint import save_checkpoint
        folder = Path(sys.argv[1])
        save_checkpoint(folder, 1, {"model": {"a": torch.zeros(10)}}, {})
        resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
        try:
            save_checkpoint(folder, 2, {"model": {"a": torch.zeros(10)}, "ema": {"a": torch.zeros(10000)}}, {})
        except UserError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, env=ENVIRON)
    assert done.stdout.splitlines() == [
        f"{tmp_path}/step_00000002 cannot be written: File too large",
        "Make room (disk, quota, ulimit -f); a training run then goes on with resume=true.",
    ], done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]


def test_a_folder_that_vanishes_is_a_message_and_is_not_made_again(unnoise, straight, tmp_path):
    expected, done = straight(PLAIN)
    for at in (done.operations // 3, 2 * done.operations // 3):
        folder = tmp_path / str(at)
        stopped = unnoise(folder, PLAIN, at=at, accident=["vanish", "elsewhere"])
        assert stopped.code == 2, stopped.output
        assert stopped.output.splitlines()[-2].endswith("cannot be written: No such file or directory")
        assert "moved or deleted?" in stopped.output.splitlines()[-1]
        assert not (folder / "run").exists()
        (folder / "elsewhere").rename(folder / "run")
        finish(unnoise, folder, PLAIN)
        assert contents(folder / "run") == expected


def test_the_codec_that_was_named_may_go_away(unnoise, tmp_path):
    coded = [*CODED, "stage=codec", "train.steps=5"]
    assert unnoise(tmp_path, coded).code == 0
    (tmp_path / "run").rename(tmp_path / "codec")
    words = [word for word in CODED if not word.startswith("codec.")]
    named = [*words, "codec.run=codec"]
    done = unnoise(tmp_path, named)
    assert done.code == 0, done.output
    expected = contents(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "straight")
    assert unnoise(tmp_path, named, **kill(2 * done.operations // 3)).code == -signal.SIGKILL
    (tmp_path / "codec").rename(tmp_path / "moved")
    for command in (RESUME, [*words, "codec.run=moved", "resume=true", "train.steps=13"]):
        done = unnoise(tmp_path, command)
        assert done.code == 0, done.output
    found = contents(tmp_path / "run")
    differ = {name for name in expected if found.get(name) != expected[name]}
    assert differ == {"config.yaml", "manifest.json"}  # which name the other folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "accident"),
    [
        pytest.param(PLAIN, ["signal", signal.SIGKILL], id="kill"),
        pytest.param(PLAIN, ["fail", errno.ENOSPC], id="full"),
        pytest.param(CODED, ["signal", signal.SIGKILL], id="coded-kill"),
    ],
)
def test_an_accident_before_every_single_file_operation(unnoise, straight, tmp_path, words, accident):
    expected, done = straight(words)
    for at in range(1, done.operations + 1):
        folder = tmp_path / str(at)
        stopped = unnoise(folder, words, at=at, accident=accident)
        assert stopped.code in (-signal.SIGKILL, 2, 0), stopped.output
        assert "Traceback" not in stopped.output
        finish(unnoise, folder, words)
        assert contents(folder / "run") == expected, at
