"""A row of a set as it is kept: one JSON object a line of ``examples.jsonl``, the same for all kinds of set.

============  =====================================================================================================
field         holds
============  =====================================================================================================
messages      of instructions: turns of ``role`` and ``content``, as OpenAI's; ``tools`` beside them, where there are
text          of plain text to learn; with ``label``, or ``labels`` (a list), of texts to classify
prompt        of preferences: the turns before the answers
chosen        … the better answer, ``rejected`` the other one, ``margin`` by how much, where that is known
completion    … or a single answer, with ``label`` true or false
anchor        of pairs that belong together: with ``positive``; ``negatives``, or ``score``, where there are
document      what the row was made from, as its file said; rows of one document are held out together
licence       SPDX identifier of the row; absent: none stated
language      ISO 639-1 code of what is asked, or ``und``
origin        ``file:line`` where it was read
============  =====================================================================================================

`lavra tune`, whatever its task, and `lavra align` read these rows like any others.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from lavra.errors import LavraError
from lavra.store.files import digest

FILE = "examples.jsonl"
Kind = Literal["instructions", "preferences", "classes", "pairs"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_PEDIGREE = ("document", "licence", "language", "origin")


@dataclass(frozen=True)
class Entry:
    """``row``: the fields of its kind alone."""

    row: Mapping[str, Any]
    origin: str
    document: str = ""
    licence: str | None = None
    language: str = "und"

    @cached_property
    def kind(self) -> Kind:
        if "chosen" in self.row or "completion" in self.row:
            return "preferences"
        if "anchor" in self.row:
            return "pairs"
        return "classes" if "label" in self.row or "labels" in self.row else "instructions"

    @cached_property
    def asked(self) -> str:
        """What is put to a model: what a test must not hold too."""
        if "text" in self.row or "anchor" in self.row:
            return str(self.row.get("text", self.row.get("anchor")))
        return "\n".join(str(turn["content"]) for turn in self.row.get("prompt", self.row.get("messages", [])[:-1]))

    @cached_property
    def subject(self) -> str:
        """What something is said of: two rows with one subject repeat or contradict each other."""
        if "anchor" in self.row:
            return "\n".join([self.asked, self.row["positive"], *self.row.get("negatives", ())])
        if "chosen" in self.row:
            return "\n".join([self.asked, *sorted((self.row["chosen"], self.row["rejected"]))])
        return f"{self.asked}\n{self.row['completion']}" if "completion" in self.row else self.asked

    @cached_property
    def said(self) -> str:
        """What is said of it: the answer, the better one, the label, the score."""
        row = self.row
        if "anchor" in row:
            return str(row.get("score", ""))
        if "chosen" in row:
            return str(row["chosen"])
        if "messages" in row:
            return _spoken(row["messages"][-1])
        return "; ".join(self.labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of a text to classify; of a judged answer, ``good`` or ``bad``."""
        if "completion" in self.row:
            return ("good" if self.row["label"] else "bad",)
        return tuple(self.row.get("labels", [self.row["label"]] if "label" in self.row else ()))

    @cached_property
    def keys(self) -> tuple[str, str]:
        """Subject and what is said of it, levelled: case, white space and spelling of characters aside."""
        tools = json.dumps(self.row["tools"], sort_keys=True) if "tools" in self.row else ""
        return digest([plain(self.subject), tools])[:32], digest(plain(self.said))[:32]

    def to_json(self) -> dict[str, Any]:
        """As a line of the file has it."""
        values = {name: getattr(self, name) for name in _PEDIGREE}
        return {**self.row, **{name: value for name, value in values.items() if value}}


def plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _spoken(message: Mapping[str, Any]) -> str:
    calls = message.get("tool_calls")
    return str(message["content"]) + (json.dumps(calls, ensure_ascii=False, sort_keys=True) if calls else "")


def write_entries(entries: Sequence[Entry], folder: Path) -> None:
    """``examples.jsonl`` into ``folder``."""
    with (folder / FILE).open("w", encoding="utf-8", newline="\n") as file:
        for entry in entries:
            file.write(json.dumps(entry.to_json(), ensure_ascii=False) + "\n")


def read_entries(folder: Path) -> list[Entry]:
    """The entries of a set in the store. Raises LavraError where there is none."""
    return list(_entries(folder / FILE))


def _entries(path: Path) -> Iterator[Entry]:
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                values: dict[str, Any] = json.loads(line)
                pedigree = {name: values.pop(name) for name in _PEDIGREE if name in values}
                yield Entry(values, **pedigree)
    except (OSError, ValueError, TypeError) as error:
        raise LavraError(f"{path} is no set of examples ({error}): make one with `lavra examples ingest`.") from error
