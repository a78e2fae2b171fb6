"""``unnoise completion bash``: verbs here, config keys and options by Hydra's own completion."""

from __future__ import annotations

import os
from contextlib import redirect_stdout, suppress
from io import StringIO

from unnoise.cli.inspect import PLURALS
from unnoise.cli.main import STRICT, VERBS
from unnoise.errors import UserError
from unnoise.plugins import get_registry

SCRIPT = """\
_unnoise() {
    local word="${COMP_WORDS[COMP_CWORD]}"
    COMPREPLY=($(compgen -W "$(COMP_LINE="${COMP_LINE:0:COMP_POINT}" unnoise completion query 2>/dev/null)" -- "$word"))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _unnoise unnoise
"""

FLAGS = {
    "plugins": ("--json", "--verbose"),
    "check": ("--only=", "--expect="),
    **dict.fromkeys(("train", "sample", "edit", "eval"), ("-m", "--multirun", "--cfg", "--info")),
}
"""Verb -> its own flags."""


def completion(words: list[str]) -> int:
    """unnoise completion bash

    Prints a script for the shell. To use it now and in every new shell:

      echo 'eval "$(unnoise completion bash)"' >> ~/.bashrc
    """
    if words == ["bash"]:
        print(SCRIPT, end="")
    elif words == ["query"]:
        _suggest(os.environ.get("COMP_LINE", ""))
    else:
        raise UserError("completion knows bash only", "type: unnoise completion bash")
    return 0


def _suggest(line: str) -> None:
    """Print what the last word of ``line`` may become, separated by spaces; what would need quoting is left out."""
    words = line.split()
    if line.endswith(" "):
        words.append("")
    print(*(word for word in _candidates(words) if word.isprintable() and " " not in word))


def _candidates(words: list[str]) -> list[str]:
    verb = words[1] if len(words) > 2 else ""
    if not verb:
        return list(VERBS)
    if words[-1].startswith("-"):
        return [STRICT, *FLAGS.get(verb, ())]
    if verb == "list":
        return [*PLURALS, "experiments"]
    if verb == "plugins":
        from unnoise.plugins.discovery import installed

        if len(words) == 3:
            return ["install", "uninstall"]
        return [brought.dist for brought in installed()] if words[2] == "uninstall" else _paths(words[-1])
    if verb == "check" and len(words) == 3:
        return get_registry().names("modality")
    return _overrides(verb, words[2:]) if verb in ("train", "sample", "edit", "eval") else []


def _overrides(verb: str, words: list[str]) -> list[str]:
    """Keys, or the values of a key."""
    from unnoise.cli.overrides import GROUPS
    from unnoise.cli.sources import options

    key, equals, start = words[-1].partition("=")
    if not equals:
        spelled = {f"{group}/": f"{group}=" for group in GROUPS}
        return list(dict.fromkeys(spelled.get(word, word) for word in _known_to_hydra(verb, words)))
    if key in GROUPS and verb != "sample":
        return [f"{key}={option}" for option in _in_scope(options(key), key, start, words)]
    if key in ("sampler", "sample.sampler"):
        return [f"{key}={name}" for name in get_registry().names("sampler")]
    return _known_to_hydra(verb, words) or [f"{key}={path}" for path in _paths(start)]


def _paths(start: str) -> list[str]:
    """Files and folders whose path begins like this."""
    folder, _, name = start.rpartition("/")
    prefix = f"{folder}/" if "/" in start else ""
    with suppress(OSError):
        entries = sorted(os.scandir(prefix or "."), key=lambda entry: entry.name)
        return [f"{prefix}{e.name}{'/' if e.is_dir() else ''}" for e in entries if e.name.startswith(name)]
    return []


def _in_scope(known: list[str], group: str, start: str, words: list[str]) -> list[str]:
    """The options of a group. Those of the chosen modality are offered without its name, as they may be written."""
    from unnoise.cli.overrides import COMPONENT_GROUPS, chosen_modality, parsed

    modality = chosen_modality([parsed(word) for word in words[:-1] if "=" in word and word[0] != "-"])
    if group not in COMPONENT_GROUPS or modality is None or "/" in start:
        return known
    return [option.removeprefix(f"{modality}/") for option in known if option.startswith(f"{modality}/")]


def _known_to_hydra(verb: str, words: list[str]) -> list[str]:
    """What Hydra's own completion offers."""
    from unnoise.cli.compose import call_hydra

    os.environ["COMP_LINE"] = " ".join(["unnoise", *words])
    with redirect_stdout(StringIO()) as said:
        call_hydra(verb, ["-sc", "query=bash"])
    return said.getvalue().split()
