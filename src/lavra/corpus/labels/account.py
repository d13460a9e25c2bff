"""The account of a set that was taken in: as data (``report.json``) and as a page for people (``report.md``)."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lavra.corpus.labels.entry import Entry, Kind
from lavra.corpus.labels.reading import LeftRow
from lavra.errors import LavraError

LEFT = "left_out.jsonl"
STAGES = {
    "row": "Rows that cannot be used",
    "licence": "Licence policy",
    "personal": "Personal data",
    "exact": "Exact duplicates",
    "contradiction": "Contradictions",
    "near": "Near-duplicates",
    "test": "Held by a test",
    "decision": "Dropped by a person",
}
_ASIDE = re.compile(r" ?\(.*\)")
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|(?<![\w.-])\d+(?:[.,]\d+)*")
_SHOWN = 20


@dataclass(frozen=True)
class Account:
    """``files``: rows and entries of each, by format. ``left``: by stage, rows by reason. ``between``: rows of each
    file that repeat a row of each. ``tests``: rows that each test holds. ``lengths``: words of what is asked and said.
    """

    kind: Kind
    rows: int
    kept: int
    files: Sequence[Mapping[str, Any]]
    left: Mapping[str, Mapping[str, int]]
    between: Mapping[str, Mapping[str, int]]
    tests: Mapping[str, int]
    labels: Mapping[str, int]
    languages: Mapping[str, int]
    licences: Mapping[str, int]
    documents: int
    lengths: Mapping[str, Mapping[str, int]]
    personal: Mapping[str, int] = field(default_factory=dict)
    """Finds of each kind of personal data. The values are nowhere."""
    personal_done: str = "leave"
    changed: int = 0
    """Rows whose label a person changed."""
    seconds: float = 0.0

    @property
    def left_out(self) -> int:
        return sum(sum(reasons.values()) for reasons in self.left.values())

    def markdown(self) -> str:
        """The account as a page."""
        lines = [
            "# A set of examples",
            "",
            f"**{self.kept:,} of {self.rows:,} rows stay**, of the kind *{self.kind}*; {self.left_out:,} are left out, "
            f"each by name in `{LEFT}`.",
            "",
            *([f"{self.changed:,} have another label than before.", ""] if self.changed else []),
            "| file | rows | usable | formats |",
            "|---|---:|---:|---|",
        ]
        for file in self.files:
            formats = ", ".join(f"{count:,} {name}" for name, count in file["formats"].items())
            lines.append(f"| {_cell(file['name'])} | {file['rows']:,} | {file['kept']:,} | {formats} |")
        for stage, reasons in self.left.items():
            lines += _table(f"Left out: {STAGES[stage].lower()}", reasons)
        if self.between:
            lines += ["", "## Repeated within and between files", "", "| file | repeats | rows |", "|---|---|---:|"]
            for name, others in self.between.items():
                lines += [f"| {_cell(name)} | {_cell(other)} | {count:,} |" for other, count in others.items()]
        lines += _table("Rows that a test holds", self.tests)
        lines += _table(f"Personal data found ({self.personal_done})", self.personal)
        for title, counts in (("Labels", self.labels), ("Languages", self.languages), ("Licences", self.licences)):
            lines += _table(title, counts)
        lines += ["", "## Lengths in words", "", "| | shortest | median | longest |", "|---|---:|---:|---:|"]
        for name, sizes in self.lengths.items():
            lines.append(f"| {name} | {sizes['shortest']:,} | {sizes['median']:,} | {sizes['longest']:,} |")
        return "\n".join(lines) + "\n"


def make_account(kind: Kind, rows: int, entries: Sequence[Entry], left: Sequence[LeftRow], **more: Any) -> Account:
    """What is counted of the entries that stay and of what does not."""
    reasons: dict[str, Counter[str]] = {stage: Counter() for stage in STAGES}
    for one in left:
        reasons[one.stage][reason_of(one.why)] += 1
    tests = Counter(one.like.rpartition("#")[0] for one in left if one.stage == "test")
    lengths = {"asked": _lengths(entry.asked for entry in entries)}
    if kind in ("instructions", "preferences"):
        lengths["said"] = _lengths(entry.said for entry in entries)
    return Account(
        kind,
        rows,
        len(entries),
        left={stage: dict(found.most_common()) for stage, found in reasons.items() if found},
        tests=dict(tests.most_common()),
        labels=_counts(label for entry in entries for label in entry.labels),
        languages=_counts(entry.language for entry in entries),
        licences=_counts(entry.licence or "none stated" for entry in entries),
        documents=len({entry.document for entry in entries if entry.document}),
        lengths=lengths,
        **more,
    )


def reason_of(why: str) -> str:
    """A reason without the values that are this row's alone, so that like ones are counted together."""
    return _VALUES.sub("…", _ASIDE.sub("", why))


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _lengths(texts: Iterable[str]) -> dict[str, int]:
    sizes = sorted(len(text.split()) for text in texts)
    return {"shortest": sizes[0], "median": sizes[len(sizes) // 2], "longest": sizes[-1]} if sizes else {}


def _table(title: str, counts: Mapping[str, int]) -> list[str]:
    if not counts:
        return []
    rows = [f"| {_cell(name)} | {count:,} |" for name, count in list(counts.items())[:_SHOWN]]
    more = [f"| … {len(counts) - _SHOWN:,} more | |"] if len(counts) > _SHOWN else []
    return ["", f"## {title}", "", "| | rows |", "|---|---:|", *rows, *more]


def _cell(text: str) -> str:
    return text.replace("|", "/")


def write_account(account: Account, left: Sequence[LeftRow], out: Path) -> None:
    """``report.json``, ``report.md``, ``report.html`` and ``left_out.jsonl`` into ``out``."""
    from lavra.corpus.labels.page import page

    (out / "report.html").write_text(page(account.markdown()), "utf-8")
    (out / "report.json").write_text(json.dumps(asdict(account), ensure_ascii=False, indent=1) + "\n", "utf-8")
    (out / "report.md").write_text(account.markdown(), "utf-8")
    with (out / LEFT).open("w", encoding="utf-8", newline="\n") as file:
        for one in left:
            file.write(json.dumps(one.to_json(), ensure_ascii=False) + "\n")


def load_account(folder: Path) -> Account:
    """The account of a set of the store. Raises LavraError where there is none."""
    try:
        return Account(**json.loads((folder / "report.json").read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise LavraError(f"{folder} holds no account of a set of examples ({error}).") from error
