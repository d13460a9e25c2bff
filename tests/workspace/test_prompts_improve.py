"""Improving a prompt: searched on some questions, tested on others, kept only if it gains, continued after a kill."""

from __future__ import annotations

import json
import threading
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lavra.assistants.events import Answer, Event
from lavra.assistants.examples import Pair, fixed, nearest, of_template
from lavra.errors import LavraError
from lavra.evaluation.items import Question, read_questions
from lavra.prompting import load_template
from lavra.prompting.search import Variant
from lavra.workspace.prompts.improving import (
    ImproveSettings,
    divide,
    improve,
    improved_template,
    present_variant,
    read_instructions,
)
from lavra.workspace.prompts.keeping import as_toml, keep
from lavra.workspace.prompts.trial import Trial
from lavra.workspace.questioning import asker
from lavra.workspace.workspace import Workspace

GOOD = "Write only the colour."
asked: Counter[tuple[str, str]] = Counter()


class Reader:
    """Reads the colour out of the question if its instruction says so, else guesses; every question is counted."""

    name, context_length = "reader", 1000

    def __init__(self, instruction: str, chance: float) -> None:
        self.instruction, self.chance = instruction, chance

    def answer(self, messages: Any, **more: Any) -> Iterator[Event]:
        text = messages[-1].content
        asked[self.instruction, text] += 1
        right = Random(f"{self.instruction} {text}").random() < self.chance
        yield Answer(text.split()[-1] if right else "grey")


