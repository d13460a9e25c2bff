"""Rows out of the files in which people keep questions, each with the place to name when it is wrong.

- JSON Lines: a question a line; the file of ``lavra questions``, and others with the same or like names;
- CSV: the same names as a header; commas, semicolons or tabs; several answers in one cell as a JSON list or by ``|``;
- JSON: a list of such rows, or SQuAD's ``data`` → ``paragraphs`` → ``qas``;
- a folder in BEIR's form: ``corpus.jsonl``, ``queries.jsonl`` and, where the queries do not name their documents
  themselves, ``qrels/test.tsv`` (or ``qrels.tsv``).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lavra.errors import LavraError

Rows = Iterator[tuple[str, Mapping[str, Any]]]


def rows(path: Path) -> Rows:
    """``(place, row)`` for each question, as the file has it.

    Raises:
        LavraError: where the file cannot be read or is not what its name says.
    """
    if path.is_dir():
        yield from _beir(path)
    elif path.suffix.lower() in (".csv", ".tsv"):
        yield from _csv(path)
    elif path.suffix.lower() == ".json":
        yield from _json(path)
    elif path.suffix.lower() in (".jsonl", ".ndjson") or path.exists():
        yield from _jsonl(path)
    else:
        raise LavraError(f"there is no file {path}: name a file of questions, or make one with `lavra questions`.")


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise LavraError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise LavraError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error


def _jsonl(path: Path) -> Rows:
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", _object(_parsed(line, f"{path}:{number}"), f"{path}:{number}")


def _csv(path: Path) -> Rows:
    text = _read(path)
    header = text.split("\n", 1)[0]
    delimiter = max("\t;,", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            where = f"{path}:{reader.line_num}"
            if None in row:
                raise LavraError(f"{where}: it has more cells than the header has names: put quotes around its text.")
            named = {(name or "").strip().lower(): (value or "").strip() for name, value in row.items()}
            if any(named.values()):
                yield where, {name: _cell(name, value, where) for name, value in named.items()}
    except csv.Error as error:
        raise LavraError(f"{path}:{reader.line_num}: this is not CSV ({error}): save the table again.") from error


def _cell(name: str, value: str, where: str) -> Any:
    """A cell that may hold several values: only in the columns whose names say so."""
    if name not in ("answers", "sources", "contexts"):
        return value
    if value.startswith("["):
        return _parsed(value, where)
    return [part.strip() for part in value.split("|") if part.strip()]


def _json(path: Path) -> Rows:
    value = _parsed(_read(path), str(path))
    if isinstance(value, Mapping) and isinstance(value.get("data"), list):
        value = value["data"]
    if not isinstance(value, list):
        raise LavraError(f"{path} is neither a list of questions nor SQuAD's form: write one question a line (JSONL).")
    for number, entry in enumerate(value, start=1):
        where = f"{path}, entry {number}"
        entry = _object(entry, where)
        if "paragraphs" in entry:
            yield from _squad(entry, where)
        else:
            yield where, entry


def _squad(entry: Mapping[str, Any], where: str) -> Rows:
    title = str(entry.get("title") or "")
    for place, paragraph in enumerate(_list(entry, "paragraphs", where), start=1):
        at = f"{where}, paragraph {place}"
        paragraph = _object(paragraph, at)
        context = paragraph.get("context")
        if not isinstance(context, str) or not context.strip():
            raise LavraError(f"{at}: there is no `context`: SQuAD's form has the passage there.")
        for asked, row in enumerate(_list(paragraph, "qas", at), start=1):
            row = _object(row, f"{at}, question {asked}")
            source = {"document": title, "text": context.strip()}
            yield f"{at}, question {asked}", {"topic": title, **row, "sources": [source]}


def _beir(folder: Path) -> Rows:
    queries, corpus = folder / "queries.jsonl", folder / "corpus.jsonl"
    for path in (queries, corpus):
        if not path.is_file():
            raise LavraError(f"{folder} has no {path.name}: give a file of questions, or a folder in BEIR's form.")
    texts = {str(row.get("_id")): str(row.get("text") or "") for _, row in _jsonl(corpus)}
    titles = {str(row.get("_id")): str(row.get("title") or "") for _, row in _jsonl(corpus)}
    relevant = _qrels(folder)
    for where, row in _jsonl(queries):
        named = row.get("docs", relevant.get(str(row.get("_id")), []))
        documents = [str(document) for document in named] if isinstance(named, list) else [str(named)]
        if missing := next((document for document in documents if document not in texts), None):
            raise LavraError(f"{where}: the document {missing!r} is not in {corpus}: correct it, or add the document.")
        sources = [{"document": document, "text": texts[document]} for document in documents]
        topic = titles[documents[0]] if documents else ""
        yield where, {"topic": topic, **row, "question": row.get("text"), "sources": sources}


def _qrels(folder: Path) -> dict[str, list[str]]:
    """Documents that are relevant to each query, by BEIR's table ``query-id, corpus-id, score``."""
    path = next((path for path in (folder / "qrels" / "test.tsv", folder / "qrels.tsv") if path.is_file()), None)
    found: dict[str, list[str]] = {}
    for number, line in enumerate(_read(path).splitlines() if path else [], start=1):
        cells = line.split("\t")
        if not line.strip() or (number == 1 and cells[0] == "query-id"):
            continue
        try:
            query, document, score = cells[0], cells[-2], float(cells[-1])
        except (IndexError, ValueError) as error:
            raise LavraError(f"{path}:{number}: write query, document and score, separated by tabs.") from error
        if score > 0:
            found.setdefault(query, []).append(document)
    return found


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LavraError(f"{where}: this is not JSON ({error}): repair or delete it.") from error


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise LavraError(f"{where}: this is {json.dumps(value)[:40]}, not an object: write one.")
    return value


def _list(entry: Mapping[str, Any], name: str, where: str) -> list[Any]:
    value = entry.get(name)
    if not isinstance(value, list):
        raise LavraError(f"{where}: `{name}` is not a list: SQuAD's form has one there.")
    return value
