"""Measures of memorisation against their definitions on transformers' logits, scikit-learn, scipy and nltk."""

from __future__ import annotations

import difflib
import math
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from tiny_decoders import WORDS, tiny_decoder  # noqa: E402

from lavra.corpus.document import Document, Span  # noqa: E402
from lavra.corpus.traps.register import Entry  # noqa: E402
from lavra.evaluation.memorisation.blind import blind_auc  # noqa: E402
from lavra.evaluation.memorisation.curves import Roc, auc, auc_interval  # noqa: E402
from lavra.evaluation.memorisation.exposure import candidates, expose, skew_normal_bits, skew_normal_cdf  # noqa: E402
from lavra.evaluation.memorisation.extraction import extract, longest_run, similarity  # noqa: E402
from lavra.evaluation.memorisation.reading import read_texts, text_ids  # noqa: E402
from lavra.evaluation.memorisation.scores import K, all_scores  # noqa: E402
from lavra.evaluation.memorisation.sources import find_sources  # noqa: E402
from lavra.evaluation.memorisation.testing import combined_p, held_out_p, least_seen, twins_p  # noqa: E402
from lavra.evaluation.memorisation.tuned_gap import judge  # noqa: E402
from lavra.model.weights import load_model  # noqa: E402
from lavra.tokens.tokenizer import load_tokenizer  # noqa: E402


def both(kind: str, path: Path) -> tuple[Any, Any, Any]:
    from transformers import AutoModelForCausalLM

    tiny_decoder(kind, path)
    judged = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    return load_model(path, dtype=torch.float32).eval(), load_tokenizer(path), judged


def texts(count: int = 12) -> list[str]:
    draw = random.Random(1)
    return [" ".join(draw.choices(WORDS, k=draw.randrange(2, 60))) for _ in range(count)]


@pytest.mark.parametrize("kind", ["rotary", "learned", "window", "some windows"])
def test_scores_are_what_their_papers_say_of_transformers_logits(tmp_path: Path, kind: str) -> None:
    model, tokenizer, judge_model = both(kind, tmp_path / "m")
    readings = read_texts(model, tokenizer, texts())
    found = all_scores(readings, readings[::-1])
    for number, text in enumerate(texts()):
        ids = torch.tensor([text_ids(tokenizer, text)])
        with torch.no_grad():
            log_p = judge_model(ids).logits[0, :-1].double().log_softmax(-1)
        p, own = log_p.exp(), log_p[torch.arange(len(log_p)), ids[0, 1:]]
        mean = (p * log_p).sum(-1)
        spread = ((p * log_p.square()).sum(-1) - mean.square()).sqrt()
        lowest = max(1, int(len(own) * K))
        expected = {
            "loss": own.mean(),
            "zlib": own.mean() / len(zlib.compress(text.encode())),
            "min_k": own.sort().values[:lowest].mean(),
            "min_k_plus": ((own - mean) / spread).sort().values[:lowest].mean(),
        }
        for name, value in expected.items():
            assert found[name][number] == pytest.approx(float(value), rel=1e-4), name
        other = readings[::-1][number]
        ratio = (float(own.sum()) - other.log_p.sum()) / len(text.encode())
        assert found["reference"][number] == pytest.approx(ratio, rel=1e-4)


def test_a_text_longer_than_the_context_is_read_as_far_as_it_goes_and_told_of(tmp_path: Path) -> None:
    model, tokenizer, _ = both("rotary", tmp_path / "m")
    reading, short = read_texts(model, tokenizer, ["the cat sat " * 200, "the cat"])
    assert (reading.tokens, reading.was_cut, short.was_cut) == (160, True, False)


def test_curves_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random_ = np.random.default_rng(0)
    members, others = np.round(random_.normal(0.7, 1, 150), 1), np.round(random_.normal(0, 1, 300), 1)  # with ties
    labels, scores = np.r_[np.ones(150), np.zeros(300)], np.r_[members, others]
    false, true, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    roc = Roc.of(members, others)
    np.testing.assert_allclose(roc.false, false)
    np.testing.assert_allclose(roc.true, true)
    assert auc(members, others) == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert roc.at(0.01) == pytest.approx(max(true[false <= 0.01]))
    low, high = auc_interval(members, others)
    assert low < auc(members, others) < high < low + 0.12


