"""A judge behind an endpoint: Lavra's own server, and one that limits its rate, is silent or writes nonsense."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from lavra.assistants.server import Options, Refused, Server
from lavra.errors import LavraError
from lavra.evaluation.items import Question, Reply
from lavra.evaluation.judging import Judge
from lavra.serving.app import create_app
from lavra.serving.serve import bind
from lavra.workspace.running import Running
from lavra.workspace.studying.run import Study, plan_study, study
from lavra.workspace.studying.settings import StudySettings
from lavra.workspace.workspace import Workspace

ASKED = [
    ("How much is the daily allowance?", "320 reais", "for state capitals is 320 reais."),
    ("When is it paid?", "within five working days", "The allowance is paid within five working days"),
    ("When are receipts handed in?", "within ten days", "have to be handed in within ten days of return."),
]
OWN = """
from lavra.assistants.events import Answer

class Saying:
    name, context_length = "saying", 100
    def __init__(self, text):
        self.text = text
    def answer(self, messages, *, roles, sampling=None, cancelled=lambda: False):
        yield Answer(self.text)

def saying(given):
    return Saying(given.settings["text"])
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, documents: Path, models: None, tiny_writer: Path) -> Path:
    root = tmp_path_factory.mktemp("judged")
    (root / "lavra.toml").write_text(f'[models]\ngenerator = "{tiny_writer}"\n')
    workspace = Workspace.open(root)
    workspace.ingest([documents])
    workspace.index()
    rows: list[dict[str, Any]] = [
        {"question": q, "answer": a, "document": "regras/travel.md", "quote": quote} for q, a, quote in ASKED
    ]
    rows.append({"question": "How much is the daily allowance in 2031?", "answerable": False})
    (root / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "own.py").write_text(OWN)
    return root


def run(place: Path, *ways: str, url: str, model: str = "grader", **given: Any) -> Study:
    settings = StudySettings(
        ways=ways, questions=place / "questions.jsonl", max_tokens=8, judge=url, judge_model=model, **given
    )
    steps.clear()
    return study(plan_study(Workspace.open(place), settings), progress=lambda *step: steps.append(step))


steps: list[tuple[str, int, int]] = []


def saying(place: Path, *texts: str) -> list[str]:
    return [f"{place}/own.py:saying:text={text}" for text in texts]


def named(done: Study, text: str) -> dict[str, Any]:
    return next(way for way in done.record["ways"] if text in way["name"])


# ── Lavra's own server ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def address(place: Path) -> Iterator[str]:
    listener = bind("127.0.0.1", 0)
    app = create_app(Running(Workspace.open(place)), None)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    server.should_exit = True
    thread.join(10)
    listener.close()


def test_a_model_behind_lavra_s_own_server_answers_and_judges_and_what_it_cannot_grade_is_said(
    place: Path, address: str, tiny_writer: Path
) -> None:
    """Random weights in a window of 256: what a judge is asked leaves no room for a verdict, or is refused."""
    done = run(
        place, "external", url=address, model=tiny_writer.name, endpoint=address, endpoint_model=tiny_writer.name
    )
    external, judge = done.record["ways"][0], done.record["judge"]
    assert (external["state"], external["answered"]) == ("whole", 4)
    assert external["counts"]["requests"] >= 4
    assert judge["counts"]["requests"] == judge["counts"]["unreadable"] == 8  # questions by orders
    assert judge["counts"]["refused"] > 0
    assert "judge" not in external["measures"]
    assert judge["doubts"] == ["nothing_read"]
    assert "none of its verdicts could be read" in done.page.read_text("utf-8")


def test_a_judge_s_model_that_is_not_there_is_said_before_anything_is_built(place: Path, address: str) -> None:
    with pytest.raises(LavraError, match=r"refuses \(404\): it says “.*'nobody'.*check --judge and --judge-model"):
        run(place, *saying(place, "never"), url=address, model="nobody")
    assert not any("never" in path.read_text() for path in (place / ".lavra").rglob("*.jsonl"))


# ── a server by a script ─────────────────────────────────────────────────────────────────────────────────────────


class Grader(ThreadingHTTPServer):
    """Grades a reply 5 if it holds the right answer, else 1; before that it does what the script says: a status, a
    text, "hang", or "broken" for a stream that ends early."""

    def __init__(self) -> None:
        self.script: list[int | str] = []
        self.default: int | str = 200
        self.asked, self.over = 0, threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Grader

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked += 1
        step = self.server.script.pop(0) if self.server.script else self.server.default
        if step == "hang":
            self.server.over.wait(5)
            return
        content = step if isinstance(step, str) else _graded(body["messages"][-1]["content"])
        data = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
        kind = "application/json"
        if step == "broken":
            data, kind = b'data: {"choices": [{"delta": {"content": "half an"}}]}\n\n', "text/event-stream"
        self.send_response(step if isinstance(step, int) else 200)
        if step == 429:
            self.send_header("Retry-After", "3")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def _graded(prompt: str) -> str:
    if "<reply>" not in prompt:
        return "{}"
    right, said = (prompt.split(f"<{tag}>\n")[1].split(f"\n</{tag}>")[0] for tag in ("right_answer", "reply"))
    return json.dumps({"reason": "words", "grade": 5 if right in said else 1})


@pytest.fixture
def grader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Grader]:
    server = Grader()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    plain = Server.__init__
    waits.clear()

    def init(self: Server, *given: Any, **said: Any) -> None:
        plain(self, *given, **{**said, "sleep": waits.append, "timeout": 0.5})

    monkeypatch.setattr(Server, "__init__", init)
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


