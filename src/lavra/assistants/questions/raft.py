"""RAFT (Zhang et al. 2024, "Adapting Language Model to Domain Specific RAG"): training to answer from what was found.

A conversation holds the question with the passage that answers it among others that do not (the index's own wrong
hits, the hardest there are), in any order; the answer quotes the passage and cites its number. In a share of them the
right passage is left out and the answer is the assistant's own refusal. The prompt is rendered by the very template
and function with which the assistant asks, so that training looks as use does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from lavra.assistants.assistant import as_sources
from lavra.assistants.questions.blocks import clean
from lavra.assistants.questions.checks import holds, says
from lavra.assistants.questions.items import Item, plain_key
from lavra.assistants.sentences import sentences
from lavra.corpus.document import Document
from lavra.prompting import PromptTemplate
from lavra.retrieval.index import Index
from lavra.retrieval.passage import Passage

WITHOUT = 0.2
"""Share of answerable questions whose passage is left out; RAFT found 0 to 40% best, by data set."""
_MORE = 12
"""Hits looked at for each distractor needed: those that answer the question are none."""


def conversations(
    items: Sequence[Item],
    documents: Mapping[str, Document],
    index: Index,
    template: PromptTemplate,
    *,
    roles: Collection[str],
    read: int,
    without: float = WITHOUT,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[dict[str, Any]]:
    """One conversation for each item; those without enough passages are left out.

    ``documents`` by source; ``read``: passages in a prompt, as many as the assistant reads.
    """
    draw = random.Random(seed)
    held = {item.document for item in items if item.split == "test"}
    kept_back = {documents[source].id for source in held if source in documents}
    training = [item for item in items if item.split != "test"]
    answerable = [item.id for item in training if item.answerable]
    bare = set(draw.sample(answerable, round(without * len(answerable))))
    for done, item in enumerate(training, start=1):
        progress(done, len(training))
        found = index.search(item.question, roles=roles, k=read + _MORE).passages
        document = documents.get(item.document)
        others = [p for p in found if p.document_id not in kept_back]
        gold = None
        if item.answerable:
            if document is None:
                continue
            gold = next((p for p in found if holds(p, item, document.id)), None) or _passage(item, index, roles)
            others = [
                p
                for p in others
                if not holds(p, item, document.id) and not _overlaps(p, item, document) and not says(p, item)
            ]
            if gold is None or (item.id not in bare and item.end > gold.end):
                continue
        with_gold = gold is not None and item.id not in bare
        chosen = others[: read - 1 if with_gold else read]
        if with_gold and gold:
            chosen = [*chosen, gold]
        if not chosen:
            continue
        draw.shuffle(chosen)
        language = template.language(item.language)
        turns = template.turns(item.question, as_sources(chosen), language=language)
        number = chosen.index(gold) + 1 if with_gold and gold else None
        answer = cited(item, number) if number else template.refusal(language)
        yield {
            "messages": [*turns, {"role": "assistant", "content": answer}],
            "question": item.id,
            "gold": number,
            "passages": [passage.chunk_id for passage in chosen],
        }


def cited(item: Item, number: int) -> str:
    """The answer with its citation: a short one with the quote that proves it, a long one sentence by sentence."""
    mark, quote = f" [{number}]", clean(item.quote)
    if plain_key(item.answer) == plain_key(quote) or len(item.answer) > len(quote) * 0.7:
        text = clean(item.answer)
        return "\n\n".join(text[start:end] + mark for start, end in sentences(text)).replace("\n\n", " ")
    return f"{clean(item.answer).rstrip('.')}: “{quote}”{mark}"


def _passage(item: Item, index: Index, roles: Collection[str]) -> Passage | None:
    return index.passage(item.chunk, roles) if item.chunk else None


def _overlaps(passage: Passage, item: Item, document: Document) -> bool:
    return passage.document_id == document.id and passage.start < item.end and item.start < passage.end