@pytest.fixture
def here(tmp_path: Path, models: None, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    asked.clear()
    chances = {GOOD: 0.9}
    monkeypatch.setattr(
        Trial, "_assistant", lambda trial, variant: Reader(variant.instruction, chances.get(variant.instruction, 0.2))
    )
    rows = [{"text": f"house {number} is {colour}", "label": colour}
            for number in range(60) for colour in ("red", "blue")]  # fmt: skip
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.txt").write_text(f"{GOOD}\n\nSay something.\n")
    return Workspace.init(tmp_path)


def _settings(here: Workspace, **more: Any) -> ImproveSettings:
    return ImproveSettings(here.root / "q.jsonl", instructions=here.root / "mine.txt", **{"counts": (), **more})


def test_a_better_instruction_is_found_tested_and_kept(here: Workspace) -> None:
    found = improve(here, _settings(here))
    assert found.measure == "exact_match"
    assert found.found.best.instruction == GOOD
    assert found.gained
    assert found.difference.low > 0.3
    assert sum(found.counts.values()) == 120
    path = keep(here, found)
    kept = load_template(str(path), ("system", "user", "refusal", "refusals"))
    assert kept.version == 2
    assert kept.texts["en"]["system"] == GOOD
    assert kept.texts["pt"] == found.trial.present.texts["pt"]
    assert "exact_match" in path.read_text(encoding="utf-8")
    assert keep(here, found) != path, "nothing that is there is written over"


def test_the_test_s_questions_are_asked_of_two_prompts_only(here: Workspace) -> None:
    settings = _settings(here)
    found = improve(here, settings)
    divided = divide(read_questions(settings.questions, sourced=False), settings.seed)
    tested = {question.text for question in divided.tested}
    searched = {question.text for question in divided.searched}
    assert not tested & searched
    present = present_variant(found.trial).instruction
    assert {instruction for instruction, text in asked if text in tested} == {present, GOOD}
    assert max(asked.values()) == 1, "no reply is asked for twice"


def test_a_search_that_was_killed_goes_on_where_it_was(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Reader.answer

    def killed(self: Reader, messages: Any, **more: Any) -> Iterator[Event]:
        if sum(asked.values()) == 40:
            raise KeyboardInterrupt
        return answer(self, messages, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Reader, "answer", killed)
        with pytest.raises(KeyboardInterrupt):
            improve(here, _settings(here))
    done = dict(asked)
    assert sum(done.values()) == 40
    found = improve(here, _settings(here))
    assert found.gained
    assert max(asked.values()) == 1
    asked.clear()
    again = improve(here, _settings(here))
    assert not asked
    assert again.to_json() == found.to_json()


def test_what_does_not_gain_is_said_and_not_kept(here: Workspace) -> None:
    (here.root / "mine.txt").write_text("Say something.\n")
    found = improve(here, _settings(here))
    assert not found.gained
    with pytest.raises(LavraError, match="nothing was kept"):
        keep(here, found)
    assert not (here.root / "prompts").exists()


def test_what_cannot_be_searched_is_said(here: Workspace) -> None:
    (here.root / "few.jsonl").write_text('{"text": "a", "label": "b"}\n')
    with pytest.raises(LavraError, match="has 1 questions"):
        improve(here, ImproveSettings(here.root / "few.jsonl"))
    with pytest.raises(LavraError, match="no measure"):
        improve(here, _settings(here, measure="bleu"))
    with pytest.raises(LavraError, match="no prompt"):
        improve(here, _settings(here, prompt="nowhere"))
    (here.root / "bad.txt").write_text("Fine.\nUse the key sk-abcdefghijklmnopqrstuv.\n")
    with pytest.raises(LavraError, match=r"bad\.txt:2"):
        read_instructions(here.root / "bad.txt")


def test_a_file_s_own_test_is_believed() -> None:
    questions = [Question(str(n), f"question {n}", ("a",), split="test" if n % 3 == 0 else "train") for n in range(90)]
    divided = divide(questions, 0)
    assert {question.split for question in divided.tested} == {"test"}
    assert len(divided.tested) == 30
    assert divided.shown
    assert divided.searched
    assert [one.id for one in divide(list(reversed(questions)), 0).searched] == [one.id for one in divided.searched]


def test_instructions_of_a_model_are_read_with_suspicion(here: Workspace) -> None:
    class Wordy:
        name, counts = "wordy", Counter()

        def write(self, turns: Any) -> str:
            assert "red" in turns[-1]["content"] or "blue" in turns[-1]["content"]
            return '1. Name the colour of the house.\n- "Say which colour it is."\nOK\nUse {{ colour }} here, please.\n'

    found = improve(here, _settings(here, limit=40, write=5), writer=Wordy())
    assert found.wrote is not None
    assert found.wrote.lines == 4
    assert found.wrote.usable == ("Name the colour of the house.", "Say which colour it is.")
    tried = {(one.variant.origin, one.variant.instruction) for one in found.found.tried}
    assert tried >= {("wordy", text) for text in found.wrote.usable}
    again = improve(here, _settings(here, limit=40, write=5), writer=Silent())
    assert again.wrote is not None
    assert again.wrote.usable == found.wrote.usable, "a search that is taken up again tries the same"
    assert again.wrote.counts == {}


class Silent:
    """The same name, and asked nothing."""

    name, counts = "wordy", Counter()

    def write(self, turns: Any) -> str:
        return pytest.fail("it was asked again")


def test_a_server_is_asked_for_lines_and_not_for_json(here: Workspace) -> None:
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            text = f"1. {GOOD}\n2. Say which colour the house has.\n2. Say which colour the house has.\n3. No"
            data = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        writer = asker(
            here, "model", endpoint=f"http://127.0.0.1:{server.server_port}/v1", endpoint_model="m", as_json=False
        )
        found = improve(here, replace(_settings(here, write=4), instructions=None), writer=writer)
    finally:
        server.shutdown()
        server.server_close()
    assert ["response_format" in body for body in bodies] == [False]
    assert "house" in bodies[0]["messages"][-1]["content"]
    assert found.wrote is not None
    assert (found.wrote.lines, found.wrote.usable) == (4, (GOOD, "Say which colour the house has."))
    assert found.wrote.counts == {"requests": 1}
    assert found.found.best.instruction == GOOD
    assert found.to_json()["written"]["by"] == "m"


class Letters:
    """Vectors of letter counts: near are texts with the same letters."""

    def queries(self, texts: Any) -> Any:
        import numpy as np

        rows = np.array([[text.count(letter) for letter in "abcdefghij"] for text in texts], dtype=float)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_examples_are_the_nearest_in_their_order_and_never_the_question_itself() -> None:
    pairs: list[Pair] = [("aa", "1"), ("ab", "2"), ("bb", "3"), ("cc", "4")]
    chosen = nearest(pairs, 2, Letters())
    assert list(chosen("aab")) == [("aa", "1"), ("ab", "2")]
    assert [asked for asked, _ in chosen("aa")] == ["cc", "ab"]
    first = nearest(pairs, 2, Letters(), nearest_last=False)
    assert list(reversed(first("aab"))) == list(chosen("aab"))
    assert fixed(pairs, 2, 1)("x") == fixed(pairs, 2, 1)("y")
    assert ("cc", "4") not in fixed(pairs, 4, 0)("cc")


def test_a_template_keeps_its_examples_and_shows_them(tmp_path: Path, here: Workspace) -> None:
    found = improve(here, _settings(here))
    plain = load_template("direct", ("system", "user"))
    assert plain.hash == load_template("direct", ("system", "user")).hash
    shown = replace(found, found=replace(found.found, best=Variant(GOOD, shown=2, choice="nearest")))
    template = improved_template(shown)
    assert template.hash != replace(template, examples=plain.examples).hash
    path = tmp_path / "kept.toml"
    path.write_text(as_toml(template, "a test"), encoding="utf-8")
    again = load_template(str(path), ("system", "user"))
    assert again == template
    examples = of_template(again, Letters())("house 1 is blue")
    assert len(examples) == 2
    assert of_template(plain, Letters())("x") == ()


def test_the_assistant_s_settings_name_a_kept_prompt(here: Workspace) -> None:
    from lavra.workspace.prompts.keeping import _use

    before = (here.root / "lavra.toml").read_text(encoding="utf-8")
    _use(here.root / "lavra.toml", "prompts/grounded-3.toml")
    after = (here.root / "lavra.toml").read_text(encoding="utf-8")
    assert tomllib.loads(after)["answer"]["prompt"] == "prompts/grounded-3.toml"
    assert all(line in after for line in before.split("\n") if line.startswith("#"))


def test_lavra_ask_takes_a_prompt_with_examples_and_no_documents(here: Workspace, tiny_writer: Path) -> None:
    from lavra.assistants.events import Message
    from lavra.inference.sampling import Sampling
    from lavra.workspace.prompts.asking import assistant_with

    workspace = here.writing_with(str(tiny_writer))
    (here.root / "prompts").mkdir()
    plain = load_template("direct", ("system", "user", "refusal", "refusals"))
    text = (
        as_toml(plain, "a test")
        + '\n[examples]\nshown = 1\nchoice = "nearest"\npairs = [["red?", "red"], ["blue?", "blue"]]\n'
    )
    (here.root / "prompts" / "mine.toml").write_text(text, encoding="utf-8")
    lengths = []
    for prompt in ("direct", "prompts/mine.toml"):
        assistant = assistant_with(workspace, prompt)
        events = assistant.answer(
            [Message("user", "red?!")], roles=frozenset({"public"}), sampling=Sampling(max_tokens=2)
        )
        answer = next(event for event in events if isinstance(event, Answer))
        lengths.append(answer.prompt_tokens)
    assert lengths[1] > lengths[0] + 8
    with pytest.raises(LavraError, match="no documents"):
        assistant_with(workspace, "grounded")
