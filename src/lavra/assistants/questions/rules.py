"""Questions by rules: no model, the same documents give the same questions.

What a document says in a form that is a question already (a heading that asks, an FAQ), or that becomes one with
certainty (a definition, a date, a row of a table), as in the rule-based systems since Heilman and Smith (2010, "Good
question! Statistical ranking for question generation"). What cannot be formed well is left out: there is always more
text than questions are needed.

=============  ================================================================================================
kind           from
=============  ================================================================================================
faq            a heading or a line that ends in a question mark, and the paragraph below; ``Q: … A: …``
how            "How to …" in a heading; "To do this, do that."
definition     "X is a …", and its like
glossary       a list or lines of ``term: meaning``
date, number,  a sentence with one of these, whose verb is known
name, place
list           "The … are:", and the list below
table          a cell, by its row's first cell and its column's header
=============  ================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

from lavra.assistants.questions import english, portuguese, spanish
from lavra.assistants.questions.blocks import Block, Names, Section, clean, said, sections, table, table_lines
from lavra.assistants.questions.items import Item
from lavra.corpus.document import Document

GRAMMARS: dict[str, ModuleType] = {"en": english, "pt": portuguese, "es": spanish}
ANSWER = 400
"""Characters of an answer beyond which a paragraph gives only its first sentences."""
_SENTENCES = 3
_QUESTION_LINE = re.compile(r"^(?:\*\*)?(?:\d{1,2}[.)] ?)?(?P<question>[¿\w][^?\n]{8,160}\?)(?:\*\*)?$")
_Q_AND_A = re.compile(
    r"^(?:Q|P|Pergunta|Question|Pregunta)(?: ?\d+)? ?[:.–-] ?(?P<question>[^?\n]+\?)\s+"
    r"(?:A|R|Resposta|Answer|Respuesta)(?: ?\d+)? ?[:.–-] ?(?P<answer>\S.*)$",
    re.DOTALL,
)
_ENTRY = re.compile(r"^(?P<term>[^\W\d_][\w /’'.-]{1,48}?)(?P<mark>: | — | – )(?P<meaning>\S.{15,})$")
_GLOSSARY = re.compile(
    r"gloss|defini|terms\b|termos|términos|vocabul|conceitos|conceptos|concepts|siglas|abbrevia", re.IGNORECASE
)
_POINTING = {
    "en": re.compile(
        r"\b(?:this|these|those|that (?!\w+s\b|is|are|was|were|has|have|can|the|a|an|it|you|they)\w+) ", re.IGNORECASE
    ),
    "pt": re.compile(
        r"\b(?:[dn]?ess[ae]s?|[dn]?est[ae]s?|[dn]?este|[dn]?esse|[dn]?aquel[ae]s?|também)\b", re.IGNORECASE
    ),
    "es": re.compile(r"\b(?:es[ae]s?|esos|est[ae]s?|este|estos|aquel\w*|también)\b", re.IGNORECASE),
}
"""Words that point at what stands before a sentence."""


def make(document: Document) -> list[Item]:
    """All questions that the rules make of a document, in its order; none in a language without a grammar."""
    grammar = GRAMMARS.get(document.language)
    if grammar is None:
        return []
    names = Names(document.text)
    found: list[Item] = []
    for section in sections(document):
        found += _of_section(document, section, grammar, names)
    return [item.named() for item in found]


def _of_section(document: Document, section: Section, grammar: ModuleType, names: Names) -> Iterator[Item]:
    item = Item("", document=document.source, language=document.language, by="rules")
    blocks = section.blocks
    question = section.heading if section.heading.endswith("?") else ""
    question, kind = (question, "faq") if question else (grammar.heading(section.heading, names), "how")
    if question and blocks and (place := _opening(document, blocks)):
        yield _placed(item, document, kind, question, place)
    for number, block in enumerate(blocks):
        following = blocks[number + 1 :]
        if block.kind == "table":
            yield from _of_table(item, document, block, grammar)
        elif block.kind == "paragraph":
            yield from _of_paragraph(item, document, block, following, grammar, names)
        if block.kind in ("paragraph", "item"):
            yield from _entry(item, document, block, section, grammar)


def _of_paragraph(
    item: Item, document: Document, block: Block, following: tuple[Block, ...], grammar: ModuleType, names: Names
) -> Iterator[Item]:
    text = block.text
    if m := _Q_AND_A.match(text):
        start = block.start + m.start("answer")
        if place := _opening(document, (Block("paragraph", start, block.end, m["answer"]),)):
            yield _placed(item, document, "faq", clean(m["question"]), place)
        return
    first, _, rest = text.partition("\n")
    if m := _QUESTION_LINE.match(first.strip()):
        answer = (Block("paragraph", block.start + len(first) + 1, block.end, rest),) if rest.strip() else following
        if answer and not answer[0].text.strip().split("\n")[0].endswith("?") and (place := _opening(document, answer)):
            yield _placed(item, document, "faq", clean(m["question"]), place)
        return
    if text.rstrip().endswith(":"):
        last = said(block)[-1]
        entries = _items(following)
        if len(entries) >= 2 and (question := grammar.introduced(clean(document.text[slice(*last)]), names)):
            answer_text = "; ".join(clean(entry.text).rstrip(".;") for entry in entries)
            yield _placed(item, document, "list", question, (last[0], entries[-1].end), answer_text)
    for start, end in said(block):
        sentence = clean(document.text[start:end])
        if 4 <= len(sentence.split()) <= 60 and sentence[:1].isupper():
            for made in grammar.sentence(sentence, names):
                if made.kind == "definition" and _POINTING[grammar.CODE].search(sentence):
                    continue  # "X is a part of this plan": by itself that says nothing
                yield _placed(item, document, made.kind, made.question, (start, end), made.answer)


def _items(blocks: tuple[Block, ...]) -> list[Block]:
    """The list that the blocks begin with."""
    found = []
    for block in blocks:
        if block.kind != "item":
            break
        found.append(block)
    return found


def _entry(item: Item, document: Document, block: Block, section: Section, grammar: ModuleType) -> Iterator[Item]:
    """``term: meaning``."""
    text = clean(block.text)
    if not (m := _ENTRY.match(text)) or len(m["term"].split()) > 5:
        return
    marked = re.match(r"(?:\*\*|`)", block.text) is not None
    in_glossary = bool(_GLOSSARY.search(section.heading))
    short_term = len(m["term"].split()) <= 3 and (block.kind == "item" or marked)
    if not (in_glossary or (short_term and grammar.is_definition(m["meaning"]))):
        return
    if m["term"].split()[0].lower() in (
        "note",
        "nota",
        "warning",
        "aviso",
        "obs",
        "tip",
        "dica",
        "example",
        "exemplo",
        "ejemplo",
    ):
        return
    yield _placed(item, document, "glossary", grammar.means(m["term"]), (block.start, block.end), m["meaning"])


def _of_table(item: Item, document: Document, block: Block, grammar: ModuleType) -> Iterator[Item]:
    """A question a cell, where the first column names the rows."""
    rows, lines = table(block), table_lines(block)
    if len(rows) < 3 or len(rows) != len(lines):
        return
    header, body = rows[0], rows[1:]
    keys = [row[0] for row in body]
    named = all(key and len(key) <= 48 for key in keys) and len(set(keys)) == len(keys)
    if not named or not all(re.search(r"[^\W\d]", name) for name in header):
        return
    for row, (start, end) in zip(body, lines[1:], strict=True):
        for column in range(1, len(row)):
            value = row[column]
            if (len(value) < 2 and not value.isdigit()) or ", " in row[0]:
                continue
            if question := grammar.cell(header[column], header[0], row[0]):
                yield _placed(item, document, "table", question, (start, end), value)


def _opening(document: Document, blocks: tuple[Block, ...]) -> tuple[int, int] | None:
    """The first sentences below a question: of a paragraph, and where that introduces a list, with the list."""
    first = blocks[0]
    if first.kind != "paragraph":
        return None
    places = said(first)
    if not places or (len(places) == 1 and document.text[slice(*places[0])].endswith("?")):
        return None
    start, end = places[0]
    for _, later in places[1:_SENTENCES]:
        if later - start > ANSWER:
            break
        end = later
    if first.text.rstrip().endswith(":") and end == places[-1][1]:
        entries = _items(blocks[1:])
        if not entries or entries[-1].end - start > 2 * ANSWER:
            return (start, places[-2][1]) if len(places) > 1 else None
        end = entries[-1].end
    return start, end


def _placed(item: Item, document: Document, kind: str, question: str, place: tuple[int, int], answer: str = "") -> Item:
    start, end = place
    quote = document.text[start:end]
    answer = answer.strip() or clean(re.sub(r"\n[ \t]*(?:[-*•]|\d{1,2}[.)])[ \t]+", " ", quote))
    return replace(
        item, kind=kind, question=question, answer=answer, answers=(answer,), quote=quote, start=start, end=end
    )
