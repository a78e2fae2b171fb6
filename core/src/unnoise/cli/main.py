"""``unnoise <verb> ...``: dispatch, messages and exit codes. Imports nothing but the standard library up front."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from unnoise._version import __version__
from unnoise.errors import UserError, did_you_mean

USAGE = """\
unnoise: one diffusion engine for any kind of data

  unnoise train modality=image                        train; writes a run folder
  unnoise train experiment=image/demo train.steps=500 a named experiment, with changes
  unnoise train -m seed=0,1 experiment=image/demo     a sweep, one run folder each
  unnoise sample run=runs/<name> n=16 seed=0          files, one picture, a record that reproduces them
  unnoise eval run=runs/<name> n=1000                 metrics, each with its floor and ceiling

  unnoise list [kind]        what is registered: modalities, denoisers, samplers, ...
  unnoise plugins [--json]   what is installed, and whether it is healthy
  unnoise check NAME         hold a modality to the contracts
  unnoise doctor             look at this machine
  unnoise completion bash    completion for your shell

  unnoise <verb> --help      what a verb takes
"""

VERBS: dict[str, str] = {
    "train": "unnoise.cli.runs:train",
    "sample": "unnoise.cli.runs:sample",
    "eval": "unnoise.cli.runs:evaluate",
    "plugins": "unnoise.cli.inspect:plugins",
    "list": "unnoise.cli.inspect:listing",
    "check": "unnoise.cli.inspect:check",
    "doctor": "unnoise.cli.doctor:doctor",
    "completion": "unnoise.cli.completion:completion",
}
"""Verb -> ``"module:function"``, each ``(words) -> exit code``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0, or what the verb says; 2 for a user's error; 130 after Ctrl-C. Any other exception is a bug
        and keeps its traceback.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except UserError as error:
        report(error)
        return 2
    except KeyboardInterrupt:
        print("unnoise: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as head, has had enough
        sys.stderr.close()
        return 0


def report(error: UserError) -> None:
    """Print a user's error: what is wrong, then what to do, aligned."""
    print(f"unnoise: {error.message}", file=sys.stderr)
    for line in error.fix.splitlines():
        print(f"         {line}", file=sys.stderr)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if words[0] in ("-V", "--version"):
        print(f"unnoise {__version__}")
        return 0
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        raise UserError(f"no verb {verb!r}.{did_you_mean(verb, VERBS)}", f"there are: {', '.join(VERBS)}")
    module, _, name = VERBS[verb].partition(":")
    function: Callable[[list[str]], int] = getattr(import_module(module), name)
    if {"-h", "--help"} & set(rest):
        print(function.__doc__ and _dedent(function.__doc__))
        return 0
    return function(rest)


def _dedent(text: str) -> str:
    from inspect import cleandoc

    return cleandoc(text)


if __name__ == "__main__":
    sys.exit(main())
