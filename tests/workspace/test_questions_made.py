"""Questions made from documents are well-formed, checked, split without a leak, and train what is served."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lavra.assistants.assistant import as_sources
from lavra.assistants.questions.by_model import ask, parse
from lavra.assistants.questions.checks import Seen, self_contained, supported
from lavra.assistants.questions.endpoint import Endpoint
from lavra.assistants.questions.items import Item, read_items, write_items
from lavra.assistants.questions.raft import cited
from lavra.assistants.questions.rules import make
from lavra.assistants.questions.unanswerable import Texts, held_out, swapped
from lavra.corpus.document import Document
from lavra.corpus.settings import ReadSettings
from lavra.errors import LavraError
from lavra.prompting import load_template
from lavra.retrieval.chunking import split
from lavra.workspace.fitting import read_questions
from lavra.workspace.questioning import QuestionSettings, parse_split, questions, read_edited, write_raft
from lavra.workspace.workspace import Workspace


def document(text: str, language: str, name: str = "a.md") -> Document:
    from lavra.corpus.reading import read_bytes

    read = read_bytes(name, text.encode(), ReadSettings())
    found = next(result for result in read if isinstance(result, Document))
    return replace(found, language=language)


def made(text: str, language: str) -> dict[str, str]:
    """Question → answer, and every quote stands where it says."""
    doc = document(text, language)
    items = make(doc)
    assert all(doc.text[item.start : item.end] == item.quote for item in items)
    assert all(supported(item) for item in items)
    return {item.question: item.answer for item in items}


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("language", "sentence", "question", "answer"),
    [
        ("en", "A passage is a piece of a document.", "What is a passage?", "A passage is a piece of a document."),
        ("en", "The library was opened by the mayor in March 1994.", "When was the library opened by the mayor?",
         "March 1994"),
        ("en", "The council has twelve members.", "How many members does the council have?", "twelve"),
        ("en", "The daily allowance is 320 reais.", "How much is the daily allowance?", "320 reais"),
        ("en", "The allowance is paid within five days after the trip.",
         "Within how many days is the allowance paid after the trip?", "five days"),
        ("en", "The bridge was designed by Ada Maria Lopes.", "By whom was the bridge designed?", "Ada Maria Lopes"),
        ("en", "To train your model, run the command.", "How do I train my model?",
         "To train your model, run the command."),
        ("pt", "A fusão é um modelo pequeno que decide.", "O que é a fusão?",
         "A fusão é um modelo pequeno que decide."),
        ("pt", "A biblioteca foi aberta em 3 de maio de 1994.", "Quando a biblioteca foi aberta?", "3 de maio de 1994"),
        ("pt", "O servidor tem direito a trinta dias de férias por ano.",
         "A quantos dias de férias o servidor tem direito por ano?", "trinta"),
        ("pt", "A comissão tem doze vagas.", "Quantas vagas a comissão tem?", "doze"),
        ("pt", "A diária para capitais é de 320 reais.", "De quanto é a diária para capitais?", "320 reais"),
        ("pt", "O pedido é respondido em até 15 dias.", "Em quanto tempo o pedido é respondido?", "15 dias"),
        ("pt", "A ponte foi projetada por Ada Maria Lopes.", "Por quem a ponte foi projetada?", "Ada Maria Lopes"),
        ("es", "La fusión es un modelo pequeño que decide.", "¿Qué es la fusión?",
         "La fusión es un modelo pequeño que decide."),
        ("es", "La biblioteca fue inaugurada el 3 de mayo de 1994.", "¿Cuándo fue inaugurada la biblioteca?",
         "3 de mayo de 1994"),
        ("es", "La comisión tiene doce plazas.", "¿Cuántas plazas tiene la comisión?", "doce"),
        ("es", "El puente fue diseñado por Ada Maria Lopes.", "¿Por quién fue diseñado el puente?", "Ada Maria Lopes"),
    ],
)  # fmt: skip
def test_a_sentence_becomes_a_grammatical_question(language: str, sentence: str, question: str, answer: str) -> None:
    assert made(sentence, language).get(question) == answer


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "It is a piece of a document."),
        ("en", "This is a good reason to stop, and they were told in 1994."),
        ("en", "The file is a list of names."),
        ("en", "To do so, run it again."),
        ("pt", "Ele é um modelo pequeno que decide."),
        ("pt", "Isso foi decidido em 1994."),
        ("pt", "Para isso, rode o comando."),
        ("es", "Esto es un modelo pequeño."),
    ],
)
def test_what_cannot_be_asked_by_itself_is_left_out(language: str, sentence: str) -> None:
    assert made(sentence, language) == {}


def test_headings_lists_tables_and_entries_become_questions() -> None:
    page = """# Regras

