"""Tensors of a TensorFlow checkpoint (its format V2, the "tensor bundle"), read without TensorFlow.

``PREFIX.index`` is a table (LevelDB's format) from names to messages (protocol buffers: type, shape, offset and
size); the values lie in ``PREFIX.data-00000-of-00001``. Nothing in either is executed, and a tensor is only read where
its type, shape and size are those that are expected.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FLOAT = 1
"""The number of float32 among the types."""
_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER = 48
_LARGEST = 1 << 20
"""Bytes of an index, at most."""


class Entry(NamedTuple):
    """What an index says of a tensor.

    Args:
        kind: number of the type.
        shape: of the tensor.
        offset, size: of its values in the other file, in bytes.
    """

    kind: int
    shape: tuple[int, ...]
    offset: int
    size: int


def read_tensors(prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    """Some tensors of a checkpoint.

    Args:
        prefix: path and beginning of its files' names.
        shapes: name -> shape of the float32 tensors that are wanted.

    Raises:
        ValueError: if the files are damaged, or a tensor is missing or of another type or shape.
        OSError: if they cannot be read.
    """
    entries, values = read_index(Path(f"{prefix}.index")), Path(f"{prefix}.data-00000-of-00001")
    total, found = values.stat().st_size, {}
    for name, shape in shapes.items():
        count, entry = math.prod(shape), entries.get(name)
        if entry is None or (entry.kind, entry.shape, entry.size) != (FLOAT, shape, 4 * count):
            raise ValueError(f"{name} is {entry}, not a tensor of shape {shape}")
        if entry.offset + entry.size > total:
            raise ValueError(f"{values.name} ends before {name}")
        tensor = np.fromfile(values, "<f4", count, offset=entry.offset)
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name} is not finite")
        found[name] = tensor.reshape(shape)
    return found


def read_index(path: Path) -> dict[str, Entry]:
    """What there is.

    Raises:
        ValueError: if it is damaged.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        table = file.read(_LARGEST + 1)
    if not _FOOTER <= len(table) <= _LARGEST or not table.endswith(_MAGIC):
        raise ValueError(f"{path.name} is no index of a checkpoint")
    try:
        return {name.decode(): _entry(message) for name, message in _rows(table) if name}  # "" is about the files
    except (IndexError, TypeError, UnicodeDecodeError):
        raise ValueError(f"{path.name} is damaged") from None


def _entry(message: bytes) -> Entry:
    fields = dict(_fields(message))
    shape = tuple(dict(_fields(size)).get(1, 0) for number, size in _fields(fields.get(2, b"")) if number == 2)
    return Entry(fields.get(1, 0), shape, fields.get(4, 0), fields.get(5, 0))


def _rows(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values. The footer says where the block is whose values say where the others are."""
    _, _, at = _place(table, len(table) - _FOOTER)  # of filters, which there are none of
    start, size, _ = _place(table, at)
    for _, place in _block(table, start, size):
        start, size, _ = _place(place, 0)
        yield from _block(table, start, size)


def _place(data: bytes, at: int) -> tuple[int, int, int]:
    """Start and size of a block, and where the next thing is."""
    start, at = _varint(data, at)
    size, at = _varint(data, at)
    return start, size, at


def _block(table: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The rows of a block; each says only in what its key differs from the one before."""
    block = table[start : start + size]
    if table[start + size]:
        raise ValueError("the index is compressed")
    restarts = int.from_bytes(block[-4:], "little")
    key, at, end = b"", 0, len(block) - 4 * (restarts + 1)
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + length]
        at += own + length


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of a protocol buffer's fields."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
        elif tag & 7 in (2, 5):  # bytes of any number, or four
            size, at = _varint(message, at) if tag & 7 == 2 else (4, at)
            yield tag >> 3, message[at : at + size]
            at += size
        else:
            raise ValueError(f"the index has a field of type {tag & 7}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, seven bits a byte and the lowest first, and where the next thing is."""
    value = 0
    for shift in range(0, 64, 7):
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise ValueError("the index has a number of more than 64 bits")
