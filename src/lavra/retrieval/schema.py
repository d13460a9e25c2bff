"""The table of chunks: its columns, its indexes, and how a document becomes rows.

Text columns are stored uncompressed: Lance would otherwise pack them (FSST, LZ4), and a byte-level search could not
prove that an erased sentence is gone. It costs about half again the text's size on disk, little beside the vectors.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from lavra.corpus.document import Document
from lavra.errors import LavraError
from lavra.retrieval.access import readers
from lavra.retrieval.analysis import analyse
from lavra.retrieval.chunking import Chunk, ChunkSettings, embedding_text
from lavra.retrieval.passage import Passage
from lavra.retrieval.record import pack
from lavra.retrieval.sentences import sentences

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from lancedb.table import Table

VERSION = 2
"""Raised when rows of the same document would come out differently; rows of another version are made again."""

PARTITION_ROWS = 512
"""Vectors in one list of the vector index: few enough that most lists need not be looked at."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN = {"lance-encoding:compression": "none"}


def arrow_schema(dimension: int) -> pa.Schema:
    """Columns of the table: what is searched, filtered or listed; ``record``: see :mod:`lavra.retrieval.record`."""
    import pyarrow as pa

    def text(name: str) -> pa.Field:
        return pa.field(name, pa.string(), metadata=_PLAIN)

    def texts(name: str) -> pa.Field:
        return pa.field(name, pa.list_(pa.field("item", pa.string(), metadata=_PLAIN)))

    return pa.schema(
        [
            text("chunk_id"),
            text("document_id"),
            text("source"),
            text("title"),
            text("analysed"),
            pa.field("vector", pa.list_(pa.float32(), dimension)),
            pa.field("record", pa.binary(), metadata=_PLAIN),
            text("language"),
            text("licence"),
            texts("roles"),
            # Plain: over a list with field metadata LanceDB casts the column and passes its label-list index by.
            pa.field("access", pa.list_(pa.string())),
            text("document_hash"),
            text("fingerprint"),
            text("said_digest"),
        ]
    )


def create_indexes(table: Table) -> None:
    """The lexical index and those that filters use; an empty table may have them, later rows join by ``optimize``."""
    from lancedb.index import FTS, BTree, LabelList

    # ``analysed`` is already tokens joined by spaces: the index must not analyse it a second time.
    whitespace = FTS(
        base_tokenizer="whitespace",
        max_token_length=None,
        lower_case=False,
        stem=False,
        remove_stop_words=False,
        ascii_folding=False,
        with_position=False,
    )
    table.create_index("analysed", config=whitespace)
    table.create_index("access", config=LabelList())
    table.create_index("chunk_id", config=BTree())
    table.create_index("document_id", config=BTree())


def create_vector_index(table: Table) -> None:
    """An index over the vectors: inverted lists of 8-bit scalar-quantised vectors (IVF_SQ).

    Chosen over IVF_PQ, IVF_HNSW_SQ and IVF_RQ by measuring all four at 100,000 chunks behind a role filter
    (``docs/LOG.md``): as exact once refined, built in seconds where product quantisation took 84 and HNSW 17.
    """
    from lancedb.index import IvfSq

    # The size and not the number: to lists smaller than a quarter of the size in use maintenance puts an end.
    table.create_index("vector", config=IvfSq(distance_type="cosine", target_partition_size=PARTITION_ROWS))


def fingerprint(document: Document, settings: ChunkSettings) -> str:
    """Changes when anything changes that a row of the document holds or follows from."""
    facts = [
        VERSION,
        _stemmer_version(),
        repr(settings),
        document.source,
        document.hash,
        document.title,
        document.language,
        document.licence,
        sorted(document.roles),
        [(span.kind, span.start, span.end, span.label, span.level) for span in document.spans],
        sorted(document.metadata.items()),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def rows(document: Document, chunks: Sequence[Chunk], settings: ChunkSettings) -> list[dict[str, Any]]:
    """One row a chunk, still without its ``vector`` and with the ``passage`` that its ``record`` is made of."""
    shared: dict[str, Any] = {
        "document_id": document.id,
        "source": storable(document.source),
        "title": storable(document.title),
        "language": document.language,
        "licence": document.licence,
        "roles": [storable(role) for role in document.roles],
        "access": readers(document.roles),
        "document_hash": document.hash,
        "fingerprint": fingerprint(document, settings),
    }
    return [
        {
            **shared,
            "chunk_id": chunk.id,
            "analysed": analyse(said, document.language),
            "said_digest": said_digest(said),
            "passage": Passage(
                chunk_id=chunk.id,
                document_id=document.id,
                source=shared["source"],
                title=shared["title"],
                text=storable(chunk.text),
                start=chunk.start,
                end=chunk.end,
                headings=tuple(storable(heading) for heading in chunk.headings),
                page=None if chunk.page is None else storable(chunk.page),
                language=document.language,
            ),
        }
        for chunk, said in zip(chunks, said_of(document, chunks), strict=True)
    ]


def to_arrow(rows: Sequence[dict[str, Any]], vectors: np.ndarray, sentences: Sequence[bytes]) -> pa.Table:
    """Rows, their vectors (len(rows), dimension) float32 and their sentences', as the table's schema has them."""
    import pyarrow as pa

    schema = arrow_schema(vectors.shape[1])
    position = schema.get_field_index("vector")
    whole = [
        {**row, "record": pack(row["passage"], row["analysed"], vector.tobytes(), each)}
        for row, vector, each in zip(rows, vectors, sentences, strict=True)
    ]
    table = pa.Table.from_pylist(whole, schema=schema.remove(position))
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
    return table.add_column(position, schema.field("vector"), column)


def said_of(document: Document, chunks: Sequence[Chunk]) -> list[str]:
    """What of each chunk is embedded and analysed: its text, and where in the document it stands."""
    return [storable(embedding_text(chunk, document.title)) for chunk in chunks]


def sentences_of(document: Document, chunks: Sequence[Chunk]) -> list[list[str]]:
    """What of each chunk's sentences is embedded: each with where in the document it stands."""
    return [
        [storable(embedding_text(replace(chunk, text=sentence), document.title)) for sentence in sentences(chunk.text)]
        for chunk in chunks
    ]


@cache
def _stemmer_version() -> str:
    """Another release may stem a word differently, and a question would miss what the old one had written."""
    return metadata.version("snowballstemmer")


def said_digest(said: str) -> str:
    """Equal digests, equal vectors: what makes a change of roles cost no embedding."""
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def storable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, replaced one for one, so that offsets stay true."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def in_list(column: str, values: Sequence[str]) -> str:
    """A filter for a column of identifiers of our own making.

    Raises:
        LavraError: an identifier that is none of ours; identifiers from outside never reach a filter unchecked.
    """
    for value in values:
        if not is_identifier(value):
            raise LavraError(f"{value[:80]!r} is not the identifier of a document or passage", status=404)
    if not values:
        return "false"
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{column} IN ({listed})"


def is_identifier(value: str) -> bool:
    return 0 < len(value) <= 120 and value.isascii() and all(c.isalnum() or c in "-_.:#" for c in value)
