"""Pairs of texts that belong together: of a file, or of the workspace's documents and questions; and which are held
out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from lavra.errors import LavraError
from lavra.store.files import digest
from lavra.workspace.workspace import Workspace

if TYPE_CHECKING:
    from lavra.corpus.pairs import Pair

HELD_OUT = 0.1
MOST_HELD_OUT = 500
FEWEST = 20
"""Pairs of documents below which tuning would be on chance."""


def gather_pairs(
    workspace: Workspace, pairs: Path | None, questions: Path | None, roles: Sequence[str] = ()
) -> tuple[list[Pair], list[str]]:
    """The pairs of a file, or of the workspace's documents and a file of questions; and what was refused.

    Of documents that everybody may read, and those that one of ``roles`` may: a model is for all who use it.
    """
    from lavra.corpus.document import PUBLIC
    from lavra.corpus.ingest import load_documents
    from lavra.corpus.pairs import document_pairs, question_pairs, read_pairs, unit_scores
    from lavra.corpus.tables import describe

    if pairs is not None:
        file = read_pairs(pairs)
        notes = [f"refused {len(file.refused)} rows: {describe(file.refused)}"] if file.refused else []
        return unit_scores(file.pairs), notes
    corpus = workspace.corpus()
    if corpus is None:
        raise LavraError("there are no documents to make pairs of: run `lavra ingest FOLDER`, or give a file of pairs.")
    readable = {PUBLIC, *roles}
    documents = [document for document in load_documents(corpus.path) if readable & set(document.roles)]
    found = document_pairs(documents)
    notes = []
    if questions is not None:
        asked = question_pairs(questions, documents)
        if asked.refused:
            notes.append(f"refused {len(asked.refused)} questions: {describe(asked.refused)}")
        found += asked.pairs
    if len(found) < FEWEST:
        raise LavraError(
            f"the documents give only {len(found)} pairs, too few to tune with: ingest more, or give questions"
        )
    return found, notes


def hold_out(pairs: Sequence[Pair], seed: int) -> tuple[list[Pair], list[Pair]]:
    """What is trained on, and a tenth (at most 500) that is not, no document and no text on both sides."""
    groups = _together(pairs)
    wanted = min(MOST_HELD_OUT, round(HELD_OUT * len(pairs)))
    train: list[Pair] = []
    held: list[Pair] = []
    for key in sorted(groups, key=lambda k: sha256(f"{seed}\0{k}".encode()).hexdigest()):
        fits = len(held) + len(groups[key]) <= max(wanted, 1) or (not held and len(groups[key]) < len(pairs) // 3)
        (held if len(held) < wanted and fits else train).extend(groups[key])
    if not held or not train:
        raise LavraError("all pairs are of one document, so none can be held out; give pairs of several documents")
    return train, held


def _together(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Pairs that share a text or a document, however indirectly, in one group."""
    groups: dict[str, list[Pair]] = {}
    owner: dict[str, str] = {}
    for pair in pairs:
        names = [pair.source and f"\0{pair.source}", pair.anchor, pair.positive]
        mine = {owner[name] for name in names if name and name in owner}
        key = min(mine, default=names[0] or names[1])
        members = [pair]
        for other in mine - {key}:
            members += groups.pop(other)
        groups.setdefault(key, []).extend(members)
        for member in members:
            for name in (member.source and f"\0{member.source}", member.anchor, member.positive):
                if name:
                    owner[name] = key
    return groups


def pairs_digest(pairs: Iterable[Pair]) -> str:
    """What tells one set of pairs from another, for a recipe."""
    return digest([[p.anchor, p.positive, list(p.negatives), p.score] for p in pairs])
