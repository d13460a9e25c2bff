"""Files of examples, row by row: what can be learned from, and what was left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lavra.corpus.examples.checks import Duplicates, fault
from lavra.corpus.examples.example import Example, Problem
from lavra.corpus.examples.formats import Refused, convert, recognise
from lavra.corpus.examples.rows import rows
from lavra.errors import LavraError
from lavra.store.files import hash_file


@dataclass(frozen=True)
class ExampleSet:
    """``formats``: how many examples of each; ``hashes``: SHA-256 of the files, by name."""

    examples: Sequence[Example]
    problems: Sequence[Problem]
    formats: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.examples)

    def summary(self) -> str:
        """``412 examples (400 Alpaca, 12 text), 3 rows left out``."""
        kinds = ", ".join(f"{count:,} {name}" for name, count in self.formats.items())
        left = f", {len(self.problems):,} rows left out" if self.problems else ""
        return f"{len(self.examples):,} examples ({kinds}){left}"


def read_examples(paths: Sequence[Path]) -> ExampleSet:
    """All examples of ``paths``.

    Raises:
        LavraError: for a file that cannot be read, or in which nothing can be learned from, naming the first reason.
    """
    duplicates = Duplicates()
    found: list[Example] = []
    problems: list[Problem] = []
    formats: Counter[str] = Counter()
    for path in paths:
        usable, first = 0, len(problems)
        for example, form in _read(path, duplicates):
            if isinstance(example, Problem):
                problems.append(example)
            else:
                found.append(example)
                formats[form] += 1
                usable += 1
        if not usable:
            reason = f": {problems[first]}" if len(problems) > first else ", it is empty"
            raise LavraError(f"there is no usable example in {path}{reason}.")
    hashes = {str(path): hash_file(path) for path in paths}
    return ExampleSet(found, problems, dict(formats), hashes)


def _read(path: Path, duplicates: Duplicates) -> Iterator[tuple[Example | Problem, str]]:
    for row in rows(path):
        if isinstance(row, Problem):
            yield row, ""
            continue
        where, fields = row
        form = recognise(fields)
        if form is None:
            yield Problem(where, _unknown(fields)), ""
            continue
        try:
            examples = [replace(example, document=_document(fields)) for example in convert(fields, form, where)]
        except Refused as reason:
            yield Problem(where, str(reason)), ""
            continue
        for example in examples:
            wrong = fault(example)
            problem = Problem(where, wrong) if wrong else duplicates.check(example)
            yield problem or example, form


def _document(fields: dict[str, object]) -> str:
    """What the row says it was made from."""
    named = (fields.get(name) for name in ("document", "document_id", "source"))
    return next((name for name in named if isinstance(name, str) and name.strip()), "")


def _unknown(fields: dict[str, object]) -> str:
    names = ", ".join(map(str, list(fields)[:6])) or "none"
    if {"chosen", "rejected"} <= fields.keys():
        return "these are preferences (chosen, rejected), which are aligned to, not tuned on"
    return f"the fields {names} are of no format that is known; write messages, or prompt and completion, or text"
