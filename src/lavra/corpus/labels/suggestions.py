"""The file in which a person decides: a suggestion a row, and a column ``do`` that is empty.

=============  ====================================================================================================
column         holds
=============  ====================================================================================================
row            of ``examples.jsonl``, from 1
id             of that row's content; a file is not applied to another set
signal         what made it doubtful: ``label``, or a name of ``lavra.corpus.labels.signals``
given          the label; of several, all of them
suggested      what it may be instead; empty where only a person can say
confidence     probability of what is suggested, by a model that has not seen the row
margin         probability of what is given, less that of the likeliest other: the lower, the surer it is wrong
why            in words
text           the beginning of what the row asks, and of what it says
do             ``take`` what is suggested (it may be edited first), ``drop`` the row, or ``keep`` it; empty keeps it
=============  ====================================================================================================
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from lavra.corpus.labels.entry import Entry
from lavra.errors import LavraError
from lavra.store.files import digest

DECISIONS = ("", "keep", "take", "drop")
_SHOWN = 200
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Suggestion:
    """A row that a person should look at."""

    row: int
    id: str
    signal: str
    given: str = ""
    suggested: str = ""
    confidence: float | None = None
    margin: float | None = None
    why: str = ""
    text: str = ""
    do: str = ""


COLUMNS = tuple(field.name for field in fields(Suggestion))


def id_of(entry: Entry) -> str:
    return digest(entry.row)[:12]


def shown(entry: Entry) -> str:
    """What a person sees of a row: no spreadsheet takes it for a formula."""
    said = f" → {entry.said}" if "label" not in entry.row and "labels" not in entry.row and entry.said else ""
    text = " ".join(entry.asked.split())[:_SHOWN] + " ".join(said.split(" "))[:_SHOWN].replace("\n", " ")
    return "'" + text if text.startswith(_FORMULA) else text


def write_suggestions(suggestions: Sequence[Suggestion], path: Path) -> None:
    """As CSV, which a spreadsheet opens."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for one in suggestions:
            row = {name: "" if value is None else value for name, value in asdict(one).items()}
            writer.writerow(row | {name: f"{row[name]:.4f}" for name in ("confidence", "margin") if row[name] != ""})


def read_decisions(path: Path) -> list[Suggestion]:
    """The rows of a file of suggestions that decide something.

    Raises LavraError for a file that is none, and for a decision that there is not, by its line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise LavraError(f"{path} cannot be read ({why}): give the file of `lavra examples check`.") from error
    first = text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    if missing := [name for name in ("row", "id", "suggested", "do") if name not in (reader.fieldnames or ())]:
        raise LavraError(
            f"{path} has no column {missing[0]!r}: give the file of `lavra examples check`, with `do` filled."
        )
    found = []
    for values in reader:
        where = f"{path}:{reader.line_num}"
        do = str(values["do"] or "").strip().casefold()
        if do not in DECISIONS:
            raise LavraError(f"{where}: do is {values['do']!r}; write take, drop or keep, or leave it empty.")
        if do in ("", "keep"):
            continue
        if not str(values["row"]).isdecimal():
            raise LavraError(f"{where}: row is {values['row']!r}; leave the columns row and id as they were.")
        suggested = str(values["suggested"] or "").strip()
        if do == "take" and not suggested:
            raise LavraError(
                f"{where}: nothing is suggested there that could be taken; write it, or drop or keep the row."
            )
        found.append(
            Suggestion(
                int(values["row"]), str(values["id"]), str(values.get("signal") or ""), suggested=suggested, do=do
            )
        )
    return found


@dataclass(frozen=True)
class Applied:
    """The ``entries`` as a person wants them; rows (from 0) that have another label, and that are gone."""

    entries: list[Entry]
    changed: list[int]
    dropped: list[int]


def apply_decisions(entries: Sequence[Entry], decisions: Sequence[Suggestion], where: str) -> Applied:
    """Every decision done. A suggestion ``+label`` or ``-label`` adds one to, or takes one from, several.

    Raises LavraError for a decision on another set, or a label for a row that has none.
    """
    made: list[Entry | None] = list(entries)
    changed: set[int] = set()
    for one in decisions:
        at = one.row - 1
        if not 0 <= at < len(entries) or id_of(entries[at]) != one.id:
            raise LavraError(f"{where} is of another set: row {one.row} is not what it was; check this set again.")
        entry = made[at]
        if entry is None or one.do == "drop":
            made[at] = None
            continue
        made[at] = replace(entry, row=_relabelled(entry, one, where))
        changed.add(at)
    return Applied(
        [entry for entry in made if entry is not None],
        sorted(at for at in changed if made[at] is not None),
        [at for at, entry in enumerate(made) if entry is None],
    )


def _relabelled(entry: Entry, one: Suggestion, where: str) -> dict[str, Any]:
    row, label = dict(entry.row), one.suggested
    if "labels" in row:
        labels = set(row["labels"])
        if label[0] not in "+-":
            labels = {part.strip() for part in label.split(";") if part.strip()}
        elif label[0] == "+":
            labels.add(label[1:])
        else:
            labels.discard(label[1:])
        return row | {"labels": sorted(labels)}
    if "text" in row and "label" in row:
        return row | {"label": label}
    raise LavraError(f"{where}: row {one.row} has no label that could be another; drop or keep it.")
