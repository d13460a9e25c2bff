"""One call measures all replies; what does not apply is NaN, and failing is never rewarded."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lavra.errors import LavraError
from lavra.evaluation.items import Evidence, Question, Reply, Source
from lavra.evaluation.measuring import NAMES, measure

LEAVE = "Leave is thirty days a year."
QUESTIONS = [
    Question("q1", "How long is leave?", ("thirty days",), (Source("a.md", LEAVE),), language="en"),
    Question("q2", "Who invented leave?", language="en"),
]
FOUND = (Evidence("b.md", "Travel is paid within five days."), Evidence("a.md", LEAVE))


def test_a_right_answer_and_a_right_refusal() -> None:
    replies = [
        Reply("q2", "I found nothing.", refused=True, passages=FOUND, seconds=1),
        Reply("q1", "Thirty days [2].", passages=FOUND, first_token=0.5, seconds=2.5, completion_tokens=5),
    ]
    scores = measure(QUESTIONS, replies)
    assert set(scores.values) == set(NAMES)
    right, refused = ({name: values[row] for name, values in scores.values.items()} for row in (0, 1))
    assert [right[name] for name in ("exact_match", "token_f1", "rouge_l", "squad_f1", "refusal")] == [1] * 5
    assert (right["recall@1"], right["recall@3"], right["mrr"]) == (0, 1, 0.5)
    assert right["tokens_per_second"] == 2
    assert (refused["squad_f1"], refused["refusal"]) == (1, 1)
    assert math.isnan(refused["token_f1"])
    assert math.isnan(refused["mrr"])


def test_errors_and_refusals_count_as_wrong_answers() -> None:
    replies = [Reply("q1", "", error="timed out", passages=FOUND), Reply("q2", "", refused=True, error="timed out")]
    values = measure(QUESTIONS, replies, judge=lambda question, reply: 1.0).values
    assert values["token_f1"][0] == 0
    assert list(values["refusal"]) == [0, 0]
    assert list(values["squad_f1"]) == [0, 0]
    assert list(values["judge"]) == [0, 0]
    assert np.isnan(values["seconds"]).all()
    refused = measure(QUESTIONS, [Reply("q1", "leave thirty days", refused=True), Reply("q2", "Einstein.")]).values
    assert refused["token_f1"][0] == 0
    assert list(refused["refusal"]) == [0, 0]


def test_a_way_that_retrieves_nothing_has_no_retrieval_measures() -> None:
    values = measure(QUESTIONS, [Reply("q1", "Thirty days."), Reply("q2", "Einstein.")]).values
    assert np.isnan(values["recall@5"]).all()


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ([Reply("q1", "")], "'q2' has no reply"),
        ([Reply("q1", ""), Reply("q1", ""), Reply("q2", "")], "two replies"),
        ([Reply("q1", ""), Reply("q2", ""), Reply("q3", "")], "reply to 'q3'"),
    ],
)
def test_replies_that_are_not_of_these_questions_are_refused(replies: list[Reply], said: str) -> None:
    with pytest.raises(LavraError, match=said):
        measure(QUESTIONS, replies)


def test_a_part_of_the_questions_has_its_own_scores() -> None:
    scores = measure(QUESTIONS, [Reply("q1", "Thirty days."), Reply("q2", "Einstein.")])
    part = scores.only(lambda question: question.answerable)
    assert [question.id for question in part.questions] == ["q1"]
    assert part.interval("token_f1").mean == 1


def test_similarity_is_the_cosine_with_the_nearest_right_answer() -> None:
    class Letters:
        """Texts as the unit vector of how often each letter stands in them."""

        name, dimension, sha256 = "letters", 26, ""

        def documents(self, texts: list[str]) -> np.ndarray:
            counts = np.array([[text.lower().count(chr(97 + letter)) for letter in range(26)] for text in texts], float)
            return counts / np.linalg.norm(counts, axis=1, keepdims=True)

        queries = documents

    asked = [
        Question("a", "?", ("cccc", "ab"), (Source("d"),)),
        Question("b", "?", ("ab",), (Source("d"),)),
        Question("c", "?"),
    ]
    replies = [Reply("a", "a [1]"), Reply("b", "ab", refused=True), Reply("c", "ab")]
    found = measure(asked, replies, embedder=Letters()).values["similarity"]
    assert found[0] == pytest.approx(1 / np.sqrt(2))
    assert found[1] == 0
    assert math.isnan(found[2])
