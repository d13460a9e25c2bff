"""Measures of answers are those of the packages that everybody compares with, and know Portuguese besides."""

from __future__ import annotations

import random
import re
import string
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score import rouge_scorer
from sacrebleu.metrics import CHRF

from lavra.evaluation import answers
from lavra.evaluation.items import read_questions

steady = settings(max_examples=200, deadline=None, derandomize=True)

ASCII = st.text(alphabet=string.printable, max_size=60)
VOCABULARY = ["the", "a", "an", "cat", "Dog,", "sat", "42", "1,000", "on", "mat's", "of-it", "über", "ação"]
WORDS = st.lists(st.sampled_from(VOCABULARY), max_size=12)
TEXTS = st.one_of(ASCII, WORDS.map(" ".join))


def squad(text: str) -> str:
    """The official evaluation script of SQuAD 1.1, to the letter."""
    text = "".join(character for character in text.lower() if character not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(said: str, right: str) -> float:
    one, other = squad(said).split(), squad(right).split()
    same = sum((Counter(one) & Counter(other)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(one), same / len(other)
    return 2 * precision * recall / (precision + recall)


@steady
@given(TEXTS, TEXTS)
def test_exact_match_and_f1_are_squads(one: str, other: str) -> None:
    assert answers.normalise(one, "en") == squad(one)
    assert answers.exact_match(one, other, "en") == (squad(one) == squad(other))
    if squad(one) or squad(other):
        assert answers.token_f1(one, other, "en") == pytest.approx(squad_f1(one, other))


def test_articles_are_those_of_the_language() -> None:
    assert answers.exact_match("O Ministério da Saúde.", "ministério da saúde", "pt") == 1
    assert answers.exact_match("Las “vacunas”", "vacunas", "es") == 1
    assert answers.exact_match("O Ministério", "ministério", "en") == 0
    assert answers.token_recall("São 30 dias, por ano, ao todo.", "30 dias por ano", "pt") == 1


@steady
@given(TEXTS, TEXTS)
def test_chrf_is_sacrebleus(one: str, other: str) -> None:
    judge = CHRF().sentence_score(one, [other]).score / 100
    assert answers.chrf(one, other) == pytest.approx(judge, abs=1e-9)


@steady
@given(ASCII, ASCII)
def test_rouge_l_is_googles_where_that_knows_the_letters(one: str, other: str) -> None:
    one, other = one.replace("_", " "), other.replace("_", " ")
    judge = rouge_scorer.RougeScorer(["rougeL"]).score(other, one)["rougeL"].fmeasure
    assert answers.rouge_l(one, other) == pytest.approx(judge, abs=1e-12)


def test_rouge_l_reads_portuguese_words_whole() -> None:
    assert answers.rouge_l("A licitação foi anulada", "a licitação foi anulada") == 1
    assert answers.rouge_l("ação", "a o") == 0


@steady
@given(st.lists(st.sampled_from("abcd"), max_size=40), st.lists(st.sampled_from("abcd"), max_size=40))
def test_the_longest_common_subsequence_by_bits_is_that_of_the_table(one: list[str], other: list[str]) -> None:
    row = [0] * (len(other) + 1)
    for letter in one:
        before = row
        row = [0]
        for place, against in enumerate(other):
            row.append(before[place] + 1 if letter == against else max(row[-1], before[place + 1]))
    assert answers.longest_common_subsequence(one, other) == row[-1]


def test_on_real_answers_in_portuguese_and_english_they_are_the_packages(shared: Path) -> None:
    chooser = random.Random(0)
    for name, language in (("pira-pt", "pt"), ("xquad-en", "en")):
        right = [question.answers[0] for question in read_questions(shared / "retrieval" / name)[:150]]
        said = [chooser.choice([text, text[: len(text) // 2], chooser.choice(right)]) for text in right]
        for one, other in zip(said, right, strict=True):
            assert answers.chrf(one, other) == pytest.approx(CHRF().sentence_score(one, [other]).score / 100, abs=1e-9)
            if language == "en" and (one + other).isascii():
                assert answers.exact_match(one, other, "en") == (squad(one) == squad(other))
                assert answers.token_f1(one, other, "en") == pytest.approx(squad_f1(one, other))


def test_a_reply_is_judged_without_its_markers() -> None:
    assert answers.without_markers("Thirty days [1]. In two parts [2, 3].") == "Thirty days. In two parts."
