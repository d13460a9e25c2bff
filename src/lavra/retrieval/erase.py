"""The proof of an erasure: no file below a directory holds any of these sentences any more.

Every file is searched as it lies on disk (see :mod:`lavra.retrieval.bytesearch`); what is compressed is searched
decoded as well: zip archives (so DOCX, XLSX, EPUB), gzip, bzip2, xz, zstd and lz4 streams, Parquet and Arrow files,
one inside the other. Lance tables are read at every version they still have; those of an index keep their text
uncompressed besides, so that rows which no version shows any more are found by their bytes alone.

Not looked into: encrypted files, the compressed streams of PDFs, and sentences that were re-spaced or cut in two.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from lavra.errors import LavraError
from lavra.retrieval.bytesearch import Needles

BLOCK = 16 << 20
DEPTH = 4
"""Archives inside archives are opened this far down."""

MAX_DECODED = 8 << 30
"""Bytes read from one compressed file; one that yields more cannot be vouched for and counts as a find."""

_DAMAGE = (
    OSError,  # of a stream, not of the disk: gzip says so
    ValueError,  # pyarrow's errors are these
    EOFError,
    RuntimeError,
    NotImplementedError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)


def contains_text(root: Path, sentences: Iterable[str]) -> list[Path]:
    """The files below ``root`` that hold one of the sentences, sorted; empty proves the erasure.

    A file that cannot be read to its end (no permission, a damaged archive) is looked at as plain bytes, and
    counts as a find if even that fails: what cannot be checked is not proved. Symbolic links are not followed.

    Raises:
        LavraError: ``root`` is not there.
    """
    if not root.exists():
        raise LavraError(f"{root} cannot be searched for erased text: it is not there")
    needles = Needles(sentences)
    if not needles:
        return []
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
    found = {path for path in files if not path.is_symlink() and _file_contains(path, needles)}
    for versions in sorted(root.rglob("_versions")):
        if versions.parent.suffix == ".lance" and _lance_contains(versions.parent, needles):
            found.add(versions.parent)
    return sorted(found)


def _file_contains(path: Path, needles: Needles) -> bool:
    try:
        with path.open("rb") as stream:
            return _stream_contains(stream, needles, DEPTH)
    except FileNotFoundError:  # removed since it was listed: a lock, a version cleaned up
        return False
    except OSError:
        return True


def _stream_contains(stream: IO[bytes], needles: Needles, depth: int) -> bool:
    if _blocks_contain(_blocks(stream), needles):
        return True
    if depth == 0:
        return False
    stream.seek(0)
    head = stream.read(8)
    stream.seek(0)
    decode = next((decode for magic, decode in _DECODERS.items() if head.startswith(magic)), None)
    if decode is None:
        return False
    try:
        return any(_part_contains(part, needles, depth - 1) for part in decode(stream))
    except _Unbounded:
        return True
    except (
        OSError,
        ValueError,
        EOFError,
        RuntimeError,
        NotImplementedError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
    ):
        return False  # not what its first bytes said: it has been searched as it lies


def _part_contains(part: bytes | IO[bytes], needles: Needles, depth: int) -> bool:
    if isinstance(part, bytes):
        return needles.within(part)
    import tempfile

    # Spooled, because a decoded stream may itself be an archive, and archives are read from their ends.
    with part, tempfile.SpooledTemporaryFile(max_size=4 * BLOCK) as copy:
        size = 0
        while block := part.read(BLOCK):
            size += len(block)
            if size > MAX_DECODED:
                raise _Unbounded
            copy.write(block)
        copy.seek(0)
        return _stream_contains(copy, needles, depth)


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(BLOCK):
        yield block


def _blocks_contain(blocks: Iterable[bytes], needles: Needles) -> bool:
    """Whether a needle lies in the blocks, also across the seams between them."""
    tail = b""
    for block in blocks:
        joined = tail + block
        if needles.within(joined):
            return True
        tail = joined[-(needles.longest - 1) :]
    return False


class _Unbounded(Exception):
    """A stream decodes to more than anyone may have stored."""


def _zip_parts(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(stream) as archive:
        for entry in archive.infolist():
            if not entry.is_dir() and not entry.flag_bits & 1:
                yield archive.open(entry)


def _gzip_parts(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    yield gzip.GzipFile(fileobj=stream)  # type: ignore[misc]


def _bzip2_parts(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    yield bz2.BZ2File(stream)


def _xz_parts(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    yield lzma.LZMAFile(stream)  # noqa: SIM115


def _arrow_codec(codec: str) -> Any:
    def parts(stream: IO[bytes]) -> Iterator[IO[bytes]]:
        import pyarrow as pa

        yield pa.CompressedInputStream(pa.PythonFile(stream, "r"), codec)

    return parts


def _parquet_parts(stream: IO[bytes]) -> Iterator[bytes]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(stream)
    for group in range(file.num_row_groups):
        yield from _texts(file.read_row_group(group))
    yield repr(file.schema_arrow.metadata).encode()


def _arrow_parts(stream: IO[bytes]) -> Iterator[bytes]:
    import pyarrow as pa

    reader = pa.ipc.open_file(stream)
    for position in range(reader.num_record_batches):
        yield from _texts(pa.Table.from_batches([reader.get_batch(position)]))


def _texts(table: Any) -> Iterator[bytes]:
    """The values of the text and binary columns of an Arrow table, at any depth of nesting."""
    for column in table.columns:
        for chunk in column.chunks:
            yield from _values(chunk)


def _values(array: Any) -> Iterator[bytes]:
    import pyarrow as pa

    kind = array.type
    if pa.types.is_dictionary(kind):
        yield from _values(array.dictionary)
    elif pa.types.is_struct(kind):
        for field in array.flatten():
            yield from _values(field)
    elif pa.types.is_map(kind):
        yield from _values(array.keys)
        yield from _values(array.items)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _values(array.flatten())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        yield "\0".join(value for value in array.to_pylist() if value is not None).encode()
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        yield b"\0".join(value for value in array.to_pylist() if value is not None)


_DECODERS: dict[bytes, Any] = {
    b"PK\x03\x04": _zip_parts,
    b"\x1f\x8b": _gzip_parts,
    b"BZh": _bzip2_parts,
    b"\xfd7zXZ\x00": _xz_parts,
    b"\x28\xb5\x2f\xfd": _arrow_codec("zstd"),
    b"\x04\x22\x4d\x18": _arrow_codec("lz4"),
    b"PAR1": _parquet_parts,
    b"ARROW1": _arrow_parts,
}


def _lance_contains(directory: Path, needles: Needles) -> bool:
    """Whether any version that a Lance table still has shows one of the sentences."""
    import lancedb
    import pyarrow as pa

    try:
        table = lancedb.connect(directory.parent).open_table(directory.stem)
        for version in table.list_versions():
            table.checkout(version["version"])
            for batch in table.search().to_batches():
                if any(needles.within(part) for part in _texts(pa.Table.from_batches([batch]))):
                    return True
    except (OSError, RuntimeError, ValueError):
        return False  # no table (any more): its files were searched as they lie
    return False
