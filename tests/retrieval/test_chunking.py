"""Claims about chunks: exact, complete, within their size, and cut where the author cut."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavra.corpus.document import Document, Span
from lavra.errors import LavraError
from lavra.retrieval.chunking import Chunk, ChunkSettings, embedding_text, estimate_tokens, split

SMALL = ChunkSettings(target=40, limit=80)
PROSE = (
    "A licitação destina-se a garantir a observância do princípio constitucional da isonomia. "
    "Ela será processada e julgada em estrita conformidade com os princípios básicos da legalidade. "
)


def check(document: Document, chunks: list[Chunk]) -> None:
    """Exact offsets, in order, no overlap, every character that is not blank in exactly one chunk."""
    covered = 0
    for chunk in chunks:
        assert document.text[chunk.start : chunk.end] == chunk.text
        assert chunk.text == chunk.text.strip() != ""
        assert document.text[covered : chunk.start].strip() == ""
        covered = chunk.end
    assert document.text[covered:].strip() == ""
    assert len({chunk.id for chunk in chunks}) == len(chunks)


def markdown(*parts: tuple[str, str]) -> Document:
    """A document from (kind, text) parts; kinds are span kinds, ``h1`` to ``h6``, or ``p`` for prose."""
    text, spans = "", []
    for kind, body in parts:
        start = len(text)
        text += body
        if kind[0] == "h" and kind[1:].isdigit():
            spans.append(Span("heading", start, len(text), body.lstrip("# "), level=int(kind[1:])))
        elif kind != "p":
            spans.append(Span(kind, start, len(text), label=body[:8]))  # type: ignore[arg-type]
        text += "\n\n"
    return Document(source="t/manual.md", text=text, title="Manual", spans=tuple(spans))


texts = st.text(st.sampled_from(list("aé b.\n\n\t|#1ç\u00a0\u2028文")), max_size=2000)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Any text with any spans, overlapping and nested ones too."""
    text = draw(texts)
    spans = []
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, len(text)))
        kind = draw(st.sampled_from(["heading", "page", "table", "code", "slide", "sheet", "record"]))
        level = draw(st.integers(1, 6)) if kind == "heading" else 0
        spans.append(Span(kind, start, end, f"{kind} {start}", level))  # type: ignore[arg-type]
    return Document(source="t/any", text=text, spans=tuple(spans))


@settings(max_examples=150, deadline=None)
@given(documents())
def test_offsets_are_exact_and_nothing_is_lost(document: Document) -> None:
    check(document, split(document, SMALL))


def test_real_prose_stays_within_the_target() -> None:
    document = Document(source="t/long.txt", text=(PROSE * 3 + "\n\n") * 50)
    chunks = split(document)
    check(document, chunks)
    sizes = [estimate_tokens(chunk.text) for chunk in chunks]
    assert max(sizes) <= 220
    assert min(sizes) >= 60, "no rest that says nothing"


def test_headings_are_kept_outermost_first() -> None:
    document = markdown(
        ("h1", "# Contratos"), ("p", PROSE * 2), ("h2", "## Rescisão"), ("p", PROSE * 2),
        ("h3", "### Unilateral"), ("p", PROSE * 2), ("h2", "## Sanções"), ("p", PROSE * 2),
    )  # fmt: skip
    chunks = split(document, ChunkSettings(target=120, limit=200))
    check(document, chunks)
    assert [chunk.headings for chunk in chunks] == [
        ("Contratos",),
        ("Contratos", "Rescisão"),
        ("Contratos", "Rescisão", "Unilateral"),
        ("Contratos", "Sanções"),
    ]


def test_small_neighbouring_sections_are_joined_under_what_they_share() -> None:
    document = markdown(
        ("h1", "# Perguntas"),
        *[part for n in range(4) for part in (("h2", f"## Item {n}"), ("p", "Resposta curta."))],
    )
    (chunk,) = split(document)
    assert chunk.headings == ("Perguntas",)
    assert "Item 0" in chunk.text
    assert "Item 3" in chunk.text


