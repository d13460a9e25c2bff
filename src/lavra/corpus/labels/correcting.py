"""A set after a person's decisions: its entries, each once still, and the account of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lavra.corpus.labels.account import Account, make_account, write_account
from lavra.corpus.labels.entry import Entry, write_entries
from lavra.corpus.labels.reading import LeftRow
from lavra.corpus.labels.suggestions import Applied


def correct(applied: Applied, entries: Sequence[Entry], before: Account, out: Path) -> Account:
    """The corrected set into ``out``: ``examples.jsonl``, what a person dropped in ``left_out.jsonl``, the report."""
    left = [LeftRow(entries[row].origin, "decision", "a person decided so") for row in applied.dropped]
    account = make_account(
        before.kind, len(entries), applied.entries, left, files=before.files, between={}, personal=before.personal,
        personal_done=before.personal_done,
    )  # fmt: skip
    account = replace(account, changed=len(applied.changed))
    write_entries(applied.entries, out)
    write_account(account, left, out)
    return account
