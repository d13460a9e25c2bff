"""Files in, a set of examples out: read, allowed, once each, apart from tests; and the account of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from lavra.corpus.labels.account import Account, make_account, write_account
from lavra.corpus.labels.apart import drop_tested, read_tests
from lavra.corpus.labels.entry import Entry, write_entries
from lavra.corpus.labels.reading import LeftRow, read_set, replaced, strings
from lavra.corpus.labels.repeats import drop_exact, drop_near, matrix_of, require
from lavra.corpus.labels.settings import Taking
from lavra.errors import LavraError


def take_in(paths: Sequence[Path], out: Path, settings: Taking, *, tests: Mapping[str, Path] | None = None) -> Account:
    """``examples.jsonl``, ``left_out.jsonl`` and the report of ``paths`` into ``out``.

    ``tests``: sets of the store or files, by name, whose items are not to be learned from. Raises LavraError for a file
    that cannot be read, where a library is not there, and where nothing would stay.
    """
    began = time.perf_counter()
    if settings.similarity:
        require("taking examples in (near-duplicates)")
    held = read_tests(tests or {}, settings)
    read = read_set(paths, settings)
    entries, left, personal = read.entries, list(read.left), Counter[str]()
    entries, gone = _allowed(entries, settings)
    left += gone
    if settings.personal != "leave":
        entries, gone, personal = _without_personal(entries, settings)
        left += gone
    entries, gone = drop_exact(entries, read.kind)
    left += gone
    entries, gone = drop_near(entries, settings)
    left += gone
    entries, gone = drop_tested(entries, held, settings)
    left += gone
    entries = _with_language(entries, settings)
    names = [file.name for file in read.files]
    account = make_account(
        read.kind,
        sum(file.rows for file in read.files),
        entries,
        left,
        files=[asdict(file) for file in read.files],
        between=matrix_of(names, left),
        personal=dict(personal.most_common()),
        personal_done=settings.personal,
        seconds=round(time.perf_counter() - began, 3),
    )
    if not entries:
        raise LavraError(_nothing(account, settings))
    write_entries(entries, out)
    write_account(account, left, out)
    return account


def _allowed(entries: Sequence[Entry], settings: Taking) -> tuple[list[Entry], list[LeftRow]]:
    """What the policy lets a model be trained on."""
    kept = [entry for entry in entries if settings.may_train(entry.licence)]
    left = [
        LeftRow(
            entry.origin,
            "licence",
            f"its licence, {entry.licence}, is not one that may be trained on"
            if entry.licence
            else "it states no licence",
        )
        for entry in entries
        if not settings.may_train(entry.licence)
    ]
    return kept, left


def _without_personal(entries: Sequence[Entry], settings: Taking) -> tuple[list[Entry], list[LeftRow], Counter[str]]:
    """Personal data replaced or only counted; or entries with any left out."""
    require("finding personal data", "phonenumbers", "stdnum")
    import pyarrow as pa

    from lavra.corpus.personal.finding import find_at, redact, suspects
    from lavra.corpus.personal.kinds import KINDS, chosen, own_kind, placeholders

    kinds = KINDS if settings.personal_kinds is None else chosen(settings.personal_kinds)
    kinds = (*kinds, *(own_kind(name, pattern) for name, pattern in sorted(settings.personal_patterns.items())))
    words = placeholders(kinds)
    texts = [strings(entry.row) for entry in entries]
    owners = [row for row, own in enumerate(texts) for _ in own]
    flat = [text for own in texts for text in own]
    counts: Counter[str] = Counter()
    hit: set[int] = set()
    for place, where in suspects(pa.array(flat, pa.large_string()), kinds).items():
        if found := find_at(flat[place], where):
            counts.update(finding.kind for finding in found)
            hit.add(owners[place])
            flat[place] = redact(flat[place], found, words)
    if settings.personal == "report" or not hit:
        return list(entries), [], counts
    if settings.personal == "drop":
        left = [LeftRow(entries[row].origin, "personal", "it holds personal data") for row in sorted(hit)]
        return [entry for row, entry in enumerate(entries) if row not in hit], left, counts
    made, at = [], 0
    for row, entry in enumerate(entries):
        own = flat[at : at + len(texts[row])]
        at += len(own)
        made.append(replace(entry, row=replaced(entry.row, own)) if row in hit else entry)
    return made, [], counts


def _with_language(entries: Sequence[Entry], settings: Taking) -> list[Entry]:
    from lavra.corpus.language import detect_language

    return [replace(entry, language=detect_language(entry.asked, settings.languages)) for entry in entries]


def _nothing(account: Account, settings: Taking) -> str:
    rows = sum(account.left.get("licence", {}).values())
    if account.left.get("licence", {}).get("it states no licence") and settings.unlicensed == "drop":
        return (
            f"nothing would stay: {rows:,} of {account.rows:,} rows state no licence, and what states none is not "
            "trained on. Say whose they are with --licence, or decide that they may be with --unlicensed keep."
        )
    worst = max(account.left, key=lambda stage: sum(account.left[stage].values()))
    reason = next(iter(account.left[worst]))
    return f"nothing would stay of {account.rows:,} rows: most are left out because {reason}."
