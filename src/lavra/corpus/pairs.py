"""Pairs of texts that belong together, to tune embedders and rerankers with: read from a file, or made of documents.

Documents hold pairs that nobody has to write: a heading and what stands under it, a paragraph and the next. Questions
with the place that answers them are better still, and few of them help much. Each pair remembers its document, so that
what is held out is held out by document.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lxml import etree

from lavra.corpus.document import Document
from lavra.corpus.tables import Refusal, describe, pick, read_rows
from lavra.errors import LavraError

ANCHORS = ("anchor", "query", "question", "pergunta", "sentence1", "premise", "text1", "text_a")
POSITIVES = ("positive", "passage", "answer", "resposta", "sentence2", "hypothesis", "text2", "text_b", "document")
NEGATIVES = ("negatives", "negative")
SCORES = ("score", "similarity", "relatedness", "label")
SOURCES = ("source", "document_id", "doc")
_CERTAIN = (
    {"anchor", "positive"}, {"query", "positive"}, {"query", "passage"}, {"question", "passage"},
    {"sentence1", "sentence2"}, {"premise", "hypothesis"}, {"text1", "text2"}, {"text_a", "text_b"},
)  # fmt: skip

LONGEST = 1500
"""Characters of a passage: about what 400 tokens hold, which embedders read."""
SHORTEST = 80
"""Characters below which a passage says too little to be found by."""


@dataclass(frozen=True)
class Pair:
    """``negatives``: texts that look alike and do not belong; ``score``: how alike anchor and positive are, where a
    person said so; ``source``: whose document it is."""

    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()
    score: float | None = None
    source: str = ""


@dataclass(frozen=True)
class PairFile:
    """What a file held, and what of it was refused."""

    pairs: list[Pair]
    refused: list[Refusal]


def read_pairs(path: Path) -> PairFile:
    """Pairs, triplets or graded pairs of a JSON Lines, CSV or TSV file, or of ASSIN's XML.

    Columns: ``anchor`` and ``positive`` (or question/passage, sentence1/sentence2, premise/hypothesis …); where there
    are, ``negative`` or ``negatives`` (a list, or ``negative_1``, ``negative_2`` …), ``score`` or ``label`` (a
    number), ``source``. A row that cannot be used is refused by its line. Raises LavraError where none is left.
    """
    path = Path(path)
    rows = assin_rows(path) if path.suffix.lower() == ".xml" else read_rows(path)
    pairs: list[Pair] = []
    refused: list[Refusal] = []
    seen: dict[tuple[str, str, tuple[str, ...]], float | None] = {}
    for line, row in rows:
        found = row if isinstance(row, str) else to_pair(row)
        if isinstance(found, Pair):
            key = (found.anchor, found.positive, found.negatives)
            if key in seen:
                same = seen[key] == found.score
                found = "it repeats an earlier row" + ("" if same else f" with another score ({seen[key]})")
            else:
                seen[key] = found.score
        if isinstance(found, str):
            refused.append(Refusal(line, found))
        else:
            pairs.append(found)
    if not pairs:
        raise LavraError(f"{path.name} holds no pair that can be used: {describe(refused) or 'it has no rows'}")
    if len({pair.score is None for pair in pairs}) > 1:
        raise LavraError(f"{path.name} has scores in some rows and none in others; give all or none")
    return PairFile(pairs, refused)


def is_pair(row: Mapping[str, Any]) -> bool:
    """Whether a row's fields are of a pair and of nothing else: a question and an answer may be an instruction."""
    names = {key.strip().casefold() for key in row}
    return any(both <= names for both in _CERTAIN) and not names & {"answer", "resposta", "response", "completion"}


def to_pair(row: Mapping[str, Any]) -> Pair | str:
    """The pair that a row holds, or why it holds none that could be used."""
    anchor, positive = pick(row, ANCHORS), pick(row, POSITIVES)
    for name, value in (("anchor", anchor), ("positive", positive)):
        if not isinstance(value, str):
            return f"it has no {name}"
        if not value.strip():
            return f"its {name} is empty"
    given: Any = pick(row, NEGATIVES)
    numbered = sorted(key for key in row if re.fullmatch(r"negative_\d+", key.strip()))
    negatives = given if isinstance(given, list) else [given] if given else []
    negatives = [*negatives, *(row[key] for key in numbered if row[key])]
    if not all(isinstance(negative, str) and negative.strip() for negative in negatives):
        return "a negative is not a text"
    anchor, positive = anchor.strip(), positive.strip()
    if positive in (negative.strip() for negative in negatives):
        return "a negative is its positive"
    score = pick(row, SCORES)
    if score is not None and score != "":
        try:
            score = float(str(score).replace(",", "."))
        except ValueError:
            return f"its score {score!r} is not a number"
        if not math.isfinite(score):
            return f"its score {score!r} is not a number"
    else:
        score = None
    if anchor == positive and score is None:
        return "its two sides are equal"
    source = pick(row, SOURCES) or (row.get("document") if "positive" in row else None)
    return Pair(anchor, positive, tuple(n.strip() for n in negatives), score, str(source or ""))


