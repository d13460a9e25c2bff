"""The search is fitted to a workspace's own questions, on questions held out, and mistakes in the file are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lavra.errors import LavraError
from lavra.workspace.fitting import fit, read_questions
from lavra.workspace.workspace import Workspace

ASKED = {
    "regras/ferias.md": (
        "Quantos dias de férias tem o servidor?",
        "Quando se faz o pedido de férias?",
        "férias períodos",
    ),
    "regras/travel.md": ("How much is the daily allowance?", "When are receipts handed in?", "taxis and hotels"),
    "regras/board/salaries.md": ("What does the president earn?", "Who decides the board's salaries?"),
}


def questions(path: Path, copies: int = 3) -> Path:
    rows = [{"text": text, "docs": [source]} for source, texts in ASKED.items() for text in texts] * copies
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


@pytest.mark.usefixtures("models")
def test_figures_are_of_questions_held_out_and_a_fit_that_does_not_help_changes_nothing(
    documents: Path, tmp_path: Path
) -> None:
    workspace = Workspace.init(tmp_path / "workspace")
    workspace.ingest([documents])
    workspace.index()
    fitted = fit(workspace, questions(tmp_path / "q.jsonl"))
    assert fitted.questions == 24
    assert 0.8 <= fitted.recall_before <= 1
    assert fitted.kept == (fitted.mrr_after > fitted.mrr_before)
    assert fitted.path.exists() == fitted.kept
    settings = Workspace.open(workspace.root).settings
    assert (settings.index.fusion is not None) == fitted.kept


@pytest.mark.parametrize(
    ("line", "said"),
    [('{"text": "x"}', "line 1 of"), ("nonsense", "line 1 of"), ('{"text": " ", "docs": []}', "line 1 of")],
)
def test_a_line_that_is_no_question_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "q.jsonl").write_text(line)
    with pytest.raises(LavraError, match=said):
        read_questions(tmp_path / "q.jsonl")


def test_too_few_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LavraError, match="at least 20"):
        read_questions(questions(tmp_path / "q.jsonl", copies=1))
