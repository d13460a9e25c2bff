"""Quoting: what the sources themselves say to a question, when the model has nothing to say that they support.

A small model, or one that does not speak the documents' language, writes sentences that no source supports. They are
kept out (``citing``), and the reader gets the sentences of the sources that are nearest to the question: by meaning
(the embedder's cosine) and by words. How often that answers is measured by ``benchmarks/answers.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from lavra.assistants.citing import QUOTE, Sources, Support
from lavra.assistants.sentences import headed
from lavra.retrieval.updating import TextEmbedder

LEXICAL = 0.15
"""Weight of the share of the question's words beside the cosine; cosines of E5 lie close together."""
PASSAGE = 0.05
"""Weight of the passage's own probability: the search has seen more than a sentence shows."""
NEAR = 0.04
"""How far behind the best a sentence may be for an answer to rest on it."""
SHORTEST = 25
"""Characters below which a line is a heading or a label, not something to quote."""


def best_quotes(
    question: str, sources: Sources, scores: Sequence[float], embedder: TextEmbedder, *, count: int = 2
) -> list[Support]:
    """The ``count`` sentences nearest to the question, best first.

    ``scores``: the probability of each source. A sentence is read together with the heading above it, which often
    holds the question's words. ``score`` is comparable within one call only.
    """
    spans = [
        (source, start, end, heading)
        for source, text in enumerate(sources.texts)
        for start, end, heading in headed(text)
        if SHORTEST <= end - start <= 2 * QUOTE and not text[start:end].endswith("?")
    ]
    if not spans:
        return [Support(0, 0.0, 0, len(sources.texts[0]))] if sources.texts else []
    texts = [f"{heading} {sources.texts[source][start:end]}".strip() for source, start, end, heading in spans]
    cosines = embedder.documents(texts) @ embedder.queries([question])[0]
    asked = sources.words(question)
    found = []
    for (source, start, end, _), text, cosine in zip(spans, texts, cosines, strict=True):
        shared = len(asked & sources.words(text)) / max(1, len(asked))
        found.append(Support(source, float(cosine) + LEXICAL * shared + PASSAGE * scores[source], start, end))
    return sorted(found, key=lambda support: -support.score)[:count]
