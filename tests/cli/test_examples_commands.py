"""``lavra examples``: sets taken in, checked, corrected, and found by name where models are tuned."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("numba")
from typer.testing import CliRunner

import lavra
from lavra.cli.commands import app
from lavra.corpus.document import Document
from lavra.corpus.labels.entry import FILE, read_entries
from lavra.errors import LavraError
from lavra.workspace.examples.naming import inputs_of, sets_of, settle, settle_sources
from lavra.workspace.forgetting import learned_from
from lavra.workspace.tuning.settings import Sources
from lavra.workspace.workspace import Workspace

THINGS = {"fruta": ("manga doce", "banana madura", "caju azedo"), "ferramenta": ("martelo pesado", "serra curta")}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    run("init")
    return run


def things(path: Path) -> Path:
    """Texts of two labels; the third is wrong."""
    lines = ["texto;rótulo"]
    for number in range(12):
        for label, words in THINGS.items():
            lines += [f"{word} da caixa {chr(97 + number)};{label}" for word in words]
    lines[3] = "caju azedo da caixa a;ferramenta"
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_a_wrong_label_goes_from_the_file_to_a_person_to_the_set(run: Callable[..., str], tmp_path: Path) -> None:
    said = run("examples", "ingest", str(things(tmp_path / "things.csv")), "--licence", "CC0-1.0", "--name", "things")
    assert "60 of 60 rows stay, of classes" in said
    assert "Labels: fruta 35, ferramenta 25" in said
    assert "lavra tune --task classify things" in said
    assert "made before" in run("examples", "ingest", "things.csv", "--licence", "CC0-1.0", "--name", "things")
    said = run("examples", "check", "things")
    assert "Suggestions: 1, on 60 rows" in said
    assert "label: 1; row 3: ferramenta → fruta: caju azedo da caixa a" in said
    with pytest.raises(LavraError, match="exists already, perhaps with your decisions"):
        run("examples", "check", "things")
    with pytest.raises(LavraError, match="nothing is decided"):
        run("examples", "correct", "things", "things-suggestions.csv")
    place = tmp_path / "things-suggestions.csv"
    with place.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    with place.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"do": "take"} for row in rows)
    said = run("examples", "correct", "things", "things-suggestions.csv", "--name", "better")
    assert "1 labels changed, 0 rows dropped: 60 rows" in said
    here = Workspace.find()
    better, before = here.store.get("better"), here.store.get("things")
    assert better.manifest.inputs == {"examples": before.id}
    assert better.manifest.licences == ("CC0-1.0",)
    assert [entry.said for entry in read_entries(better.path)][2] == "fruta"
    assert [entry.said for entry in read_entries(before.path)][2] == "ferramenta"
    assert "**60 of 60 rows stay**" in (better.path / "report.md").read_text("utf-8")
    assert (better.path / "decisions.csv").read_bytes() == place.read_bytes()
    with pytest.raises(LavraError, match="is of another set: row 3 is not what it was"):
        run("examples", "correct", "better", "things-suggestions.csv")


def test_a_set_is_found_by_its_name_where_it_fits(run: Callable[..., str], tmp_path: Path) -> None:
    Path("talk.jsonl").write_text(json.dumps({"prompt": "Oi?", "completion": "Olá!", "licence": "MIT"}) + "\n")
    Path("old.jsonl").write_text(json.dumps({"prompt": "E?", "completion": "Sim."}) + "\n")
    run("examples", "ingest", "talk.jsonl", "--name", "talk")
    run("examples", "ingest", str(things(tmp_path / "things.csv")), "--unlicensed", "keep", "--name", "things")
    here = Workspace.find()
    sources = settle_sources(here, Sources(data=(Path("talk"), Path("old.jsonl"))))
    assert sources.data == (here.store.get("talk").path / FILE, Path("old.jsonl"))
    found = sets_of(here, sources.data)
    assert inputs_of(found) == {"examples-1": here.store.ref("talk")}
    assert found[0].manifest.licences == ("MIT",)
    with pytest.raises(LavraError, match=r"things is a set of classes: it is for `lavra tune --task classify things`"):
        settle(here, Path("things"), "instructions")
    with pytest.raises(LavraError, match=r"talk is a set of instructions: it is for `lavra tune talk`"):
        run("align", "talk")
    here.store.set_ref("clean", here.store.make("corpus", {}, {}, lambda draft: None).id)
    with pytest.raises(LavraError, match="is a corpus, of documents and not of examples: give it with --text clean"):
        settle(here, Path("clean"), "instructions")
    assert settle(here, Path("examples-old.jsonl"), "instructions") == Path("examples-old.jsonl")
    with pytest.raises(LavraError, match="no artifact"):
        settle(here, Path("examples-0123"), "instructions")
    Path("pairs.jsonl").write_text(json.dumps({"anchor": "a", "positive": "b"}), "utf-8")
    said = run("examples", "ingest", "pairs.jsonl", "--unlicensed", "keep", "--name", "pairs")
    assert "Next: lavra tune --task embed pairs" in said
    assert settle(here, Path("pairs"), "pairs").name == FILE
    with pytest.raises(LavraError, match="nothing can be doubted yet"):
        run("examples", "check", "pairs")
    with pytest.raises(LavraError, match="talk is a set of instructions"):
        run("tune", "--task", "rerank", "talk")
    with pytest.raises(LavraError, match="is no set of examples"):
        run("examples", "check", here.store.make("questions", {}, {}, lambda draft: None).id)


def test_policy_tests_and_mistakes_are_said(run: Callable[..., str], tmp_path: Path) -> None:
    Path("talk.jsonl").write_text(
        json.dumps({"prompt": "Oi?", "completion": "Olá!", "licence": "MIT"})
        + "\n"
        + json.dumps({"prompt": "E agora?", "completion": "Nada.", "licence": "CC-BY-NC-4.0"})
        + "\n"
        + json.dumps({"prompt": "Prova?", "completion": "Sim.", "licence": "MIT"})
    )
    Path("exam.jsonl").write_text(json.dumps({"prompt": "prova?", "completion": "Não."}))
    settings = Path("lavra.toml").read_text("utf-8")
    Path("lavra.toml").write_text(
        settings.replace("[corpus]\n", '[corpus]\nlicences = ["MIT"]\nevaluation_sets = { exam = "exam.jsonl" }\n'),
        "utf-8",
    )
    said = run("examples", "ingest", "talk.jsonl")
    assert "1 of 3 rows stay" in said
    assert "1 its licence, CC-BY-NC-4.0, is not one that may be trained on" in said
    assert "Held by a test: 1" in said
    taken = lavra.ingest_examples("talk.jsonl", against=["exam.jsonl"], licences=("*",))
    assert taken.account.kept == 2
    with pytest.raises(LavraError, match=r"nowhere.jsonl is no file"):
        run("examples", "ingest", "nowhere.jsonl")
    with pytest.raises(LavraError, match="no artifact"):
        run("examples", "ingest", "talk.jsonl", "--against", "nothing")
    Path("exam.jsonl").unlink()
    with pytest.raises(LavraError, match=r"the evaluation set .*exam.jsonl does not exist"):
        run("examples", "ingest", "talk.jsonl")


def test_a_set_that_was_made_from_a_document_is_known_by_it(run: Callable[..., str], tmp_path: Path) -> None:
    Path("a.jsonl").write_text(json.dumps({"prompt": "Oi?", "completion": "Olá!", "document": "atas/um.md"}))
    Path("b.jsonl").write_text(json.dumps({"prompt": "E?", "completion": "O conselho decidiu em março."}))
    for name in "ab":
        run("examples", "ingest", f"{name}.jsonl", "--unlicensed", "keep", "--name", f"set-{name}")
    here = Workspace.find()
    document = Document(
        source="atas/um.md", text="O conselho decidiu em março.", title="", format="markdown", language="pt"
    )
    own = ["O conselho decidiu em março."]
    assert learned_from(here.store.get("set-a"), document, [])
    assert learned_from(here.store.get("set-b"), document, own)
    assert not learned_from(here.store.get("set-b"), document, ["Outra frase que não está lá."])
