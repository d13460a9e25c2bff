"""Claims about the features and the fusion: judged by scikit-learn and by formulas written the long way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from lavra.errors import LavraError
from lavra.retrieval.analysis import analyse, analyse_query, query_words
from lavra.retrieval.features import FEATURES, features
from lavra.retrieval.fusion import Fusion, accepting_threshold

RNG = np.random.default_rng(0)
TEXTS = [
    "O prazo para recurso é de cinco dias úteis.",
    "A licitação será realizada em modalidade de pregão eletrônico.",
    "O recurso contra a licitação tem prazo de cinco dias.",
    "O clima da região é tropical.",
]
DOCUMENTS = ["a", "b", "a", "c"]
BM25 = np.array([4.0, 2.0, 6.0, 0.0])
COSINE = np.array([0.86, 0.84, 0.88, 0.75])
SENTENCE = np.array([0.89, 0.86, 0.85, 0.80])
QUESTION = query_words("Qual é o prazo do recurso na licitação?", "pt")


def look(**changes: object) -> dict[str, np.ndarray]:
    given = {
        "documents": DOCUMENTS,
        "analysed": [analyse(text, "pt") for text in TEXTS],
        "bm25": BM25,
        "cosine": COSINE,
        "sentence": SENTENCE,
        **changes,
    }
    return dict(zip(FEATURES, features(QUESTION, **given).T, strict=True))  # type: ignore[arg-type]


def problem(rows: int = 3000, groups: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates whose labels follow a known logistic model."""
    X = RNG.normal(size=(rows, len(FEATURES))) * RNG.uniform(0.1, 5, len(FEATURES))
    truth = RNG.normal(size=len(FEATURES)) / X.std(axis=0)
    y = (RNG.random(rows) < 1 / (1 + np.exp(2 - X @ truth))).astype(int)
    return X, y, np.repeat(np.arange(groups), rows // groups)


# --- features ---------------------------------------------------------------------------------------------------


def test_every_candidate_is_seen_beside_the_best_one() -> None:
    seen = look()
    trust = seen["coverage"].max()
    assert seen["bm25_margin"] / trust == pytest.approx([-2 / 6, -4 / 6, 2 / 6, -1])
    assert seen["bm25_reciprocal_rank"] / trust == pytest.approx([1 / 2, 1 / 3, 1, 0]), "no shared word, no rank"
    assert seen["cosine_margin"] == pytest.approx([-0.02, -0.04, 0.02, -0.13])
    assert seen["cosine_reciprocal_rank"] == pytest.approx([1 / 2, 1 / 3, 1, 1 / 4])
    assert seen["sentence_margin"] == pytest.approx([0.03, -0.03, -0.04, -0.09])


def test_bm25_counts_for_nothing_where_no_candidate_holds_a_word_of_the_question() -> None:
    seen = look(analysed=["another language", "other words", "altogether", "here"])
    for name in FEATURES:
        if "bm25" in name:
            assert not seen[name].any()


def test_neither_of_two_equal_bests_is_ahead() -> None:
    seen = look(cosine=np.array([0.9, 0.9, 0.8, 0.7]))
    assert seen["cosine_margin"] == pytest.approx([0, 0, -0.1, -0.2])
    assert seen["cosine_reciprocal_rank"] == pytest.approx([1, 1, 1 / 3, 1 / 4])


def test_coverage_weighs_words_by_how_few_candidates_hold_them() -> None:
    held = np.array([[all_in in analyse(text, "pt").split() for text in TEXTS] for (all_in,) in QUESTION])
    count = held.sum(axis=1)
    idf = np.log(1 + (len(TEXTS) - count + 0.5) / (count + 0.5))
    assert look()["coverage"] == pytest.approx(idf @ held / idf.sum())


def test_a_document_is_as_good_as_its_best_candidate() -> None:
    seen = look()
    assert seen["document_bm25"] / seen["coverage"].max() == pytest.approx([1, 2 / 6, 1, 0])
    assert seen["document_share"][0] == seen["document_share"][2]
    shares = dict(zip(DOCUMENTS, seen["document_share"], strict=True))
    assert sum(shares.values()) == pytest.approx(1)


def test_neighbouring_words_count_only_side_by_side() -> None:
    question = query_words("pregão eletrônico", "pt")
    analysed = [analyse(text, "pt") for text in ("pregão eletrônico", "pregão presencial e eletrônico", "outro")]
    column = features(
        question, documents=list("abc"), analysed=analysed, bm25=np.ones(3), cosine=np.ones(3), sentence=np.ones(3)
    )[:, FEATURES.index("pairs")]  # fmt: skip
    assert column.tolist() == [1, 0, 0]


def test_a_phrase_weighs_as_much_as_its_words_together() -> None:
    question = query_words("modalidade de pregão eletrônico", "und")
    texts = ["na modalidade de pregão", "pregão modalidade eletrônico de", "pregão eletrônico", "outra coisa"]
    held = np.array([[word in text.split() for text in texts] for word in ("modalidade", "de", "pregão", "eletrônico")])
    idf = np.log(1 + (4 - held.sum(axis=1) + 0.5) / (held.sum(axis=1) + 0.5))
    phrase = np.array([idf[:3].sum(), idf.max(), idf[2:].sum(), 0.0])
    analysed = [analyse(text, "und") for text in texts]
    column = features(
        question, documents=list("abcd"), analysed=analysed, bm25=np.ones(4), cosine=np.ones(4), sentence=np.ones(4)
    )
    column = column[:, FEATURES.index("phrase_behind_best")]
    assert column == pytest.approx((phrase - phrase.max()) / idf.sum())


def test_the_window_is_the_best_of_all_windows() -> None:
    filler = " ".join(f"x{n}" for n in range(100))
    near, far = f"{filler} prazo recurso {filler}", f"prazo {filler} recurso"
    question = query_words("prazo recurso", "und")
    column = features(
        question, documents=["a", "b"], analysed=[near, far], bm25=np.ones(2), cosine=np.ones(2), sentence=np.ones(2)
    )[:, FEATURES.index("window")]  # fmt: skip
    assert column[0] == pytest.approx(1)
    assert column[1] == pytest.approx(0.5)


def test_words_meet_by_their_first_letters_but_function_words_are_not_asked_for() -> None:
    question = "qual é a prioridade do curso em 2015"
    texts = ["Cursos que priorizam a informática", "a prioridade é esta", "qual a média do ano 20157"]
    asked = analyse_query(question, "pt").split()
    assert set(asked) == {"prioridad", "curs", "2015"}
    column = features(
        query_words(question, "pt"),
        keywords=asked,
        documents=list("abc"),
        analysed=[analyse(text, "pt") for text in texts],
        bm25=np.ones(3),
        cosine=np.ones(3),
        sentence=np.ones(3),
    )[:, FEATURES.index("beginnings_behind_best")]
    held = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]])  # priori…, curs…, 2015
    idf = np.log(1 + (3 - held.sum(axis=0) + 0.5) / (held.sum(axis=0) + 0.5))
    coverage = held @ idf / idf.sum()
    assert column[2] < column[1] < column[0] == 0
    assert (column[1], column[2]) == pytest.approx((idf[0] / idf.sum() - coverage[0], -coverage[0]), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_features_are_finite_and_do_not_depend_on_the_order_of_candidates(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    words = st.lists(st.sampled_from(["prazo", "recurso", "dia", "lei", "8666"]), max_size=8).map(" ".join)
    analysed = data.draw(st.lists(words, min_size=count, max_size=count))
    documents = data.draw(st.lists(st.sampled_from("abc"), min_size=count, max_size=count))
    bm25 = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.5, 7.0]), min_size=count, max_size=count)))
    cosine = np.array(data.draw(st.lists(st.floats(-1, 1, width=16), min_size=count, max_size=count)))
    question = query_words(data.draw(words), "pt")
    order = data.draw(st.permutations(range(count)))

    def seen(at: list[int]) -> np.ndarray:
        return features(
            question,
            documents=[documents[i] for i in at],
            analysed=[analysed[i] for i in at],
            bm25=bm25[at],
            cosine=cosine[at],
            sentence=cosine[at] ** 2,
        )

    plain = seen(list(range(count)))
    assert plain.shape == (count, len(FEATURES))
    assert np.isfinite(plain).all()
    assert seen(order) == pytest.approx(plain[order])


