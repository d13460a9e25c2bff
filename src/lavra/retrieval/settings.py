"""What an index was made with, in ``index.json`` at its root, and which of its tables is the current one.

Vectors of two embedders cannot be compared, so an index remembers its embedder by the SHA-256 of its weights. The
table is named here too: erasing writes a new one and switches to it by replacing this file, which is atomic, so
that a reader in any process sees either the old table or the new one, whole.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lavra.errors import LavraError
from lavra.store.files import write_atomically

FORMAT = 3
NAME = "index.json"


@dataclass(frozen=True, slots=True)
class IndexSettings:
    table: str
    embedder: str
    embedder_sha256: str
    dimension: int
    vectors_trained: int = 0
    """Rows that the vector index was trained on; 0 where there is none yet and vectors are compared one by one."""
    format: int = FORMAT

    def with_new_table(self) -> IndexSettings:
        return replace(self, table=new_table_name(), vectors_trained=0)


def new_table_name() -> str:
    return f"chunks-{secrets.token_hex(4)}"


def read_settings(root: Path) -> IndexSettings | None:
    """The settings of the index at ``root``, or None where there is no index yet.

    Raises:
        LavraError: the file is damaged, or written by a later Lavra.
    """
    file = root / NAME
    try:
        fields = json.loads(file.read_bytes())
        if fields["format"] != FORMAT:
            raise LavraError(
                f"the index at {root} has format {fields['format']} and this Lavra reads format {FORMAT}: "
                "re-index with --rebuild"
            )
        return IndexSettings(**fields)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LavraError(f"{file} is damaged ({error}): delete {root} and re-index") from error


def write_settings(root: Path, settings: IndexSettings) -> None:
    """Replace ``index.json`` in one step, on disk before it takes effect."""
    write_atomically(root / NAME, json.dumps(asdict(settings), indent=2).encode())
