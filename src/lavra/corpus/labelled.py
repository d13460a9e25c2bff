"""Texts with labels, to train classifiers with: read from a table, and split so that no document is on both sides."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from lavra.corpus.tables import Refusal, describe, pick, read_rows
from lavra.errors import LavraError

TEXTS = ("text", "texto", "sentence", "frase", "content", "tweet")
LABELS = ("label", "labels", "rotulo", "rótulo", "class", "classe", "category", "categoria")
DOCUMENTS = ("document", "document_id", "source", "doc", "id_documento")


@dataclass(frozen=True)
class Labelled:
    """``labels``: one, or any number of them for a multi-label task; ``source``: the document that the text is of."""

    text: str
    labels: tuple[str, ...]
    source: str = ""


@dataclass(frozen=True)
class LabelledFile:
    """What a file held: ``labels`` in alphabetical order; what was refused."""

    examples: list[Labelled]
    labels: tuple[str, ...]
    refused: list[Refusal]


def read_labelled(path: Path, *, text: str | None = None, label: str | None = None, many: bool = False) -> LabelledFile:
    """Texts and labels of a JSON Lines, CSV or TSV file.

    ``text``, ``label``: the columns' names, where they are not the usual ones. ``many``: a text may have several
    labels or none: a list, or names separated by ``;`` or ``|``. Refused by line: a row without text or label, a
    repetition, and *every* row of a text that has two different labels. Raises LavraError where fewer than two labels
    are left, or a label has a single text.
    """
    found: list[tuple[int, Labelled]] = []
    refused: list[Refusal] = []
    said: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for line, row in read_rows(Path(path)):
        example = row if isinstance(row, str) else to_labelled(row, text, label, many)
        if isinstance(example, str):
            refused.append(Refusal(line, example))
            continue
        known = said[example.text]
        if example.labels in known:
            refused.append(Refusal(line, "it repeats an earlier row"))
            continue
        known.add(example.labels)
        found.append((line, example))
    examples = []
    for line, example in found:
        if len(said[example.text]) > 1:
            refused.append(Refusal(line, "the same text has other labels elsewhere"))
        else:
            examples.append(example)
    refused.sort(key=lambda one: one.line)
    counts = Counter(name for example in examples for name in example.labels)
    if len(counts) < (1 if many else 2):
        why = f" ({describe(refused)})" if refused else ""
        raise LavraError(f"{path} has {len(counts)} different labels; a classifier needs at least two{why}")
    if rare := sorted(name for name, count in counts.items() if count < 3):
        raise LavraError(f"the label {rare[0]!r} has fewer than 3 texts in {path}; give more, or join it to another")
    return LabelledFile(examples, tuple(sorted(counts)), refused)


def to_labelled(row: Mapping[str, Any], text: str | None, label: str | None, many: bool) -> Labelled | str:
    """The text and labels of a row, or why it has none that could be used."""
    value = pick(row, (text.casefold(),) if text else TEXTS)
    given = pick(row, (label.casefold(),) if label else LABELS)
    if not isinstance(value, str) or not value.strip():
        return "it has no text" if text is None else f"it has no text in the column {text!r}"
    if many:
        names = given if isinstance(given, list) else re.split(r"[;|]", str(given or ""))
        labels = tuple(sorted({str(name).strip() for name in names if str(name).strip()}))
    else:
        if isinstance(given, (list, dict)):
            return "it has several labels; say so (--many) if texts may"
        if given is None or not str(given).strip():
            return "it has no label" if label is None else f"it has no label in the column {label!r}"
        labels = (str(given).strip(),)
    return Labelled(value.strip(), labels, str(pick(row, DOCUMENTS) or ""))


def split_examples(
    examples: Sequence[Labelled], shares: Sequence[float] = (0.8, 0.1, 0.1), *, seed: int = 0
) -> list[list[Labelled]]:
    """Parts of these ``shares``: texts of one document in one part, and labels in each part as in all.

    Documents go, the largest first, to the part that lacks most of what they bring (Sechidis et al. 2011, over
    documents instead of texts). The same examples and seed give the same parts.
    """
    groups: dict[str, list[Labelled]] = defaultdict(list)
    for example in examples:
        groups[example.source or f"\0{example.text}"].append(example)
    counts = Counter(name for example in examples for name in example.labels or ("",))
    wanted = [{name: share * count for name, count in counts.items()} for share in shares]
    parts: list[list[Labelled]] = [[] for _ in shares]

    def order(key: str) -> tuple[int, float, str]:
        group = groups[key]
        rarest = min(counts[name] for example in group for name in example.labels or ("",))
        return -len(group), rarest, sha256(f"{seed}\0{key}".encode()).hexdigest()

    for key in sorted(groups, key=order):
        brings = Counter(name for example in groups[key] for name in example.labels or ("",))
        lacks = [sum(min(count, wanted[part][name]) / counts[name] for name, count in brings.items()) / share
                 for part, share in enumerate(shares)]  # fmt: skip
        chosen = max(range(len(shares)), key=lambda part: (lacks[part], shares[part]))
        parts[chosen] += groups[key]
        for name, count in brings.items():
            wanted[chosen][name] -= count
    return parts
