"""The file of questions: JSON Lines that a person can edit, and that is read again row by row.

A row that a person adds needs ``question``, ``answer``, ``document`` and ``quote``; the rest follows. A row with
``"answerable": false`` needs a question alone. ``lavra index --questions`` reads the same file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from lavra.corpus.document import Document
from lavra.errors import LavraError
from lavra.store.files import digest, write_atomically

Split = Literal["train", "test"]
BY = ("rules", "model", "person")


@dataclass(frozen=True, slots=True)
class Item:
    """A question, its answer, and where the answer stands.

    ``Document.text[start:end] == quote`` where ``document`` is the source; empty where nothing answers.
    """

    question: str
    answer: str = ""
    answers: tuple[str, ...] = ()
    """Other wordings that are as right, the answer itself among them."""
    document: str = ""
    """The document's source. Of a question that nothing answers: the one that it was made from."""
    chunk: str = ""
    quote: str = ""
    start: int = 0
    end: int = 0
    language: str = "und"
    kind: str = "written"
    """The rule's name; ``asked`` of a model; ``swapped`` and ``held out`` of those that nothing answers."""
    by: str = "person"
    answerable: bool = True
    split: Split | None = None
    id: str = ""

    def named(self) -> Item:
        """With an id that follows from the question and its place, where there is none yet."""
        return self if self.id else replace(self, id=digest([self.question, self.document, self.start])[:16])

    def row(self) -> dict[str, Any]:
        """As it stands in the file."""
        values = asdict(self)
        return {name: list(values[name]) if name == "answers" else values[name] for name in _ORDER}


_ORDER = (
    *("id", "question", "answer", "answers", "document", "chunk", "quote", "start", "end"),
    *("language", "kind", "by", "answerable", "split"),
)
_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "question", "answer", "document", "chunk", "quote", "language", "kind", "by"), (str,)),
    "start": (int,),
    "end": (int,),
    "answerable": (bool,),
    "split": (str, type(None)),
    "answers": (list,),
}
_NAMES = {"str": "text", "int": "a number", "bool": "true or false", "list": "a list of texts", "NoneType": "null"}


def write_items(path: Path, items: Iterable[Item]) -> None:
    """One item a line, the whole file or nothing."""
    write_atomically(path, as_jsonl(items))


def as_jsonl(items: Iterable[Item]) -> bytes:
    """The bytes of the file."""
    return "".join(json.dumps(item.row(), ensure_ascii=False) + "\n" for item in items).encode("utf-8", "replace")


def read_items(path: Path, documents: Mapping[str, Document] | None = None) -> list[Item]:
    """The items of an edited file.

    ``documents``: by source; where given, each quote has to stand in its document, and offsets that an edit made
    wrong are found anew.

    Raises:
        LavraError: ``file:line``, what is wrong there, and what to write.
    """
    items: list[Item] = []
    lines: dict[str, int] = {}
    asked: dict[str, int] = {}
    for number, item in rows(path):
        item = _placed(item, documents, f"{path}:{number}") if documents is not None else item
        item = item.named()
        if (first := lines.setdefault(item.id, number)) != number:
            raise LavraError(f"{path}:{number}: the id {item.id!r} is line {first}'s as well: delete one, or its id.")
        key = f"{item.document}\0{plain_key(item.question)}"
        if (first := asked.setdefault(key, number)) != number:
            raise LavraError(f"{path}:{number}: the question is line {first}'s as well: delete one of them.")
        items.append(item)
    if not items:
        raise LavraError(f"{path} holds no questions: make them with `lavra questions`.")
    _one_side(items, path, lines)
    return items


def rows(path: Path) -> Iterator[tuple[int, Item]]:
    """Each line's number and item, its fields checked."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise LavraError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise LavraError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _item(line, f"{path}:{number}")


def _item(line: str, where: str) -> Item:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LavraError(f"{where}: this line is not JSON ({error}): repair or delete it.") from error
    if not isinstance(row, dict):
        raise LavraError(f"{where}: this is {_NAMES.get(type(row).__name__, 'no object')}, not an object: write one.")
    known = {field.name for field in fields(Item)}
    if unknown := sorted(row.keys() - known):
        raise LavraError(f"{where}: there is no field {unknown[0]!r}: the fields are {', '.join(_ORDER)}.")
    for name, value in row.items():
        kinds = _TYPES[name]
        wrong = not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
        if wrong or (name == "answers" and not all(isinstance(answer, str) for answer in value)):
            wanted = " or ".join(_NAMES[kind.__name__] for kind in kinds)
            raise LavraError(f"{where}: {name!r} is {json.dumps(value, ensure_ascii=False)[:60]}: write {wanted}.")
    if not row.get("question", "").strip():
        raise LavraError(f"{where}: the question is empty: write one, or delete the line.")
    item = Item(**{**row, "answers": tuple(row.get("answers", ()))})
    if item.by not in BY:
        raise LavraError(f"{where}: 'by' is {item.by!r}: write one of {', '.join(BY)}.")
    if item.split not in (None, "train", "test"):
        raise LavraError(f"{where}: 'split' is {item.split!r}: write train, test or null.")
    if not item.answerable:
        if item.answer or item.quote:
            raise LavraError(f"{where}: it has an answer and 'answerable' false: empty the answer, or write true.")
        return item
    for name in ("answer", "document", "quote"):
        if not getattr(item, name).strip():
            raise LavraError(f"{where}: {name!r} is empty: write it, or set 'answerable' to false.")
    if item.answer not in item.answers:
        item = replace(item, answers=(item.answer, *item.answers))
    return item


def _placed(item: Item, documents: Mapping[str, Document], where: str) -> Item:
    """The item with the offsets at which its quote stands now."""
    if not item.answerable:
        return item
    document = documents.get(item.document)
    if document is None:
        raise LavraError(
            f"{where}: the document {item.document!r} is not in the corpus: `lavra status --documents` lists them."
        )
    if document.text[item.start : item.end] == item.quote:
        return item
    found = find_quote(document.text, item.quote, near=item.start)
    if found is None:
        raise LavraError(f"{where}: the quote does not stand in {item.document}: copy it from there.")
    return replace(item, quote=document.text[slice(*found)], start=found[0], end=found[1])


def find_quote(text: str, quote: str, *, near: int = 0) -> tuple[int, int] | None:
    """Where a quote stands, however its white space is broken; of several places the one nearest to ``near``."""
    parts = quote.split()
    if not parts:
        return None
    pattern = r"\s+".join(map(re.escape, parts))
    places = [match.span() for match in re.finditer(pattern, text)] or [
        match.span() for match in re.finditer(pattern, text, re.IGNORECASE)
    ]
    return min(places, key=lambda place: abs(place[0] - near), default=None)


def _one_side(items: Iterable[Item], path: Path, lines: Mapping[str, int]) -> None:
    """No document may be on both sides of the split: what was trained on would be tested."""
    sides: dict[str, Item] = {}
    for item in items:
        if item.split is None or not item.document:
            continue
        other = sides.setdefault(item.document, item)
        if other.split != item.split:
            raise LavraError(
                f"{path}:{lines[item.id]}: {item.document} is {item.split} here and {other.split} in line "
                f"{lines[other.id]}: keep a document on one side."
            )


def plain_key(text: str) -> str:
    """A text as it is compared: words and numbers alone, lower-case."""
    return " ".join(re.findall(r"\w+", text.casefold()))
