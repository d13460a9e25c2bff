"""People's files, row by row, as entries of one kind; and every row that is none, with where it stands and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from lavra.corpus.examples.checks import fault
from lavra.corpus.examples.example import Conversation, Pair, Problem, Text
from lavra.corpus.examples.formats import Refused, convert, recognise
from lavra.corpus.examples.rows import rows
from lavra.corpus.labelled import DOCUMENTS, LABELS, TEXTS, to_labelled
from lavra.corpus.labels.entry import KINDS, Entry, Kind
from lavra.corpus.labels.settings import Taking
from lavra.corpus.pairs import assin_rows, is_pair, to_pair
from lavra.corpus.preferences import Unusable, is_judgement, to_judgements, to_preferences
from lavra.corpus.tables import pick
from lavra.errors import LavraError

_LICENCES = ("licence", "license", "licença", "licencia")
_LOOKED_AT = 1_000
"""Rows of each file by which the kind of a set is told."""
_UNKNOWN = "its fields are of no kind that is known (instructions, preferences, texts with labels, pairs)"


@dataclass(frozen=True)
class LeftRow:
    """A row that is not kept: by which ``stage``, ``why``, and the row that stands for it, where one does."""

    origin: str
    stage: str
    why: str
    like: str = ""

    def to_json(self) -> dict[str, str]:
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True)
class FileRead:
    """``rows`` in it, and how many were entries; ``formats``: how many of each."""

    name: str
    rows: int
    kept: int
    formats: Mapping[str, int]


@dataclass
class Read:
    """What files held."""

    kind: Kind
    entries: list[Entry] = field(default_factory=list)
    left: list[LeftRow] = field(default_factory=list)
    files: list[FileRead] = field(default_factory=list)


def read_set(paths: Sequence[Path], settings: Taking) -> Read:
    """The entries of all files, in their order.

    Raises LavraError for a file that cannot be read, or where there is no entry at all, naming the first reason.
    """
    names = names_of(paths)
    first = [row for path in paths for row in islice(_rows(path), _LOOKED_AT)]
    _require_columns(first, settings)
    read = Read(settings.kind or _kind_of_set(first, settings))
    for path in paths:
        before, count, formats = len(read.entries), 0, Counter[str]()
        for row in _rows(path):
            count += 1
            where = row.source if isinstance(row, Problem) else row[0]
            origin = names[path] + where.removeprefix(str(path))
            if isinstance(row, Problem):
                read.left.append(LeftRow(origin, "row", row.what))
                continue
            try:
                made, form = to_entries(row[1], read.kind, origin, settings)
            except (Refused, Unusable) as refused:
                read.left.append(LeftRow(origin, "row", str(refused)))
                continue
            formats[form] += len(made)
            read.entries += made
        read.files.append(FileRead(names[path], count, len(read.entries) - before, dict(formats)))
    _with_or_without_scores(read)
    if not read.entries:
        why = f": {read.left[0].origin}: {read.left[0].why}" if read.left else ", they are empty"
        raise LavraError(f"there is no usable row in {', '.join(names.values())}{why}.")
    return read


def names_of(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each file: its own where no other has it, else its path. Raises LavraError for one given twice."""
    own = Counter(path.name for path in paths)
    if len(set(map(Path.resolve, paths))) < len(paths):
        twice = next(path for path in paths if [other.resolve() for other in paths].count(path.resolve()) > 1)
        raise LavraError(f"{twice} is given twice: give each file once.")
    return {path: path.name if own[path.name] == 1 else str(path) for path in paths}


def kind_of(row: Mapping[str, Any], settings: Taking) -> Kind | None:
    """What a row is, by its fields."""
    if {"chosen", "rejected"} <= row.keys() or is_judgement(row):
        return "preferences"
    if is_pair(row):
        return "pairs"
    form = recognise(row)
    if form not in (None, "text"):
        return "instructions"
    if (
        pick(row, _columns(settings.text, TEXTS)) is not None
        and pick(row, _columns(settings.label, LABELS)) is not None
    ):
        return "classes"
    return "instructions" if form else None


def _columns(own: str | None, usual: Sequence[str]) -> Sequence[str]:
    return (own.casefold(),) if own else usual


def _require_columns(found: Sequence[Any], settings: Taking) -> None:
    """Raises LavraError for a column that is named and that no row has."""
    rows = [row[1] for row in found if not isinstance(row, Problem)]
    there = list(dict.fromkeys(str(name) for row in rows for name in row))
    for option, column in (("text", settings.text), ("label", settings.label)):
        if there and column and column.casefold() not in {name.strip().casefold() for name in there}:
            raise LavraError(f"--{option} {column} is no column: there are {', '.join(there[:12])}.")


def _kind_of_set(found: Sequence[Any], settings: Taking) -> Kind:
    """That of most rows."""
    if settings.text or settings.label or settings.many:
        return "classes"
    counts = Counter(kind_of(row[1], settings) for row in found if not isinstance(row, Problem))
    del counts[None]
    if not counts:
        names = next((", ".join(map(str, list(row[1])[:6])) for row in found if not isinstance(row, Problem)), "")
        why = f"no row is of a kind that is known; the fields are {names}" if names else "there is no row"
        raise LavraError(
            f"{found[0] if found and not names else why}: write messages, prompt and completion, chosen and rejected, "
            "text and label, or anchor and positive."
        )
    return max(KINDS, key=lambda kind: counts[kind])


