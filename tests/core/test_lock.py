"""A run folder has one trainer at a time, and a dead one does not keep others out."""

import errno
import os
import signal
import socket
import subprocess
import sys

import pytest

from unnoise.cli.main import main
from unnoise.errors import UserError
from unnoise.runs import lock
from unnoise.runs.lock import locked

HOLDER = """
import sys, time
from pathlib import Path
from unnoise.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds ``tmp_path / "run"``."""
    command = [sys.executable, "-c", HOLDER, tmp_path / "run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_trainer_is_told_who_the_first_is_and_a_killed_one_is_none(tmp_path, holder, toy, capsys):
    with pytest.raises(UserError) as refused, locked(tmp_path / "run"):
        pass
    assert str(refused.value).splitlines() == [
        f"{tmp_path}/run is in use: process {holder.pid} on {socket.gethostname()} trains there",
        "Wait for it or stop it, or name another folder by run=...",
    ]
    words = ["train", "modality=toy", f"run={tmp_path}/run", "train.device=cpu"]
    assert main(words) == 2 and f"process {holder.pid}" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}"
    assert not list((tmp_path / "run").iterdir())


def test_within_one_process_too(tmp_path):
    with locked(tmp_path), pytest.raises(UserError, match=f"process {os.getpid()}"), locked(tmp_path):
        pass
    assert tmp_path.exists() and not list(tmp_path.iterdir())


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path):
    with locked(tmp_path / "a" / "run"):
        pass
    with locked(tmp_path / "b"):
        (tmp_path / "b" / "file").touch()
    assert not (tmp_path / "a" / "run").exists() and (tmp_path / "b" / "file").exists()


def test_a_folder_that_is_gone_in_the_end(tmp_path):
    with locked(tmp_path / "run"):
        (tmp_path / "run").rename(tmp_path / "elsewhere")
    with locked(tmp_path / "run"), locked(tmp_path / "elsewhere"):
        pass


@pytest.mark.parametrize("missing", ["module", "support"])
def test_without_locks_nobody_is_kept_out(tmp_path, monkeypatch, missing):
    def refuse(*args):
        raise OSError(errno.ENOLCK, "no locks available")

    if missing == "module":
        monkeypatch.setattr(lock, "fcntl", None)
    else:
        monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with locked(tmp_path), locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/run cannot be written: Not a directory"), locked(tmp_path / "file/run"):
        pass