def test_a_table_is_whole_until_it_is_over_the_limit() -> None:
    rows = [f"| item {n} | R$ {n}.000,00 |" for n in range(60)]
    whole = "\n".join(["| bem | valor |", "|---|---|", *rows[:8]])
    document = markdown(("p", PROSE * 4), ("table", whole), ("p", PROSE * 4))
    chunks = split(document)
    check(document, chunks)
    assert sum(whole in chunk.text for chunk in chunks) == 1

    long = "\n".join(["| bem | valor |", "|---|---|", *rows])
    document = markdown(("p", PROSE), ("table", long))
    chunks = split(document)
    check(document, chunks)
    parts = [chunk for chunk in chunks if "| item" in chunk.text]
    assert len(parts) > 1
    assert all(line in rows for chunk in parts[1:] for line in chunk.text.split("\n")), "cut between rows only"
    assert [chunk.context for chunk in parts] == ["", *["| bem | valor |"] * (len(parts) - 1)]
    assert embedding_text(parts[1], "Preços").startswith("Preços\n| bem | valor |\n| item")


def test_code_is_not_joined_to_a_stretch_that_would_cut_it() -> None:
    code = "\n".join(f"def f{n}(x): return x * {n}" for n in range(12))
    document = markdown(("p", PROSE * 5), ("code", code), ("p", PROSE * 5))
    assert any(code in chunk.text for chunk in split(document))


def test_what_looks_like_a_heading_inside_code_divides_nothing() -> None:
    code = "#!/bin/sh\n# Instala\napt install lavra"
    text = f"{PROSE}\n\n{code}\n\n{PROSE}"
    at = text.index(code)
    comment = Span("heading", text.index("# Instala"), text.index("# Instala") + 9, "Instala", 1)
    document = Document(source="t/a.md", text=text, spans=(Span("code", at, at + len(code)), comment))
    (chunk,) = split(document)
    assert chunk.headings == ()


def test_a_record_is_joined_to_another_only_where_one_is_small() -> None:
    long, short = PROSE * 3, "Sim."
    document = markdown(("record", long), ("record", long), ("record", short))
    assert [chunk.text for chunk in split(document, ChunkSettings(target=300, limit=400))] == [
        long.strip(),
        f"{long}\n\n{short}".strip(),
    ]


def test_pages_are_where_a_chunk_begins_and_slides_are_never_joined() -> None:
    first, second = PROSE * 3, PROSE * 3
    text = f"{first}\n\n{second}"
    pages = (Span("page", 0, len(first), "iv"), Span("page", len(first) + 2, len(text), "5"))
    chunks = split(Document(source="t/a.pdf", text=text, spans=pages), SMALL)
    assert {chunk.page for chunk in chunks if chunk.start < len(first)} == {"iv"}
    assert {chunk.page for chunk in chunks if chunk.start >= len(first) + 2} == {"5"}

    slides = markdown(("slide", "Um título"), ("slide", "Outro título"))
    assert [chunk.text for chunk in split(slides)] == ["Um título", "Outro título"]


def test_ids_are_stable_and_follow_from_document_place_and_text() -> None:
    document = Document(source="t/a.txt", text=PROSE * 10)
    assert [c.id for c in split(document)] == [c.id for c in split(document)]
    other = Document(source="t/b.txt", text=PROSE * 10)
    assert not {c.id for c in split(document)} & {c.id for c in split(other)}


def test_a_callers_token_counter_is_obeyed() -> None:
    document = Document(source="t/a.txt", text=PROSE * 40)
    chunks = split(document, ChunkSettings(target=50, limit=60), count=lambda text: len(text.split()))
    check(document, chunks)
    assert max(len(chunk.text.split()) for chunk in chunks) <= 50


@pytest.mark.parametrize("text", ["", "  \n\n\t", "\ufeff"[1:]])
def test_blank_documents_have_no_chunks(text: str) -> None:
    assert split(Document(source="t/empty", text=text)) == []


def test_text_without_any_space_is_cut_all_the_same() -> None:
    document = Document(source="t/base64", text="QUJD" * 30_000)
    chunks = split(document)
    check(document, chunks)
    assert max(estimate_tokens(chunk.text) for chunk in chunks) <= 400


def test_ten_megabytes_take_seconds() -> None:
    document = Document(source="t/big", text=(PROSE * 4 + "\n\n") * 13_500)
    assert len(document.text) > 9_900_000
    started = time.process_time()
    chunks = split(document)
    assert time.process_time() - started < 8  # about 1.6 on the machine it was written on
    check(document, chunks)


def test_settings_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(LavraError, match="16 ≤ target ≤ limit"):
        ChunkSettings(target=300, limit=200)
