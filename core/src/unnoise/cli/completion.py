"""``unnoise completion bash``: verbs here, config keys and options by Hydra's own completion."""

from __future__ import annotations

import os

from unnoise.cli.inspect import PLURALS
from unnoise.cli.main import VERBS
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
    """Print what the last word of ``line`` may become, separated by spaces."""
    words = line.split()
    if line.endswith(" "):
        words.append("")
    if len(words) <= 2:
        print(*VERBS)
        return
    if words[1] == "list":
        print(*PLURALS, "experiments")
    elif words[1] == "check":
        print(*get_registry().names("modality"))
    elif words[1] in ("train", "sample", "eval"):
        from unnoise.cli.compose import call_hydra
        from unnoise.cli.overrides import GROUPS
        from unnoise.cli.sources import options

        group, _, start = words[-1].partition("=")
        if words[1] == "train" and group in GROUPS and "=" in words[-1]:
            print(*(f"{group}={option}" for option in options(group) if option.startswith(start)))
            return
        os.environ["COMP_LINE"] = " ".join(["unnoise", *words[2:]])
        call_hydra(words[1], ["-sc", "query=bash"])
