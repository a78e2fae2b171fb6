"""The verb ``edit``."""

from __future__ import annotations

import re
from inspect import signature
from typing import TYPE_CHECKING, Any

from unnoise.cli.grid import Grid
from unnoise.cli.runs import composed, make_samples, sampling_options
from unnoise.errors import UserError
from unnoise.schema import EditRequest

if TYPE_CHECKING:
    from unnoise.contracts import Samples
    from unnoise.runs import Model

_OWN = ("strength", "mask", "level", "seeds", "other")
"""Keys that belong to some kinds of edit."""


def edit(words: list[str]) -> int:
    """unnoise edit KIND run=FOLDER source=PATH [key=value ...]

    Makes something of items that are there. What `unnoise sample` takes, this takes too.

      variation source=... strength=0.5      items like these; 0 gives them back, 1 is sampling anew
      infill source=... mask=...             part of them made anew; what a mask is, says the plugin's documentation
      interpolate source=<two items> n=8     a way between them; or seeds=[0,1]
      invert source=...                      encoded as noise and sampled again, with the error of the round trip
      compose condition=... other=... mask=...    two conditions in two regions of new items
      -m strength=0.2,0.5,0.8                a sweep, with one picture of all
    """
    if words and "=" not in words[0] and not words[0].startswith("-"):
        words = [f"kind={words[0]}", *words[1:]]
    elif not any(word.startswith("kind=") for word in words) and words not in (["--help"], ["-h"]):
        raise UserError("which edit?", "unnoise edit variation|infill|interpolate|invert|compose run=... source=...")
    if not {"-m", "--multirun"} & set(words):  # where a comma would separate the values of a sweep
        words = [_literal(word) for word in words]
    grid = Grid()
    code = composed("edit", words, lambda request: _edit(request, grid))
    if picture := grid.draw():
        print(f"all together: {picture}")
    return code


def _literal(word: str) -> str:
    """A mask or a path as it was typed: commas and brackets in it are no syntax."""
    key, _, value = word.partition("=")
    if key not in ("mask", "source") or value[:1] in ("'", '"') or value in ("", "null"):
        return word
    # Within quotes, Hydra takes a backslash for itself unless a quote follows.
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
    return f"{key}='{escaped}'"


def _edit(request: EditRequest, grid: Grid) -> None:
    from unnoise.edits import KINDS

    own = {key: getattr(request, key) for key in _OWN if getattr(request, key) is not None}
    if request.kind in KINDS:
        takes = signature(KINDS[request.kind]).parameters
        for key in own:
            if key not in takes:
                kinds = ", ".join(name for name, function in KINDS.items() if key in signature(function).parameters)
                raise UserError(f"{request.kind} takes no {key}", f"leave it out; {key} belongs to {kinds}")

    def make(model: Model) -> Samples:
        options: dict[str, Any] = {"negative": request.negative, "n": request.n, "seed": request.seed}
        return model.edit(request.kind, request.source, **own, **options, **sampling_options(request))

    make_samples(request, make, grid)