def test_the_twins_test_is_exact_for_few_pairs_and_agrees_with_itself_for_many() -> None:
    stats = pytest.importorskip("scipy.stats")
    random_ = np.random.default_rng(1)
    few, many = random_.normal(0.4, 1, 12), random_.normal(0.2, 1, 60)

    def mean(x: Any, axis: int) -> Any:
        return x.mean(axis=axis)

    for values in (few, many):
        judged = stats.permutation_test(
            (values,), mean, permutation_type="samples", alternative="greater", n_resamples=50_000, rng=0
        ).pvalue
        assert twins_p(values) == pytest.approx(judged, rel=0.1)
    assert twins_p(np.ones(7)) == 1 / 128
    assert twins_p(-np.ones(7)) == 1.0


def test_no_test_cries_wolf_more_often_than_its_p_says() -> None:
    random_ = np.random.default_rng(2)
    twins = [twins_p(random_.standard_cauchy(10)) for _ in range(400)]  # whatever the score's distribution
    held = [held_out_p(random_.normal(size=12), random_.normal(size=12), draws=300) for _ in range(200)]
    for found in (twins, held):
        assert np.mean(np.array(found) <= 0.05) < 0.09
    assert held_out_p(random_.normal(1.5, 1, 30), random_.normal(0, 1, 30), draws=2000) < 0.001


def test_p_values_are_combined_as_fisher_says() -> None:
    stats = pytest.importorskip("scipy.stats")
    for values in ([0.01, 0.2, 0.8], [1.0, 1.0], [1e-4] * 4, [0.3]):
        assert combined_p(values) == pytest.approx(stats.combine_pvalues(values).pvalue)
    assert math.isnan(combined_p([]))
    assert 0.5 < least_seen(100) < least_seen(10) < 1.0


def test_the_skew_normal_law_is_scipys_far_into_its_tail() -> None:
    skewnorm = pytest.importorskip("scipy.stats").skewnorm
    for shape in (-4.0, 0.0, 2.5):
        for z in (-4.0, -2.0, 0.3, 3.0):
            assert skew_normal_cdf(z, shape) == pytest.approx(skewnorm.cdf(z, shape), rel=1e-4, abs=1e-14)
    sample = skewnorm.rvs(2.0, loc=50, scale=4, size=20_000, random_state=0)
    assert skew_normal_bits(sample, 47.0) == pytest.approx(-np.log2(skewnorm.cdf(47.0, 2.0, 50, 4)), rel=0.1)


def test_the_rank_of_a_canary_is_that_of_its_whole_text_among_all_secrets(tmp_path: Path) -> None:
    model, tokenizer, judge_model = both("rotary", tmp_path / "m")
    canary = Entry("canary", 0, "the big dog has 42.", 1, True, 5, format="the big dog has {secret}.", secret="42")
    found = expose(model, tokenizer, canary)
    losses = {}
    for number in range(100):
        ids = torch.tensor([text_ids(tokenizer, canary.format.replace("{secret}", f"{number:02}"))])
        with torch.no_grad():
            log_p = judge_model(ids).logits[0, :-1].double().log_softmax(-1)
        losses[number] = -float(log_p[torch.arange(len(log_p)), ids[0, 1:]].sum())
    rank = sorted(losses.values()).index(losses[42]) + 1
    assert (found.rank, found.tried, found.exact) == (rank, 100, True)
    assert found.bits == pytest.approx(math.log2(100) - math.log2(rank))
    assert found.p == rank / 100
    drawn = expose(model, tokenizer, canary, most=40)
    assert (drawn.tried, drawn.exact, drawn.space) == (40, False, 100)
    assert drawn.rank <= rank
    assert len(set(candidates(canary, 40))) == 40
    assert candidates(canary, 40)[0] == "42"


