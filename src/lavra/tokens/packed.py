"""Token files: documents as ids on disk, read through a memory map, and whose ids they are.

A directory of pairs, in the documents' order:

``ids-00000.npy``            the ids of its documents, one after another: unsigned 16 bits where the vocabulary is small
                             enough, else 32; ``numpy.load(path, mmap_mode="r")`` reads it
``documents-00000.parquet``  a row a document: what it is (``ABOUT``), of how many ``characters`` and ``words``, where
                             its ids ``start`` in that file, how many ``tokens`` they are

A document's number, its row counted through all files, is its *source id*: any place of the ids leads to it. No
document is divided between two files. A pair is there when its second file is, so that writing goes on after a kill
where it stood, and ends in the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lavra.errors import LavraError
from lavra.store.files import sync_file

SHARD_TOKENS = 1 << 25
"""Ids after which a file ends and the next begins: what is in memory while writing, and what a kill may cost."""
ABOUT = ("id", "source", "title", "hash", "licence", "language", "roles")
"""What is kept of a document: its columns in a corpus, by the same names."""
Ids = npt.NDArray[np.unsignedinteger]


class TokenWriter:
    """Writes documents' ids below ``path``; ``written`` of them are there already, from a run that was stopped.

    ``largest``: the highest id that there can be.
    """

    def __init__(self, path: Path, largest: int, *, shard_tokens: int = SHARD_TOKENS) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path, self.dtype, self._shard_tokens = path, dtype_for(largest), shard_tokens
        whole = _shards(path)
        self._number = len(whole)
        self.written = sum(_rows(documents) for _, documents in whole)
        self._ids: list[Ids] = []
        self._about: list[dict[str, Any]] = []
        self._tokens = 0

    def add(self, ids: Sequence[int] | npt.NDArray[Any], about: Mapping[str, Any]) -> None:
        """The next document: its ids, and the fields of ``ABOUT`` with how many ``characters`` and ``words`` it has."""
        self._ids.append(np.asarray(ids, dtype=self.dtype))
        self._about.append({**about, "start": self._tokens, "tokens": len(ids)})
        self._tokens += len(ids)
        if self._tokens >= self._shard_tokens:
            self.flush()

    def flush(self) -> None:
        """Write what is held as a pair of files; called once more at the end."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

        if not self._about:
            return
        ids, documents = _pair(self.path, self._number)
        beside = ids.with_name(ids.name + ".partial")
        with beside.open("wb") as file:
            np.save(file, np.concatenate(self._ids))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(ids)
        beside = documents.with_name(documents.name + ".partial")
        parquet.write_table(pa.Table.from_pylist(self._about, schema=schema()), beside, compression="zstd")
        sync_file(beside)
        beside.replace(documents)
        self._ids, self._about, self._tokens = [], [], 0
        self._number += 1


def dtype_for(largest: int) -> npt.DTypeLike:
    """The narrowest type of token files that holds ids up to ``largest``."""
    return np.uint16 if largest < 1 << 16 else np.uint32


def schema() -> Any:
    """Of ``documents-….parquet``."""
    import pyarrow as pa

    strings = [pa.field(name, pa.string(), nullable=name == "licence") for name in ABOUT if name != "roles"]
    numbers = [(name, pa.int64()) for name in ("characters", "words", "start", "tokens")]
    return pa.schema([*strings, ("roles", pa.list_(pa.string())), *numbers])


@dataclass(frozen=True)
class Owner:
    """A document behind ids: its ``number`` is the source id, the rest what its row says."""

    number: int
    id: str
    source: str
    title: str
    licence: str | None
    language: str
    roles: tuple[str, ...]


class TokenFiles:
    """The token files of a directory. ``starts`` and ``tokens``, (documents,): where each one's ids lie in its file.

    Raises LavraError where there are none, or where a file is not what its partner says.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        self.path = path
        pairs = _shards(path)
        if not pairs:
            raise LavraError(f"there are no token files in {path}: make them with `lavra tokenize`.")
        try:
            tables = [parquet.read_table(documents) for _, documents in pairs]
            self.table = pa.concat_tables(tables)
            self.shards: list[Ids] = [_mapped(ids) for ids, _ in pairs]
            self.starts, self.tokens = (self.table[name].to_numpy() for name in ("start", "tokens"))
        except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are of these
            raise LavraError(f"the token files in {path} cannot be read ({error}): make them again.") from None
        counts = [table.num_rows for table in tables]
        self.first = np.concatenate([[0], np.cumsum(counts)])
        """The number of each file's first document, and at the end the number of all."""
        for number, ((ids, _), shard) in enumerate(zip(pairs, self.shards, strict=True)):
            own = slice(self.first[number], self.first[number + 1])
            ends = np.cumsum(self.tokens[own])
            if shard.ndim != 1 or ends[-1] != len(shard) or (self.starts[own] != ends - self.tokens[own]).any():
                raise LavraError(f"{ids} is not what its documents amount to: make the token files again.")

    def __len__(self) -> int:
        """Documents."""
        return int(self.first[-1])

    @property
    def size(self) -> int:
        """Tokens."""
        return int(self.tokens.sum())

    def ids(self, number: int) -> Ids:
        """The ids of document ``number``, a view of the file: (tokens,)."""
        shard = int(np.searchsorted(self.first, number, side="right")) - 1
        start = int(self.starts[number])
        return self.shards[shard][start : start + int(self.tokens[number])]

    def at(self, shard: int, places: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """The source id of each of ``places`` in file ``shard``."""
        own = self.starts[self.first[shard] : self.first[shard + 1]]
        return self.first[shard] + np.searchsorted(own, places, side="right") - 1

    def owner(self, number: int) -> Owner:
        """The document with this source id."""
        row = self.table.slice(number, 1).to_pylist()[0]
        return _owner(number, row)

    def owners(self) -> Iterator[Owner]:
        """All documents in order."""
        number = 0
        for batch in self.table.select([*ABOUT]).to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                yield _owner(number, row)
                number += 1

    def hold_any(self, named: Collection[str]) -> bool:
        """Whether a document is among them whose id, or the SHA-256 of whose text, is one of ``named``."""
        import pyarrow as pa
        import pyarrow.compute as compute

        wanted = pa.array(list(named), pa.string())
        return any(compute.any(compute.is_in(self.table[name], wanted)).as_py() for name in ("id", "hash"))


def _owner(number: int, row: Mapping[str, Any]) -> Owner:
    return Owner(number, row["id"], row["source"], row["title"], row["licence"], row["language"], tuple(row["roles"]))


def _shards(path: Path) -> list[tuple[Path, Path]]:
    """The pairs that are there, without a gap."""
    found: list[tuple[Path, Path]] = []
    while (pair := _pair(path, len(found)))[1].exists():
        found.append(pair)
    return found


def _pair(path: Path, number: int) -> tuple[Path, Path]:
    return path / f"ids-{number:05}.npy", path / f"documents-{number:05}.parquet"


def _rows(documents: Path) -> int:
    import pyarrow.parquet as parquet

    return int(parquet.read_metadata(documents).num_rows)


def _mapped(path: Path) -> Ids:
    """A plain array over the map: its slices cost a tenth of what slices of ``numpy.memmap`` do."""
    found: Ids = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    return found
