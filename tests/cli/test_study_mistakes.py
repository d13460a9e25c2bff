"""``lavra study FOLDER`` tells a mistake before it reads the folder, which may take an hour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lavra.cli.commands import app
from lavra.errors import LavraError
from lavra.workspace.workspace import Workspace


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--questions", "gone.jsonl"), "gone.jsonl cannot be read"),
        (("--ways", "magic"), "there is no way 'magic'"),
        (("--budget", "lots"), "the budget 'lots' is not understood"),
    ],
)
def test_a_mistake_is_told_before_documents_are_read(
    tmp_path: Path, pulled: Callable[[str], Path], arguments: tuple[str, ...], said: str
) -> None:
    for model in ("e5-small-enpt", "smollm2-135m"):
        pulled(model)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("O prazo é de trinta dias.", encoding="utf-8")
    CliRunner().invoke(app, ["init", str(tmp_path)])
    done = CliRunner().invoke(app, ["study", str(tmp_path / "docs"), *arguments, "-w", str(tmp_path)])
    assert isinstance(done.exception, LavraError)
    assert said in str(done.exception)
    assert Workspace.open(tmp_path).corpus() is None
