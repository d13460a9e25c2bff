"""The GGUF container: metadata and a directory of tensors, read with every size checked before it is believed.

Layout after the specification in the ggml project (docs/gguf.md): magic, version, two counts, key/value pairs,
tensor descriptions, padding, data. Both the model (weights) and the tokens (tokenizer tables) are in this one file,
so the reader lives below both rooms. It is not the ``gguf`` package's reader because that one trusts the counts in
the file: a hostile array length makes it loop, and its 150,000 small numpy arrays take seconds where this takes
tens of milliseconds. The package's dequantisation is what the model uses.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavra.errors import LavraError

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies. ``shape`` is row-major (GGUF stores it reversed); ``offset`` is from the file's start."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class GGUFFile:
    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]
    size: int

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """The metadata value. Raises LavraError if it is not of ``kind``, or absent with ``default=...``."""
        value = self.metadata.get(key, default)
        if value is ...:
            raise LavraError(f"{self.path.name} lacks the metadata key {key}; download the file again")
        if value is not default and not isinstance(value, kind):
            raise LavraError(f"{self.path.name}: the metadata key {key} has an unexpected type; download it again")
        return value


def is_gguf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def read_gguf(path: Path) -> GGUFFile:
    """Metadata and tensor directory of ``path``; no tensor data is read.

    Raises LavraError for anything that is not a whole, little-endian GGUF of version 2 or 3.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse(path, data)
    except OSError as error:
        raise LavraError(f"{path} could not be read ({error.strerror or error}); check the path") from error
    except (struct.error, ValueError, IndexError, OverflowError, RecursionError) as error:
        # UnicodeDecodeError is a ValueError; mmap refuses an empty file with one too.
        raise LavraError(f"{path.name} is not a whole GGUF file ({error}); download it again") from error


class _Cursor:
    """Reads forward; a read past the end raises instead of returning less."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at, self.size = data, 0, len(data)

    def take(self, count: int) -> bytes:
        if count > self.size - self.at:
            raise ValueError(f"it ends {count - (self.size - self.at)} bytes too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def unpack(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self) -> str:
        return self.take(self.unpack("Q")).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self.unpack(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise ValueError(f"unknown metadata type {kind}")
        element, count = self.unpack("I"), self.unpack("Q")
        if element in _SCALARS:
            code = _SCALARS[element]
            return list(struct.unpack(f"<{count}{code}", self.take(count * struct.calcsize("<" + code))))
        # Every other element takes at least eight bytes, so a count that cannot fit is refused before any work.
        if count * 8 > self.size - self.at:
            raise ValueError(f"an array claims {count} elements")
        return [self.value(element) for _ in range(count)]


def _parse(path: Path, data: mmap.mmap) -> GGUFFile:
    cursor = _Cursor(data)
    if cursor.take(4) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    version = cursor.unpack("I")
    if version not in (2, 3):
        raise ValueError(f"version {version & 0xFFFFFFFF} is not 2 or 3")
    tensor_count, pair_count = cursor.unpack("Q"), cursor.unpack("Q")
    if (tensor_count + pair_count) * 12 > cursor.size:
        raise ValueError(f"it claims {tensor_count} tensors and {pair_count} metadata pairs")
    metadata: dict[str, Any] = {}
    for _ in range(pair_count):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.unpack("I"))
    described = []
    for _ in range(tensor_count):
        name, dimensions = cursor.string(), cursor.unpack("I")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise ValueError(f"tensor {name[:80]!r} has {dimensions} dimensions")
        shape = tuple(cursor.unpack("Q") for _ in range(dimensions))[::-1]
        described.append((name, shape, cursor.unpack("I"), cursor.unpack("Q")))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
        raise ValueError("its alignment is absurd")
    start = -(-cursor.at // alignment) * alignment
    tensors: dict[str, TensorInfo] = {}
    for name, shape, kind, offset in described:
        if name in tensors:
            raise ValueError(f"tensor {name[:80]!r} appears twice")
        tensors[name] = TensorInfo(name, shape, kind, start + offset)
    return GGUFFile(path, metadata, tensors, cursor.size)
