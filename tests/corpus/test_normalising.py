"""Texts are mended as they were meant, and headings and pages stay where they point."""

from __future__ import annotations

import pytest

pytest.importorskip("ftfy")
from hypothesis import given, settings
from hypothesis import strategies as st

from lavra.corpus.document import Span
from lavra.corpus.normalising import apply, move, normalise


@pytest.mark.parametrize(
    ("text", "mended", "step"),
    [
        ("A decisÃ£o do conselho", "A decisão do conselho", "encoding"),
        ("donâ€™t â€“ ok", "don’t – ok", "encoding"),
        ("cac\u0327a\u0303o", "cação", "unicode"),
        ("a\x00b\u200bc\ufeff", "abc", "controls"),
        ("one\r\ntwo\rthree\x0cfour", "one\ntwo\nthree\nfour", "controls"),
        ("line  \n\n\n\nnext\n\n", "line\n\nnext", "blanks"),
    ],
)
def test_each_step_mends_its_fault(text: str, mended: str, step: str) -> None:
    result = normalise(text)
    assert result.text == mended
    assert step in result.changes


@pytest.mark.parametrize("text", ["São Paulo — “sim”", "Ã", "naïve ½ ﬁ Ⅳ", "x = {y}\n\n    code", "MÃE E PAI"])
def test_what_is_right_stays_as_it_is(text: str) -> None:
    assert normalise(text).text == text
    assert normalise(text).changes == {}


def test_words_torn_at_the_end_of_a_page_line_are_joined_in_paged_documents_only() -> None:
    text = "uma publi-\ncação sobre guarda-\nChuva e X-\nY"
    assert normalise(text, paged=True).text == "uma publicação sobre guarda-\nChuva e X-\nY"
    assert normalise(text).text == text


def _pages(count: int) -> tuple[str, list[Span]]:
    parts, spans, at = [], [], 0
    for number in range(1, count + 1):
        page = f"Relatório anual 2024\nCorpo da página {'abcdefgh'[number]} com texto próprio.\nPágina {number}\n"
        spans.append(Span("page", at, at + len(page), str(number)))
        parts.append(page)
        at += len(page)
    return "".join(parts), spans


def test_running_headers_and_footers_go_and_pages_keep_their_text() -> None:
    text, spans = _pages(5)
    result = normalise(text, spans, paged=True)
    assert "Relatório anual" not in result.text
    assert "Página" not in result.text
    assert [result.text[s.start : s.end].strip() for s in result.spans] == [
        f"Corpo da página {c} com texto próprio." for c in "bcdef"
    ]
    few, spans = _pages(3)
    assert "Página 3" in normalise(few, spans, paged=True).text  # three pages prove nothing


def test_steps_can_be_chosen() -> None:
    assert normalise("a\x00  \n", steps=("blanks",)).text == "a\x00"


def test_spans_move_with_the_text() -> None:
    text = "\n\nTÃ­tulo \n\nCorpo\x00 do texto  \nfim"
    spans = [Span("heading", 2, 9, "Título", 1), Span("page", 0, len(text), "1")]
    result = normalise(text, spans)
    assert result.text == "Título\n\nCorpo do texto\nfim"
    assert [result.text[s.start : s.end] for s in result.spans] == ["Título", result.text]


edits = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 4), st.text("xyz", max_size=3)), max_size=6)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(edits, st.integers(0, 39), st.integers(1, 12))
def test_a_span_that_no_edit_touches_holds_the_same_text(
    raw: list[tuple[int, int, str]], start: int, length: int
) -> None:
    text = "".join(chr(0x4E00 + i) for i in range(45))  # every character once
    made, at = [], 0
    for begin, width, new in sorted(raw):
        if begin >= at:
            made.append((begin, begin + width, new))
            at = begin + width + 1
    span = Span("heading", start, start + length)
    if any(a < span.end and b > span.start for a, b, _ in made) or any(a in (span.start, span.end) for a, _, _ in made):
        return
    (moved,) = move([span], made)
    assert apply(text, made)[moved.start : moved.end] == text[span.start : span.end]


def test_a_million_blanks_in_a_row_are_looked_at_once() -> None:
    text = "a" + " " * 1_000_000 + "b" + "\t" * 1_000_000
    assert normalise(text).text == "a" + " " * 1_000_000 + "b"
