"""From tokens to states: what a text encoder is, and the one that is trained along with the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unnoise.errors import UserError
from unnoise.nn import Attention, make_norm, rotary_angles
from unnoise.text.vocabulary import Vocabulary


class TextEncoder(nn.Module, ABC):
    """Tokens of a text -> states of a width d. How far a text is padded changes nothing."""

    name: ClassVar[str]
    before: Sequence[int] = ()
    after: Sequence[int] = ()
    """Tokens that begin and end every text."""
    longest: int | None = None
    """Most tokens that it takes, if there is a bound."""

    @abstractmethod
    def __len__(self) -> int:
        """How many tokens there are."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The tokens of a text, or of a piece of one, without those that begin and end it."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """The inverse of :meth:`encode`, but for what an encoder does not tell apart, as the case of letters."""

    @abstractmethod
    def forward(self, tokens: Tensor, mask: Tensor, shown: Tensor) -> Tensor:
        """States ``(B, L, d)``, padding anything.

        Args:
            tokens: int64 ``(B, L)``.
            mask: bool ``(B, L)``, True where a token is real; real ones come first, and every row has one.
            shown: bool ``(B, L)``, those of them that training does not hide.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """JSON facts from which :func:`unnoise.text.pretrained.build_encoder` makes the same encoder, weights aside."""

    def prepare(self, tokens: Tensor, cache: Path | None) -> None:
        """Be told once which texts training will show; tokens int64 ``(N, L)``, -1 at padding. What is computed of them
        may be kept in ``cache``, a folder that is there.
        """


class Embedded(TextEncoder):
    """A small transformer over sub-words of the training texts, trained along with the model: no download.

    Every token has a learnt vector; blocks are pre-norm self-attention with rotary positions (Su et al. 2021) and an
    MLP, so that what counts is the distance of words, and a longer text than any in training is read as well.

    Args:
        dim: width d, even.
        merges: of the vocabulary.
        depth: number of blocks; 0 makes a bag of words.

    Raises:
        UserError: if ``dim`` is odd, ``depth`` negative, or the vocabulary none.
    """

    name = "embedded"

    def __init__(self, dim: int, merges: Sequence[Sequence[int]], depth: int = 2) -> None:
        super().__init__()
        if dim % 2 or depth < 0:
            raise UserError(
                f"a text encoder of width {dim} and depth {depth}", "conditions.dim is even; depth 0 or more"
            )
        try:
            self.vocabulary = Vocabulary(merges)
        except (ValueError, TypeError) as error:
            raise UserError(
                f"the vocabulary of a text is damaged: {error}", "Look at the condition's merges."
            ) from error
        heads = next(n for n in range(max(dim // 32, 1), 0, -1) if dim % (2 * n) == 0)
        self.head_dim = dim // heads
        self.table = nn.Embedding(len(self.vocabulary), dim)
        self.blocks = nn.ModuleList(_Block(dim, heads) for _ in range(depth))
        self.norm = make_norm("layer", dim)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        return self.vocabulary.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        return self.vocabulary.decode(tokens)

    def forward(self, tokens: Tensor, mask: Tensor, shown: Tensor) -> Tensor:
        x: Tensor = self.table(tokens)
        angles = rotary_angles(torch.arange(tokens.shape[1], device=tokens.device)[:, None], self.head_dim)
        for block in self.blocks:
            x = block(x, shown, angles)
        states: Tensor = self.norm(x)
        return states

    def settings(self) -> dict[str, Any]:
        merges = [list(pair) for pair in self.vocabulary.merges]
        return {"name": self.name, "merges": merges, "depth": len(self.blocks)}


class _Block(nn.Module):
    """A pre-norm transformer block (Xiong et al. 2020)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = make_norm("layer", dim), make_norm("layer", dim)
        self.attention = Attention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, mask: Tensor, angles: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), mask=mask, angles=angles)
        result: Tensor = x + self.mlp(self.mlp_norm(x))
        return result
