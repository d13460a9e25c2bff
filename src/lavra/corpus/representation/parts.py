"""Which part of the mixture each document of a cleaned corpus is of, and how often it is to be drawn.

``parts.parquet`` (``id``, ``part``) is there where the corpus was balanced by something; the parts' weights stand in
``report.json`` as ``mixture``. Documents of no part (a language without dialects, say) are drawn as they are.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lavra.corpus.document import Document
from lavra.corpus.representation.counting import WORD, dialect_name, source_of
from lavra.corpus.storage import load_documents
from lavra.errors import LavraError

FILE = "parts.parquet"
Assign = Callable[[Sequence[str]], list[str]]
_AT_ONCE = 1_000
_WORDS = re.compile(WORD)


@dataclass(frozen=True)
class Share:
    """The ``part`` that a document is of, and how many ``times`` as often it is drawn as it is there."""

    part: str
    times: float


def part_of(document: Document, balance: str) -> str:
    """The part of a document where the mixture is balanced by anything but topics; "" for none."""
    if balance == "dialects":
        words = Counter(word.lower() for word in _WORDS.findall(document.text))
        return dialect_name(words, document.language)
    return {
        "languages": lambda: document.language,
        "sources": lambda: source_of(document),
        "licences": lambda: document.licence or "none stated",
        "years": lambda: (document.modified or "")[:4] or "unknown",
    }[balance]()


def write_parts(corpus: Path, balance: str, topic: Assign | None = None) -> None:
    """``parts.parquet`` beside the corpus' documents. ``topic``: the topics of texts, where it is balanced by them."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    ids: list[str] = []
    parts: list[str] = []
    for documents in _batches(load_documents(corpus)):
        ids += [document.id for document in documents]
        if balance == "topics":
            parts += topic([document.text for document in documents]) if topic else [""] * len(documents)
        else:
            parts += [part_of(document, balance) for document in documents]
    parquet.write_table(pa.table({"id": ids, "part": parts}), corpus / FILE, compression="zstd")


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    for document in documents:
        batch.append(document)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def read_shares(corpus: Path) -> dict[str, Share]:
    """The share of each document by its id; empty where the corpus is not balanced.

    Raises LavraError where weights are there and nothing says whose they are: a corpus cleaned before that was written.
    """
    import pyarrow.parquet as parquet

    try:
        weights: dict[str, float] = json.loads((corpus / "report.json").read_bytes()).get("mixture", {})
    except (OSError, ValueError, AttributeError):
        return {}
    if not weights:
        return {}
    try:
        table = parquet.read_table(corpus / FILE)
    except OSError:
        raise LavraError(
            f"{corpus.name} has mixture weights but was cleaned before they could be trained by: clean it again, or "
            "train on it as it is with --no-mixture."
        ) from None
    rows = zip(table["id"].to_pylist(), table["part"].to_pylist(), strict=True)
    return {id: Share(part, float(weights.get(part, 1.0))) for id, part in rows}
