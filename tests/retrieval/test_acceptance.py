"""Whether to answer is learned apart from which passage comes first, from the best passage as it is by itself."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lavra.errors import LavraError
from lavra.retrieval.acceptance import MANY, Acceptance, Evidence, words_met
from lavra.retrieval.analysis import analyse, analyse_query, query_words
from lavra.retrieval.fusion import Fusion
from lavra.retrieval.index import _other_language

RNG = np.random.default_rng(4)


def evidence(count: int = 400) -> list[Evidence]:
    return [
        Evidence(float(odds), float(cosine), float(words), int(candidates))
        for odds, cosine, words, candidates in zip(
            RNG.normal(-2, 2, count),
            RNG.uniform(0.7, 0.95, count),
            RNG.random(count),
            RNG.integers(1, 130, count),
            strict=True,
        )
    ]


def test_fitting_agrees_with_scikit_learn() -> None:
    seen = evidence()
    answered = [one.words + one.log_odds / 10 + RNG.normal(scale=0.2) > 0.3 for one in seen]
    ours = Acceptance.fit(seen, answered, strength=2.0)
    X = np.stack([one.vector() for one in seen])
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    judge = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(Z, answered)
    assert ours.weights == pytest.approx(judge.coef_[0], abs=1e-4)
    assert [ours.confidence(one) for one in seen] == pytest.approx(judge.predict_proba(Z)[:, 1], abs=1e-5)


def test_what_evidence_weighs_goes_in_a_line_from_a_lone_candidate_to_a_hundred() -> None:
    alone, many = (Evidence(1.5, 0.9, 0.5, n).vector() for n in (1, MANY))
    assert alone.tolist() == [1.5, 0.9, 0.5, 0.0, 0.0, 0.0]
    assert many.tolist() == [1.5, 0.9, 0.5, 1.0, 1.5, 0.5]
    assert Evidence(1.5, 0.9, 0.5, 10 * MANY).vector().tolist() == many.tolist()
    assert Evidence(1.5, 0.9, 0.5, 10).vector()[3:].tolist() == [0.5, 0.75, 0.25]


@pytest.mark.parametrize(
    ("question", "passage", "share"),
    [
        ("Qual é a prioridade da obra?", "Priorizar a obra atrasada.", 1.0),
        ("Qual é a prioridade da obra?", "A obra parou.", 0.5),
        ("Qual é a prioridade da obra?", "O servidor tem férias.", 0.0),
        ("Como trocar o óleo do carro?", "O servidor tem direito a trinta dias.", 0.0),
        ("?", "O servidor tem férias.", 0.0),
    ],
)
def test_words_met_are_counted_by_their_beginnings_without_function_words(
    question: str, passage: str, share: float
) -> None:
    words, keywords = query_words(question, "pt"), analyse_query(question, "pt").split()
    assert words_met(words, keywords, analyse(passage, "pt")) == pytest.approx(share)


def test_of_few_passages_one_that_has_none_of_the_words_is_not_enough_however_it_stands_out() -> None:
    fusion = Fusion.load()
    for candidates in (1, 2, 3, 10):
        assert fusion.confidence(Evidence(2.0, 0.80, 0.0, candidates)) < fusion.threshold
        assert fusion.confidence(Evidence(2.0, 0.90, 0.8, candidates)) > fusion.threshold


def test_in_another_language_words_count_nothing_and_the_threshold_is_the_same() -> None:
    fusion = Fusion.load()
    assert fusion.acceptance is not None
    level = math.log(fusion.threshold / (1 - fusion.threshold)) - fusion.acceptance.elsewhere
    for words in (0.0, 1.0):
        for above in (-0.1, 0.1):
            confidence = fusion.confidence(Evidence(level + above, 0.8, words, 50), other_language=True)
            assert (confidence >= fusion.threshold) == (above > 0)


@pytest.mark.parametrize(
    ("question", "language", "other"),
    [
        ("Quantos dias de férias tem o servidor?", "en", True),
        ("Quantos dias de férias tem o servidor?", "pt", False),
        ("How many days of leave are there in a year?", "pt", True),
        ("How many days of leave are there in a year?", "und", False),
        ("SLA 3?", "pt", False),
        ("How many days of leave are there in a year?", "no such language", False),
    ],
)
def test_a_passage_is_in_another_language_only_where_both_are_known(question: str, language: str, other: bool) -> None:
    assert _other_language(question, language) == other


def test_it_is_kept_in_the_file_of_the_fusion(tmp_path: Path) -> None:
    shipped = Fusion.load()
    shipped.save(tmp_path / "own.json")
    again = Fusion.load(tmp_path / "own.json")
    for one in evidence(20):
        for other in (False, True):
            assert again.confidence(one, other_language=other) == pytest.approx(
                shipped.confidence(one, other_language=other), abs=1e-4
            )


def test_without_one_the_confidence_is_the_probability_of_the_best_passage(tmp_path: Path) -> None:
    replace(Fusion.load(), acceptance=None).save(tmp_path / "plain.json")
    plain = Fusion.load(tmp_path / "plain.json")
    assert plain.confidence(Evidence(0.0, 0.9, 1.0, 5)) == 0.5
    assert plain.confidence(Evidence(-2.0, 0.9, 1.0, 5)) == pytest.approx(1 / (1 + math.exp(2)))


@pytest.mark.parametrize(
    "damage", [{"evidence": {}}, {"bias": "high"}, {"bias": float("nan")}, {"other_language": None}]
)
def test_a_damaged_one_is_refused_in_a_sentence(tmp_path: Path, damage: dict[str, object]) -> None:
    path = tmp_path / "own.json"
    Fusion.load().save(path)
    record = json.loads(path.read_text())
    record["acceptance"] |= damage
    path.write_text(json.dumps(record))
    with pytest.raises(LavraError, match=r"own\.json"):
        Fusion.load(path)
