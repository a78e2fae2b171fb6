"""Runs ``unnoise`` in processes that meet with an accident; a script, as a process that forks should be small.

Reads commands from standard input, a JSON object a line, and answers each with another:

    {"folder", "words", "at": n, "accident": [name, argument]} -> {"code", "operations", "output", "seconds"}

``at`` is the number of the operation on files of the run folder ``run``, counted from 1, right before which the
accident happens: ``["signal", number]``; ``["fail", errno]``, of this and every later operation that writes; or
``["vanish", name]``, the folder gets another name. ``tear_at`` kills half-way through the n-th file of tensors,
``after`` so many seconds after the start. ``code`` is the exit code, negative for a signal.
"""

import json
import mmap
import os
import signal
import struct
import sys
import time
import traceback
from pathlib import Path

import torch
import torch._dynamo
from safetensors.torch import save

import unnoise.cli.runs
import unnoise.runs  # noqa: F401  like _dynamo, which optimisers need: else every process would import it again
from unnoise.cli.main import main
from unnoise.training import checkpoint

EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}
WRITING = os.O_WRONLY | os.O_RDWR


def accident(name, argument):
    if name == "signal":
        signal.raise_signal(argument)
    elif name == "vanish" and Path("run").exists():
        Path("run").rename(argument)


def watch(counter, at, name, argument):
    """Count operations below the run folder; within a tree that is deleted, paths are relative to it."""
    busy = False

    def hook(event, args):
        nonlocal busy
        if busy or event not in EVENTS:
            return
        if event not in ("os.remove", "os.rmdir") and not str(args[0]).startswith("run"):
            return
        number = struct.unpack("q", counter[:8])[0] + 1
        counter[:8] = struct.pack("q", number)
        if number == at:
            busy = True
            accident(name, argument)
            busy = False
        if at and number >= at and name == "fail" and (event != "open" or args[2] & WRITING):
            raise OSError(argument, os.strerror(argument), str(args[0]))

    sys.addaudithook(hook)


def tear(tear_at):
    """Have the n-th file of tensors written by half, as by a process that dies meanwhile."""
    calls = 0
    whole = checkpoint.save_file

    def save_file(tensors, path):
        nonlocal calls
        calls += 1
        if calls == tear_at:
            data = save(tensors)
            Path(path).write_bytes(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        whole(tensors, path)

    checkpoint.save_file = save_file


def live(command, counter):
    os.chdir(command["folder"])
    for stream in (1, 2):
        os.dup2(os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    watch(counter, command.get("at"), *command.get("accident", ("", None)))
    if "tear_at" in command:
        tear(command["tear_at"])
    return main(command["words"])


def run(command):
    counter, started = mmap.mmap(-1, 8), time.monotonic()
    output = Path(command["folder"], "output.txt")
    output.write_text("")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = live(command, counter)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    if "after" in command:
        time.sleep(command["after"])
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "operations": struct.unpack("q", counter[:8])[0],
        "output": output.read_text(),
        "seconds": time.monotonic() - started,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
