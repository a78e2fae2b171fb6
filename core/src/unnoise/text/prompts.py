"""Prompts whose pieces have weights: ``a (red:1.3) car``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter

from unnoise.errors import UserError

HEAVIEST = 10.0
"""The largest weight of a piece."""

_WEIGHTED = re.compile(r"(?<!\\)\(((?:[^()\\]|\\.)*):\s*(\d+(?:\.\d*)?|\.\d+)\s*\)")
_ESCAPED = re.compile(r"\\([()])")


def parse_prompt(prompt: str) -> list[tuple[str, float]]:
    r"""Pieces of a prompt and the weight of each.

    ``(words:1.3)`` gives words a weight, all else has 1. Brackets without a number are text, and so are ``\(`` and
    ``\)``, brackets without a meaning. What has weight 0 is left out.

    Args:
        prompt: as a user wrote it.

    Raises:
        UserError: for a weight above :data:`HEAVIEST`.
    """
    pieces: list[tuple[str, float]] = []
    end = 0
    for match in _WEIGHTED.finditer(prompt):
        weight = float(match[2])
        if weight > HEAVIEST:
            raise UserError(f"the weight of {match[0][:80]!r} is {weight:g}", f"Weights go from 0 to {HEAVIEST:g}.")
        pieces += [(prompt[end : match.start()], 1.0), (match[1], weight)]
        end = match.end()
    pieces.append((prompt[end:], 1.0))
    return [(_ESCAPED.sub(r"\1", text), weight) for text, weight in pieces if text.strip() and weight]


def write_prompt(pieces: Iterable[tuple[str, float]]) -> str:
    """The prompt that :func:`parse_prompt` reads as these pieces; neighbours of one weight become one piece."""
    # Joined before they are written, since "(" and "red:1.3)" mean something only together.
    joined = [(" ".join(text for text, _ in group), weight) for weight, group in groupby(pieces, key=itemgetter(1))]
    return " ".join(_plain(text) if weight == 1 else f"({_escape(text)}:{weight:g})" for text, weight in joined)


def _plain(text: str) -> str:
    return _escape(text) if _WEIGHTED.search(text) or _ESCAPED.search(text) else text


def _escape(text: str) -> str:
    return re.sub(r"([()])", r"\\\1", text)
