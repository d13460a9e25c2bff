"""What is doubtful in answers, by signs that a person can check at a glance; none of them proves anything.

==============  =================================================================================================
signal          says
==============  =================================================================================================
equal sides     the answer is the question
repeated        the same answer, five words or more, to five different questions or more
refusal         the answer begins as models refuse: "As an AI language model", "Desculpe, mas não posso"
language        the answer is in another language than the question, and nobody speaks of translating
cut             a long answer ends without a closing mark, or leaves a code block open; not looked for in a set
                whose long answers mostly end so
loop            an answer that says mostly what it said before (four words in a row, over half of them again)
length          an answer far longer than the others (more than five robust standard deviations of the logarithm)
==============  =================================================================================================

Of preferences, the chosen answer is looked at. N rows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lavra.corpus.labels.entry import Entry, plain

Hit = tuple[int, str]
"""Row, and what is to be seen there."""

_FEW = 5
_LONG = 20
_LETTERS = 60
_MOST_CUT = 0.3
_DEVIATIONS = 5.0
_CANNOT = r"(?:can(?:no|'|’)t|am unable|am not able|'m unable|'m not able)"
_REFUSAL = re.compile(
    r"\s*(?:"
    rf"(?:i'?m|i am|i’m) (?:sorry|afraid)\b.{{0,40}}\b{_CANNOT}|(?:sorry|unfortunately),? (?:but )?i {_CANNOT}"
    r"|i can(?:no|'|’)t (?:help|assist|provide|answer)|i(?:'m| am) (?:unable|not able) to\b"
    r"|as an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|(?:desculpe|lamento|sinto muito|infelizmente)\b.{0,40}\bnão (?:posso|consigo|é possível)"
    r"|não (?:posso|consigo) (?:ajudar|fornecer|responder|atender)"
    r"|como (?:uma? )?(?:modelo de linguagem|ia\b|intelig[êe]ncia artificial)"
    r"|(?:lo siento|lamentablemente|disculpa|perdona)\b.{0,40}\bno (?:puedo|es posible)"
    r"|no puedo (?:ayudar|proporcionar|responder)|como (?:un )?modelo de lenguaje"
    r")",
    re.IGNORECASE | re.DOTALL,
)
_TRANSLATING = re.compile(
    r"transla|tradu[cz]|\b(?:in|into|to|em|para o|al|en) "
    r"(?:english|portuguese|spanish|french|german|inglês|português|espanhol|francês|alemão|inglés|portugués|español)",
    re.IGNORECASE,
)
_OPEN = re.compile(r"[^\W\d_]\s*$")
_ITEM = re.compile(r"\s*(?:[-*•–>#|]|\d+[.)])")
_LINE = 8
"""Words of a last line that can be cut: a signature, a name and the items of a list end without a mark."""


def equal_sides(entries: Sequence[Entry]) -> Iterator[Hit]:
    for row, entry in enumerate(entries):
        if entry.said.strip() and plain(entry.said) == plain(entry.asked):
            yield row, "the answer is the question"


def repeated(entries: Sequence[Entry]) -> Iterator[Hit]:
    by_answer: dict[str, list[int]] = defaultdict(list)
    for row, entry in enumerate(entries):
        if len(entry.said.split()) >= _FEW:
            by_answer[entry.keys[1]].append(row)
    for rows in by_answer.values():
        if len(rows) >= _FEW:
            yield from ((row, f"the same answer stands in {len(rows):,} rows") for row in rows)


def refusal(entries: Sequence[Entry]) -> Iterator[Hit]:
    for row, entry in enumerate(entries):
        if _REFUSAL.match(entry.said):
            yield row, "it begins as a model that refuses"


def language(entries: Sequence[Entry]) -> Iterator[Hit]:
    from lavra.corpus.language import UNKNOWN, detect_language

    for row, entry in enumerate(entries):
        if entry.language == UNKNOWN or _TRANSLATING.search(entry.asked):
            continue
        said = detect_language(entry.said, min_letters=_LETTERS)
        asked = detect_language(entry.asked, min_letters=_LETTERS)
        if UNKNOWN not in (said, asked) and said != asked:
            yield row, f"asked in {asked}, answered in {said}"


def cut(entries: Sequence[Entry]) -> Iterator[Hit]:
    ends = {
        row: entry.said.rstrip().rpartition("\n")[2]
        for row, entry in enumerate(entries)
        if len(entry.said.split()) >= _LONG
    }
    open_ = [
        row for row, line in ends.items() if len(line.split()) >= _LINE and _OPEN.search(line) and not _ITEM.match(line)
    ]
    if len(open_) <= _MOST_CUT * len(ends):
        yield from ((row, f"it ends with “{entries[row].said.split()[-1][:40]}”") for row in open_)
    for row, entry in enumerate(entries):
        if entry.said.count("```") % 2:
            yield row, "a code block is left open"


def loop(entries: Sequence[Entry]) -> Iterator[Hit]:
    for row, entry in enumerate(entries):
        words = plain(entry.said).split()
        grams = [tuple(words[at : at + 4]) for at in range(len(words) - 3)]
        if len(grams) >= 2 * _LONG and (again := 1 - len(set(grams)) / len(grams)) > 0.5:
            yield row, f"{again:.0%} of it was said before"


def length(entries: Sequence[Entry]) -> Iterator[Hit]:
    sizes = np.log([1 + len(entry.said.split()) for entry in entries])
    middle = np.median(sizes) if len(sizes) else 0.0
    deviation = 1.4826 * np.median(np.abs(sizes - middle)) if len(sizes) else 0.0
    if deviation:
        for row in np.flatnonzero((sizes - middle) / deviation > _DEVIATIONS).tolist():
            yield row, f"{len(entries[row].said.split()):,} words where {round(np.exp(middle)) - 1:,} are usual"


SIGNALS: dict[str, Callable[[Sequence[Entry]], Iterator[Hit]]] = {
    "equal sides": equal_sides,
    "repeated": repeated,
    "refusal": refusal,
    "language": language,
    "cut": cut,
    "loop": loop,
    "length": length,
}


def longer_chosen(entries: Sequence[Entry]) -> float | None:
    """Of pairs of answers, the share whose chosen one is the longer: far from a half, length may be what is learned."""
    pairs = [
        entry.row
        for entry in entries
        if "chosen" in entry.row and len(entry.row["chosen"]) != len(entry.row["rejected"])
    ]
    return sum(len(row["chosen"]) > len(row["rejected"]) for row in pairs) / len(pairs) if pairs else None