waits: list[float] = []


def test_a_judge_that_limits_its_rate_or_is_silent_is_asked_again_and_counted(place: Path, grader: Grader) -> None:
    grader.script = [200, 429, "hang", 503]
    done = run(place, *saying(place, "320 reais", "a cat"), url=grader.url, measure="judge")
    judge = done.record["judge"]
    assert waits == [3.0, 2.0, 4.0]
    assert [step for step in steps if step[0] == "Judging"] == [("Judging", n, 8) for n in range(1, 9)]
    assert {name: judge["counts"][name] for name in ("grades", "rate limits", "timeouts", "server errors")} == {
        "grades": 16, "rate limits": 1, "timeouts": 1, "server errors": 1,
    }  # fmt: skip
    assert named(done, "320")["measures"]["judge"]["mean"] == pytest.approx(1 / 4)
    assert named(done, "cat")["measures"]["judge"]["mean"] == 0.0
    assert done.record["decision"]["chosen"] == named(done, "320")["name"]
    page = done.page.read_text("utf-8")
    assert "1 rate limits" in page
    assert "1 limites de taxa" in page


def test_nonsense_of_a_judge_is_quoted_and_not_counted_and_decides_nothing(place: Path, grader: Grader) -> None:
    grader.default = "The daily allowance is <b>wonderful</b>, I give it 11 of 10."
    ways = saying(place, "320 reais", "a dog")
    done = run(place, *ways, url=grader.url, model="silly", measure="judge")
    assert done.record["judge"]["counts"]["unreadable"] == 16
    assert all("judge" not in way["measures"] for way in done.record["ways"])
    assert named(done, "320")["measures"]["quality"]["mean"] > named(done, "dog")["measures"]["quality"]["mean"]
    assert done.record["decision"] is None
    page = done.page.read_text("utf-8")
    assert "compared by a judge who graded nothing" in page
    assert page.count("&lt;b&gt;wonderful") == 3
    compared = run(place, *ways, url=grader.url, model="silly")  # by words: the judge is only reported
    assert compared.record["decision"]["chosen"] == named(compared, "320")["name"]


def test_a_judge_that_goes_away_is_reported_and_asked_the_rest_another_time(
    place: Path, grader: Grader, monkeypatch: pytest.MonkeyPatch
) -> None:
    grader.script, grader.default = [200] * 5, 500
    ways = saying(place, "320 reais", "a bird")
    gone = run(place, *ways, url=grader.url, model="leaver")
    judge = gone.record["judge"]
    assert judge["counts"]["grades"] == 4
    assert "was asked 6 times (it answered 500)" in judge["failed"]
    assert grader.asked == 5 + 6, "it is given up after one verdict, not asked for each"
    assert "asked no more after 4 grades" in gone.page.read_text("utf-8")
    assert gone.record["decision"]["chosen"] == named(gone, "320")["name"]
    grader.default = 200
    back = run(place, *ways, url=grader.url, model="leaver")
    assert (back.found, back.record["judge"]["failed"]) == (False, "")
    assert back.record["judge"]["counts"]["grades"] == 16
    assert grader.asked == 5 + 6 + 12, "what was graded is not asked again"
    assert run(place, *ways, url=grader.url, model="leaver").found
    assert grader.asked == 5 + 6 + 12


def test_one_question_that_a_judge_refuses_has_no_grade_and_the_others_do(grader: Grader) -> None:
    from lavra.assistants.questions.endpoint import Endpoint

    endpoint = Endpoint(grader.url, "m", options=Options("--judge", "--judge-model", "--judge-key-env"))
    judge = Judge(endpoint.write, counts=endpoint.counts)
    question = Question("q", "When?", ("at six",))
    grader.script = [400, 400, 400, 400]  # each with response_format, and without
    assert judge(question, Reply("q", "at six")) != judge(question, Reply("q", "at six"))  # NaN, then 1
    assert judge.counts["refused"] == 2
    assert judge.counts["grades"] == 2
    grader.script = [403]
    with pytest.raises(Refused, match="--judge-key-env"):
        judge(question, Reply("q", "at six"))


@pytest.mark.parametrize("after", [200, 500])
def test_a_stream_that_breaks_off_is_no_answer(grader: Grader, after: int) -> None:
    server = Server(grader.url)
    grader.script = ["broken"] if after == 200 else ["broken"] * 6
    if after == 200:
        assert server.chat({"messages": [{"content": "?"}]}).text == "{}"
    else:
        with pytest.raises(LavraError, match="its answer broke off"):
            server.chat({"messages": [{"content": "?"}]})
    assert server.counts["answers broken off"] == (1 if after == 200 else 6)


def test_errors_in_a_stream_say_whose_fault_it_is() -> None:
    from lavra.assistants.server import _BrokenOff, _streamed

    def stream(kind: str) -> Callable[[], object]:
        error = {"error": {"message": "too long\nfor me", "type": kind}}
        return lambda: _streamed(iter([f"data: {json.dumps(error)}"]), 0.0)

    with pytest.raises(Refused, match="too long for me"):
        stream("invalid_request_error")()
    with pytest.raises(_BrokenOff, match="too long for me"):
        stream("server_error")()


def test_a_date_to_come_back_at_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime, timedelta
    from email.utils import format_datetime

    from lavra.assistants.server import LONGEST_WAIT, _retry_after

    far = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    assert _retry_after(far, 2.0) == LONGEST_WAIT
    assert _retry_after(past, 2.0) == 0.0
    assert _retry_after("soon", 2.0) == 2.0
