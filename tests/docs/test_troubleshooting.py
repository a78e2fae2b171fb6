"""The page of messages quotes messages that exist, so that a search for one finds it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
HOLE = "\0"
"""Stands for what is filled in."""


def quoted():
    """The first cell of every row of the tables: messages, ``…`` for what varies in them."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row.split(" | ")[0])]


@pytest.fixture(scope="module")
def printed():
    """Every text in the sources but docstrings, one a line, with a hole for every placeholder."""
    files = [*ROOT.glob("core/src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
    lines = set()
    for file in files:
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        documentation = {node.value for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if node in documentation:
                continue
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            if all(isinstance(part, (ast.Constant, ast.FormattedValue)) for part in parts):
                texts = [str(part.value) if isinstance(part, ast.Constant) else HOLE for part in parts]
                lines.add("".join(texts).replace("\n", " "))
    return "\n".join(sorted(lines))


def is_printed(piece, printed):
    """Whether a text holds it. Up to half of its words may be filled in: "no toy named" is in "no \0 named"."""
    words = re.split(r"(\W+)", piece)  # at odd places what is between them
    pattern = "".join(re.escape(word) if i % 2 else f"(?:{word}|{HOLE})" for i, word in enumerate(words))
    return any(match[0].count(HOLE) <= len(words) / 4 for match in re.finditer(pattern, printed))


@pytest.mark.parametrize("message", quoted())
def test_every_message_is_one_that_we_print(message, printed):
    pieces = [piece.strip() for piece in message.split("…") if piece.strip(" :,.;")]
    assert [piece for piece in pieces if not is_printed(piece, printed)] == []


def test_the_test_can_fail(printed):
    assert not is_printed("no such message named", printed)
    assert len(quoted()) > 30
