"""The whole path on real models: documents in, cited answers out, traced and forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lavra.assistants.events import Answer, Event, Message, Retrieved, TextDelta
from lavra.errors import LavraError
from lavra.workspace.forgetting import forget
from lavra.workspace.running import Running
from lavra.workspace.workspace import Workspace

pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture(scope="module")
def workspace(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace.init(tmp_path_factory.mktemp("workspace"), name="regras")
    made.ingest([documents])
    made.index()
    return made


def ask(workspace: Workspace, question: str, *roles: str) -> tuple[Retrieved, Answer, str]:
    events: list[Event] = list(workspace.ask(question, roles=roles or ("public",)))
    retrieved, answer = events[0], events[-1]
    assert isinstance(retrieved, Retrieved)
    assert isinstance(answer, Answer)
    return retrieved, answer, "".join(event.text for event in events if isinstance(event, TextDelta))


def test_an_answer_streams_and_cites_the_place_it_comes_from(workspace: Workspace) -> None:
    retrieved, answer, streamed = ask(workspace, "How much is the daily allowance for state capitals?")
    assert answer.text == streamed.strip()
    assert "320" in answer.text
    assert answer.answerable
    (first, *_) = answer.citations
    assert f"[{first.number}]" in answer.text
    assert first.source == "regras/travel.md"
    assert first.headings[-1] == "Daily allowance"
    assert "320 reais" in first.quote
    assert retrieved.confidence > 0
    assert answer.timings["first_token"] <= answer.timings["total"]


def test_a_quote_stands_where_its_citation_says(workspace: Workspace) -> None:
    _, answer, _ = ask(workspace, "Quantos dias de férias tem o servidor?")
    running = Running(workspace)
    assert answer.citations
    for citation in answer.citations:
        document = running.document(citation.document_id, frozenset({"public"}))
        assert document is not None
        assert document.text[citation.start : citation.end] == citation.quote


def test_portuguese_questions_are_answered_from_portuguese_sources(workspace: Workspace) -> None:
    _, answer, _ = ask(workspace, "Quantos dias de férias tem o servidor?")
    assert "trinta dias" in answer.text
    assert answer.citations[0].source == "regras/ferias.md"


def test_what_the_documents_do_not_say_is_not_invented(workspace: Workspace) -> None:
    _, answer, _ = ask(workspace, "How do I bake sourdough bread?")
    assert not answer.answerable
    assert answer.citations == ()


@pytest.mark.parametrize(
    "question",
    [
        "Como trocar o óleo do carro?",
        "Qual é a capital da Mongólia?",
        "Quem escreveu Dom Casmurro?",
        "Como se planta mandioca no quintal?",
    ],
)
def test_nor_where_one_page_alone_is_in_the_language_of_the_question(workspace: Workspace, question: str) -> None:
    _, answer, _ = ask(workspace, question)
    assert not answer.answerable
    assert answer.citations == ()


def test_a_role_sees_its_documents_and_nobody_else_does(workspace: Workspace) -> None:
    question = "How much does the president of the board earn a month?"
    retrieved, answer, text = ask(workspace, question)
    assert "41" not in text
    assert all("salaries" not in citation.source for citation in retrieved.citations)
    _, answer, text = ask(workspace, question, "board")
    assert "41 thousand" in text
    assert answer.citations[0].source == "regras/board/salaries.md"
    running = Running(workspace)
    secret = answer.citations[0]
    assert running.document(secret.document_id, frozenset({"public"})) is None
    assert running.passage(secret.chunk_id, frozenset({"public"})) is None
    assert all("president" not in question for question in running.example_questions())


def test_a_follow_up_is_understood_with_the_question_before_it(workspace: Workspace) -> None:
    conversation = [
        Message("user", "How many days are there to hand in receipts for hotels?"),
        Message("assistant", "Ten days."),
        Message("user", "And for taxis?"),
    ]
    *_, answer = workspace.ask(conversation)
    assert isinstance(answer, Answer)
    assert answer.citations
    assert answer.citations[0].headings[-1] == "Receipts"


def test_the_same_again_is_found_and_not_redone(workspace: Workspace, documents: Path) -> None:
    corpus, index = workspace.store.ref("corpus"), workspace.store.ref("index")
    again = workspace.ingest([documents])
    assert again.found
    assert again.artifact.id == corpus
    report = workspace.index().report
    assert (report.added, report.changed, report.removed, report.unchanged) == (0, 0, 0, 3)
    assert workspace.store.ref("index") == index


def test_the_pedigree_of_the_assistant_reaches_the_documents_and_both_models(workspace: Workspace) -> None:
    list(workspace.ask("How much is the daily allowance?"))
    assistant = workspace.store.trace("assistant")
    kinds = {node.role: node for node in assistant.inputs}
    assert kinds.keys() == {"index", "model", "prompt"}
    below = {node.role: node for node in kinds["index"].inputs}
    assert below.keys() == {"corpus", "embedder"}
    corpus = below["corpus"].manifest
    assert corpus is not None
    assert corpus.metrics["documents"] == 3
    assert corpus.licences == ("CC-BY-4.0",)
    model = kinds["model"].manifest
    assert model is not None
    assert (model.recipe["name"], model.licences) == ("smollm2-135m", ("Apache-2.0",))
    workspace.store.verify()


@pytest.fixture
def own(documents: Path, tmp_path: Path) -> tuple[Workspace, Path]:
    """A workspace and a copy of the documents that a test may change."""
    import shutil

    folder = tmp_path / "regras"
    shutil.copytree(documents, folder)
    made = Workspace.init(tmp_path / "workspace")
    made.ingest([folder])
    made.index()
    return made, folder


def test_only_what_changed_is_touched(own: tuple[Workspace, Path]) -> None:
    workspace, folder = own
    (folder / "travel.md").write_text("# Travel\n\nThe allowance for capitals is now 410 reais a day.\n")
    (folder / "new.md").write_text("# Parking\n\nParking is free for employees on Saturdays.\n")
    (folder / "ferias.md").unlink()
    assert not workspace.ingest([folder]).found
    with pytest.raises(LavraError, match="run `lavra index` again"):
        workspace.ready()
    report = workspace.index().report
    assert (report.added, report.changed, report.removed, report.unchanged) == (1, 1, 1, 1)
    _, answer, _ = ask(workspace, "How much is the allowance for capitals?")
    assert "410" in answer.text


def test_a_second_folder_is_added_and_a_fresh_corpus_begins_anew(own: tuple[Workspace, Path], tmp_path: Path) -> None:
    workspace, folder = own
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.txt").write_text("The library opens at nine on weekdays.")
    assert workspace.ingest([other]).report.kept == 4
    assert workspace.ingest([folder]).report.kept == 4
    assert workspace.ingest([other], fresh=True).report.kept == 1


def test_forgetting_leaves_no_sentence_in_any_file_and_says_so(own: tuple[Workspace, Path]) -> None:
    workspace, folder = own
    (folder / "more.md").write_text("# More\n\nA page that stays, so that there are two corpora.\n")
    before = workspace.corpus()
    workspace.ingest([folder])
    workspace.index()
    receipt = forget(workspace, "salaries.md")
    assert receipt.complete
    assert receipt.source == "regras/board/salaries.md"
    assert receipt.chunks == 1
    assert before is not None
    assert before.id in receipt.erased
    assert len(receipt.erased) == 2
    secret = b"The president of the board earns 41 thousand reais a month"
    for path in workspace.store.root.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes()
    _, answer, text = ask(workspace, "How much does the president of the board earn?", "board")
    assert "41" not in text
    assert not any("salaries" in citation.source for citation in answer.citations)
    assert workspace.ingest([folder]).found, "the corpus without it is what an ingest would make"
    (folder / "more.md").write_text("# More\n\nA page that was changed meanwhile, and is read again.\n")
    again = workspace.ingest([folder])
    assert [skipped.kind for skipped in again.report.skipped] == ["forgotten"]
    workspace.store.verify()
    with pytest.raises(LavraError, match="there is no document"):
        forget(workspace, "salaries.md")
    (kept,) = (workspace.store.root / "receipts").iterdir()
    assert json.loads(kept.read_text())["document_id"] == receipt.document_id


def test_an_upload_is_kept_indexed_traced_and_forgotten(own: tuple[Workspace, Path]) -> None:
    workspace, _ = own
    running = Running(workspace)
    text = "# Canteen\n\nThe canteen serves lunch from half past eleven until two in the afternoon.\n"
    (added,) = running.add_document("canteen.md", text.encode(), roles=frozenset({"public"}))
    assert added.source == "uploads/canteen.md"
    _, answer, _ = ask(workspace, "When does the canteen serve lunch?")
    assert answer.citations[0].source == "uploads/canteen.md"
    (again,) = running.add_document("canteen.md", text.encode(), roles=frozenset({"public"}))
    assert "same text" in again.reason
    (refused,) = running.add_document("x.pdf", b"%PDF-1.7 nothing", roles=frozenset({"public"}))
    assert refused.reason
    assert sorted(path.name for path in (workspace.root / "uploads").iterdir()) == ["canteen.md", "lavra-sources.toml"]
    receipt = forget(workspace, "uploads/canteen.md")
    assert receipt.complete
    assert receipt.uploads == ("uploads/canteen.md",)


def test_an_upload_with_a_role_is_for_that_role_only(own: tuple[Workspace, Path]) -> None:
    workspace, _ = own
    running = Running(workspace)
    note = "---\nroles: [public]\n---\nThe merger with the bakery is planned for March.\n"
    running.add_document("note.md", note.encode(), roles=frozenset({"board"}))
    workspace.ingest([workspace.root / "uploads"])
    workspace.index()
    for roles, seen in ((("public",), False), (("board",), True)):
        _, _, text = ask(workspace, "When is the merger with the bakery planned?", *roles)
        assert ("March" in text) == seen
