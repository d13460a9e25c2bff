"""A document laid out for reading shows every word of it, and marks exactly what was cited."""

from __future__ import annotations

import re

import pytest
from house import HANDBOOK, document
from hypothesis import given, settings
from hypothesis import strategies as st

from lavra.corpus.document import Document, Span
from lavra.serving.layout import Block, Part, lay_out
from lavra.serving.runs import Piece


def shown(block: Block) -> list[Piece]:
    return [*block.pieces, *(piece for row in block.rows for cell in row for piece in cell)]


def cited(part: Part) -> str:
    return " ".join(piece.text for block in part.blocks for piece in shown(block) if piece.cited)


TEXTS = st.text(alphabet="ab |`*#-\n\t1.[]()é😀", max_size=400)


@settings(max_examples=300, deadline=None)
@given(
    TEXTS.map(lambda text: text.replace("`", "-")),
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 80), st.sampled_from("htcp")), max_size=6),
)
def test_no_word_of_a_text_is_lost_whatever_its_spans(text: str, places: list[tuple[int, int, str]]) -> None:
    kinds = {"h": "heading", "t": "table", "c": "code", "p": "page"}
    spans = tuple(
        Span(kinds[kind], start, min(start + length, len(text)), label="1")  # type: ignore[arg-type]
        for start, length, kind in places
        if start < len(text)
    )
    part = lay_out(Document("s", text, spans=spans))
    words = "".join("".join(piece.text for piece in shown(block)) + block.label for block in part.blocks)
    for letter in "abé😀":  # everything but white space and the signs of Markdown
        assert words.count(letter) == text.count(letter)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(0, 400), st.integers(0, 100))
def test_the_mark_is_the_citation(text: str, start: int, length: int) -> None:
    part = lay_out(Document("s", text, format="text"), start=start, end=start + length)
    expected = re.sub(r"[^abé😀]", "", text[start : start + length])
    assert re.sub(r"[^abé😀]", "", cited(part)) == expected


def test_headings_pages_and_tables_are_what_they_are() -> None:
    part = lay_out(document("travel.md", HANDBOOK))
    kinds = [block.kind for block in part.blocks]
    assert kinds == ["page", "text", "heading", "text", "heading", "text", "page", "heading", "text", "table"]
    assert [block.label for block in part.blocks if block.kind == "page"] == ["1", "2"]
    table = part.blocks[-1]
    assert [["".join(piece.text for piece in cell) for cell in row] for row in table.rows] == [
        ["Allowance", "Inland", "Abroad"],
        ["Full day", "62", "94"],
        ["Half day", "31", "47"],
    ]


def test_a_citation_across_blocks_is_marked_in_each() -> None:
    start = HANDBOOK.index("six hours. Breakfast")
    end = HANDBOOK.index("Trains come") + 12
    part = lay_out(document("travel.md", HANDBOOK), start=start, end=end)
    assert sum(any(piece.cited for piece in shown(block)) for block in part.blocks) == 3


def test_a_cited_cell_is_marked_in_its_table() -> None:
    start = HANDBOOK.index("| Half day | 31")
    part = lay_out(document("travel.md", HANDBOOK), start=start, end=start + 15)
    assert cited(part) == "Half day 31"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Run `lavra ask` **now**.", [("Run ", ""), ("lavra ask", "code"), (" ", ""), ("now", "strong"), (".", "")]),
        ("See [the guide](guide.md) first.", [("See ", ""), ("the guide", ""), (" first.", "")]),
        ("``` is three, `` two", [("``` is three, `` two", "")]),
        ("2 * 3 * 4 and a_b_c", [("2 * 3 * 4 and a_b_c", "")]),
    ],
)
def test_a_reader_is_spared_the_signs_of_markdown(text: str, expected: list[tuple[str, str]]) -> None:
    (block,) = lay_out(Document("a.md", text, format="markdown")).blocks
    assert [(piece.text, piece.style) for piece in block.pieces] == expected


def test_lists_and_wrapped_lines_read_as_written() -> None:
    text = (
        "A line that somebody's editor wrapped at about seventy characters is\nnot a verse.\n\n"
        "Roses are red,\nviolets are blue.\n\n"
        "- one\n- two, which goes on for so long that it had to be wrapped\n  here\n2) last"
    )
    blocks = lay_out(Document("a.txt", text)).blocks
    said = ["".join(piece.text for piece in block.pieces) for block in blocks]
    assert said[0].endswith("characters is not a verse.")
    assert said[1] == "Roses are red,\nviolets are blue."
    assert [(block.kind, block.label) for block in blocks[2:]] == [("item", "•"), ("item", "•"), ("item", "2)")]
    assert " ".join(said[3].split()) == "two, which goes on for so long that it had to be wrapped here"


def test_a_code_block_loses_its_fences_and_keeps_its_indentation() -> None:
    text = "```python\n    def f():\n        return 1\n```"
    (block,) = lay_out(Document("a.md", text, format="markdown", spans=(Span("code", 0, len(text)),))).blocks
    assert block.pieces[0].text == "    def f():\n        return 1"


def test_a_long_document_comes_in_parts_without_a_gap() -> None:
    text = "\n\n".join(f"Paragraph {n} {'x' * 200}" for n in range(1000))
    first = lay_out(Document("s", text))
    parts = [lay_out(Document("s", text), part=number) for number in range(1, first.count + 1)]
    assert first.count > 4
    numbers = [re.search(r"\d+", block.pieces[0].text)[0] for part in parts for block in part.blocks]  # type: ignore[index]
    assert numbers == [str(n) for n in range(1000)]
    start = text.index("Paragraph 777")
    assert cited(lay_out(Document("s", text), start=start, end=start + 13)) == "Paragraph 777"
