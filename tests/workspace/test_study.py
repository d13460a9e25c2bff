"""``lavra study`` end to end: small real models over real pages, every way, and everything that can go wrong."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lavra.assistants.server import Server
from lavra.errors import LavraError
from lavra.workspace.forgetting import forget
from lavra.workspace.studying import replies as replying
from lavra.workspace.studying.grid import candidates
from lavra.workspace.studying.run import Study, plan_study, study
from lavra.workspace.studying.settings import StudySettings
from lavra.workspace.workspace import Workspace

TRAIN = [
    ("Quantos dias de férias há por ano?", "trinta dias", "ferias.md", "tem direito a trinta dias de férias"),
    ("Em quantos períodos se dividem?", "três períodos", "ferias.md", "As férias podem ser divididas em até três"),
    ("A quem é feito o pedido?", "à chefia imediata", "ferias.md", "O pedido de férias é feito à chefia imediata"),
]  # fmt: skip
TEST = [
    ("How much is the daily allowance?", "320 reais", "travel.md", "for state capitals is 320 reais."),
    ("When is it paid?", "within five working days", "travel.md", "The allowance is paid within five working days"),
    ("When are receipts handed in?", "within ten days", "travel.md", "have to be handed in within ten days of return."),
]  # fmt: skip
OWN = '''
from lavra.assistants.events import Answer

class Oracle:
    """Knows all of it."""
    name, context_length = "oracle", 100
    def __init__(self, known):
        self.known = known
    def answer(self, messages, *, roles, sampling=None, cancelled=lambda: False):
        yield Answer(self.known, answerable="2031" not in messages[-1].content)

def oracle(given):
    return Oracle(given.settings.get("known", "320 reais, within five working days, within ten days"))

def broken(given):
    raise ValueError("no such luck")
'''


def rows(entries: list[Any], split: str) -> list[dict[str, Any]]:
    return [
        {"question": q, "answer": a, "document": f"regras/{d}", "quote": quote, "split": split}
        for q, a, d, quote in entries
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, documents: Path, models: None, tiny_writer: Path) -> Path:
    """A workspace with an index, over a small model of random weights; questions; ways of one's own."""
    root = tmp_path_factory.mktemp("study")
    (root / "lavra.toml").write_text(f'[models]\ngenerator = "{tiny_writer}"\n[prices]\nenergy = 0.3\ncountry = "BR"\n')
    workspace = Workspace.open(root)
    workspace.ingest([documents])
    workspace.index()
    hopeless = {"question": "How much is the daily allowance in 2031?", "answerable": False, "split": "test"}
    lines = [*rows(TRAIN, "train"), *rows(TEST, "test"), hopeless]
    (root / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    (root / "own.py").write_text(OWN)
    return root


def run(place: Path, *ways: str, **given: Any) -> Study:
    settings = StudySettings(**{"ways": ways, "questions": place / "questions.jsonl", "max_tokens": 12, **given})
    return study(plan_study(Workspace.open(place), settings))


def way(done: Study, name: str) -> dict[str, Any]:
    return next(entry for entry in done.record["ways"] if entry["name"] == name)


# ── the whole ────────────────────────────────────────────────────────────────────────────────────────────────────


def every(place: Path) -> list[str]:
    ways = ["prompt", "few-shot:examples=2", "rag", "tune:steps=1", "tune+rag:steps=1"]
    return [*ways, f"{place}/own.py:oracle", f"{place}/own.py:broken"]


@pytest.fixture(scope="module")
def whole(place: Path) -> Study:
    return run(place, *every(place))


def test_every_way_is_built_and_asked_and_the_best_is_recommended(whole: Study) -> None:
    answered = {entry["name"]: entry["answered"] for entry in whole.record["ways"]}
    assert answered == {
        "prompt": 4, "few-shot examples=2": 4, "rag": 4, "tune steps=1": 4, "tune+rag steps=1": 4, "oracle": 4,
        "broken": 0,
    }  # fmt: skip
    assert way(whole, "oracle")["measures"]["quality"]["mean"] == 1.0
    assert whole.record["decision"]["chosen"] == "oracle"
    assert whole.record["questions"]["unanswerable"] == 1
    assert way(whole, "rag")["measures"]["recall@5"]["mean"] == 1.0


def test_a_failing_way_is_reported_and_the_others_go_on(whole: Study) -> None:
    assert way(whole, "broken")["state"] == "failed"
    assert way(whole, "broken")["reason"] == "ValueError: no such luck"
    assert "ValueError: no such luck" in whole.page.read_text("utf-8")


def test_what_was_tuned_stands_in_the_pedigree_with_what_it_forgot(whole: Study, place: Path) -> None:
    (adapter,) = way(whole, "tune steps=1")["built"]["artifacts"]
    assert adapter in whole.artifact.manifest.inputs.values()
    assert way(whole, "tune steps=1")["retained"]["general_before"] > 0
    assert Workspace.open(place).store.ref("study") == whole.artifact.id


def test_the_same_study_is_found_without_a_model_being_loaded(
    whole: Study, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lavra.inference.engine import Engine

    monkeypatch.setattr(Engine, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    again = run(place, *every(place))
    assert again.found
    assert again.artifact.id == whole.artifact.id


def test_the_report_is_one_page_of_two_languages_without_scripts_or_anything_from_elsewhere(whole: Study) -> None:
    text = whole.page.read_text("utf-8")
    assert "<script" not in text
    assert not re.search(r"""(?:src|href)\s*=|url\(|@import""", text)
    assert len(re.findall(r'class="en"', text)) == len(re.findall(r'class="pt"', text)) > 50
    for said in ("Take oracle", "Tome oracle", "320 reais", "regras/travel.md", "lavra study"):
        assert said in text
    pictures = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(pictures) == 2  # against seconds, and against money: there is a price
    for picture in pictures:
        drawn = ElementTree.fromstring(picture)
        circles = [element for element in drawn.iter() if element.tag.endswith("circle")]
        assert len(circles) >= 5


def test_the_decision_is_three_sentences_and_says_what_is_tied(whole: Study) -> None:
    from lavra.workspace.studying.report.verdict import verdict

    said = verdict(whole.record)
    assert all(len(sentences) == 3 for sentences in said.values())
    assert whole.record["decision"]["against"]
    assert "do not tell oracle from" in said["en"][1]  # four questions tell hardly anything


def test_the_recommended_way_answers(whole: Study) -> None:
    from lavra.assistants.events import Answer, Message

    assistant = whole.assistant()
    assert assistant is not None
    *_, answer = assistant.answer([Message("user", "How much?")], roles=frozenset({"public"}))
    assert isinstance(answer, Answer)
    assert answer.text.startswith("320 reais")


def test_a_way_that_says_the_same_again_is_consistent_and_one_of_chance_is_not(place: Path) -> None:
    done = run(place, "prompt", f"{place}/own.py:oracle", samples=2)
    steady, chance = way(done, "oracle")["measures"], way(done, "prompt")["measures"]
    assert steady["consistency"]["mean"] == 1.0
    assert steady["semantic_entropy"]["mean"] == 0.0
    assert chance["semantic_entropy"]["mean"] > 0.5  # random weights at temperature 1


# ── stopped, and spent ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_killed_study_goes_on_where_it_was(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    honest = replying.reply

    def counted(assistant: Any, question: Any, *rest: Any) -> Any:
        if len(asked) == 2:
            asked.append("killed")
            raise KeyboardInterrupt
        asked.append(question.text)
        return honest(assistant, question, *rest)

    monkeypatch.setattr(replying, "reply", counted)
    with pytest.raises(KeyboardInterrupt):
        run(place, "prompt", max_tokens=9)
    done = run(place, "prompt", max_tokens=9)
    assert len(asked) == 1 + 4  # the kill, and each question once
    assert done.record["ways"][0]["answered"] == 4


def test_a_budget_halves_the_field_and_says_so(place: Path) -> None:
    own = place / "own.py"
    known = [f"{own}:oracle:known={text}" for text in ("nothing", "rain", "snow", "wind", "hail")]
    lines = [json.loads(line) for line in (place / "questions.jsonl").read_text().splitlines()]
    more = [{**row, "question": f"{row['question'][:-1]}, number {n}?"} for row in lines[3:6] for n in range(8)]
    path = place / "more.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*more, lines[6]]))
    done = run(place, f"{own}:oracle", *known, questions=path, budget="10 min")
    answered = {entry["name"]: entry["answered"] for entry in done.record["ways"]}
    assert answered["oracle"] == 25
    assert sorted(answered.values()) == [8, 8, 8, 12, 25, 25]
    assert done.record["decision"]["chosen"] == "oracle"
    assert {entry["state"] for entry in done.record["ways"]} == {"whole", "dropped"}
    assert 0 < done.record["spent"]["share"] < 1
    again = run(place, f"{own}:oracle", *known, questions=path, budget="10 min")
    assert (again.found, again.artifact.id) == (True, done.artifact.id)


def test_a_budget_that_is_spent_leaves_ways_out_and_names_them(place: Path) -> None:
    done = run(place, "prompt", "tune:steps=2", budget="0.001 s", max_tokens=5)
    states = {entry["name"]: (entry["state"], entry["answered"]) for entry in done.record["ways"]}
    assert states["tune steps=2"] == ("unbuilt", 0)
    assert done.record["decision"] is None
    assert "none is recommended" in done.page.read_text("utf-8")


# ── an endpoint ──────────────────────────────────────────────────────────────────────────────────────────────────


class Handler(BaseHTTPRequestHandler):
    """Streams an answer as OpenAI does; before that it does what the script says."""

    script: list[Any] = []  # noqa: RUF012
    waits: list[float] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        step = self.script.pop(0) if self.script else 200
        if step != 200:
            self.send_response(step)
            self.send_header("Retry-After", "3")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        words = ["I do not know."] if "2031" in body["messages"][-1]["content"] else ["320", "reais"]
        events = [{"choices": [{"delta": {"content": f" {word}"}}]} for word in words]
        events.append({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": len(words)}})
        data = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Handler.waits = []
    plain = Server.__init__

    def init(self: Server, *given: Any, **named: Any) -> None:
        plain(self, *given, **{**named, "sleep": Handler.waits.append})

    monkeypatch.setattr(Server, "__init__", init)

    def url(*script: int) -> str:
        Handler.script = list(script)
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield url
    server.shutdown()
    server.server_close()


def test_an_endpoint_that_limits_its_rate_is_asked_again_and_counted(place: Path, endpoint: Callable[..., str]) -> None:
    done = run(place, "external", endpoint=endpoint(429, 503), endpoint_model="large")
    external = way(done, "external")
    assert external["counts"] == {"requests": 6, "rate limits": 1, "server errors": 1}
    assert Handler.waits == [3.0, 2.0]
    assert external["measures"]["quality"]["mean"] == pytest.approx(0.5, abs=0.2)
    assert external["measures"]["refusal"]["mean"] == 1.0
    assert external["per_answer"]["kwh"] is None  # what it draws elsewhere is not known


def test_a_server_that_cannot_stream_is_asked_without(place: Path, endpoint: Callable[..., str]) -> None:
    done = run(place, "external", endpoint=endpoint(422), endpoint_model="plain")
    assert way(done, "external")["counts"] == {"requests": 5}
    assert way(done, "external")["answered"] == 4


def test_an_endpoint_that_is_down_fails_alone_and_another_time_may_do_better(
    place: Path, endpoint: Callable[..., str]
) -> None:
    ways = ("prompt", "external")
    down = run(place, *ways, endpoint=endpoint(*[500] * 99), endpoint_model="other")
    assert [entry["state"] for entry in down.record["ways"]] == ["whole", "failed"]
    assert "was asked 6 times" in way(down, "external")["reason"]
    up = run(place, *ways, endpoint=endpoint(), endpoint_model="other")
    assert [entry["state"] for entry in up.record["ways"]] == ["whole", "whole"]
    assert not up.found


# ── what is wrong with what is asked for ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ways": ("magic",)}, "there is no way 'magic': the ways are prompt, few-shot"),
        ({"ways": ("rag:reed=4",)}, "rag has no setting 'reed': there are passages, read"),
        ({"ways": ("rag:read",)}, "'read' is no setting: write NAME=VALUE"),
        ({"ways": ("rag", "rag")}, "rag is asked for twice"),
        ({"ways": ("nowhere.py:f",)}, "names no function"),
        ({"ways": ("nowhere.toml",)}, "nowhere.toml cannot be read"),
        ({"ways": ("external",), "endpoint": "http://localhost:1"}, "external needs an endpoint: give --endpoint URL"),
        ({"ways": ("tune:rank=big",)}, "rank of tune is 'big': write a number"),
        ({"models": ("no-such-model",)}, "there is no model 'no-such-model'"),
        ({"budget": "lots"}, "the budget 'lots' is not understood"),
        ({"questions": Path("gone.jsonl")}, "gone.jsonl cannot be read"),
        ({"tuning": Path("t.jsonl"), "questions": None}, "add --questions FILE"),
        ({"measure": "beauty"}, "cannot be compared by 'beauty'"),
        ({"measure": "judge"}, "name a model with --judge"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_built(place: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(LavraError, match=re.escape(said)):
        run(place, *given.pop("ways", ("prompt",)), **given)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Who?", "document": "regras/travel.md", "quote": "Receipts"}, ":1: it has no answer"),
        ({"question": "Who?", "answer": "x"}, ":1: it has no source"),
        ({"question": "Who?", "answer": "x", "document": "gone.md"}, "the source 'gone.md' of “Who?”"),
        ({"question": "Who?", "answer": "x", "document": "salaries.md"}, "the source 'salaries.md'"),  # the board's
    ],
)
def test_questions_without_answers_or_sources_are_refused(
    place: Path, tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(LavraError, match=re.escape(said)):
        run(place, "prompt", questions=path)


def test_a_question_on_both_sides_is_refused_and_named(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "tuning.jsonl"
    path.write_text(json.dumps(rows(TEST, "train")[0] | {"question": TEST[0][0].upper()}))
    with pytest.raises(LavraError, match="both learned from and asked: “How much is the daily allowance"):
        run(place, "few-shot", tuning=path)


def test_questions_without_a_split_are_divided_by_document_and_some_that_nothing_answers_are_made(
    place: Path, tmp_path: Path
) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps({**row, "split": None}) + "\n" for row in rows([*TRAIN, *TEST], "train")))
    plan = plan_study(Workspace.open(place), StudySettings(ways=("tune",), questions=path))
    learned = {item.document for item in plan.exam.training}
    assert len(learned) == 1
    assert not learned & plan.exam.held
    assert {note.name for note in plan.exam.notes} >= {"given", "divided"}
    plan = plan_study(Workspace.open(place), StudySettings(ways=("rag",), questions=path))
    assert len(plan.exam.held) == 2  # nothing learns: all are asked
    assert any(not question.answerable for question in plan.exam.asked)


# ── the grid ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_way_by_model_by_setting_is_a_grid_cheapest_first(place: Path, tmp_path: Path, tiny_writer: Path) -> None:
    more = tmp_path / "more.toml"
    more.write_text('name = "more"\nway = "rag"\n[settings]\npassages = 8\n[grid]\nread = [1, 2]\n')
    workspace = Workspace.open(place)
    found = candidates(workspace, ["tune", "prompt", str(more)], [str(tiny_writer), "smollm2-135m"], {})
    small, large = tiny_writer.name, "smollm2-135m"
    assert [one.name for one in found] == [
        f"prompt {small}", f"prompt {large}",
        f"more {small} passages=8 read=1", f"more {small} passages=8 read=2",
        f"more {large} passages=8 read=1", f"more {large} passages=8 read=2",
        f"tune {small}", f"tune {large}",
    ]  # fmt: skip
    assert found[2].settings["read"] == 1


# ── erasure ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_forgetting_a_document_erases_the_studies_that_quote_it(documents: Path, tmp_path: Path, place: Path) -> None:
    (tmp_path / "lavra.toml").write_text((place / "lavra.toml").read_text())
    workspace = Workspace.open(tmp_path)
    workspace.ingest([documents])
    workspace.index()
    done = run(tmp_path, "rag", questions=place / "questions.jsonl")
    assert forget(workspace, "travel.md").complete
    assert not done.page.exists()
    assert not list((workspace.store.root / "studying").rglob("*.jsonl"))
