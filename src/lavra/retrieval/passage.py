"""What a search returns: passages that can be cited."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of a document, found for a question.

    ``document.text[start:end] == text``, exactly (offsets in code points).
    """

    chunk_id: str
    document_id: str
    source: str
    title: str
    text: str
    start: int
    end: int
    headings: tuple[str, ...] = ()
    """The headings above the chunk, outermost first."""
    page: str | None = None
    """Label of the page, slide or sheet on which the chunk begins."""
    language: str = "und"
    score: float = 0.0
    """Probability, by the fusion, that this passage answers the question; comparable between questions."""
    features: dict[str, float] = field(default_factory=dict)
    """What the fusion saw: lexical and dense scores and ranks, for explanation."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Passages, best first, and whether they are good enough to answer from."""

    passages: tuple[Passage, ...]
    confidence: float
    """Probability that the passages answer the question at all."""
    answerable: bool
    """``confidence`` at or above the measured threshold of the index."""
    seconds: float = 0.0