def to_entries(row: Mapping[str, Any], kind: Kind, origin: str, settings: Taking) -> tuple[list[Entry], str]:
    """The entries of a row, and what it was: its format. Raises Refused or Unusable, saying why there are none."""
    found = kind_of(row, settings)
    if found != kind and not (settings.kind and found is None):
        raise Refused(_UNKNOWN if found is None else f"it is of {found}, in a set of {kind}; take it in by itself")
    if kind == "instructions":
        made, form = _instructions(row, origin)
    elif kind == "preferences":
        made, form = _preferences(row, origin)
    elif kind == "pairs":
        made, form = _pairs(row)
    else:
        labelled = to_labelled(dict(row), settings.text, settings.label, settings.many)
        if isinstance(labelled, str):
            raise Refused(labelled)
        said = {"labels": list(labelled.labels)} if settings.many else {"label": labelled.labels[0]}
        made, form = [{"text": labelled.text, **said}], "texts with labels"
    if any(problem := fault(Text(text, origin)) for fields in made for text in strings(fields) if text.strip()):
        raise Refused(str(problem))
    document = pick(row, DOCUMENTS)
    stated = pick(row, _LICENCES)
    licence = stated.strip() if isinstance(stated, str) and stated.strip() else settings.licence
    named = str(document) if isinstance(document, (str, int)) and not isinstance(document, bool) else ""
    _require_text([*made, named, licence])
    return [Entry(fields, origin, named, licence) for fields in made], form


def _require_text(fields: Sequence[Any]) -> None:
    """Raises Refused for half a character (a lone surrogate), which JSON can escape and no file of text can hold."""
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Refused("it holds half a character, which is no text; write it anew, or delete the row") from None


def _instructions(row: Mapping[str, Any], origin: str) -> tuple[list[dict[str, Any]], str]:
    form = recognise(row)
    if form is None:
        raise Refused(_UNKNOWN)
    made: list[dict[str, Any]] = []
    for example in convert(row, form, origin):
        if wrong := fault(example):
            raise Refused(wrong)
        if isinstance(example, Text):
            made.append({"text": example.text})
            continue
        talk = example.as_conversation() if isinstance(example, Pair) else example
        assert isinstance(talk, Conversation)
        tools = {"tools": list(talk.tools)} if talk.tools else {}
        made.append({"messages": [dict(message) for message in talk.messages], **tools})
    return made, form


def _preferences(row: Mapping[str, Any], origin: str) -> tuple[list[dict[str, Any]], str]:
    if "chosen" in row or "rejected" in row:
        pair = to_preferences(row, origin)[0]
        margin = {"margin": pair.margin} if pair.margin else {}
        turns = [dict(turn) for turn in pair.prompt]
        return [{"prompt": turns, "chosen": pair.chosen, "rejected": pair.rejected, **margin}], "pairs of answers"
    judged = to_judgements(row, origin)[0]
    turns = [dict(turn) for turn in judged.prompt]
    return [{"prompt": turns, "completion": judged.answer, "label": judged.good}], "judged answers"


def _pairs(row: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
    pair = to_pair(row)
    if isinstance(pair, str):
        raise Refused(pair)
    score = {} if pair.score is None else {"score": pair.score}
    negatives = {"negatives": list(pair.negatives)} if pair.negatives else {}
    form = "pairs" if pair.score is None else "pairs with scores"
    return [{"anchor": pair.anchor, "positive": pair.positive, **negatives, **score}], form


def _with_or_without_scores(read: Read) -> None:
    """Of pairs all have a score or none: what most have not is left out."""
    scored = sum("score" in entry.row for entry in read.entries)
    if read.kind != "pairs" or scored in (0, len(read.entries)):
        return
    wanted = 2 * scored >= len(read.entries)
    why = "it has no score where most rows have one" if wanted else "it has a score where most rows have none"
    read.left += [LeftRow(e.origin, "row", why) for e in read.entries if ("score" in e.row) != wanted]
    read.entries = [entry for entry in read.entries if ("score" in entry.row) == wanted]


def _rows(path: Path) -> Iterator[Any]:
    """Rows of any file of examples; ASSIN's XML is one of pairs."""
    if path.suffix.lower() != ".xml":
        return rows(path)
    return ((f"{path}:{line}", row) for line, row in assin_rows(path) if isinstance(row, dict))


def strings(value: Any, name: str = "content") -> list[str]:
    """The texts of a row that a model reads or writes, in a fixed order; roles, names and schemas are none."""
    if isinstance(value, str):
        return [value] if name in _TEXTS else []
    if isinstance(value, Mapping):
        return [text for key, inner in value.items() for text in strings(inner, _below(name, key))]
    return [text for inner in value for text in strings(inner, name)] if isinstance(value, list) else []


def replaced(value: Any, texts: list[str], name: str = "content") -> Any:
    """``value`` with other ``texts`` in place of those of `strings`, which are taken from the list's beginning."""
    if isinstance(value, str):
        return texts.pop(0) if name in _TEXTS else value
    if isinstance(value, Mapping):
        return {key: replaced(inner, texts, _below(name, key)) for key, inner in value.items()}
    return [replaced(inner, texts, name) for inner in value] if isinstance(value, list) else value


_TEXTS = frozenset(
    {"content", "text", "chosen", "rejected", "completion", "arguments", "anchor", "positive", "negatives"}
)


def _below(name: str, key: str) -> str:
    """All that a function is called with is text, whatever it is called."""
    return name if name == "arguments" else str(key)
