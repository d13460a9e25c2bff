"""Retrieval measures are trec_eval's, and a passage finds a source where the answer's place is in it."""

from __future__ import annotations

import ir_measures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import AP, RR, R, nDCG

from lavra.evaluation import retrieved
from lavra.evaluation.items import Evidence, Source

steady = settings(max_examples=200, deadline=None, derandomize=True)

ORDERS = st.tuples(st.permutations(range(12)), st.integers(1, 12), st.sets(st.integers(0, 15), min_size=1, max_size=5))


@steady
@given(ORDERS)
def test_the_measures_are_trec_evals(drawn: tuple[list[int], int, set[int]]) -> None:
    order, shown, relevant = drawn
    order = order[:shown]
    qrels = [ir_measures.Qrel("q", f"d{document}", 1) for document in relevant]
    run = [ir_measures.ScoredDoc("q", f"d{document}", -float(rank)) for rank, document in enumerate(order)]
    judge = ir_measures.calc_aggregate([RR, nDCG, nDCG @ 5, R @ 3, R @ 10, AP], qrels, run)

    sources = [Source(f"d{document}") for document in sorted(relevant)]
    found = retrieved.found_by([Evidence(f"d{document}", "") for document in order], sources)
    count = len(sources)
    assert retrieved.reciprocal_rank(found) == pytest.approx(judge[RR])
    assert retrieved.ndcg(found, count) == pytest.approx(judge[nDCG])
    assert retrieved.ndcg(found, count, 5) == pytest.approx(judge[nDCG @ 5])
    assert retrieved.recall_at(found, count, 3) == pytest.approx(judge[R @ 3])
    assert retrieved.recall_at(found, count, 10) == pytest.approx(judge[R @ 10])
    # Average precision divides by all relevant ones, context precision by those that were found.
    hits = sum(bool(sources) for sources in found)
    assert retrieved.context_precision(found) * hits / count == pytest.approx(judge[AP])


def test_offsets_decide_where_both_have_them() -> None:
    source = Source("manual.md", "thirty days", 100, 111)
    assert retrieved.finds(Evidence("manual.md", "…", start=90, end=105), source)
    assert not retrieved.finds(Evidence("manual.md", "thirty days", start=200, end=211), source)


def test_words_decide_where_offsets_do_not() -> None:
    quote = Source("manual.md", "Leave is thirty days a year.")
    assert retrieved.finds(Evidence("manual.md", "Chapter 2\n\nLeave is thirty\ndays a year. It is asked for …"), quote)
    assert not retrieved.finds(Evidence("manual.md", "Travel is paid within five working days."), quote)
    page = Source("", "Leave is thirty days a year. It may be taken in three parts. Ask your superior.")
    assert retrieved.finds(Evidence("other.md", "It may be taken in three parts."), page)


def test_several_pieces_of_one_source_count_once() -> None:
    sources = [Source("a"), Source("b")]
    found = retrieved.found_by([Evidence("a", ""), Evidence("a", ""), Evidence("b", "")], sources)
    assert retrieved.recall_at(found, 2, 2) == 0.5
    assert retrieved.ndcg(found, 2) < 1
    assert retrieved.context_precision(found) == 1
