"""The parts of a study that need no model: what is asked for, what is asked, what is spent, what is concluded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lavra.assistants.events import Answer, Message
from lavra.assistants.questions.items import Item
from lavra.corpus.document import Document
from lavra.errors import LavraError
from lavra.evaluation.costs import Prices
from lavra.evaluation.items import Evidence, Question, Reply, Source
from lavra.store.energy import Cost
from lavra.workspace.studying.budget import Spending, parse_budget
from lavra.workspace.studying.deciding import front
from lavra.workspace.studying.exam import Exam, fair_order, refuse_duplicates
from lavra.workspace.studying.placing import Places
from lavra.workspace.studying.race import rounds
from lavra.workspace.studying.replies import Kept, Replies, ask, key
from lavra.workspace.studying.scoring import QUALITY, failure, score, telling_recall


def question(number: int, *, answers: tuple[str, ...] = ("yes",), topic: str = "") -> Question:
    source = (Source(f"{number % 3}.md", "Yes, it is."),) if answers else ()
    return Question(f"q{number}", f"Is it number {number}?", answers, source, topic, "en")


# ── budgets ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [("15 min", 15, "minutes"), ("2h", 120, "minutes"), ("90 s", 1.5, "minutes"), ("0,5 kWh", 0.5, "kWh"),
     ("500 Wh", 0.5, "kWh"), ("3 EUR", 3, "money"), ("€3", 3, "money"), ("2 hours", 120, "minutes")],
)  # fmt: skip
def test_budgets_are_read_as_people_write_them(text: str, amount: float, unit: str) -> None:
    budget = parse_budget(text, "EUR")
    assert (budget.amount, budget.unit) == (pytest.approx(amount), unit)


@pytest.mark.parametrize("text", ["", "much", "15", "-3 min", "0 min", "3 USD", "R$ 5"])
def test_a_budget_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(LavraError, match="budget"):
        parse_budget(text, "EUR")


def test_what_was_spent_before_a_kill_counts(tmp_path: Path) -> None:
    prices = Prices(watts=3.6e6 / 10)  # a second of processor is a tenth of a kilowatt-hour
    path = tmp_path / "spent.jsonl"
    path.write_text(json.dumps({"seconds": 60.0, "cpu_seconds": 5.0, "energy_joules": None, "fees": 0.25}) + '\n{"sec')
    assert Spending(path, prices, parse_budget("2 min", "EUR")).share == pytest.approx(0.5)
    assert Spending(path, prices, parse_budget("1 kWh", "EUR")).share == pytest.approx(0.5)
    money = Spending(path, prices, parse_budget("1 EUR", "EUR"))
    assert money.share == pytest.approx(0.25)
    money.pay(0.5)
    assert Spending(path, prices, parse_budget("1 EUR", "EUR")).share == pytest.approx(0.75)


# ── the questions ────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_beginning_of_the_order_is_a_fair_sample() -> None:
    asked = [question(n, topic="ab"[n % 2]) for n in range(36)] + [question(n, answers=()) for n in range(36, 40)]
    ordered = fair_order(asked, 7)
    assert sorted(q.id for q in ordered) == sorted(q.id for q in asked)
    for half in (ordered[:20], ordered[20:]):
        assert sum(not q.answerable for q in half) == 2
        assert sum(q.topic == "a" for q in half) == 9
    assert ordered == fair_order(asked, 7) != fair_order(asked, 8)


def test_a_question_that_is_learned_from_and_asked_is_refused_and_named() -> None:
    item = Item("is it  NUMBER 1", "yes", ("yes",), "a.md", quote="Yes.").named()
    with pytest.raises(LavraError, match=r"1 of the questions .*“Is it number 1\?” \(q1\)"):
        refuse_duplicates(Exam((question(0), question(1)), (item,), ()))
    refuse_duplicates(Exam((question(0),), (item,), ()))


TEXT = "The port opens at nine.  It closes at six in the evening. Dogs are welcome."


@pytest.fixture
def places() -> Places:
    return Places([Document("set/corpus.jsonl#p-1", TEXT), Document("set/other.md", "Nothing of it.")])


@pytest.mark.parametrize("name", ["set/corpus.jsonl#p-1", "p-1", ""])
def test_a_source_is_found_by_its_name_its_end_or_its_words(places: Places, name: str) -> None:
    asked = Question("q", "When?", ("six",), (Source(name, "It closes at six in the\nevening."),))
    (source,) = places.question(asked, "f.jsonl").sources
    assert source == Source("set/corpus.jsonl#p-1", "It closes at six in the evening.", 25, 57)


def test_a_source_outside_the_corpus_is_named(places: Places) -> None:
    asked = Question("q", "When?", ("six",), (Source("gone.md", "Of something else."),))
    with pytest.raises(LavraError, match=r"f\.jsonl: the source 'gone\.md' of “When\?” is in none"):
        places.question(asked, "f.jsonl")


def test_what_is_learned_from_has_the_sentence_of_its_answer(places: Places) -> None:
    asked = Question("q", "When does it close?", ("six",), (Source("p-1"),), language="en")
    item = places.item(places.question(asked, "f"))
    assert item.quote == "It closes at six in the evening."
    assert TEXT[item.start : item.end] == item.quote


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Parrot:
    """Says the question again; fails on those in ``hard``."""

    name, context_length = "parrot", 100

    def __init__(self, hard: tuple[int, ...] = ()) -> None:
        self.hard, self.heard = hard, 0

    def answer(self, messages: list[Message], **_: object) -> Iterator[Answer]:
        self.heard += 1
        if any(f"number {number}?" in messages[-1].content for number in self.hard):
            raise ValueError("too hard")
        yield Answer(messages[-1].content)


def test_no_question_is_asked_twice_even_after_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    questions = [question(number) for number in range(6)]
    path = tmp_path / "replies.jsonl"
    ask(Parrot, questions[:4], Replies(path), frozenset())
    path.write_bytes(path.read_bytes()[:-9])  # as a kill leaves it
    parrot = Parrot()
    replies = Replies(path)
    ask(lambda: parrot, questions, replies, frozenset())
    assert parrot.heard == 3
    assert [kept.reply.text for kept in Replies(path).of(questions)] == [q.text for q in questions]
    ask(lambda: pytest.fail("nothing is left to ask"), questions, replies, frozenset())


def test_one_hard_question_is_an_empty_reply_and_three_in_a_row_are_a_failing_way(tmp_path: Path) -> None:
    questions = [question(number) for number in range(6)]
    replies = Replies(tmp_path / "one.jsonl")
    ask(lambda: Parrot((2, 5)), questions, replies, frozenset())
    assert [kept.reply.error for kept in replies.of(questions)] == ["", "", *["ValueError: too hard"], "", "", *["ValueError: too hard"]]  # fmt: skip # noqa: E501
    replies = Replies(tmp_path / "three.jsonl")
    with pytest.raises(LavraError, match="too hard"):
        ask(lambda: Parrot((1, 2, 3)), questions, replies, frozenset())
    assert len(Replies(replies.path).of(questions)) == 1  # the others are asked again


def test_a_spent_budget_stops_asking_between_two_questions(tmp_path: Path) -> None:
    parrot = Parrot()
    ask(lambda: parrot, [question(n) for n in range(9)], Replies(tmp_path / "r"), frozenset(), enough=lambda: parrot.heard == 4)  # fmt: skip # noqa: E501
    assert parrot.heard == 4


def test_the_rounds_double_up_to_all_questions() -> None:
    assert rounds(100, 2) == [100]
    assert rounds(100, 4) == [50, 100]
    assert rounds(100, 16) == [12, 25, 50, 100]
    assert rounds(10, 16) == [8, 10]
    assert rounds(4, 16) == [4]


# ── judging ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_quality_is_recall_where_something_answers_and_refusing_where_nothing_does() -> None:
    questions = [question(0, answers=("blue whale",)), question(1, answers=("blue whale",)), question(2, answers=())]
    replies = [
        Kept(Reply(key(questions[0]), "It is a whale, I think, of some colour."), Cost(1, 1)),
        Kept(Reply(key(questions[1]), "I do not know.", refused=True), Cost(1, 1)),
        Kept(Reply(key(questions[2]), "I do not know.", refused=True), Cost(1, 1)),
    ]
    assert score(questions, replies).values[QUALITY].tolist() == [0.5, 0.0, 1.0]
    assert score(questions, replies, by="exact_match").values[QUALITY].tolist() == [0.0, 0.0, 1.0]


def test_saying_the_question_again_earns_nothing() -> None:
    asked = Question("q", "What does the setting seed mean?", ("The same seed gives the same answer.",), language="en")
    echo = Reply("q", "You asked what the setting seed does mean.")
    right = Reply("q", "With one seed, the answer that it gives is the same, the same!")
    assert telling_recall(asked, echo) == 0.0
    assert telling_recall(asked, right) == 1.0
    assert telling_recall(asked, Reply("q", "Gives.")) == 0.25
    only_its_own = Question("q", "Is it a whale or a fish?", ("A whale.",), language="en")
    assert telling_recall(only_its_own, Reply("q", "It is a whale.")) == 1.0


def test_each_failure_has_its_kind() -> None:
    asked, hopeless = question(0), question(1, answers=())
    found, missed = Evidence("0.md", "Yes, it is."), Evidence("9.md", "Rain fell on the plain.")
    assert failure(asked, Reply("q0", "", error="timeout"), 0.0) == "error"
    assert failure(asked, Reply("q0", "", refused=True), 0.0) == "refused"
    assert failure(asked, Reply("q0", "no"), 0.0) == "wrong"
    assert failure(asked, Reply("q0", "no", passages=(found,)), 0.0) == "found_wrong"
    assert failure(asked, Reply("q0", "no", passages=(missed,)), 0.0) == "not_found"
    assert failure(asked, Reply("q0", "yes"), 1.0) == ""
    assert failure(hopeless, Reply("q1", "yes"), 0.0) == "invented"
    assert failure(hopeless, Reply("q1", "", refused=True), 1.0) == ""


def test_the_front_is_what_nothing_beats_in_both() -> None:
    points = [("slow", 9.0, 0.9), ("dear", 5.0, 0.4), ("fair", 3.0, 0.6), ("fast", 1.0, 0.5), ("poor", 1.0, 0.2)]
    assert front(points) == ["fast", "fair", "slow"]
    random = np.random.default_rng(0)
    many = [(str(n), float(x), float(y)) for n, (x, y) in enumerate(random.random((60, 2)))]
    beaten = {a for a, x, y in many for _, u, v in many if u <= x and v >= y and (u, v) != (x, y)}
    assert set(front(many)) == {name for name, _, _ in many} - beaten
