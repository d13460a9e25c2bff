"""What is measured: questions with their right answers and sources, and what somebody replied.

Both are plain values: a study writes them down and measures them again later, without asking anybody twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from lavra.assistants.questions.items import plain_key
from lavra.errors import LavraError
from lavra.evaluation.formats import rows
from lavra.store.files import digest


@dataclass(frozen=True, slots=True)
class Source:
    """Where the answer stands: the passage's words, its document, or both.

    ``start`` and ``end``: offsets of ``text`` in the document, in code points, where they are known.
    """

    document: str
    text: str = ""
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question with everything that a reply to it is judged by."""

    id: str
    text: str
    answers: tuple[str, ...] = ()
    """Wordings that are all right; empty where nothing answers."""
    sources: tuple[Source, ...] = ()
    topic: str = ""
    language: str = "und"
    split: str = ""

    @property
    def answerable(self) -> bool:
        """Whether the documents answer it; where they do not, refusing is right."""
        return bool(self.answers)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A passage that was retrieved for a question, or the place that an answer cites."""

    document: str
    text: str
    score: float = 0.0
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What somebody replied to one question, with what it was based on and what it cost."""

    question: str
    """The question's id."""
    text: str
    refused: bool = False
    """It said that it cannot answer from the documents."""
    quoted: bool = False
    """The text quotes sources; the model's own words were left out."""
    passages: tuple[Evidence, ...] = ()
    """What was retrieved, best first."""
    cited: tuple[Evidence, ...] = ()
    """What the text cites; the place ``[n]`` of the text is ``cited[n - 1]`` unless ``numbers`` says otherwise."""
    numbers: tuple[int, ...] = ()
    """The numbers under which the text cites ``cited``; empty: 1, 2, 3 …"""
    first_token: float = 0.0
    """Seconds from question to first visible character."""
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str = ""
    """Why there is no reply; the text is empty then."""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Reply:
        """What ``to_dict`` gave; fields that this version does not know are dropped."""
        known = {field.name for field in fields(cls)}
        kept = {name: value for name, value in values.items() if name in known}
        for name in ("passages", "cited"):
            kept[name] = tuple(Evidence(**row) for row in kept.get(name, ()))
        kept["numbers"] = tuple(kept.get("numbers", ()))
        return cls(**kept)


def read_questions(
    path: str | Path, *, note: Callable[[str], None] = lambda sentence: None, sourced: bool = True
) -> list[Question]:
    """The questions of a file or folder, in its order; ``formats`` says which forms are read.

    A question that is asked twice of the same source becomes one, and all its answers count as right (public sets
    have such questions); ``note`` is told where. ``sourced``: each has to say where its answer stands; a table of texts
    and labels needs none.

    Raises:
        LavraError: ``file:line`` of the first row that is wrong, what is wrong, and what to write.
    """
    path = Path(path)
    questions: list[Question] = []
    places: list[str] = []
    ids: dict[str, str] = {}
    asked: dict[tuple[str, tuple[Source, ...]], int] = {}
    for where, row in rows(path):
        question = question_of(row, where, sourced=sourced)
        if (first := ids.setdefault(question.id, where)) != where and _text(row, where, "id", "_id"):
            raise LavraError(f"{where}: the id {question.id!r} is also at {first}: delete one, or its id.")
        number = asked.setdefault((plain_key(question.text), question.sources), len(questions))
        if number == len(questions):
            questions.append(question)
            places.append(where)
        else:
            answers = (*questions[number].answers, *question.answers)
            questions[number] = replace(questions[number], answers=tuple(dict.fromkeys(answers)))
            note(f"{where}: the question is also at {places[number]}; they count as one.")
    if not questions:
        raise LavraError(f"{path} holds no questions: make them with `lavra questions`.")
    return questions


