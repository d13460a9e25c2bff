"""Fitting the search to a workspace's own questions, kept only if it helps on questions it was not fitted to."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit

from lavra.errors import LavraError
from lavra.store.files import write_atomically
from lavra.workspace.settings import NAME
from lavra.workspace.workspace import Workspace

FOLDS = 5
FEWEST = 20
"""Questions below which a cross-validation says nothing."""
FILE = "fusion.json"

Question = tuple[str, frozenset[str]]
"""A question, and the documents or passages that answer it: none for one that nothing answers."""


@dataclass(frozen=True)
class Fitted:
    """Figures of questions that were held out: recall@5 and mean reciprocal rank at 10, before and after."""

    questions: int
    recall_before: float
    recall_after: float
    mrr_before: float
    mrr_after: float
    kept: bool
    path: Path


def read_questions(path: Path) -> list[Question]:
    """Questions from a JSONL file: ``{"text": "…", "docs": ["guide/en/install.md"]}`` a line.

    The rows that ``lavra questions`` writes are such questions too.

    Raises:
        LavraError: naming the file, the line and what is wrong with it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LavraError(f"the questions in {path} cannot be read: {error}") from error
    questions = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
            if "question" in row:  # made by `lavra questions`, and edited perhaps
                row = {"text": row["question"], "docs": [row["document"]] if row.get("answerable", True) else []}
            text, docs = row["text"], row["docs"]
            if not (isinstance(text, str) and text.strip() and isinstance(docs, list)):
                raise TypeError
        except (ValueError, KeyError, TypeError) as error:
            raise LavraError(
                f'line {number} of {path} is not a question: write {{"text": "…", "docs": ["folder/file.md"]}}, '
                "docs being sources or ids (`lavra status --documents` lists them), or [] where nothing answers."
            ) from error
        questions.append((text, frozenset(map(str, docs))))
    if len(questions) < FEWEST:
        raise LavraError(f"{path} has {len(questions)} questions; at least {FEWEST} are needed, 100 are better.")
    return questions


def fit(workspace: Workspace, path: Path) -> Fitted:
    """Fit the fusion to the questions in ``path``; where it helps, keep it in the workspace and its settings."""
    from lavra.corpus.ingest import load_documents
    from lavra.retrieval.fitting import fit_fusion
    from lavra.retrieval.fusion import Fusion

    workspace.ready()
    questions = read_questions(path)
    index, corpus = workspace.live_index, workspace.corpus()
    assert corpus is not None
    documents = list(load_documents(corpus.path))
    known = {name for document in documents for name in (document.id, document.source)}
    roles = frozenset(role for document in documents for role in document.roles)
    for text, docs in questions:
        for name in docs - known:
            if index.passage(name, roles) is None:
                raise LavraError(
                    f"the question {text!r} names {name!r}, which is not in the corpus: `lavra status --documents`."
                )
    shipped = Fusion.load()
    answerable = [number for number, (_, docs) in enumerate(questions) if docs]
    before, after = np.zeros((len(questions), 2)), np.zeros((len(questions), 2))
    for fold in range(FOLDS):
        held = [number for number in range(len(questions)) if number % FOLDS == fold]
        fitted = fit_fusion(index, [q for n, q in enumerate(questions) if n % FOLDS != fold], roles=roles)
        for number in held:
            candidates, seen = index.candidates(questions[number][0], roles=roles)
            names = [(candidate.document_id, candidate.chunk_id) for candidate in candidates]
            answers = questions[number][1] | {d.id for d in documents if d.source in questions[number][1]}
            before[number] = _score(names, shipped.predict(seen), answers) if names else 0.0
            after[number] = _score(names, fitted.predict(seen), answers) if names else 0.0
    recall_before, mrr_before = before[answerable].mean(axis=0)
    recall_after, mrr_after = after[answerable].mean(axis=0)
    kept = mrr_after > mrr_before
    if kept:
        fit_fusion(index, questions, roles=roles).save(workspace.root / FILE)
        _name_in_settings(workspace)
    return Fitted(
        len(questions),
        float(recall_before),
        float(recall_after),
        float(mrr_before),
        float(mrr_after),
        bool(kept),
        workspace.root / FILE,
    )


def _score(names: Sequence[tuple[str, str]], scores: np.ndarray, answers: Collection[str]) -> tuple[float, float]:
    """Recall@5 and reciprocal rank at 10 of the first right candidate; a document counts once, at its best passage."""
    rank, seen = 0, set()
    for position in np.argsort(-scores, kind="stable"):
        document, chunk = names[position]
        right = document in answers or chunk in answers
        if document in seen and not right:
            continue
        seen.add(document)
        rank += 1
        if right:
            return float(rank <= 5), 1 / rank if rank <= 10 else 0.0
        if rank == 10:
            break
    return 0.0, 0.0


def _name_in_settings(workspace: Workspace) -> None:
    path = workspace.root / NAME
    text = tomlkit.parse(path.read_text(encoding="utf-8"))
    text.setdefault("index", tomlkit.table())["fusion"] = FILE
    write_atomically(path, tomlkit.dumps(text).encode())
