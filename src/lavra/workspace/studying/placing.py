"""Where a question's source stands in the corpus: sets that others made name documents in their own way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lavra.assistants.citing import Sources, best_window
from lavra.assistants.questions.items import Item, find_quote
from lavra.assistants.sentences import sentences
from lavra.corpus.document import Document
from lavra.errors import LavraError
from lavra.evaluation.items import Question, Source


class Places:
    """The documents of a corpus, found by name, by the end of a name, or by what stands in them."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = {document.source: document for document in documents}
        self._ends: dict[str, list[Document]] = defaultdict(list)
        for document in documents:
            for end in {document.source.rpartition("#")[2], document.source.rpartition("/")[2], document.id}:
                self._ends[end].append(document)

    def question(self, question: Question, file: str) -> Question:
        """The same with its sources' documents called as the corpus calls them.

        Raises:
            LavraError: for a source that is in none of the documents.
        """
        return replace(question, sources=tuple(self._source(source, question, file) for source in question.sources))

    def _source(self, source: Source, question: Question, file: str) -> Source:
        found = self._find(source)
        if found is None:
            what = f"{source.document!r}" if source.document else f"“{source.text[:40]}…”"
            raise LavraError(
                f"{file}: the source {what} of “{question.text[:80]}” is in none of the documents that may be read: "
                "ingest and index them first, or leave the question out."
            )
        document, place = found
        if place is None:
            return Source(document.source, source.text)
        return Source(document.source, document.text[slice(*place)], *place)

    def _find(self, source: Source) -> tuple[Document, tuple[int, int] | None] | None:
        """The document, and where in it the source's words stand, if it has any and they do."""
        named = list(self._named(source.document))
        for stands in (_exactly, _spaced_otherwise) if source.text else ():
            for document in named or self.documents.values():
                if place := stands(source.text, document):
                    return document, place
        return (named[0], None) if len(named) == 1 else None

    def _named(self, name: str) -> Iterator[Document]:
        if name in self.documents:
            yield self.documents[name]
        elif name:
            yield from self._ends.get(name, ())

    def item(self, question: Question) -> Item:
        """A placed question as ways learn from it: with the sentence that holds its answer."""
        language = question.language
        if not question.answerable:
            return Item(question.text, language=language, answerable=False).named()
        source = question.sources[0]
        document = self.documents[source.document]
        start, end = self._proof(question, document)
        return Item(
            question.text, question.answers[0], question.answers, document.source, "", document.text[start:end], start,
            end, language,
        ).named()  # fmt: skip

    def _proof(self, question: Question, document: Document) -> tuple[int, int]:
        """Offsets of what shows the answer: the sentence in which it stands, or the words nearest to it."""
        source = question.sources[0]
        low, high = (source.start, source.end) if source.start is not None and source.end else (0, len(document.text))
        text = document.text[low:high]
        for answer in question.answers:
            if place := find_quote(text, answer):
                start, end = _around(text, *place)
                return low + start, low + end
        support = best_window(Sources([text], document.language), 0, question.answers[0])
        return low + support.start, low + support.end


def _exactly(text: str, document: Document) -> tuple[int, int] | None:
    start = document.text.find(text)
    return (start, start + len(text)) if start >= 0 else None


def _spaced_otherwise(text: str, document: Document) -> tuple[int, int] | None:
    """Slower, so it comes second."""
    return find_quote(document.text, text)


def _around(text: str, start: int, end: int) -> tuple[int, int]:
    """The sentences that an answer touches."""
    touched = [place for place in sentences(text) if place[0] < end and start < place[1]]
    return (min(place[0] for place in touched), max(place[1] for place in touched)) if touched else (start, end)