def question_of(row: Mapping[str, Any], where: str, *, sourced: bool = True) -> Question:
    """A question from the names that files use for its parts.

    Raises:
        LavraError: with ``where``, for a part that is absent or of the wrong type.
    """
    text = _text(row, where, "question", "query", *(() if sourced else ("text",)))
    if not text:
        raise LavraError(f"{where}: there is no question: write it as `question`.")
    answers = tuple(
        dict.fromkeys(answer for answer in _texts(row, where, _ANSWERS if sourced else _LABELLED) if answer)
    )
    sources = tuple(dict.fromkeys(_sources(row, where)))
    answerable = _flag(row, where, "answerable", True) and not _flag(row, where, "is_impossible", False)
    if answerable and not answers:
        raise LavraError(f"{where}: it has no answer: write `answer`, or set `answerable` to false.")
    if answerable and sourced and not sources:
        raise LavraError(f"{where}: it has no source: write `document` and `quote`, or set `answerable` to false.")
    if not answerable and answers:
        raise LavraError(f"{where}: it has an answer and is said to have none: empty the answer, or correct the flag.")
    named = _text(row, where, "id", "_id")
    return Question(
        id=named or digest([text, *(source.document + source.text for source in sources)])[:16],
        text=text,
        answers=answers,
        sources=sources if answerable else (),
        topic=_text(row, where, "topic", "category", "kind"),
        language=_text(row, where, "language", "lang") or "und",
        split=_text(row, where, "split"),
    )


_ANSWERS = ("answer", "answers", "reference", "ground_truth")
_LABELLED = (*_ANSWERS, "label")
_SOURCES = ("sources", "source", "contexts", "reference_contexts", "context")


def _text(row: Mapping[str, Any], where: str, *names: str) -> str:
    """The first of these fields that holds something."""
    for name in names:
        value = row.get(name)
        if value is None or value == "":
            continue
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise LavraError(f"{where}: `{name}` is {_shown(value)}: write a text.")
        if shown := str(value).strip():
            return shown
    return ""


def _texts(row: Mapping[str, Any], where: str, names: Sequence[str]) -> list[str]:
    """All texts in these fields: a text, a number, a list of them, or SQuAD's ``{"text": [...]}``."""
    found: list[str] = []
    for name in names:
        value = row.get(name)
        if isinstance(value, Mapping):
            value = value.get("text")
        values = value if isinstance(value, (list, tuple)) else [value]
        for one in values:
            one = one.get("text") if isinstance(one, Mapping) else one
            if one is None:
                continue
            if isinstance(one, bool) or not isinstance(one, (str, int, float)):
                raise LavraError(f"{where}: `{name}` has {_shown(one)}: write texts.")
            found.append(str(one).strip())
    return found


def _sources(row: Mapping[str, Any], where: str) -> list[Source]:
    document = _text(row, where, "document", "document_id", "doc")
    quote = _text(row, where, "quote", "passage")
    if document or quote:
        start, end = _number(row, where, "start"), _number(row, where, "end")
        placed = quote and start is not None and end is not None and end > start
        return [Source(document, quote, start, end) if placed else Source(document, quote)]
    found = []
    for name in _SOURCES:
        value = row.get(name)
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if one is None or one == "":
                continue
            if isinstance(one, Mapping):
                inner = _sources({"quote": one.get("text"), **one}, where)
                if not inner:
                    raise LavraError(f"{where}: a source in `{name}` has no `document` and no `text`: write one.")
                found += inner
            elif isinstance(one, str):
                # `contexts` are passages; a `source` is a name unless it is as long as a passage.
                passage = "context" in name or len(one) > _LONGEST_NAME or "\n" in one
                found.append(Source("", one.strip()) if passage else Source(one.strip()))
            else:
                raise LavraError(f"{where}: `{name}` has {_shown(one)}: write the document's name.")
    return found


_LONGEST_NAME = 200


def _number(row: Mapping[str, Any], where: str, name: str) -> int | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        if isinstance(value, bool):
            raise ValueError
        return int(value)
    except (TypeError, ValueError) as error:
        raise LavraError(f"{where}: `{name}` is {_shown(value)}: write a number.") from error


_TRUE, _FALSE = ("true", "yes", "1", "sim", "sí"), ("false", "no", "0", "não", "nao")


def _flag(row: Mapping[str, Any], where: str, name: str, default: bool) -> bool:
    value = row.get(name)
    if value is None or value == "":
        return default
    word = str(value).strip().lower()
    if word not in _TRUE + _FALSE:
        raise LavraError(f"{where}: `{name}` is {_shown(value)}: write true or false.")
    return word in _TRUE


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:60]