def test_no_candidates_no_rows() -> None:
    none = np.zeros(0)
    assert features(QUESTION, documents=[], analysed=[], bm25=none, cosine=none, sentence=none).shape == (
        0,
        len(FEATURES),
    )


# --- fitting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.1, 1.0, 30.0])
def test_fitting_agrees_with_scikit_learn(strength: float) -> None:
    X, y, groups = problem()
    fusion = Fusion.fit(X, y, groups, strength=strength, ranking=0)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    judge = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=10_000).fit(Z, y)
    assert fusion.weights == pytest.approx(judge.coef_[0], abs=1e-4)
    assert fusion.bias == pytest.approx(judge.intercept_[0], abs=1e-4)
    assert fusion.predict(X) == pytest.approx(judge.predict_proba(Z)[:, 1], abs=1e-5)


def test_ranking_adds_the_log_share_of_the_right_candidates_of_each_question() -> None:
    X, y, groups = problem()
    shuffled = RNG.permutation(len(y))
    names = np.array([f"question {group}" for group in groups])
    fusion = Fusion.fit(X[shuffled], y[shuffled], names[shuffled], strength=2.0, ranking=3.0)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    right = [(Z[groups == g], y[groups == g] == 1) for g in range(groups.max() + 1)]

    def loss(theta: np.ndarray) -> float:
        each = log_loss(y, 1 / (1 + np.exp(-Z @ theta[:-1] - theta[-1])), normalize=False)
        shares = [logsumexp(z @ theta[:-1]) - logsumexp((z @ theta[:-1])[best]) for z, best in right if best.any()]
        return each + 3.0 * sum(shares) + theta[:-1] @ theta[:-1]

    judge = minimize(loss, np.zeros(Z.shape[1] + 1), tol=1e-9)
    found = np.append(fusion.weights, fusion.bias)
    assert loss(found) <= judge.fun * (1 + 1e-9)
    assert found == pytest.approx(judge.x, abs=1e-3)


