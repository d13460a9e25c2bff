"""What the reader, the sources files and the language detector say about a file, put together into documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath

from lavra.corpus.document import Document
from lavra.corpus.language import detect_language
from lavra.corpus.opting_out import RESERVATION
from lavra.corpus.parts import BadRecord, Parts
from lavra.corpus.pool import Answer
from lavra.corpus.remembering import Remembered
from lavra.corpus.settings import ReadSettings
from lavra.corpus.sources import Facts, Sources
from lavra.corpus.walking import Found, Skipped, safe_name


@dataclass(frozen=True, slots=True)
class Assembly:
    """Puts together what the reader, the sources and the language detector say about a file's documents."""

    found: Found
    sources: Sources
    settings: ReadSettings
    names: Remembered[int] = field(default_factory=Remembered)
    """The records' names so far, each with the number that the next record of this name gets."""

    def documents(self, answer: Answer) -> Iterator[Document | Skipped]:
        """The documents of a file, or of one record of it."""
        modified = _iso(self.found.modified)
        for parts in answer.documents:
            if isinstance(parts, BadRecord):
                yield Skipped(f"{self.found.source}#{parts.record}", parts.kind, parts.reason)
                continue
            facts = self.sources.facts(self.found.path, parts, self.settings)
            yield Document(
                source=self._source(parts),
                text=parts.text,
                title=parts.title or _stem(self.found.path.name),
                format=answer.kind,
                language=facts.language or detect_language(parts.text, self.settings.languages),
                licence=facts.licence,
                owner=facts.owner,
                roles=facts.roles,
                spans=parts.spans,
                bytes=answer.bytes,
                modified=modified,
                metadata={**facts.site, **parts.metadata, **_reserved(facts), "sha256": answer.sha256},
            )

    def _source(self, parts: Parts) -> str:
        """The document's name: records by their id, and by a number after it where an id comes twice."""
        if not parts.record:
            return self.found.source
        name = base = safe_name(parts.record)
        number = self.names.get(base)
        if number is not None:
            while (name := f"{base}~{number}") in self.names:
                number += 1
        self.names[base] = 2 if number is None else number + 1
        if name != base:
            self.names[name] = 2
        return f"{self.found.source}#{name}"


def _reserved(facts: Facts) -> dict[str, str]:
    """What a sources file says of opting out of training, which goes before the file's own word."""
    if facts.tdm_reservation is None:
        return {}
    return {RESERVATION: str(facts.tdm_reservation).lower()}


def _iso(timestamp: float) -> str | None:
    """ISO 8601 in UTC; None for a time that no calendar has (file systems hold any number)."""
    try:
        return datetime.fromtimestamp(int(timestamp), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None


def _stem(name: str) -> str:
    return safe_name(PurePosixPath(name).stem)
