"""The recipes' measures agree with the reference packages, and their data are what they say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random

import numpy as np
import pytest

from lavra.errors import LavraError
from lavra.evaluation.harness.readers import read_rows
from lavra.evaluation.intervals import resampled_interval
from lavra.evaluation.recipes import logs
from lavra.evaluation.recipes.clustering import k_means, v_measure
from lavra.evaluation.recipes.limits import BY_NAME, LIMITS, sentences
from lavra.evaluation.recipes.processing import (
    alike,
    chatted,
    limited,
    pearson,
    repetition,
    spearman,
    titled,
    translated,
)


def test_correlations_are_scipy_s() -> None:
    from scipy.stats import pearsonr, spearmanr

    random = Random(3)
    for count in (3, 10, 200):
        pairs = [(random.randint(1, 5) + 0.5 * random.randint(0, 1), random.gauss(3, 1)) for _ in range(count)]
        one, other = zip(*pairs, strict=True)
        assert pearson(pairs) == pytest.approx(pearsonr(one, other).statistic, abs=1e-12)
        assert spearman(pairs) == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)
    assert pearson([(1.0, 2.0), (2.0, 2.0)]) == 0.0


def test_the_interval_of_a_correlation_is_like_scipy_s() -> None:
    from scipy.stats import pearsonr

    random = Random(5)
    ones = [random.gauss(0, 1) for _ in range(300)]
    pairs = [(one, one + random.gauss(0, 1)) for one in ones]
    found = resampled_interval(pairs, pearson)
    known = pearsonr(*zip(*pairs, strict=True)).confidence_interval(0.95)
    assert found.mean == pytest.approx(pearson(pairs))
    assert (found.low, found.high) == (pytest.approx(known.low, abs=0.03), pytest.approx(known.high, abs=0.03))


def test_the_degree_is_what_the_digits_probabilities_expect() -> None:
    logs_of = [math.log(p) for p in (0.1, 0.2, 0.3, 0.4, 1e-9)]
    found = alike({"similarity": 3.5}, [(log, False) for log in logs_of])
    assert found["pearson"] == (3.5, pytest.approx(3.0, abs=1e-6))
    assert found["mse"] == pytest.approx(0.25, abs=1e-6)


def test_the_portuguese_sets_are_read_whole(shared: Path) -> None:
    pytest.importorskip("lm_eval")
    from lavra.evaluation.harness.task_files import build_task, task_files

    data = shared / "eval"
    there = task_files(data)
    sts = build_task(there["assin2_sts"], data).built
    rows = list(sts.eval_docs)
    assert len(rows) == 2448
    assert {sts.doc_to_target(row) for row in rows} <= set(range(5))
    assert all(abs(sts.doc_to_target(row) + 1 - row["similarity"]) <= 0.5 for row in rows)
    assert len(read_rows("toldbr", [data / "pt" / "toldbr" / "ToLD-BR.csv"])) == 21000
    with pytest.raises(LavraError, match=r"HateBR\.csv is missing; fetch it from github"):
        build_task(there["hatebr"], data)


def test_hatebr_is_read_as_its_authors_publish_it(tmp_path: Path) -> None:
    """The head line and the forms of rows of dataset/HateBR.csv, with other words."""
    path = tmp_path / "HateBR.csv"
    path.write_text(
        "instagram_comments,binary_classification,offensive_levels,hate_targets\n"
        "um comentário ruim,1,1,-1\n"
        '"outro, com vírgula",1,3,"5,8"\n'
        "parabéns!,0,0,-1\n",
        encoding="utf-8",
    )
    rows = read_rows("hatebr", [path])
    assert [row["offensive"] for row in rows] == [1, 1, 0]
    assert rows[1]["text"] == "outro, com vírgula"
    path.write_text("text,label\nx,offensive\n", encoding="utf-8")
    with pytest.raises(LavraError, match="second column"):
        read_rows("hatebr", [path])


KEPT = {
    "one sentence": ("It costs 3.5 euros, e.g. at noon.", "It rains. It pours."),
    "30 words": ("Few words.", "word " * 31),
    "JSON": ('```json\n{"answer": 1, "reason": "x"}\n```', '{"answer": 1}'),
    "three items": ("- a\n- b\n\n- c\n", "1. a\n2. b\n3. c"),
    "small letters": ("all small, 1 too.", "Not small."),
    "no commas": ("no comma here.", "a, b"),
    "last words": ("Yes.\nThat is all.", "That is all. Bye."),
    "capitals": ("ALL OF IT!", "Not all"),
}


def test_limits_are_checked() -> None:
    assert set(KEPT) == set(BY_NAME)
    for name, (good, bad) in KEPT.items():
        assert limited({"limit": name}, [good])["kept"] == 1, name
        assert limited({"limit": name}, [bad])["kept"] == 0, name
        assert limited({"limit": name}, [""])["kept"] == 0, name
        others = [value for key, value in limited({"limit": name}, [good]).items() if key not in ("kept", name)]
        assert all(map(math.isnan, others))
        assert len(others) == len(LIMITS) - 1
    assert sentences("One. Two! Three?") == 3


def test_limits_are_dealt_out_evenly(shared: Path) -> None:
    path = shared / "eval" / "instruct" / "mt_bench" / "question.jsonl"
    rows = read_rows("mt_bench", [path], limits=True)
    assert len(rows) == 80
    assert all(sum(row["limit"] == limit.name for row in rows) == 10 for limit in LIMITS)
    assert sum(bool(row["reference"]) for row in rows) == 30


def test_translations_are_measured_as_sacrebleu_does(shared: Path) -> None:
    from sacrebleu.metrics import BLEU, CHRF

    folder = shared / "eval" / "pt" / "mtgeneval" / "sentences" / "test"
    rows = read_rows("parallel", [folder / "geneval-sentences-feminine-test.en_pt.en"], to="pt")
    assert len(rows) == 300
    replies = [row["target"].replace(" de ", " do ") for row in rows[:20]]
    found = [translated(row, [reply]) for row, reply in zip(rows, replies, strict=False)]
    for row, reply, one in zip(rows, replies, found, strict=False):
        assert one["chrf"] == pytest.approx(CHRF().sentence_score(reply, [row["target"]]).score / 100, abs=1e-6)
    from lm_eval.api.metrics import bleu

    pairs = [one["bleu"] for one in found]
    assert bleu(pairs) == pytest.approx(BLEU().corpus_score(replies, [[row["target"] for row in rows[:20]]]).score)


def test_titles_stand_beside_the_first_sentence(shared: Path) -> None:
    path = shared / "eval" / "gauntlet" / "local_data" / "reading_comprehension" / "pubmed_qa_labeled.jsonl"
    rows = read_rows("pubmed_titles", [path])
    assert len(rows) == 1000
    assert all(len(row["abstract"]) > len(row["title"]) > 10 for row in rows)
    found = titled(rows[0], [rows[0]["title"]])
    assert found["rouge_l"] == 1
    assert 0 <= found["first sentence"] < 1


def test_repetition_is_the_share_of_fours_that_come_again() -> None:
    assert repetition("a b c d e f") == 0
    assert repetition("a b c d a b c d") == pytest.approx(1 - 4 / 5)
    assert repetition("short text") == 0
    looped = chatted({"reference": ""}, ["and so on " * 40])
    assert looped["repetition"] > 0.9
    assert looped["ended"] == 0
    assert math.isnan(looped["chrf"])


def test_v_measure_is_scikit_learn_s() -> None:
    from sklearn.metrics import v_measure_score

    random = Random(1)
    for groups in (1, 2, 5):
        ours = [random.randrange(groups) for _ in range(60)]
        theirs = [random.choice("abc") for _ in range(60)]
        assert v_measure(ours, theirs) == pytest.approx(v_measure_score(theirs, ours), abs=1e-9)
    assert v_measure([1, 1, 0], ["a", "a", "b"]) == 1


def test_groups_that_lie_apart_are_found() -> None:
    from sklearn.cluster import KMeans
    from sklearn.metrics import v_measure_score

    random = np.random.default_rng(0)
    centres = random.normal(size=(6, 32))
    labels = random.integers(0, 6, 240)
    vectors = centres[labels] + 0.35 * random.normal(size=(240, 32))
    found = k_means(vectors, 6)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    theirs = KMeans(6, n_init=8, random_state=0).fit_predict(unit)
    assert v_measure(list(found), list(labels)) >= v_measure_score(labels, theirs) - 0.02
    assert (found == k_means(vectors, 6)).all()
    with pytest.raises(ValueError, match="do not make"):
        k_means(vectors[:3], 4)


def test_log_lines_are_labelled_evenly_and_never_both_learned_and_tested(tmp_path: Path) -> None:
    logs.write(tmp_path)
    rows = {
        name: [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().split("\n") if line]
        for name in ("train", "test", "unseen")
    }
    assert {name: len(lines) for name, lines in rows.items()} == {"train": 600, "test": 200, "unseen": 200}
    for lines in rows.values():
        assert all(sum(row["label"] == label for row in lines) == len(lines) // 4 for label in logs.LABELS)
    texts = [row["text"] for lines in rows.values() for row in lines]
    assert len(set(texts)) == len(texts)
    assert not any("{" in text for text in texts)
    again = tmp_path / "again"
    logs.write(again)
    assert (again / "train.jsonl").read_bytes() == (tmp_path / "train.jsonl").read_bytes()