def test_ranking_puts_more_right_candidates_first() -> None:
    """A clue that counts within a question alone (its level differs between questions) beside one that is absolute."""
    groups = np.repeat(np.arange(300), 10)
    X = RNG.normal(size=(3000, len(FEATURES)))
    clue = X[:, 0] + 0.3 * X[:, 1]
    y = np.zeros(3000)
    y[clue.reshape(300, 10).argmax(axis=1) + 10 * np.arange(300)] = 1
    X[:, 0] += np.repeat(RNG.normal(scale=5, size=300), 10)
    firsts = []
    for ranking in (0.0, 10.0):
        p = Fusion.fit(X, y, groups, ranking=ranking).predict(X).reshape(300, 10)
        firsts.append(y.reshape(300, 10)[np.arange(300), p.argmax(axis=1)].mean())
    assert firsts[1] > firsts[0] + 0.1, firsts


def test_labels_that_a_plane_separates_do_not_break_the_fit() -> None:
    X, _, groups = problem()
    fusion = Fusion.fit(X, (X[:, 0] > 0).astype(int), groups, strength=1e-3)
    assert np.isfinite(fusion.weights).all()
    assert ((fusion.predict(X) > 0.5) == (X[:, 0] > 0)).mean() > 0.99


def test_a_hundred_questions_of_ones_own_adjust_the_prior_and_do_not_forget_it() -> None:
    X, y, groups = problem()
    prior = Fusion.fit(X, y, groups)
    few = groups < 3
    own = Fusion.fit(X[few], y[few], groups[few], prior=prior, strength=5.0)
    alone = Fusion.fit(X[few], y[few], groups[few], strength=1e-3)
    rest = ~few
    assert log_loss(y[rest], own.predict(X[rest])) < log_loss(y[rest], alone.predict(X[rest]))
    assert (own.mean == prior.mean).all()
    tight = Fusion.fit(X[few], y[few], groups[few], prior=prior, strength=1e9)
    assert tight.weights == pytest.approx(prior.weights, abs=1e-5)