## Como pedir férias?

O pedido é feito à chefia.

## Documentos

Os documentos exigidos são:

- identidade
- comprovante de renda

## Valores

| cargo | valor |
| --- | --- |
| analista | 320 |
| gerente | 450 |

## Glossário

Diária: valor pago por dia de viagem a serviço.
"""
    found = made(page, "pt")
    assert found["Como pedir férias?"] == "O pedido é feito à chefia."
    assert found["Quais são os documentos exigidos?"] == "identidade; comprovante de renda"
    assert found["Qual é o valor do cargo gerente?"] == "450"
    assert found["O que significa “Diária”?"] == "valor pago por dia de viagem a serviço."


def test_questions_and_answers_in_text_are_taken_as_they_are() -> None:
    found = made("Q: When does the office open?\nA: The office opens at nine.\n", "en")
    assert found == {"When does the office open?": "The office opens at nine."}


# ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("question", "language", "good"),
    [
        ("What does it do?", "en", False),
        ("What is the answer?", "en", False),
        ("Why?", "en", False),
        ("O que ele faz?", "pt", False),
        ("De quanto é o limite?", "pt", False),
        ("¿Para qué sirve esto?", "es", False),
        ("What is the daily allowance?", "en", True),
        ("Como protejo o servidor com chaves?", "pt", True),
    ],
)
def test_a_question_names_what_it_is_about(question: str, language: str, good: bool) -> None:
    assert (self_contained(question, language) == "") == good


def test_an_answer_that_the_quote_does_not_say_is_refused() -> None:
    item = Item("How much is the allowance?", "320 reais", quote="The allowance is 320 reais.", language="en")
    assert supported(item)
    assert not supported(replace(item, answer="450 reais"))
    assert not supported(replace(item, answer="The allowance is paid in cash at the airport desk."))


def test_questions_asked_already_are_refused_but_rows_of_a_table_are_not() -> None:
    seen = Seen()
    texts = ["What is the default of top_k?", "what is the default of  top_k", "What is the default of top_p?"]
    assert [item.question for item in seen.new([Item(text, language="en") for text in texts])] == [texts[0], texts[2]]


def test_a_swapped_question_asks_about_what_no_document_has() -> None:
    text = "# Allowance\n\nThe allowance was raised by Ada Lopes in 1994. The limit of the form max_days is 30 days."
    texts = Texts([text])
    items = [
        Item("When was the allowance raised by Ada Lopes?", "1994", document="a", language="en"),
        Item("What does the key max_days mean?", "30 days", document="a", language="en"),
        Item("Who raised the allowance in 1994?", "Ada Lopes", document="a", language="en"),
    ]
    found = list(swapped(items, texts))
    assert len(found) == 3
    assert all(not item.answerable and not item.answer and not item.quote for item in found)
    assert not {item.question for item in found} & {item.question for item in items}
    assert not any(old in item.question for item in found for old in ("Ada", "max_days", "1994"))


def test_a_question_held_out_is_kept_only_where_our_documents_do_not_answer_it() -> None:
    theirs = make(document("The council has twelve members.\n\nThe office has nine rooms in the cellar.", "en"))
    ours = "We know that the council has twelve members."
    kept = list(held_out(theirs, Texts([ours]), [(ours, "en")]))
    assert [item.question for item in kept] == ["How many rooms does the office have in the cellar?"]


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────

GOOD: dict[str, Any] = {"question": "How much is it worth?", "answer": "320", "document": "d.md", "quote": "It is 320."}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": ""}, "'answer' is empty"),
        ({"answer": 320}, "'answer' is 320: write text"),
        ({"split": "dev"}, "write train, test or null"),
        ({"answerable": False}, "'answerable' false"),
        ({"colour": "red"}, "no field 'colour'"),
        ({"quote": "It is 450."}, "the quote does not stand in d.md"),
        ({"document": "e.md"}, "'e.md' is not in the corpus"),
    ],
)
def test_a_row_that_an_edit_broke_is_named_with_its_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(f"{json.dumps({**GOOD, 'question': 'What is it?'})}\n\n{json.dumps({**GOOD, **change})}\n")
    documents = {"d.md": Document("d.md", "Worth. It is\n320.")}
    with pytest.raises(LavraError, match=rf"q\.jsonl:3: .*{said}"):
        read_items(path, documents)


def test_an_edited_file_finds_its_quotes_again_and_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(GOOD))
    (item,) = read_items(path, {"d.md": Document("d.md", "Worth. It is\n320.")})
    assert (item.quote, item.start, item.by, item.answers) == ("It is\n320.", 7, "person", ("320",))
    write_items(path, [item])
    assert read_items(path) == [item]


def test_a_document_on_both_sides_of_the_split_is_refused(tmp_path: Path) -> None:
    rows = [{**GOOD, "split": "train"}, {**GOOD, "question": "How much?", "split": "test"}]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(LavraError, match=r"q\.jsonl:2: d\.md is test here and train in line 1"):
        read_items(tmp_path / "q.jsonl")


@pytest.mark.parametrize("text", ["80", "a:b", "80:-20", ":"])
def test_a_split_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(LavraError, match="80:20"):
        parse_split(text)


# ── a model, over HTTP ───────────────────────────────────────────────────────────────────────────────────────────


class Fake(ThreadingHTTPServer):
    """An OpenAI-compatible server that fails by a script first: statuses, or "hang"; then it answers."""

    def __init__(self, script: list[int | str]) -> None:
        self.script, self.seen = script, []
        self.done = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Fake

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append({**body, "authorization": self.headers.get("Authorization")})
        step = self.server.script.pop(0) if self.server.script else 200
        if step == "hang":
            self.server.done.wait(5)
            return
        content = step if isinstance(step, str) else ANSWER
        status = 200 if isinstance(step, str) else step
        data = json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "7")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


TEXT = "The daily allowance for state capitals is 320 reais. It is paid within five working days after the trip. " * 2
ANSWER = """Sure! ```json
{"questions": [
 {"question": "How much is the daily allowance for state capitals?", "answer": "320 reais",
  "quote": "The daily allowance for state capitals is 320 reais."},
 {"question": "Who founded Rome?", "answer": "Romulus and Remus founded Rome", "quote": "Rome was founded."}
]}```"""


@pytest.fixture
def fake() -> Iterator[Callable[..., Fake]]:
    servers: list[Fake] = []

    def start(*script: int | str) -> Fake:
        server = Fake(list(script))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.done.set()
        server.shutdown()
        server.server_close()


def test_an_endpoint_that_fails_is_asked_again_and_what_it_invents_is_dropped(
    fake: Callable[..., Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "sk-secret-1")
    server = fake(429, 500, "hang", 503)
    waits: list[float] = []
    writer = Endpoint(server.url, "m", key_env="A_KEY", timeout=0.5, sleep=waits.append)
    doc = document(TEXT, "en")
    passages = [(doc, chunk) for chunk in split(doc)]
    ((_, items),) = list(ask(writer, passages, "auto", tmp_path / "kept.jsonl"))
    assert [(item.question, item.answer) for item in items] == [
        ("How much is the daily allowance for state capitals?", "320 reais")
    ]
    assert doc.text[items[0].start : items[0].end] == items[0].quote
    assert waits == [7, 2, 4, 8]
    assert writer.counts == {"requests": 5, "rate limits": 1, "server errors": 2, "timeouts": 1}
    assert {seen["authorization"] for seen in server.seen} == {"Bearer sk-secret-1"}
    assert "sk-secret" not in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_a_server_that_knows_no_response_format_is_asked_without(fake: Callable[..., Fake]) -> None:
    server = fake(400)
    assert "320 reais" in Endpoint(server.url, "m").write([{"role": "user", "content": "?"}])
    assert ["response_format" in seen for seen in server.seen] == [True, False]


def test_a_refusal_says_what_to_do_and_never_the_key(
    fake: Callable[..., Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "sk-secret-1")
    with pytest.raises(LavraError, match=r"refuses \(401\): .*--key-env") as caught:
        Endpoint(fake(401).url, "m", key_env="A_KEY").write([{"role": "user", "content": "?"}])
    assert "sk-secret" not in str(caught.value)
    with pytest.raises(LavraError, match="environment variable"):
        Endpoint("http://user:sk-secret@localhost/v1", "m")


def test_an_interrupted_run_pays_for_no_passage_twice(fake: Callable[..., Fake], tmp_path: Path) -> None:
    docs = [document(f"{TEXT} Number {number}.", "en", f"{number}.md") for number in range(3)]
    passages = [(doc, chunk) for doc in docs for chunk in split(doc)]
    kept = tmp_path / "kept.jsonl"
    dying = fake(200, *[500] * 9)
    with pytest.raises(LavraError, match="it continues"):
        list(ask(Endpoint(dying.url, "m", sleep=lambda _: None), passages, "auto", kept))
    kept.write_bytes(kept.read_bytes() + b'{"chunk": "half')  # as a kill leaves it
    server = fake()
    done = list(ask(Endpoint(server.url, "m"), passages, "auto", kept))
    assert len(done) == 3
    assert all(items for _, items in done)
    assert len(server.seen) == 2


def test_an_answer_that_is_no_json_is_asked_for_once_more(fake: Callable[..., Fake], tmp_path: Path) -> None:
    server = fake("I cannot do that.")
    writer = Endpoint(server.url, "m")
    doc = document(TEXT, "en")
    ((_, items),) = list(ask(writer, [(doc, split(doc)[0])], "auto", tmp_path / "kept.jsonl"))
    assert len(items) == 1
    assert writer.counts["repairs"] == 1


def test_questions_are_found_in_json_that_is_cut_short() -> None:
    cut = '{"questions": [{"question": "A b c?", "answer": "d"}, {"question": "E f'
    assert parse(cut) == [{"question": "A b c?", "answer": "d", "quote": ""}]


# ── the verb ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_an_index_questions_are_made_and_the_report_says_what_was_not_checked(
    documents: Path, tmp_path: Path
) -> None:
    workspace = Workspace.init(tmp_path)
    workspace.ingest([documents])
    done = questions(workspace, QuestionSettings(unanswerable=0))
    assert not done.checked
    assert {item.document for item in done.items} == {"regras/ferias.md", "regras/travel.md"}  # not the board's
    assert {item.split for item in done.items} == {"train", "test"}
    again = questions(workspace, QuestionSettings(unanswerable=0))
    assert again.found
    assert again.items == done.items


def test_a_model_writes_questions_of_the_workspace(documents: Path, tmp_path: Path, fake: Callable[..., Fake]) -> None:
    workspace = Workspace.init(tmp_path)
    workspace.ingest([documents])
    writer = Endpoint(fake().url, "m")
    done = questions(workspace, QuestionSettings(by="model", count=5), writer=writer)
    assert [(item.by, item.kind, item.answer) for item in done.items if item.answerable] == [
        ("model", "asked", "320 reais")
    ]
    assert not list((workspace.store.root / "questioning").glob("*.jsonl"))
    assert done.report["model"]["requests"] >= 1


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory, pulled: Callable[[str], Path]) -> Workspace:
    """A workspace over part of Lavra's own manual."""
    from lavra.workspace.demo import manual as folder

    pulled("e5-small-enpt")
    workspace = Workspace.init(tmp_path_factory.mktemp("manual"))
    workspace.ingest(
        [folder() / lang / page for lang in ("en", "pt") for page in ("search.md", "store.md", "server.md")]
    )
    workspace.index()
    return workspace


