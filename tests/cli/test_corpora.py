"""``lavra corpus``: clean, explain, diff, a classifier, and what they say of mistakes, as a user meets them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("daft")
from typer.testing import CliRunner

from lavra.cli.commands import app
from lavra.errors import LavraError

PAGES = {
    "ata.md": "# Ata da reunião\n\nO conselho discutiu o orçamento da casa e as despesas do ano que passou. Não houve "
    "acordo sobre os livros da biblioteca, porque faltavam os dados do arquivo. Ficou decidido que a próxima reunião "
    "seria em março, em local a indicar pela direção, e que o relatório seria enviado a todos com antecedência.\n",
    "aviso.md": "# Aviso\n\nO serviço de consultas do hospital fecha na sexta-feira para obras no telhado. Quem tiver "
    "consulta marcada será avisado por telefone: ligue (11) 98765-4321 se não receber contato até quarta. As urgências "
    "continuam abertas pela entrada do norte, que é a mais próxima do estacionamento e da paragem dos autocarros.\n",
    "nota.md": "Curto.\n",
}


@pytest.fixture
def lavra(tmp_path: Path) -> Callable[..., str]:
    (tmp_path / "docs").mkdir()
    for name, text in PAGES.items():
        (tmp_path / "docs" / name).write_text(text, encoding="utf-8")

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "-w", str(tmp_path)] if arguments[0] != "init" else list(arguments))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    run("init", str(tmp_path))
    return run


def test_clean_explain_and_diff(lavra: Callable[..., str], tmp_path: Path) -> None:
    lavra("ingest", str(tmp_path / "docs"))
    with pytest.raises(LavraError, match=r"3 of 3 documents state no licence.*--unlicensed keep"):
        lavra("corpus", "clean")
    said = lavra("corpus", "clean", "--unlicensed", "keep")
    assert "2 of 3 documents stay" in said
    assert "gopher_quality.min_words 1" in said
    assert "1 telephone: replaced" in said
    assert "made before" in lavra("corpus", "clean", "--unlicensed", "keep")
    assert "0 added, 1 removed, 1 changed, 1 the same" in lavra("corpus", "diff", "corpus", "clean")
    said = lavra("corpus", "explain", str(tmp_path / "docs" / "nota.md"), "--unlicensed", "keep")
    assert "breaks gopher_quality.min_words" in said
    assert "docs/nota.md (markdown" in said
    assert "no other document has this text" in said  # it is not its own duplicate
    assert lavra("ingest", str(tmp_path / "docs" / "nota.md"), "--explain").count("dropped") == 2  # licence, quality
    said = lavra("ingest", str(tmp_path / "docs" / "nota.md"), "--explain", "--licence", "MIT")
    assert "MIT: may be trained on" in said
    lavra("ingest", str(tmp_path / "docs"), "--licence", "CC0-1.0")
    assert "CC0-1.0: may be trained on" in lavra("corpus", "explain", str(tmp_path / "docs" / "nota.md"))
    assert "clean" in {path.name for path in (tmp_path / ".lavra" / "refs").iterdir()}


def test_a_document_is_explained_by_any_of_its_names(lavra: Callable[..., str], tmp_path: Path) -> None:
    """As reports have it, as the file and the record, ingested or not; what could not be read is said beside."""
    rows = [{"id": name, "text": f"{text} De novo."} for name, text in PAGES.items()]
    rows += [{"id": "none"}, {"id": "ata.md again", "text": PAGES["ata.md"]}]
    for folder in ("docs", "other"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lavra("ingest", str(tmp_path / "docs"), "--licence", "MIT")
    name = "docs/rows.jsonl#aviso.md"
    by_name, by_file = lavra("corpus", "explain", name), lavra("corpus", "explain", str(tmp_path / name))
    assert by_name == by_file
    assert by_name.splitlines()[0].startswith(f"{name} (jsonl")
    assert by_name.count(" (jsonl") == 1
    foreign = lavra("corpus", "explain", str(tmp_path / "other" / "rows.jsonl#aviso.md"))
    assert foreign.splitlines()[0].startswith("rows.jsonl#aviso.md (jsonl")
    for whole in ("docs", "other"):
        said = lavra("corpus", "explain", str(tmp_path / whole / "rows.jsonl"))
        assert "not read       line 4 has none of the fields text" in said
    both = lavra("corpus", "explain", "docs/ata.md", "docs/nota.md")
    assert both.count(" (markdown") == 2
    for gone, why in (
        ("docs/rows.jsonl#4", "line 4 has none"),
        ("docs/rows.jsonl#ata.md again", "it has the same text as docs/ata.md"),
    ):
        with pytest.raises(LavraError, match=re.escape(f"{gone} is not read: {why}")):
            lavra("corpus", "explain", gone)
    for wrong, said in (
        ("docs/rows.jsonl#other", "docs/rows.jsonl#other does not exist, and no document is called so"),
        (str(tmp_path / "docs" / "rows.jsonl#other"), "rows.jsonl has no record other"),
    ):
        with pytest.raises(LavraError, match=re.escape(said)):
            lavra("corpus", "explain", wrong)


def test_repeated_paragraphs_go_where_that_is_asked_for(lavra: Callable[..., str], tmp_path: Path) -> None:
    notice = "Este documento foi emitido eletronicamente e dispensa assinatura, nos termos do regulamento em vigor."
    for name in ("ata.md", "aviso.md"):
        (tmp_path / "docs" / name).write_text(f"{PAGES[name]}\n{notice}\n", encoding="utf-8")
    lavra("ingest", str(tmp_path / "docs"), "--licence", "CC0-1.0")
    assert "taken out" not in lavra("corpus", "clean")
    said = lavra("corpus", "clean", "--with", "paragraphs")
    assert "1 of 4 paragraphs (0.00 MB) taken out, because another document keeps them; documents shortened: 1" in said
    each = {
        name: lavra("corpus", "explain", str(tmp_path / "docs" / name), "--with", "paragraphs")
        for name in ("ata.md", "aviso.md")
    }
    assert "kept by others, such as docs/ata.md: taken out" in each["aviso.md"]
    assert "none of its 2 paragraphs is kept by another document" in each["ata.md"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("corpus", "clean"), "run `lavra ingest FOLDER` first"),
        (("corpus", "clean", "--without", "polish"), "no stage 'polish'"),
        (("corpus", "clean", "--with", "polish"), "no stage 'polish'"),
        (("corpus", "clean", "--unlicensed", "perhaps"), "keep, drop"),
        (("corpus", "clean", "--evaluation-set", "enem"), "takes NAME=FILE"),
        (("corpus", "clean", "--name", "../elsewhere"), "--name ../elsewhere cannot be used"),
        (("corpus", "clean", "--name", "corpus"), "--name corpus cannot be used"),  # else the documents were gone
        (("corpus", "classifier", "docs", "docs", "--name", "index"), "--name index cannot be used"),
        (("corpus", "explain", "/nowhere.md"), "/nowhere.md does not exist"),
        (("corpus", "diff", "one", "two"), "'one'"),
        (("corpus", "classifier", "/nowhere", "/neither"), "/nowhere does not exist"),
    ],
)
def test_mistakes_are_one_sentence(lavra: Callable[..., str], arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(LavraError, match=said):
        lavra(*arguments)


def test_an_erased_document_is_in_no_cleaned_corpus_and_in_no_cleaning_that_was_stopped(
    lavra: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pulled: Callable[[str], Path]
) -> None:
    pulled("e5-small-enpt")
    lavra("ingest", str(tmp_path / "docs"))
    with pytest.raises(LavraError):
        lavra("corpus", "clean")
    assert not list((tmp_path / ".lavra" / "cleaning").rglob("*.parquet"))  # the same would end the same way
    with monkeypatch.context() as patch:
        patch.setattr("lavra.corpus.cleaning.run.decide", stopped)
        lavra("corpus", "clean", "--unlicensed", "keep")
    assert list((tmp_path / ".lavra" / "cleaning").rglob("*.parquet"))
    lavra("corpus", "clean", "--unlicensed", "keep", "--without", "near")
    (cleaned,) = ((tmp_path / ".lavra" / "refs" / "clean").read_text().split(),)
    (tmp_path / ".lavra" / "ingesting").mkdir()  # as an ingest leaves it that was stopped
    said = lavra("forget", "nota.md", "--yes")  # too short to stay: the cleaned corpus only names it
    assert cleaned[0] in said
    assert "still in" not in said
    assert not list((tmp_path / ".lavra" / "cleaning").rglob("*.parquet"))
    assert not (tmp_path / ".lavra" / "ingesting").exists()
    assert not (tmp_path / ".lavra" / "artifacts" / cleaned[0] / "dropped.parquet").exists()


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


def test_too_few_examples_make_no_classifier(lavra: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(LavraError, match="3 good examples"):
        lavra("corpus", "classifier", str(tmp_path / "docs"), str(tmp_path / "docs"))