def test_extraction_is_greedy_decoding_compared_token_by_token(tmp_path: Path) -> None:
    model, tokenizer, judge_model = both("rotary", tmp_path / "m")
    for text, found in zip(texts(), extract(model, tokenizer, texts(), prefix=10, rest=8), strict=True):
        ids = text_ids(tokenizer, text)
        given, wanted = ids[: found.given + 1], ids[found.given + 1 : found.given + 9]
        greedy = judge_model.generate(
            torch.tensor([given]), do_sample=False, max_new_tokens=max(1, len(wanted)), eos_token_id=None
        )[0, len(given) :].tolist()
        assert found.given == min(10, (len(ids) - 1) // 2)
        if len(wanted) > 1:
            assert found.written == tokenizer.decode(greedy)
            assert found.exact == (tuple(greedy) == wanted)
            assert found.similarity == similarity(tuple(greedy), wanted)


def test_runs_and_similarities_are_those_of_the_references() -> None:
    nltk = pytest.importorskip("nltk")
    draw = random.Random(0)
    for _ in range(60):
        a, b = (tuple(draw.choices(range(5), k=draw.randrange(0, 14))) for _ in range(2))
        judged = difflib.SequenceMatcher(None, a, b, autojunk=False).find_longest_match(0, len(a), 0, len(b)).size
        assert longest_run(a, b) == judged
        distance = nltk.edit_distance(a, b)
        assert similarity(a, b) == pytest.approx(1 - distance / max(1, len(a), len(b)) if a or b else 1.0)


def test_sets_that_differ_by_themselves_are_told_of() -> None:
    draw = random.Random(3)
    alike = [[" ".join(draw.choices(WORDS, k=20)) for _ in range(60)] for _ in range(2)]
    assert 0.35 < blind_auc(*alike) < 0.65
    assert blind_auc(alike[0], [text + " in the year 2031" for text in alike[1]]) > 0.9
    assert math.isnan(blind_auc(["a"], ["b"]))


def test_a_documents_gap_becomes_a_confidence_that_is_worth_what_is_said_of_it() -> None:
    random_ = np.random.default_rng(0)
    members, others = random_.normal(0.2, 0.05, 40), random_.normal(0.4, 0.05, 40)
    sure = judge(0.2, members, others, 3.0, made=False, pieces=4)
    assert sure.confidence > 0.9
    assert sure.accuracy > 0.9
    assert sure.told
    assert sure.p < 0.05
    assert judge(0.4, members, others, 3.0, made=False, pieces=4).confidence < 0.1
    blurred = judge(0.3, random_.normal(0.3, 0.1, 40), random_.normal(0.3, 0.1, 40), 3.0, made=True, pieces=4)
    assert not blurred.told
    assert 0.3 < blurred.confidence < 0.7
    assert blurred.brier > 0.2


def test_sources_are_the_documents_with_the_longest_run_of_words() -> None:
    long = "The ferry leaves Bridge Street at seven in the morning, and returns at nine."
    text = f"# Times\n\n{long}\n\nOther things."
    corpus = [
        Document("a/ferry.md", text, licence="CC0-1.0", spans=(Span("heading", 0, 7, "Times", 1),)),
        Document("a/half.md", "Somebody said: the ferry leaves bridge street AT SEVEN in the evening."),
        Document("a/none.md", "Nothing about boats in the morning."),
    ]
    (found, none) = find_sources(
        corpus, [long.upper().replace(",", " -"), "quite another sentence of eight words or more"]
    )
    assert [(one.source, one.run) for one in found] == [("a/ferry.md", 14), ("a/half.md", 9)]
    assert text[found[0].start : found[0].end] == long[:-1]
    assert (found[0].share, found[0].headings, found[0].licence) == (1.0, ("Times",), "CC0-1.0")
    assert none == []


def test_a_passage_without_blanks_is_found_too() -> None:
    """Han and kana: cut anywhere, in the middle of what blanks would have called one word."""
    text = "詳しくは man ページを参照してください。loopback インターフェイスは絶対に必要です。"
    (found,) = find_sources([Document("a/ja.md", text)], ["参照してください。loopback インターフェ"])
    assert [(one.source, one.share) for one in found] == [("a/ja.md", 1.0)]
    assert text[found[0].start : found[0].end] == "参照してください。loopback インターフェ"
