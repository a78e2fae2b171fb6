"""How well items fit their words: by a judge that learnt which belong together from real pairs alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.classifier import Recipe, trained
from unnoise.contracts import Evidence, Metric, Score, Texts
from unnoise.text import Vocabulary

SIZE = 128
"""Of the vectors that are compared."""


@dataclass(frozen=True)
class JudgeRecipe(Recipe):
    """How a judge is trained.

    Args:
        hide: chance that a piece of a text is hidden.
    """

    epochs: int = 60
    min_steps: int = 300
    max_steps: int = 1500
    batch: int = 128
    lr: float = 2e-3
    weight_decay: float = 0.2
    smoothing: float = 0.1
    hide: float = 0.3


class Judge(nn.Module):
    """Two towers whose vectors lie close where an item and a text belong together (Radford et al. 2021, section 2.3).
    A text is a bag of sub-words.

    Args:
        tower: items ``(B, *shape)`` -> ``(B, SIZE)``.
        vocabulary: of the training texts.
    """

    def __init__(self, tower: nn.Module, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.tower, self.vocabulary = tower, vocabulary
        self.table = nn.Embedding(len(vocabulary) + 1, SIZE, padding_idx=0)
        self.words = nn.Sequential(nn.LayerNorm(SIZE), nn.Linear(SIZE, 2 * SIZE), nn.GELU(), nn.Linear(2 * SIZE, SIZE))
        self.log_scale = nn.Parameter(torch.tensor(np.log(10.0), dtype=torch.float32))

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Sub-words of texts, ``(N, L)``, 0 at padding."""
        return spelled(self.vocabulary, texts)

    def read(self, tokens: Tensor) -> Tensor:
        """Sub-words ``(N, L)`` -> unit vectors ``(N, SIZE)``."""
        count = (tokens > 0).sum(1, keepdim=True).clamp(min=1)
        return F.normalize(self.words(self.table(tokens).sum(1) / count.sqrt()), dim=1)

    def look(self, items: Tensor) -> Tensor:
        """Items ``(N, *shape)`` -> unit vectors ``(N, SIZE)``."""
        return F.normalize(self.tower(items), dim=1)


