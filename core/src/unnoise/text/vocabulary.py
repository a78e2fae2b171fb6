"""Sub-words measured from texts, with bytes for what they lack."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

Pair = tuple[int, int]

BYTES = 256
_WORD = re.compile(r" ?\w+| ?[^\w\s]")
_REMEMBERED = 1 << 16
"""Words whose tokens a vocabulary remembers."""


class Vocabulary:
    """Byte pairs (Sennrich et al. 2016, algorithm 1) over the UTF-8 bytes of words: tokens 0 to 255 are bytes, every
    further one stands for two earlier ones. So any text has tokens. A word's space before it belongs to the word;
    letters' case, and how much space there is, do not count.

    Args:
        merges: of token ``256 + i``, the two it stands for.

    Raises:
        ValueError: if a merge is of tokens that do not come before it.
    """

    def __init__(self, merges: Sequence[Sequence[int]]) -> None:
        self.merges: list[Pair] = []
        self.pieces = [bytes([value]) for value in range(BYTES)]
        for pair in merges:
            first, second = pair
            if not (0 <= first < len(self.pieces) and 0 <= second < len(self.pieces)):
                raise ValueError(f"token {len(self.pieces)} cannot stand for {first} and {second}")
            self.merges.append((first, second))
            self.pieces.append(self.pieces[first] + self.pieces[second])
        self._rank = {pair: BYTES + i for i, pair in reversed([*enumerate(self.merges)])}
        self._known: dict[str, list[int]] = {}

    @classmethod
    def measure(cls, texts: Iterable[str], size: int = 2048, least: int = 3) -> Vocabulary:
        """The vocabulary of some texts.

        Args:
            texts: what is counted.
            size: most tokens, bytes included.
            least: how often a pair must occur. Rarer words stay in pieces, so that pieces are learnt too.
        """
        counts = Counter(word for text in texts for word in words(text))
        spelled = [list(word.encode()) for word in counts]
        often = list(counts.values())
        pairs: Counter[Pair] = Counter()
        where: defaultdict[Pair, set[int]] = defaultdict(set)
        for i, tokens in enumerate(spelled):
            for pair in pairwise(tokens):
                pairs[pair] += often[i]
                where[pair].add(i)
        heap = [(-count, pair) for pair, count in pairs.items()]
        heapify(heap)
        merges: list[Pair] = []
        while heap and BYTES + len(merges) < size:
            count, best = heappop(heap)
            if -count != pairs[best]:
                continue  # it has changed since, and has another entry
            if -count < least:
                break
            token = BYTES + len(merges)
            merges.append(best)
            touched: set[Pair] = set()
            for i in where.pop(best):
                before, after = spelled[i], merged(spelled[i], best, token)
                for sign, tokens in ((-1, before), (1, after)):
                    for pair in pairwise(tokens):
                        pairs[pair] += sign * often[i]
                        touched.add(pair)
                        if sign > 0:
                            where[pair].add(i)
                spelled[i] = after
            for pair in touched:
                if pairs[pair] > 0:
                    heappush(heap, (-pairs[pair], pair))
        return cls(merges)

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        return [token for word in words(text) for token in self._word(word)]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens, in lower case; :meth:`encode` gives the same tokens again."""
        return b"".join(self.pieces[token] for token in tokens).decode("utf-8", "replace").strip()

    def _word(self, word: str) -> list[int]:
        if word in self._known:
            return self._known[word]
        tokens = list(word.encode())
        while len(tokens) > 1:
            rank, pair = min((self._rank.get(pair, len(self)), pair) for pair in pairwise(tokens))
            if rank == len(self):
                break
            tokens = merged(tokens, pair, rank)
        if len(self._known) < _REMEMBERED:
            self._known[word] = tokens
        return tokens


def words(text: str) -> list[str]:
    """Words and single signs of a text, in lower case (Unicode's case folding), each with the space before it; the
    first has one too.
    """
    return _WORD.findall(" " + " ".join(unicodedata.normalize("NFC", text).casefold().split()))


def merged(tokens: Sequence[int], pair: Pair, token: int) -> list[int]:
    """Tokens with every occurrence of a pair, from the left, replaced by one token."""
    made: list[int] = []
    for value in tokens:
        if made and (made[-1], value) == pair:
            made[-1] = token
        else:
            made.append(value)
    return made