def assin_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """ASSIN's XML (Fonseca et al. 2016; Real et al. 2020): <pair similarity="…"><t>…</t><h>…</h></pair>."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        root = etree.parse(str(path), parser).getroot()
    except (OSError, etree.XMLSyntaxError) as error:
        raise LavraError(f"{path.name} is not readable XML ({error})") from error
    for pair in root.iter("pair"):
        values = {"anchor": pair.findtext("t"), "positive": pair.findtext("h"), "score": pair.get("similarity")}
        yield int(pair.sourceline or 0), values


def unit_scores(pairs: Sequence[Pair]) -> list[Pair]:
    """Scores brought to 0 to 1, as cosines are, from the whole numbers around the least and the greatest (1 to 5)."""
    scores = [pair.score for pair in pairs if pair.score is not None]
    if not scores or (min(scores) >= 0 and max(scores) <= 1):
        return list(pairs)
    low, high = math.floor(min(scores)), math.ceil(max(scores))
    return [pair if pair.score is None else replace(pair, score=(pair.score - low) / (high - low)) for pair in pairs]


# ── from documents ───────────────────────────────────────────────────────────────────────────────────────────────


def headed_pairs(document: Document) -> Iterator[Pair]:
    """A heading, with the title before it, and the text under it."""
    headings = sorted((span for span in document.spans if span.kind == "heading"), key=lambda span: span.start)
    for number, heading in enumerate(headings):
        end = headings[number + 1].start if number + 1 < len(headings) else len(document.text)
        body = shorten(document.text[heading.end : end])
        label = heading.label.strip()
        if not label or len(body) < SHORTEST:
            continue
        title = document.title.strip()
        anchor = label if not title or title.casefold() in label.casefold() else f"{title}: {label}"
        yield Pair(anchor, body, source=document.source)


def neighbouring_pairs(document: Document) -> Iterator[Pair]:
    """A paragraph and the one after it, in pairs that do not overlap: what stands together is about the same."""
    paragraphs = [shorten(text) for text in re.split(r"\n\s*\n", document.text)]
    paragraphs = [text for text in paragraphs if len(text) >= SHORTEST]
    for first, second in zip(paragraphs[::2], paragraphs[1::2], strict=False):
        if first != second:
            yield Pair(first, second, source=document.source)


def document_pairs(documents: Iterable[Document], *, most: int = 50) -> list[Pair]:
    """The headed and the neighbouring pairs of all documents, at most ``most`` of a document, each pair once.

    A heading that stands in many documents ("Introduction", "See also") says nothing of any: it is left out.
    """
    found: list[Pair] = []
    for document in documents:
        own = [*headed_pairs(document), *neighbouring_pairs(document)]
        found += own if len(own) <= most else own[:: -(-len(own) // most)]
    anchors: dict[str, set[str]] = {}
    for pair in found:
        anchors.setdefault(pair.anchor, set()).add(pair.positive)
    kept: dict[tuple[str, str], Pair] = {}
    for pair in found:
        if len(anchors[pair.anchor]) == 1:
            kept.setdefault((pair.anchor, pair.positive), pair)
    return list(kept.values())


def question_pairs(path: Path, documents: Iterable[Document]) -> PairFile:
    """Questions and the passage that answers each: JSON Lines with ``question``, and ``passage``, or ``source`` (a
    document's) and ``answer``, whose paragraph there becomes the passage.

    An answer that its document does not hold is refused; so is a question without any (nothing answers it).
    """
    by_name = {name: document for document in documents for name in (document.id, document.source)}
    pairs, refused = [], []
    for line, row in read_rows(Path(path)):
        found = row if isinstance(row, str) else _question(row, by_name)
        if isinstance(found, Pair):
            pairs.append(found)
        else:
            refused.append(Refusal(line, found))
    return PairFile(pairs, refused)


def _question(row: dict[str, Any], by_name: dict[str, Document]) -> Pair | str:
    question, passage = pick(row, ("question", "pergunta", "query", "text")), pick(row, ("passage", "context"))
    if not isinstance(question, str) or not question.strip():
        return "it has no question"
    source, answer = pick(row, (*SOURCES, "docs")), pick(row, ("quote", "evidence", "answer", "resposta"))
    source = source[0] if isinstance(source, list) and source else source
    if isinstance(passage, str) and passage.strip():
        return Pair(question.strip(), shorten(passage), source=str(source or ""))
    document = by_name.get(str(source))
    if document is None:
        return f"its source {source!r} is not in the corpus"
    if not isinstance(answer, str) or not answer.strip():
        return "it has neither a passage nor an answer"
    at = document.text.find(answer.strip())
    if at < 0:
        return f"{document.source} does not hold its answer"
    start = document.text.rfind("\n\n", 0, at) + 1
    end = document.text.find("\n\n", at + len(answer))
    return Pair(question.strip(), shorten(document.text[start : end if end >= 0 else None]), source=document.source)


def shorten(text: str, most: int = LONGEST) -> str:
    """The text in one line a paragraph, cut behind the last whole sentence within ``most`` characters."""
    text = re.sub(r"[ \t]+", " ", text).strip()
    if len(text) <= most:
        return text
    cut = max(text.rfind(mark, most // 2, most) for mark in (". ", ".\n", "? ", "! ", "\n"))
    return text[: cut + 1 if cut >= 0 else most].strip()