def spelled(vocabulary: Vocabulary, texts: Sequence[str]) -> Tensor:
    """Tokens of texts as a judge reads them: ``(N, L)``, one more than the vocabulary's, 0 at padding."""
    rows = [torch.tensor([1 + token for token in vocabulary.encode(text)] or [0]) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


def train_judge(
    tower: Callable[[], nn.Module],
    items: Tensor,
    texts: Sequence[str],
    recipe: JudgeRecipe | None = None,
    vary: Callable[[Tensor], Tensor] = lambda x: x,
    cache: Path | None = None,
) -> Judge:
    """Train a judge on real pairs; or look it up.

    The loss is the cross-entropy of who belongs to whom in a batch, from either side; items with one and the same text
    belong to each other's as well.

    Args:
        tower: makes the network that looks at items.
        items: ``(N, *shape)``, as that network takes them.
        texts: of each.
        recipe: how.
        vary: a batch of items as training shows it, drawn from torch's generator.
        cache: where weights are kept.

    Returns:
        the judge, in evaluation mode.
    """
    recipe = recipe or JudgeRecipe()
    vocabulary = Vocabulary.measure(texts)
    tokens = spelled(vocabulary, texts)
    _, same = np.unique(np.array(texts), return_inverse=True)
    numbers = torch.from_numpy(same.reshape(-1))

    def loss(judge: Judge, rows: Tensor) -> Tensor:
        shown = tokens[rows]
        shown = shown.masked_fill(torch.rand(shown.shape) < recipe.hide, 0)
        logits = judge.log_scale.exp().clamp(max=100) * judge.look(vary(items[rows])) @ judge.read(shown).T
        wanted = (numbers[rows, None] == numbers[None, rows]).float()
        wanted = wanted / wanted.sum(1, keepdim=True)
        sides = [F.cross_entropy(x, wanted, label_smoothing=recipe.smoothing) for x in (logits, logits.T)]
        return torch.stack(sides).mean()

    return trained(lambda: Judge(tower(), vocabulary), loss, recipe, (items, tokens, numbers), cache)


@torch.no_grad()
def retrieval(judge: Judge, items: Tensor, texts: Sequence[str], among: int = 32, batch: int = 256) -> float:
    """How often an item's own text fits it best among ``among`` texts.

    The others are drawn from all different texts that are given, and the result is the mean over all such draws, not a
    sample of them: if k of M others fit better, own text wins with chance ``C(M - k, among - 1) / C(M, among - 1)``.

    Args:
        judge: compares them.
        items: ``(N, *shape)``.
        texts: of each.
        among: candidates; all there are, if they are fewer.
        batch: items looked at together.
    """
    different, own = np.unique(np.array(texts), return_inverse=True)
    words = judge.read(judge.tokens(different.tolist()))
    seen = torch.cat([judge.look(part) for part in torch.split(items, batch)])
    fit = seen @ words.T
    mine = fit.gather(1, torch.from_numpy(own.reshape(-1))[:, None])
    better = (fit >= mine).sum(1).double() - 1
    others, drawn = len(different) - 1, min(among, len(different)) - 1
    left = torch.arange(drawn, dtype=torch.float64)
    chances = ((others - better[:, None] - left) / (others - left)).clamp(min=0)
    return float(chances.prod(1).mean())


class RetrievalMetric(Metric):
    """How often what was made for a text fits it best among ``among`` texts, in the eyes of a :class:`Judge` of the
    training split. The floor is what real test items get with their own texts, the ceiling is chance.

    Data without texts gets no score here. A plugin says how items become a tensor, and which network looks at them.

    Args:
        column: which column of the data holds the texts.
        among: candidates.
        max_steps: bound on the judge's training steps.
    """

    def __init__(self, column: str = "text", among: int = 32, max_steps: int = 1500) -> None:
        self.column, self.among = column, among
        self.recipe = JudgeRecipe(min_steps=min(300, max_steps), max_steps=max_steps)

    @abstractmethod
    def inputs(self, items: Sequence[Any], evidence: Evidence) -> Tensor:
        """Items as the tower takes them."""

    @abstractmethod
    def tower(self, inputs: Tensor) -> nn.Module:
        """The network that looks at items, ``(B, *shape)`` -> ``(B, SIZE)``; ``inputs`` are those of training."""

    def vary(self, inputs: Tensor) -> Tensor:
        """A batch as training shows it, drawn from torch's generator."""
        return inputs

    def __call__(self, evidence: Evidence) -> list[Score]:
        train, test = evidence.train.columns().get(self.column), evidence.test.columns().get(self.column)
        if not isinstance(train, Texts) or not isinstance(test, Texts) or self.column not in evidence.conditions:
            return []
        asked = np.asarray(evidence.conditions[self.column])
        made, real, unseen = (_worded(values) for values in (asked, train.values, test.values))
        if not made or len(real) < 2 or not unseen:
            return []
        items, texts = self._pairs(evidence.train, real, train.values, evidence)
        judge = train_judge(lambda: self.tower(items), items, texts, self.recipe, self.vary, evidence.cache)
        value = retrieval(judge, *self._pairs(evidence.generated, made, asked, evidence), self.among)
        floor = retrieval(judge, *self._pairs(evidence.test, unseen, test.values, evidence), self.among)
        seen = retrieval(judge, items, texts, self.among)
        candidates = min(self.among, len({asked[i] for i in made}))
        note = f"N={len(made)}, {candidates} candidates; floor: {len(unseen)} real test items; training {seen:.3f}"
        return [Score(f"retrieval_{self.among}", value, floor, 1 / candidates, "higher", note)]

    def _pairs(self, items: Any, rows: Sequence[int], texts: Any, evidence: Evidence) -> tuple[Tensor, list[str]]:
        return self.inputs([items[i] for i in rows], evidence), [str(texts[i]) for i in rows]


def _worded(texts: Any) -> list[int]:
    """Rows that have words."""
    return [i for i, text in enumerate(texts) if str(text).strip()]
