"""What a study says of its models: general ability, bias, what was learned by heart; and of its judge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavra.evaluation.items import Question, Reply
from lavra.evaluation.judging import Judge
from lavra.evaluation.likelihood import bits_per_byte
from lavra.prompting import Turn
from lavra.workspace.studying.abilities import BIAS, GENERAL, TASKS, Ability, to_record
from lavra.workspace.studying.by_heart import PREFIX, Probe
from lavra.workspace.studying.grading import KeptJudge
from lavra.workspace.studying.run import Study, plan_study, study
from lavra.workspace.studying.settings import StudySettings
from lavra.workspace.tuning.general import bits_per_byte as of_all
from lavra.workspace.tuning.general import general_text
from lavra.workspace.workspace import Workspace

LEARNED = "The daily allowance is paid within five working days after the trip has come to an end."


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, documents: Path, models: None, tiny_writer: Path) -> Path:
    root = tmp_path_factory.mktemp("abilities")
    (root / "lavra.toml").write_text(f'[models]\ngenerator = "{tiny_writer}"\n')
    workspace = Workspace.open(root)
    workspace.ingest([documents])
    workspace.index()
    rows = [
        {"question": "When is it paid?", "answer": LEARNED, "document": "regras/travel.md", "split": "train"},
        {"question": "Quantos dias?", "answer": "trinta dias", "document": "regras/ferias.md", "split": "test"},
        {"question": "Quantos dias em 2031?", "answerable": False, "split": "test"},
    ]
    (root / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def run(place: Path, *ways: str, **given: Any) -> Study:
    settings = StudySettings(ways=ways, questions=place / "questions.jsonl", max_tokens=4, **given)
    return study(plan_study(Workspace.open(place), settings))


@pytest.fixture(scope="module")
def done(place: Path) -> Study:
    return run(place, "prompt", "tune:method=full:steps=40:learning_rate=0.01", judge=str(_writer(place)))


def _writer(place: Path) -> str:
    return Workspace.open(place).settings.models.generator


def test_each_model_is_measured_once_the_base_among_them(done: Study) -> None:
    base, tuned = done.record["models"]
    assert (base["base"], base["ways"]) == (None, ["prompt"])
    assert (tuned["base"], tuned["ways"]) == (base["id"], ["tune method=full steps=40 learning_rate=0.01"])
    for measure in (GENERAL, TASKS, BIAS):
        assert tuned[measure]["low"] <= tuned[measure]["mean"] <= tuned[measure]["high"]
        change = tuned[f"{measure}_change"]
        assert change["low"] <= change["mean"] <= change["high"]
    assert tuned[GENERAL]["count"] == len(general_text())
    assert (tuned[TASKS]["count"], tuned[BIAS]["count"]) == (64, 48)


def test_what_was_learned_by_heart_is_seen_and_was_not_before(done: Study) -> None:
    _, tuned = done.record["models"]
    assert tuned["by_heart_learned"]["mean"] == 1.0
    assert tuned["by_heart_learned_before"]["mean"] == 0.0


def test_general_text_is_measured_as_tuning_measures_it(done: Study, place: Path, tiny_writer: Path) -> None:
    import torch

    from lavra.model.weights import load_model
    from lavra.tokens.tokenizer import load_tokenizer

    model, tokenizer = load_model(tiny_writer, dtype=torch.float32).eval(), load_tokenizer(tiny_writer)
    paragraphs = [text[:300] for text in general_text()[:4]]  # that fit the window: what does not is cut otherwise
    bits, octets = bits_per_byte(model, tokenizer, paragraphs)
    assert np.average(bits, weights=octets) == pytest.approx(of_all(model, tokenizer, paragraphs), rel=1e-4)


def test_the_report_says_it_in_both_languages_and_no_study_measures_it_twice(
    done: Study, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = done.page.read_text("utf-8")
    assert "by heart: learned" in page
    assert "de cor: aprendido" in page
    from lavra.workspace.studying import abilities

    monkeypatch.setattr(abilities, "_measure", lambda *_: pytest.fail("it was measured again"))
    again = run(place, "tune:method=full:steps=40:learning_rate=0.01")
    assert [model["id"] for model in again.record["models"]] == [model["id"] for model in done.record["models"]]
    assert run(place, "prompt").record["models"] == []  # one model: nothing to compare
    assert run(place, "prompt", "tune:method=full:steps=40:learning_rate=0.01", general=False).record["models"] == []


def test_a_judge_that_cannot_grade_is_not_to_be_believed_and_the_report_says_so(done: Study) -> None:
    """The judge is two layers of random weights, and most of what it is asked is longer than its window."""
    judge = done.record["judge"]
    assert {"unreadable", "unmeasured"} <= set(judge["doubts"])
    assert judge["counts"]["grades"] + judge["counts"]["unreadable"] == 2 * 2 * 2  # questions, ways, orders
    text = done.page.read_text("utf-8")
    assert "Do not believe" in text
    assert "Não acredite em" in text


def test_changes_are_paired_with_the_base() -> None:
    values = {GENERAL: [2.0, 4.0], "bytes": [1.0, 3.0], TASKS: [0.0, 1.0], BIAS: [0.5, 0.5], "answers_learned": [0.0]}
    base = Ability("base", None, (), False, values)
    tuned = Ability("tuned", "base", ("tune",), False, {**values, GENERAL: [2.5, 4.5], "answers_learned": [1.0]})
    row = to_record([base, tuned])[1]
    assert row[GENERAL]["mean"] == pytest.approx((2.5 + 3 * 4.5) / 4)  # as many bits as all bytes have
    assert row[f"{GENERAL}_change"]["mean"] == pytest.approx(0.5)
    assert (row["by_heart_learned_before"]["mean"], row["by_heart_learned"]["mean"]) == (0.0, 1.0)


def test_a_place_of_a_document_is_cut_after_its_beginning(tiny_writer: Path) -> None:
    from lavra.tokens.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(tiny_writer)
    text = " ".join(map(str, range(200)))
    given, rest = Probe((), text).ids(tokenizer)
    assert len(given) == 1 + PREFIX
    assert text.startswith(tokenizer.decode([*given[1:], *rest]))


def test_a_judge_is_asked_about_a_reply_once_even_after_a_kill(tmp_path: Path) -> None:
    asked: list[str] = []

    def write(turns: Sequence[Turn]) -> str:
        asked.append(turns[-1]["content"])
        return '{"grade": 4}'

    question, path = Question("q", "When?", ("six",)), tmp_path / "grades.jsonl"
    first = KeptJudge(Judge(write), path, "judge")
    assert first(question, Reply("q", "At six.")) == 0.75
    path.write_bytes(path.read_bytes() + b'\n{"key": "half')
    again = KeptJudge(Judge(write), path, "judge")
    assert again(question, Reply("q", "At six.")) == 0.75
    assert len(asked) == 2
    assert again.counts == first.counts == {"grades": 2, "pairs": 1}
    assert KeptJudge(Judge(write), path, "another")(question, Reply("q", "At six.")) == 0.75
    assert len(asked) == 4