def test_contributions_sum_to_the_log_odds() -> None:
    X, y, groups = problem()
    fusion = Fusion.fit(X, y, groups)
    p = fusion.predict(X)
    assert fusion.contributions(X).sum(axis=1) + fusion.bias == pytest.approx(np.log(p / (1 - p)), abs=1e-6)


def test_the_threshold_refuses_the_share_it_promises() -> None:
    groups = np.repeat(np.arange(200), 5)
    probabilities, labels = RNG.random(1000), np.zeros(1000)
    labels[::5][:100] = 1  # the first hundred questions are answerable
    threshold = accepting_threshold(probabilities, labels, groups, refused=0.05)
    best = probabilities.reshape(200, 5).max(axis=1)[:100]
    assert (best < threshold).mean() == pytest.approx(0.05, abs=0.011)


@pytest.mark.parametrize(
    ("X", "y", "groups", "message"),
    [
        (np.zeros((4, 3)), np.zeros(4), np.zeros(4), "do not belong together"),
        (np.zeros((4, len(FEATURES))), np.zeros(4), np.zeros(4), "all alike"),
        (np.full((4, len(FEATURES)), np.nan), np.array([0, 1, 0, 1]), np.zeros(4), "finite"),
        (np.zeros((4, len(FEATURES))), np.array([0, 2, 0, 1]), np.zeros(4), "0 or 1"),
    ],
)
def test_what_cannot_be_fitted_is_refused(X: np.ndarray, y: np.ndarray, groups: np.ndarray, message: str) -> None:
    with pytest.raises(LavraError, match=message):
        Fusion.fit(X, y, groups)


# --- on disk ----------------------------------------------------------------------------------------------------


def test_saved_and_loaded_coefficients_predict_the_same(tmp_path: Path) -> None:
    X, y, groups = problem()
    fusion = Fusion.fit(X, y, groups, training={"sets": ["own"]})
    fusion.save(tmp_path / "own.json")
    loaded = Fusion.load(tmp_path / "own.json")
    assert loaded.predict(X) == pytest.approx(fusion.predict(X), abs=1e-4)
    assert loaded.threshold == pytest.approx(fusion.threshold, abs=1e-6)
    assert loaded.training == {"sets": ["own"]}


def test_the_shipped_coefficients_say_what_they_were_trained_on() -> None:
    fusion = Fusion.load()
    assert fusion.names == FEATURES
    assert 0 < fusion.threshold < 1
    assert fusion.training["sets"]
    assert all(one["licence"] for one in fusion.training["sets"])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1, "features": {}}', "null"])
def test_a_damaged_file_is_a_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "f.json").write_text(content)
    with pytest.raises(LavraError, match=r"f\.json"):
        Fusion.load(tmp_path / "f.json")


def test_coefficients_of_other_features_are_refused(tmp_path: Path) -> None:
    record = json.loads((Path(__file__).parents[2] / "src/lavra/retrieval/fusion.json").read_text())
    record["features"]["something_else"] = {"weight": 1.0, "mean": 0.0, "scale": 1.0}
    (tmp_path / "other.json").write_text(json.dumps(record))
    with pytest.raises(LavraError, match="other features"):
        Fusion.load(tmp_path / "other.json")
    with pytest.raises(LavraError, match="cannot be read"):
        Fusion.load(tmp_path / "absent.json")