def test_every_question_finds_its_source_and_no_document_is_on_both_sides(manual: Workspace, tmp_path: Path) -> None:
    done = questions(manual, QuestionSettings(count=60, split=(2, 1)))
    assert done.checked
    answerable = [item for item in done.items if item.answerable]
    assert len(answerable) >= 40
    assert {item.language for item in answerable} == {"en", "pt"}
    for item in answerable:
        found = manual.live_index.search(item.question, roles={"public"}, k=5).passages
        assert any(p.source == item.document and p.start <= item.start < p.end for p in found), item.question
        assert manual.live_index.passage(item.chunk, {"public"})
    sides = {side: {item.document for item in done.items if item.split == side} for side in ("train", "test")}
    assert all(sides.values())
    assert not sides["train"] & sides["test"]
    assert 0 < sum(not item.answerable for item in done.items) <= 6
    # Edited and read again; and what fits the search reads the same file.
    write_items(tmp_path / "q.jsonl", done.items)
    assert read_edited(manual, tmp_path / "q.jsonl") == list(done.items)
    assert len(read_questions(tmp_path / "q.jsonl")) == len(done.items)


def test_training_conversations_are_what_the_assistant_would_be_asked(manual: Workspace, tmp_path: Path) -> None:
    done = questions(manual, QuestionSettings(count=60, split=(2, 1)))
    counts = write_raft(manual, done.items, tmp_path / "raft.jsonl", without=0.3)
    rows = [json.loads(line) for line in (tmp_path / "raft.jsonl").read_text().splitlines()]
    items = {item.id: item for item in done.items}
    template = load_template()
    assert counts["answered"] > counts["refused"] > 0
    places = set()
    for row in rows:
        item = items[row["question"]]
        assert item.split == "train"
        passages = [manual.live_index.passage(chunk, {"public"}) for chunk in row["passages"]]
        shown = as_sources([passage for passage in passages if passage])
        *turns, answer = row["messages"]
        assert turns == template.turns(item.question, shown, language=item.language)
        if row["gold"]:
            places.add(row["gold"])
            assert answer["content"] == cited(item, row["gold"])
            assert f"[{row['gold']}]" in answer["content"]
            assert shown[row["gold"] - 1].text in turns[-1]["content"]
            assert item.quote in passages[row["gold"] - 1].text  # type: ignore[union-attr]
        else:
            assert answer["content"] == template.refusal(item.language)
            assert all(not item.quote or item.quote not in passage.text for passage in passages if passage)
    assert places == {1, 2}


def test_an_erased_documents_questions_are_erased_with_it(documents: Path, tmp_path: Path, models: None) -> None:
    from lavra.workspace.forgetting import forget

    workspace = Workspace.init(tmp_path)
    workspace.ingest([documents])
    workspace.index()
    done = questions(workspace, QuestionSettings(unanswerable=0))
    assert any(item.document == "regras/travel.md" for item in done.items)
    receipt = forget(workspace, "regras/travel.md")
    assert receipt.complete
    assert done.artifact.id in receipt.erased
