"""What an ingest reports: as data for programs (``report.json``) and as a page for people (``report.md``)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from lavra.corpus.walking import Skipped
from lavra.errors import LavraError

NONE_STATED = "none stated"
"""What the counts say for documents without a licence or owner."""
OTHERS = "others, beyond the first 10,000 different ones"
"""What the counts say for names that are too many to be counted one by one."""


@dataclass(frozen=True)
class IngestReport:
    """The account of one ingest. Counts are of the documents in the corpus, those carried over included."""

    kept: int
    """Documents in the corpus."""
    skipped: tuple[Skipped, ...] = ()
    """What was met and not kept, with its reason; exact duplicates too. The first 1,000 of each kind: `left_out` has
    all."""
    dropped: dict[str, int] = field(default_factory=dict)
    """How many were not kept, by kind."""
    notes: tuple[tuple[str, str], ...] = ()
    """Documents that are kept but not whole: pages without text, rows left out … The first 1,000, of ``noted``; each
    stands in its document's metadata too."""
    noted: int = 0
    duplicates: dict[str, str] = field(default_factory=dict)
    """Source of exact duplicates that are not in the corpus (the first 1,000), carried over ones too, and of the one
    that is."""
    carried_over: int = 0
    """How many of those kept come from the previous corpus."""
    languages: dict[str, int] = field(default_factory=dict)
    licences: dict[str, int] = field(default_factory=dict)
    owners: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    roles: dict[str, int] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)
    """Label of each root and where it was read."""
    ignored: dict[str, int] = field(default_factory=dict)
    """What was passed over quietly: hidden files, folders of other people's code."""
    bytes: int = 0
    """Size of the sources kept."""
    characters: int = 0
    seconds: float = 0.0

    @property
    def not_kept(self) -> int:
        """How many were met and not kept."""
        return sum(self.dropped.values())

    def markdown(self) -> str:
        """The report as a page."""
        lines = [
            "# Ingest",
            "",
            f"**{self.kept:,} documents** ({self.characters:,} characters from {self.bytes / 1e6:,.1f} MB"
            + (f"; {self.carried_over:,} carried over" if self.carried_over else "")
            + f") in {self.seconds:,.1f} s; {self.not_kept:,} not kept.",
        ]
        for title, counts in (
            ("Languages", self.languages),
            ("Licences", self.licences),
            ("Owners", self.owners),
            ("Readers' roles", self.roles),
            ("Formats", self.formats),
            ("Passed over quietly", self.ignored),
        ):
            if counts:
                lines += ["", f"## {title}", "", "| | documents |", "| --- | ---: |"]
                lines += [f"| {_cell(name)} | {count:,} |" for name, count in counts.items()]
        if self.skipped:
            lines += ["", "## Not kept"]
            for kind, count in self.dropped.items():
                lines += ["", f"### {kind} ({count:,})", ""]
                named = [f"- `{_cell(s.source)}`: {_cell(s.reason)}" for s in self.skipped if s.kind == kind]
                lines += named
                if count > len(named):
                    lines.append(f"- … and {count - len(named):,} more, which stand in `skipped.parquet`")
        if self.notes:
            lines += ["", "## Kept, but not whole", ""]
            lines += [f"- `{_cell(source)}`: {_cell(note)}" for source, note in self.notes]
            if self.noted > len(self.notes):
                lines.append(f"- … and {self.noted - len(self.notes):,} more: each says so in its metadata, as `note`")
        return "\n".join(lines) + "\n"


def write_report(report: IngestReport, out: Path) -> None:
    """Write ``report.json`` and ``report.md`` into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    data = {"version": 1, **asdict(report)}
    # Paths may hold bytes that are no text; written as escapes they survive in JSON and are visible in Markdown.
    pages = {"report.json": json.dumps(data, ensure_ascii=False, indent=1) + "\n", "report.md": report.markdown()}
    for name, page in pages.items():
        (out / name).write_text(page, encoding="utf-8", errors="backslashreplace")


def load_report(corpus: Path) -> IngestReport:
    """The report of a corpus on disk. Raises `LavraError` where there is none."""
    path = corpus / "report.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        known = {f.name for f in fields(IngestReport)}
        data = {key: value for key, value in data.items() if key in known}
        data["skipped"] = tuple(Skipped(**item) for item in data["skipped"])
        data["notes"] = tuple((source, note) for source, note in data["notes"])
        data.setdefault("noted", len(data["notes"]))  # a report of before it was counted has all
        return IngestReport(**data)
    except FileNotFoundError:
        raise LavraError(f"there is no corpus at {corpus}: make one with `lavra ingest`") from None
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise LavraError(f"{path} cannot be understood ({error}): make the corpus again with `lavra ingest`") from None


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|").replace("`", "'")
