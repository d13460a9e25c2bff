"""Samples that say the same have no entropy and support the reply; samples that vary do not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavra.evaluation.resampling import clusters, consistency, same_meaning, semantic_entropy, similarity, surprise

steady = settings(max_examples=200, deadline=None, derandomize=True)

QUESTION = "What is the capital of Portugal?"
SURE = ["Lisbon.", "It is Lisbon.", "The capital of Portugal is Lisbon.", "Lisbon is the capital."]
UNSURE = ["Lisbon.", "Porto.", "The capital of Portugal is Coimbra.", "It is not Lisbon."]
same = same_meaning(QUESTION, "en")


def test_one_meaning_in_many_words_is_one_cluster() -> None:
    assert clusters(SURE, same) == [[0, 1, 2, 3]]
    assert semantic_entropy(SURE, same) == 0


def test_meanings_that_differ_are_clusters_of_their_own() -> None:
    assert clusters(UNSURE, same) == [[0], [1], [2], [3]]
    assert semantic_entropy(UNSURE, same) == pytest.approx(math.log(4))


def test_numbers_and_denials_are_meanings() -> None:
    asked = same_meaning("How many days of leave are there?", "en")
    assert not asked("30 days", "45 days")
    assert not asked("It is signed.", "It is not signed.")
    assert asked("30 days of leave", "There are 30.")


@steady
@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=30))
def test_the_entropy_is_shannons_of_the_clusters(letters: list[str]) -> None:
    shares = np.unique(letters, return_counts=True)[1] / len(letters)
    assert semantic_entropy(letters, str.__eq__) == pytest.approx(float(-(shares * np.log(shares)).sum()))
    assert semantic_entropy(letters, str.__eq__, [-2.5] * len(letters)) == pytest.approx(
        semantic_entropy(letters, str.__eq__)
    )


def test_likely_samples_weigh_more() -> None:
    logs = [math.log(0.8), math.log(0.1), math.log(0.1)]
    expected = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert semantic_entropy(["a", "a", "b"], str.__eq__, logs) == pytest.approx(expected)
    assert math.isnan(semantic_entropy([], str.__eq__))


def test_surprise_is_the_unigram_model_of_samples_and_reply() -> None:
    (first, second) = surprise("wine bread. cheese!", ["wine bread wine", "bread"])
    # Of the seven words wine stands three times, bread three times, cheese once.
    assert first.mean == pytest.approx(-math.log(3 / 7))
    assert second.mean == second.most == pytest.approx(-math.log(1 / 7))


def test_what_was_invented_is_inconsistent() -> None:
    reply = "Lisbon lies on the river Tagus. It was founded by Napoleon in 1850."
    samples = [
        "Lisbon is a city on the river Tagus. It was founded by the Phoenicians.",
        "Lisbon lies where the river Tagus meets the sea. The Romans founded it.",
        "On the river Tagus lies Lisbon. It was founded by Ulysses.",
    ]
    assert consistency(reply, samples, "en") == 0.5
    known, invented = surprise(reply, samples)
    assert invented.mean > known.mean
    assert math.isnan(consistency(reply, []))
    assert math.isnan(consistency("?", samples))


def test_similarity_is_the_mean_of_the_nearest_sentences_cosines() -> None:
    class Letters:
        """Texts as the unit vector of their first letter."""

        name, dimension, sha256 = "letters", 26, ""

        def documents(self, texts: list[str]) -> np.ndarray:
            return np.eye(26, dtype=np.float32)[[ord(text[0].lower()) - 97 for text in texts]]

        queries = documents

    assert similarity("All one. But two.", ["And yes. Be you.", "As me.", ""], Letters()) == pytest.approx(
        (1 + 0.5) / 2
    )
    assert math.isnan(similarity("A.", [], Letters()))
