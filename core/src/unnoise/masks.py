"""Masks as text: ``after:0.5``, ``box:0,0,8,4``; which words there are, and what they mean, is each plugin's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from unnoise.errors import UserError, did_you_mean

Forms = Mapping[str, Sequence[str]]
"""Word -> what its numbers are called, for people."""


def parse_mask(text: object, forms: Forms, also: str = "") -> tuple[str, list[float]]:
    """A mask's word and its numbers.

    Args:
        text: ``word:number,number`` (or ``word:number:number``, which a sweep on the command line does not take for two
            values); or ``word`` alone where it takes none.
        forms: the words that there are.
        also: what else a mask may be, for the message.

    Raises:
        UserError: for another word, or other numbers than it takes.
    """
    word, _, rest = str(text).partition(":")
    known = "; ".join(f"{name}:{','.join(numbers)}" if numbers else name for name, numbers in forms.items())
    fix = f"masks: {known}{f'; or {also}' if also else ''}"
    if word not in forms:
        raise UserError(f"mask={text}: there is no mask {word!r}.{did_you_mean(word, forms)}", fix)
    try:
        numbers = [float(part) for part in rest.replace(":", ",").split(",")] if rest else []
    except ValueError:
        numbers = [math.nan]
    if len(numbers) != len(forms[word]) or not all(map(math.isfinite, numbers)):
        wanted = ",".join(forms[word]) or "no number"
        raise UserError(f"mask={text}: {word} takes {wanted}", fix)
    return word, numbers


def whole(text: object, numbers: Sequence[float], low: Sequence[float], high: Sequence[float]) -> list[int]:
    """Numbers of a mask that are whole and lie within bounds.

    Raises:
        UserError: naming the bounds.
    """
    for number, least, most in zip(numbers, low, high, strict=True):
        if number != int(number) or not least <= number <= most:
            raise UserError(f"mask={text}: {number:g} is out of range", f"whole numbers, from {least:g} to {most:g}")
    return [int(number) for number in numbers]
