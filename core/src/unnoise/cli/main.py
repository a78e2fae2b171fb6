"""``unnoise <verb> ...``: dispatch, messages and exit codes. Imports nothing but the standard library up front."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module

from unnoise._version import __version__
from unnoise.errors import Caution, Interrupted, UserError, did_you_mean

USAGE = """\
unnoise: one diffusion engine for any kind of data

  unnoise train modality=image                        train; writes a run folder
  unnoise train experiment=image/demo train.steps=500 a named experiment, with changes
  unnoise train -m seed=0,1 experiment=image/demo     a sweep, one run folder each
  unnoise sample run=runs/<name> n=16 seed=0          files, one picture, a record that reproduces them
  unnoise edit infill run=runs/<name> source=<file> mask=...   also variation, interpolate, invert, compose
  unnoise eval run=runs/<name> n=1000                 metrics, each with its floor and ceiling

  unnoise list [kind]        what is registered: modalities, denoisers, samplers, ...
  unnoise plugins [--json]   what is installed, and whether it is healthy; also: install NAME, uninstall NAME
  unnoise check NAME         hold a modality to the contracts
  unnoise new-plugin NAME --kind gaussian|categorical|mixed    begin a plugin for a new kind of data
  unnoise doctor             look at this machine
  unnoise completion bash    completion for your shell

  unnoise <verb> --help      what a verb takes
  --strict-plugins           with any verb: a plugin that is broken is an error, not a warning
"""

STRICT = "--strict-plugins"
"""A flag of every verb: whatever is wrong with a plugin ends the command."""

VERBS: dict[str, str] = {
    "train": "unnoise.cli.runs:train",
    "sample": "unnoise.cli.runs:sample",
    "edit": "unnoise.cli.edit:edit",
    "eval": "unnoise.cli.runs:evaluate",
    "plugins": "unnoise.cli.inspect:plugins",
    "list": "unnoise.cli.inspect:listing",
    "check": "unnoise.cli.inspect:check",
    "new-plugin": "unnoise.cli.scaffold:new_plugin",
    "doctor": "unnoise.cli.doctor:doctor",
    "completion": "unnoise.cli.completion:completion",
}
"""Verb -> ``"module:function"``, each ``(words) -> exit code``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0, or what the verb says; 2 for a user's error; 130 after Ctrl-C, 143 after a training run was
        asked to end by SIGTERM. Any other exception is a bug and keeps its traceback.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with warnings.catch_warnings():
        show = warnings.showwarning
        warnings.showwarning = lambda message, category, *rest: (
            print(f"unnoise: {message}", file=sys.stderr) if category is Caution else show(message, category, *rest)
        )
        return _guarded(words)


def _guarded(words: list[str]) -> int:
    """Dispatch, with exceptions turned into messages and exit codes."""
    try:
        return _dispatch(words)
    except UserError as error:
        report(error)
        return 2
    except KeyboardInterrupt as error:
        interrupted = error if isinstance(error, Interrupted) else Interrupted()
        report(interrupted)
        return 128 + interrupted.number
    except BrokenPipeError:  # the reader of a pipe, such as head, has had enough
        sys.stderr.close()
        return 0


def report(error: UserError | Interrupted) -> None:
    """Print what is wrong, then what to do, aligned."""
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
    rest = words[1:]
    function = _function(words)
    if {"-h", "--help"} & set(rest):
        print(function.__doc__ and _dedent(function.__doc__))
        return 0
    if STRICT in rest:
        from unnoise.plugins import get_registry
        from unnoise.plugins.report import warn_skipped

        warn_skipped(get_registry(), strict=True)
        rest = [word for word in rest if word != STRICT]
    return function(rest)


def _function(words: list[str]) -> Callable[[list[str]], int]:
    """What the first word stands for: a verb of core, or else of a plugin."""
    if words[0] in VERBS:
        module, _, name = VERBS[words[0]].partition(":")
        own: Callable[[list[str]], int] = getattr(import_module(module), name)
        return own
    from unnoise.cli.verbs import plugin_verb

    function = plugin_verb(words[0])
    if function is None:
        raise _no_verb(words)
    return function


def _no_verb(words: list[str]) -> UserError:
    """The answer to a first word that is no verb."""
    first, later = words[0], [word for word in words[1:] if word in VERBS]
    if later:
        line = " ".join([later[0], *(word for word in words if word != later[0])])
        return UserError(f"the verb comes first, not {first!r}", f"type: unnoise {line}")
    return UserError(f"no verb {first!r}.{did_you_mean(first, VERBS)}", f"there are: {', '.join(VERBS)}")


def _dedent(text: str) -> str:
    from inspect import cleandoc

    return cleandoc(text)
