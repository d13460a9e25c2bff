"""The sealed register: every trap and canary, which of each pair was put in, how often and where.

It is a JSON file that only its owner may read (mode 0600), for whoever knows the traps can filter them out, or learn
them by heart to discredit a model. Its seal is the SHA-256 of all that it holds: a later change is noticed, and the
corpus' manifest and the ledger, which have the seal and none of the sentences, say since when it has been so.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from lavra.errors import LavraError
from lavra.store.files import digest, write_atomically

FORMAT = 1
Kind = Literal["trap", "canary"]


@dataclass(frozen=True)
class Entry:
    """One text. ``pair``: the number that it shares with its twin; ``level``: how often the inserted one of the pair
    is to stand in the corpus; ``documents``: in which it does, by id, with the number of copies.

    ``perplexity``: per token, under the model named by the register, with ``tokens`` of its tokenizer; None where the
    grammar wrote it. Of a canary: ``format``, with ``{secret}`` in it, and ``secret`` of as many decimal digits.
    """

    kind: Kind
    pair: int
    text: str
    level: int
    inserted: bool
    words: int
    tokens: int | None = None
    perplexity: float | None = None
    bucket: str = ""
    format: str = ""
    secret: str = ""
    documents: Mapping[str, int] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """SHA-256 of the text: its name wherever the sentence itself must not stand."""
        return sha256(self.text.encode()).hexdigest()

    @property
    def copies(self) -> int:
        return sum(self.documents.values())

    @property
    def space(self) -> int:
        """How many secrets a canary's might have been; 1 for a trap."""
        return 10 ** len(self.secret)


@dataclass(frozen=True)
class Register:
    """``secret``: of which the coins and places were drawn, in hexadecimal; ``model``: by which the traps were written
    or weighed, with its SHA-256; ``corpus``: the id of the corpus that they were put into; ``made``: when."""

    language: str
    secret: str
    entries: tuple[Entry, ...]
    made: str = ""
    model: str = ""
    corpus: str = ""

    @property
    def inserted(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.inserted]

    @property
    def levels(self) -> list[int]:
        return sorted({entry.level for entry in self.entries})

    def pairs(self, kind: Kind) -> list[tuple[Entry, Entry]]:
        """(inserted, twin), in the order of their numbers."""
        found: dict[int, dict[bool, Entry]] = {}
        for entry in self.entries:
            if entry.kind == kind:
                found.setdefault(entry.pair, {})[entry.inserted] = entry
        return [(pair[True], pair[False]) for _, pair in sorted(found.items())]

    @property
    def values(self) -> dict[str, Any]:
        """As plain JSON, the seal aside."""
        entries = [{**asdict(entry), "hash": entry.hash} for entry in self.entries]
        others = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "entries"}
        return {"format": FORMAT, **others, "entries": entries}

    @property
    def seal(self) -> str:
        """SHA-256 over everything in it."""
        return digest(self.values)

    def injected(self, corpus: str, documents: Sequence[Mapping[str, int]]) -> Register:
        """With the documents of each entry."""
        placed = [
            replace(entry, documents=dict(sorted(of.items())))
            for entry, of in zip(self.entries, documents, strict=True)
        ]
        return replace(self, corpus=corpus, entries=tuple(placed))


def write_register(register: Register, path: Path, *, replacing: bool = False) -> None:
    """Write it whole or not at all, readable by its owner alone. Raises LavraError where a file is there already."""
    if path.exists() and not replacing:
        raise LavraError(f"{path} exists already, and a register is never overwritten: choose another name.")
    text = json.dumps({**register.values, "seal": register.seal}, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode("utf-8"), mode=0o600)


def read_register(path: Path) -> Register:
    """Raises LavraError for a file that is no register, or whose seal is broken: it was changed since it was made."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise KeyError(f"format {values['format']}")
        entries = tuple(
            Entry(**{key: value for key, value in entry.items() if key != "hash"}) for entry in values["entries"]
        )
        others = {key: value for key, value in values.items() if key not in ("format", "entries", "seal")}
        register = Register(entries=entries, **others)
        seal = values["seal"]
    except FileNotFoundError:
        raise LavraError(f"there is no register at {path}: make one with `lavra traps make {path}`.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LavraError(f"{path} is no register of traps ({error}): give what `lavra traps make` wrote.") from None
    if register.seal != seal:
        raise LavraError(
            f"the seal of {path} is broken: it was changed after it was made, so nothing measured with it would count; "
            "restore it from a backup."
        )
    return register


def open_to_others(path: Path) -> bool:
    """Whether anybody but the owner may read the file."""
    return os.name == "posix" and bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
